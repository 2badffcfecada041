//! The keys.

use ratatui::Frame;
use ratatui::style::Style;

use super::{line, popup, row};
use crate::tui::keys::{Key, Scope};
use crate::tui::look::Look;
use crate::tui::overlay::help::Help;
use crate::tui::state::State;

/// Columns of the longest line.
const COLUMNS: usize = 88;

/// A line: what stands left, and the name of its action.
type Entry = (Vec<(String, Style)>, &'static str);

/// The key table, a line each: the places where keys go now come first.
pub fn draw(state: &State, look: &Look, it: Help, frame: &mut Frame<'_>) {
    let here = state.scopes();
    let elsewhere = Scope::ALL.into_iter().filter(|scope| !here.contains(scope));
    let mut lines: Vec<Entry> =
        here.iter().copied().chain(elsewhere).flat_map(|scope| of(state, look, scope)).collect();
    // The blank line behind the last place.
    lines.pop();
    let rows = usize::from(frame.area().height).saturating_sub(2).min(lines.len());
    let from = it.from.min(lines.len().saturating_sub(rows));
    let title = match lines.len().saturating_sub(from + rows) {
        0 => "Keys · any other key closes this".to_owned(),
        more => format!("Keys · {} {more} more", look.shapes.below),
    };
    let place = popup(frame, look, &title, (COLUMNS, lines.len()));
    for (number, (content, name)) in lines.iter().skip(from).enumerate() {
        let name = [((*name).to_owned(), look.muted())];
        line(frame, row(place, number), look, content, &name);
    }
}

/// The lines of a place, with the names by which the configuration knows the actions. What has no
/// key is done by its name.
fn of(state: &State, look: &Look, scope: Scope) -> Vec<Entry> {
    let mut lines: Vec<Entry> = vec![(vec![(scope.title().to_owned(), look.title())], "")];
    for binding in state.keys.bindings().iter().filter(|binding| binding.scope == scope) {
        let keys: Vec<String> = binding.keys.iter().map(Key::to_string).collect();
        let (keys, style) = match keys.as_slice() {
            [] => (format!(":{}", binding.name), look.muted()),
            keys => (keys.join(", "), look.hint()),
        };
        let says = vec![(format!("  {keys:<22} "), style), (binding.says.to_owned(), look.text())];
        lines.push((says, binding.name));
    }
    lines.push((Vec::new(), ""));
    lines
}
