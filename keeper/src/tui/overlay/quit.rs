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
        match code {
            // Who presses it again wants out, and has chosen nothing.
            KeyCode::Char('c' | 'q') if control => vec![Effect::Leave(Leave::Keep)],
            KeyCode::Char('q') => vec![Effect::Leave(Leave::Keep)],
            KeyCode::Char('k') => chosen(state, false),
            KeyCode::Char('s') => chosen(state, true),
            KeyCode::Enter => chosen(state, self.stops),
            KeyCode::Left | KeyCode::Right | KeyCode::Up | KeyCode::Down | KeyCode::Tab => {
                state.overlay = Some(Overlay::Quit(Self { stops: !self.stops }));
                Vec::new()
            }
            _ => Vec::new(),
        }
    }
}

/// What is chosen now is what the question begins with next time.
fn chosen(state: &mut State, stops: bool) -> Vec<Effect> {
    state.stops = stops;
    vec![Effect::Leave(if stops { Leave::Stop } else { Leave::Keep })]
}
