//! The line for words, and how it may go on.

use ratatui::Frame;
use ratatui::layout::Position;

use super::{line, popup, row};
use crate::tui::commands::candidates;
use crate::tui::look::Look;
use crate::tui::overlay::palette::Palette;
use crate::tui::rows::width;
use crate::tui::state::State;

/// Candidates that are shown.
const SHOWN: usize = 12;

/// Draws what is typed and what it may become.
pub fn draw(state: &State, look: &Look, palette: &Palette, frame: &mut Frame<'_>) {
    let found = candidates(state, &palette.typed);
    let place = popup(frame, look, "Do", (76, SHOWN + 2));
    let room = usize::from(place.width).saturating_sub(2);
    let skipped = palette.typed.chars().count().saturating_sub(room);
    let tail: String = palette.typed.chars().skip(skipped).collect();
    let typed = [(":".to_owned(), look.focus()), (tail.clone(), look.text())];
    line(frame, row(place, 0), look, &typed, &[]);
    let below = match &palette.problem {
        Some(problem) => (problem.clone(), look.warning()),
        None => (look.shapes.rule.repeat(usize::from(place.width)), look.border()),
    };
    line(frame, row(place, 1), look, &[below], &[]);
    let height = usize::from(place.height.saturating_sub(2));
    let skipped = palette.at.map_or(0, |at| (at + 1).saturating_sub(height));
    for (index, one) in found.iter().enumerate().skip(skipped).take(height) {
        let at = row(place, index - skipped + 2);
        let says = [(one.says.clone(), look.muted())];
        line(frame, at, look, &[(one.line.clone(), look.title())], &says);
        if palette.at == Some(index) {
            frame.buffer_mut().set_style(at, look.selected());
        }
    }
    let column = u16::try_from(width(&tail) + 1).unwrap_or(u16::MAX).min(place.width);
    frame.set_cursor_position(Position::new(place.x.saturating_add(column), place.y));
}
