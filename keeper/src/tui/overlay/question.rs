//! Something that only the person knows: a passphrase, whether a host key is the right one.

use crossterm::event::KeyCode;
use zeroize::Zeroizing;

use super::Overlay;
use crate::tui::event::{Effect, Form, Question};
use crate::tui::keys::Key;
use crate::tui::state::State;

/// A question, and the answer as far as it was typed.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub question: Question,
    /// What was typed.
    pub typed: Zeroizing<String>,
    /// What it covers, and what is there again after the answer.
    pub below: Option<Box<Overlay>>,
}

impl From<Question> for Asked {
    fn from(question: Question) -> Self {
        Self { question, typed: Zeroizing::default(), below: None }
    }
}

impl Asked {
    /// Takes a key of the answer.
    pub fn press(mut self, state: &mut State, key: Key) -> Vec<Effect> {
        let (code, control, _) = key.parts();
        let id = self.question.id;
        let below = self.below.take();
        let reply = |text: Option<Zeroizing<String>>| {
            state.overlay = below.map(|below| *below);
            vec![Effect::Reply(id, text)]
        };
        let given_up = code == KeyCode::Esc || (control && code == KeyCode::Char('c'));
        match (self.question.form, code) {
            _ if given_up => return reply(None),
            (Form::YesNo, KeyCode::Char('y')) => return reply(Some("yes".to_owned().into())),
            (Form::YesNo, KeyCode::Char('n')) => return reply(None),
            (Form::Line { .. }, KeyCode::Enter) => return reply(Some(self.typed)),
            (Form::Line { .. }, KeyCode::Backspace) => drop(self.typed.pop()),
            (Form::Line { .. }, _) => {
                if let Some(c) = key.types() {
                    self.typed.push(c);
                }
            }
            (Form::YesNo, _) => {}
        }
        state.overlay = Some(Overlay::Question(self));
        Vec::new()
    }
}
