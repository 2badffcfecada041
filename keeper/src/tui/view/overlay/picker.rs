//! Which model to talk with.

use ratatui::Frame;
use ratatui::layout::Position;
use ratatui::style::Style;

use super::{line, popup, row};
use crate::tui::look::Look;
use crate::tui::overlay::picker::{self, Picker, Purpose};
use crate::tui::rows::width;
use crate::tui::state::State;

/// The models that fit the letters, a row each; below them the keys that mark.
pub fn draw(state: &State, look: &Look, picker: &Picker, frame: &mut Frame<'_>) {
    let found = picker::choices(state, &picker.typed);
    let (title, below) = match &picker.purpose {
        Purpose::Talk => ("Talk with".to_owned(), 0),
        Purpose::Compare(marked) => (format!("Compare · {} marked of 2 to 4", marked.len()), 1),
    };
    let place = popup(frame, look, &title, (72, found.len().clamp(1, 12) + 2 + below));
    let typed =
        [(look.shapes.prompt.to_owned(), look.focus()), (picker.typed.clone(), look.text())];
    line(frame, row(place, 0), look, &typed, &[]);
    let rule = look.shapes.rule.repeat(usize::from(place.width));
    line(frame, row(place, 1), look, &[(rule, look.border())], &[]);
    let height = usize::from(place.height).saturating_sub(2 + below);
    if found.is_empty() {
        let words = "nothing has these letters; hf:ORG/REPO and file:/PATH are taken as typed";
        line(frame, row(place, 2), look, &[(words.to_owned(), look.muted())], &[]);
    }
    let skipped = (picker.at + 1).saturating_sub(height);
    for (index, choice) in found.iter().enumerate().skip(skipped).take(height) {
        let at = row(place, index - skipped + 2);
        let mark = picker.marks(&choice.partner).map(|marks| match marks {
            0 => "[ ] ".to_owned(),
            1 => "[x] ".to_owned(),
            marks => format!("[{marks}] "),
        });
        let name = [(mark.unwrap_or_default(), look.hint()), (choice.name.clone(), look.title())];
        line(frame, at, look, &name, &[(choice.note.clone(), look.muted())]);
        if index == picker.at {
            frame.buffer_mut().set_style(at, look.selected());
        }
    }
    if below > 0 {
        let keys = row(place, usize::from(place.height) - 1);
        let words = [("Space", " mark  "), ("→", " once more  "), ("Enter", " compare  ")];
        let parts: Vec<(String, Style)> = words
            .iter()
            .flat_map(|(key, says)| {
                [((*key).to_owned(), look.hint()), ((*says).to_owned(), look.text())]
            })
            .collect();
        line(frame, keys, look, &parts, &[]);
    }
    let column = u16::try_from(width(&picker.typed) + 2).unwrap_or(u16::MAX).min(place.width);
    frame.set_cursor_position(Position::new(place.x.saturating_add(column), place.y));
}
