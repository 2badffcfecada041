//! How the answers of this conversation are made.
//!
//! ```text
//! ╭ This conversation ─────────────────────╮
//! │ system prompt  be brief                │
//! │ temperature    0.8, the default        │
//! │ Enter take  …                          │
//! ╰────────────────────────────────────────╯
//! ```

use ratatui::Frame;
use ratatui::layout::{Position, Rect};

use super::{line, popup, row};
use crate::conversations::field::Field;
use crate::tui::look::Look;
use crate::tui::overlay::settings::Form;
use crate::tui::state::State;

/// Columns that the form wants.
const COLUMNS: usize = 72;
/// Columns of the names.
const NAMES: u16 = 15;
/// Rows of the instructions that are seen.
const SYSTEM_ROWS: usize = 3;

/// Draws the form.
pub fn draw(state: &State, look: &Look, it: &Form, frame: &mut Frame<'_>) {
    let rows = it.fields.len() + SYSTEM_ROWS + 1;
    let place = popup(frame, look, "This conversation", (COLUMNS, rows));
    let mut top = 0;
    for (index, (field, editor)) in it.fields.iter().enumerate() {
        let height = if *field == Field::System { SYSTEM_ROWS } else { 1 };
        let chosen = index == it.at;
        let name = if chosen { look.focus() } else { look.muted() };
        line(frame, row(place, top), look, &[(field.name().to_owned(), name)], &[]);
        let x = place.x.saturating_add(NAMES).min(place.right());
        let value = Rect { x, width: place.right().saturating_sub(x), ..place };
        if editor.is_empty() {
            let words = format!("{}, the default", field.default_text(&state.defaults));
            let range = [(field.range().to_owned(), look.muted())];
            line(frame, row(value, top), look, &[(words, look.muted())], &range);
        }
        // A column for the cursor behind the last character.
        let (texts, (column, at)) = editor.rows(usize::from(value.width.saturating_sub(1)));
        let skipped = (at + 1).saturating_sub(height);
        for (number, text) in texts.iter().skip(skipped).take(height).enumerate() {
            if !editor.is_empty() {
                let text = [(text.clone(), look.text())];
                line(frame, row(value, top + number), look, &text, &[]);
            }
        }
        let cursor = row(value, top + at - skipped);
        if chosen && !cursor.is_empty() {
            let column = u16::try_from(column).unwrap_or(u16::MAX);
            let x = cursor.x.saturating_add(column.min(cursor.width.saturating_sub(1)));
            frame.set_cursor_position(Position::new(x, cursor.y));
        }
        top += height;
    }
    let last = Rect { y: place.bottom().saturating_sub(1), height: 1, ..place };
    let words = match &it.refused {
        Some(refused) => {
            vec![("error: ".to_owned(), look.error()), (refused.to_string(), look.text())]
        }
        None => [("Enter", "take"), ("Tab", "next"), ("Alt-Enter", "line"), ("Esc", "back")]
            .into_iter()
            .flat_map(|(key, says)| {
                [(key.to_owned(), look.hint()), (format!(" {says}   "), look.muted())]
            })
            .collect(),
    };
    if place.height > 1 {
        line(frame, last, look, &words, &[]);
    }
}
