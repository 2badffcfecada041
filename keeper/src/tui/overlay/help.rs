//! The keys, made from their table.

use crossterm::event::KeyCode;

use super::Overlay;
use crate::tui::event::Effect;
use crate::tui::keys::{self, Key};
use crate::tui::state::State;

/// The keys, from a row on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Help {
    /// The first row that is seen.
    pub from: usize,
}

impl Help {
    /// Scrolls; any other key closes it.
    pub fn press(self, state: &mut State, key: Key) -> Vec<Effect> {
        let from = match key.parts().0 {
            KeyCode::Up | KeyCode::Char('k') => self.from.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.from.saturating_add(1),
            KeyCode::PageUp => self.from.saturating_sub(10),
            KeyCode::PageDown | KeyCode::Char(' ') => self.from.saturating_add(10),
            _ => return Vec::new(),
        };
        let last = keys::TABLE.len() + 16;
        state.overlay = Some(Overlay::Help(Self { from: from.min(last) }));
        Vec::new()
    }
}
