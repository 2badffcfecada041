//! Which block of code is copied, when an answer has several.

use crossterm::event::KeyCode;

use super::Overlay;
use crate::tui::desk::Work;
use crate::tui::event::Effect;
use crate::tui::keys::Key;
use crate::tui::markdown::CodeBlock;
use crate::tui::state::State;

/// The blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocks {
    /// All of them, in their order.
    pub blocks: Vec<CodeBlock>,
    /// The one that is chosen.
    pub at: usize,
}

impl Blocks {
    /// Takes a key: Enter copies the chosen one, a digit the one of that number.
    pub fn press(mut self, state: &mut State, key: Key) -> Vec<Effect> {
        let last = self.blocks.len().saturating_sub(1);
        let copied = |block: Option<CodeBlock>| {
            block.map(|block| Effect::Desk(Work::Copy(block.code))).into_iter().collect()
        };
        match key.parts().0 {
            KeyCode::Up | KeyCode::Char('k') => self.at = self.at.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') | KeyCode::Tab => self.at = (self.at + 1).min(last),
            KeyCode::Enter => return copied(self.blocks.into_iter().nth(self.at)),
            KeyCode::Char(digit @ '1'..='9') => {
                let number = digit.to_digit(10).and_then(|it| usize::try_from(it).ok());
                return copied(self.blocks.into_iter().nth(number.unwrap_or(1) - 1));
            }
            _ => return Vec::new(),
        }
        state.overlay = Some(Overlay::Blocks(self));
        Vec::new()
    }
}
