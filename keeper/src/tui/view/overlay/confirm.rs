//! Whether something shall be done.

use ratatui::Frame;

use super::{line, popup, row};
use crate::tui::look::Look;
use crate::tui::overlay::confirm::Confirm;
use crate::tui::rows::width;

/// Draws the question, and the command that does the same.
pub fn draw(look: &Look, Confirm { operation }: &Confirm, frame: &mut Frame<'_>) {
    let (question, command) = (operation.question(), operation.command());
    let widest = width(&question).max(width(&command) + 2).max(24);
    let place = popup(frame, look, "Sure?", (widest, 4));
    let lines = [
        vec![(question, look.text())],
        vec![(format!("$ {command}"), look.muted())],
        Vec::new(),
        vec![
            ("y".to_owned(), look.hint()),
            (" yes   ".to_owned(), look.text()),
            ("n".to_owned(), look.hint()),
            (" no".to_owned(), look.text()),
        ],
    ];
    for (number, content) in lines.iter().enumerate() {
        line(frame, row(place, number), look, content, &[]);
    }
}
