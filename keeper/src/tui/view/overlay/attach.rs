//! Which file goes with the message.

use ratatui::Frame;
use ratatui::layout::Position;

use super::{line, popup, row};
use crate::tui::look::Look;
use crate::tui::overlay::attach::Attach;
use crate::tui::rows::width;

/// Most paths that are seen.
const MAX_SHOWN: usize = 10;

/// The path that is typed, and the paths that begin so.
pub fn draw(look: &Look, Attach { typed, found }: &Attach, frame: &mut Frame<'_>) {
    let shown = found.len().min(MAX_SHOWN);
    let place = popup(frame, look, "Attach a text file", (72, shown + 2));
    let room = usize::from(place.width.saturating_sub(3));
    let count = typed.chars().count();
    let tail: String = typed.chars().skip(count.saturating_sub(room)).collect();
    let path = [(look.shapes.prompt.to_owned(), look.focus()), (tail.clone(), look.text())];
    line(frame, row(place, 0), look, &path, &[]);
    for (number, path) in found.iter().take(shown).enumerate() {
        line(frame, row(place, number + 1), look, &[(path.clone(), look.muted())], &[]);
    }
    let more = found.len().saturating_sub(shown);
    let more = if more > 0 { format!("{more} more") } else { String::new() };
    let keys = [
        ("Tab".to_owned(), look.hint()),
        (" complete   ".to_owned(), look.text()),
        ("Enter".to_owned(), look.hint()),
        (" attach   ".to_owned(), look.text()),
        ("Esc".to_owned(), look.hint()),
        (" give up".to_owned(), look.text()),
    ];
    line(frame, row(place, shown + 1), look, &keys, &[(more, look.muted())]);
    let column = u16::try_from(width(&tail) + 2).unwrap_or(u16::MAX).min(place.width);
    frame.set_cursor_position(Position::new(place.x.saturating_add(column), place.y));
}
