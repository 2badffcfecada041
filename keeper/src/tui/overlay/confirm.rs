//! Whether something shall be done that cannot be undone.

use crossterm::event::KeyCode;

use super::Overlay;
use crate::tui::event::{Effect, Operation};
use crate::tui::keys::Key;
use crate::tui::state::State;

/// The question; it shows the command that does the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirm {
    /// What is done after a yes.
    pub operation: Operation,
}

impl From<Operation> for Confirm {
    fn from(operation: Operation) -> Self {
        Self { operation }
    }
}

impl Confirm {
    /// Takes an answer; what is none changes nothing.
    pub fn press(self, state: &mut State, key: Key) -> Vec<Effect> {
        let (code, control, _) = key.parts();
        match code {
            KeyCode::Char('y') => {
                state.tell(self.operation.command());
                vec![Effect::Operate(self.operation)]
            }
            KeyCode::Char('n') | KeyCode::Esc => Vec::new(),
            KeyCode::Char('c') if control => Vec::new(),
            _ => {
                state.overlay = Some(Overlay::Confirm(self));
                Vec::new()
            }
        }
    }
}
