//! The filter of a panel, while it is typed: the rows follow each letter.

use crossterm::event::KeyCode;

use super::Overlay;
use crate::tui::event::Effect;
use crate::tui::keys::Key;
use crate::tui::state::{Focus, State};

/// Which panel's filter is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Typing {
    /// The panel.
    pub panel: Focus,
}

impl Typing {
    /// Takes a key: Enter keeps the filter, Escape clears it.
    pub fn press(self, state: &mut State, key: Key) -> Vec<Effect> {
        let (code, control, _) = key.parts();
        let Some(filter) = state.panels.filter_mut(self.panel) else { return Vec::new() };
        let mut text = filter.text().to_owned();
        match code {
            KeyCode::Enter | KeyCode::Up | KeyCode::Down | KeyCode::Tab => return Vec::new(),
            KeyCode::Esc => {
                filter.set("");
                return Vec::new();
            }
            KeyCode::Char('c') if control => {
                filter.set("");
                return Vec::new();
            }
            KeyCode::Char('u') if control => text.clear(),
            // Nothing is left to take away: the filter is left, as in other programs.
            KeyCode::Backspace if text.is_empty() => return Vec::new(),
            KeyCode::Backspace => drop(text.pop()),
            _ => text.extend(key.types()),
        }
        self.typed(state, &text);
        Vec::new()
    }

    /// Takes text that was pasted.
    pub fn paste(self, state: &mut State, text: &str) {
        let before = state.panels.filter(self.panel).map(|filter| filter.text().to_owned());
        self.typed(state, &format!("{}{text}", before.unwrap_or_default()));
    }

    fn typed(self, state: &mut State, text: &str) {
        if let Some(filter) = state.panels.filter_mut(self.panel) {
            filter.set(text);
        }
        state.panels.event = None;
        state.overlay = Some(Overlay::Filter(self));
    }
}
