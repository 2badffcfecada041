//! Choosing a theme: the screen follows the arrows, and what it was comes back with Escape.

use crossterm::event::KeyCode;

use super::Overlay;
use crate::output::theme::Theme;
use crate::tui::event::Effect;
use crate::tui::keys::Key;
use crate::tui::state::State;

/// What is being chosen from.
#[derive(Debug, Clone, PartialEq)]
pub struct Chooser {
    /// The row that is chosen.
    pub at: usize,
    /// What it was before.
    before: Theme,
}

impl Chooser {
    /// Begins at the theme that is on the screen.
    pub fn of(state: &State) -> Self {
        let at = state.themes.iter().position(|theme| theme.name() == state.theme.name());
        Self { at: at.unwrap_or(0), before: state.theme.clone() }
    }

    /// Takes a key: arrows show, Enter keeps.
    pub fn press(mut self, state: &mut State, key: Key) -> Vec<Effect> {
        let (code, control, _) = key.parts();
        let last = state.themes.len().saturating_sub(1);
        match code {
            KeyCode::Esc | KeyCode::Char('q') => {
                state.theme = self.before;
                return Vec::new();
            }
            KeyCode::Char('c') if control => {
                state.theme = self.before;
                return Vec::new();
            }
            KeyCode::Enter if state.theme == self.before => return Vec::new(),
            KeyCode::Enter => return vec![Effect::KeepTheme(state.theme.name().clone())],
            KeyCode::Up | KeyCode::Char('k') => self.at = self.at.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.at = (self.at + 1).min(last),
            // The key that opened it goes round.
            KeyCode::F(2) => self.at = if self.at >= last { 0 } else { self.at + 1 },
            KeyCode::Home => self.at = 0,
            KeyCode::End => self.at = last,
            _ => {}
        }
        if let Some(theme) = state.themes.get(self.at) {
            state.theme = theme.clone();
        }
        state.overlay = Some(Overlay::Theme(self));
        Vec::new()
    }
}
