//! Whether something shall be done that cannot be undone.

use crossterm::event::KeyCode;

use super::Overlay;
use crate::tui::event::Effect;
use crate::tui::keys::Key;
use crate::tui::operation::Operation;
use crate::tui::state::State;
use crate::tui::update::operate::begin;

/// The question; it shows the commands that do the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirm {
    /// What is done after a yes; never nothing.
    pub operations: Vec<Operation>,
}

impl From<Vec<Operation>> for Confirm {
    fn from(operations: Vec<Operation>) -> Self {
        Self { operations }
    }
}

impl Confirm {
    /// Whether a hive may be removed with everything that is on it.
    pub fn removes(&self) -> bool {
        self.operations.iter().any(|one| matches!(one, Operation::Remove(..)))
    }

    /// Takes an answer; what is none changes nothing.
    pub fn press(mut self, state: &mut State, key: Key) -> Vec<Effect> {
        let (code, control, _) = key.parts();
        match code {
            KeyCode::Char('y') => return begin(state, self.operations),
            KeyCode::Char('n') | KeyCode::Esc => return Vec::new(),
            KeyCode::Char('c') if control => return Vec::new(),
            KeyCode::Char('c') => {
                let commands: Vec<String> =
                    self.operations.iter().map(Operation::command).collect();
                state.tell(commands.join(" && "));
            }
            KeyCode::Char(choice @ ('p' | 'f')) => {
                for operation in &mut self.operations {
                    if let Operation::Remove(_, how) = operation {
                        let what = if choice == 'p' { &mut how.purge } else { &mut how.force };
                        *what = !*what;
                    }
                }
            }
            _ => {}
        }
        state.overlay = Some(Overlay::Confirm(self));
        Vec::new()
    }
}
