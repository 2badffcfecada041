//! Which model to talk with.

use ratatui::Frame;
use ratatui::layout::Position;

use super::{line, popup, row};
use crate::tui::look::Look;
use crate::tui::overlay::picker::{self, Picker};
use crate::tui::rows::width;
use crate::tui::state::State;

/// The models that fit the letters, a row each.
pub fn draw(state: &State, look: &Look, picker: &Picker, frame: &mut Frame<'_>) {
    let found = picker::choices(state, &picker.typed);
    let place = popup(frame, look, "Talk with", (72, found.len().clamp(1, 12) + 2));
    let typed =
        [(look.shapes.prompt.to_owned(), look.focus()), (picker.typed.clone(), look.text())];
    line(frame, row(place, 0), look, &typed, &[]);
    let rule = look.shapes.rule.repeat(usize::from(place.width));
    line(frame, row(place, 1), look, &[(rule, look.border())], &[]);
    let height = usize::from(place.height.saturating_sub(2));
    if found.is_empty() {
        let words =
            "no model has these letters; an alias or a reference goes into the configuration";
        line(frame, row(place, 2), look, &[(words.to_owned(), look.muted())], &[]);
    }
    let skipped = (picker.at + 1).saturating_sub(height);
    for (index, choice) in found.iter().enumerate().skip(skipped).take(height) {
        let at = row(place, index - skipped + 2);
        let name = [(choice.name.clone(), look.title())];
        line(frame, at, look, &name, &[(choice.note.clone(), look.muted())]);
        if index == picker.at {
            frame.buffer_mut().set_style(at, look.selected());
        }
    }
    let column = u16::try_from(width(&picker.typed) + 2).unwrap_or(u16::MAX).min(place.width);
    frame.set_cursor_position(Position::new(place.x.saturating_add(column), place.y));
}
