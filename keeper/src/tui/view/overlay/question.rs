//! Something that only the person knows.

use ratatui::Frame;
use ratatui::layout::Position;
use ratatui::style::Style;

use super::{line, popup, row};
use crate::tui::event::Form;
use crate::tui::look::Look;
use crate::tui::overlay::question::Asked;
use crate::tui::rows::width;

/// Draws the question and what was typed.
pub fn draw(look: &Look, Asked { question, typed, .. }: &Asked, frame: &mut Frame<'_>) {
    let widest = question.lines.iter().map(|line| width(line)).max().unwrap_or(0).max(40);
    let place = popup(frame, look, "A question", (widest, question.lines.len() + 2));
    for (number, words) in question.lines.iter().enumerate() {
        line(frame, row(place, number), look, &[(words.clone(), look.text())], &[]);
    }
    let last = row(place, question.lines.len());
    let keys = row(place, question.lines.len() + 1);
    match question.form {
        Form::YesNo => {
            let words = [("y", " yes   "), ("n", " no   "), ("Esc", " no")];
            let parts: Vec<(String, Style)> = words
                .iter()
                .flat_map(|(key, says)| {
                    [((*key).to_owned(), look.hint()), ((*says).to_owned(), look.text())]
                })
                .collect();
            line(frame, keys, look, &parts, &[]);
        }
        Form::Line { shown } => {
            let text = if shown { typed.to_string() } else { "*".repeat(typed.chars().count()) };
            let room = usize::from(last.width.saturating_sub(3));
            let count = text.chars().count();
            let tail: String = text.chars().skip(count.saturating_sub(room)).collect();
            let parts =
                [(look.shapes.prompt.to_owned(), look.focus()), (tail.clone(), look.text())];
            line(frame, last, look, &parts, &[]);
            let column = u16::try_from(width(&tail) + 2).unwrap_or(u16::MAX);
            let x = last.x.saturating_add(column.min(last.width));
            frame.set_cursor_position(Position::new(x, last.y));
            let parts = [
                ("Enter".to_owned(), look.hint()),
                (" answer   ".to_owned(), look.text()),
                ("Esc".to_owned(), look.hint()),
                (" give up".to_owned(), look.text()),
            ];
            line(frame, keys, look, &parts, &[]);
        }
    }
}
