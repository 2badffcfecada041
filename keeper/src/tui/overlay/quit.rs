//! What shall become of the workers when the program is left.

use crossterm::event::KeyCode;

use super::Overlay;
use crate::tui::event::{Effect, Leave};
use crate::tui::keys::Key;
use crate::tui::state::State;

/// The question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quit {
    /// Whether the answer that is chosen stops them.
    pub stops: bool,
}

impl Quit {
    /// Takes an answer.
    pub fn press(self, state: &mut State, key: Key) -> Vec<Effect> {
        let (code, control, _) = key.parts();
        let leave = |stops| vec![Effect::Leave(if stops { Leave::Stop } else { Leave::Keep })];
        match code {
            // Who presses it again wants out.
            KeyCode::Char('c' | 'q') if control => leave(false),
            KeyCode::Char('k' | 'q') => leave(false),
            KeyCode::Char('s') => leave(true),
            KeyCode::Enter => leave(self.stops),
            KeyCode::Left | KeyCode::Right | KeyCode::Up | KeyCode::Down | KeyCode::Tab => {
                state.overlay = Some(Overlay::Quit(Self { stops: !self.stops }));
                Vec::new()
            }
            _ => Vec::new(),
        }
    }
}
