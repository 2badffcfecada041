//! Whether something shall be done.

use ratatui::Frame;
use ratatui::style::Style;

use super::{line, popup, row};
use crate::tui::look::Look;
use crate::tui::operation::Operation;
use crate::tui::overlay::confirm::Confirm;
use crate::tui::rows::{Kind, Span, width, wrap};

/// Operations of several that have a question each; of the others only the names are said.
const MAX_NAMED: usize = 6;
/// Columns of those names.
const MORE_COLUMNS: usize = 60;

/// Draws the question, and the commands that do the same.
pub fn draw(look: &Look, confirm: &Confirm, frame: &mut Frame<'_>) {
    let questions = confirm.operations.iter().filter_map(Operation::question);
    let mut lines: Vec<Vec<(String, Style)>> =
        questions.take(MAX_NAMED).map(|question| vec![(question, look.text())]).collect();
    let count = confirm.operations.len();
    if count > MAX_NAMED {
        let names = confirm.operations.iter().skip(MAX_NAMED).map(Operation::target);
        let names = names.collect::<Vec<_>>().join(", ");
        let more = format!("and {} more: {names}", count - MAX_NAMED);
        for row in wrap(&[Span::new(more, Kind::Text)], MORE_COLUMNS, "  ") {
            lines.push(row.into_iter().map(|span| (span.text, look.text())).collect());
        }
    }
    if let [only] = confirm.operations.as_slice() {
        lines.push(vec![(format!("$ {}", only.command()), look.muted())]);
    }
    lines.push(Vec::new());
    let mut keys = vec![("y", " yes   "), ("n", " no   "), ("c", " the command")];
    if confirm.removes() {
        keys.push(("   p", " purge"));
        keys.push(("   f", " force"));
    }
    let keys: Vec<(String, Style)> = keys
        .iter()
        .flat_map(|(key, says)| {
            [((*key).to_owned(), look.hint()), ((*says).to_owned(), look.text())]
        })
        .collect();
    lines.push(keys);
    let columns = |line: &Vec<(String, Style)>| line.iter().map(|(text, _)| width(text)).sum();
    let widest = lines.iter().map(columns).max().unwrap_or(0);
    let place = popup(frame, look, "Sure?", (widest, lines.len()));
    for (number, content) in lines.iter().enumerate() {
        line(frame, row(place, number), look, content, &[]);
    }
}
