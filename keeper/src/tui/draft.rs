//! The message that is written next, and those that were sent before. Pure.

use std::collections::VecDeque;

use super::desk::{self, Attachment};
use super::editor::Editor;

/// Messages that can be called back into the editor.
const MAX_HISTORY: usize = 200;

/// What is written next.
#[derive(Debug, Default)]
pub struct Draft {
    /// The text.
    pub editor: Editor,
    /// Files that go with it.
    pub attachments: Vec<Attachment>,
    /// A path that was pasted last, which may be meant as a file.
    pub offered: Option<String>,
    /// Messages that were sent, newest first, and which of them is in the editor.
    history: VecDeque<String>,
    recalled: Option<usize>,
}

impl Draft {
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.editor.text().trim().is_empty() && self.attachments.is_empty()
    }

    /// The message with its files.
    pub fn message(&self) -> String {
        desk::message(self.editor.text(), &self.attachments)
    }

    /// Lets a file go with the message, in the place of its path where that was pasted.
    pub fn attach(&mut self, file: Attachment) {
        if let Some(path) = self.offered.take() {
            let text = self.editor.text().trim_end();
            let is_path = |tail: &str| desk::dropped(tail).as_deref() == Some(path.as_str());
            let begin = text.rfind('\n').map_or(0, |at| at + 1);
            if let Some((before, tail)) = text.split_at_checked(begin)
                && is_path(tail)
            {
                let before = before.to_owned();
                self.editor.set(&before);
            }
        }
        self.attachments.push(file);
    }

    /// Takes away the file that came last.
    pub fn detach(&mut self) {
        self.attachments.pop();
    }

    /// Forgets what is written.
    pub fn clear(&mut self) {
        self.editor.take();
        self.attachments.clear();
        self.offered = None;
    }

    /// Takes the message to send it; its text can be called back.
    pub fn take(&mut self) -> String {
        let message = self.editor.take();
        self.clear();
        self.recalled = None;
        if !message.trim().is_empty() && self.history.front() != Some(&message) {
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
