//! The message that is written next, and those that were sent before. Pure.

use std::collections::VecDeque;

use super::editor::Editor;

/// Messages that can be called back into the editor.
const MAX_HISTORY: usize = 200;

/// What is written next.
#[derive(Debug, Default)]
pub struct Draft {
    /// The text.
    pub editor: Editor,
    /// Messages that were sent, newest first, and which of them is in the editor.
    history: VecDeque<String>,
    recalled: Option<usize>,
}

impl Draft {
    /// Takes the message to send it; it can be called back.
    pub fn take(&mut self) -> String {
        let message = self.editor.take();
        self.recalled = None;
        if self.history.front() != Some(&message) {
            self.history.push_front(message.clone());
            self.history.truncate(MAX_HISTORY);
        }
        message
    }

    /// Puts an older message into the editor, or a newer one.
    pub fn recall(&mut self, older: bool) {
        let next = match (self.recalled, older) {
            (None, true) => Some(0),
            (Some(index), true) => Some(index + 1),
            (Some(index), false) => index.checked_sub(1),
            (None, false) => return,
        };
        match next {
            Some(index) => {
                let Some(text) = self.history.get(index) else { return };
                self.editor.set(text);
            }
            None => drop(self.editor.take()),
        }
        self.recalled = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sent_messages_are_called_back_newest_first() {
        let mut draft = Draft::default();
        for message in ["one", "two", "two"] {
            draft.editor.insert(message);
            assert_eq!(draft.take(), message);
        }
        let recalled: Vec<String> = [true, true, true, false, false]
            .into_iter()
            .map(|older| {
                draft.recall(older);
                draft.editor.text().to_owned()
            })
            .collect();
        assert_eq!(recalled, ["two", "one", "one", "two", ""]);
    }
}
