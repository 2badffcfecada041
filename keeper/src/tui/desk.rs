//! What a person has beside the conversation: the clipboard, an editor, files. What is wanted of
//! them, and what comes of it; pure.

use serde::{Deserialize, Serialize};
use wire::Fault;
use wire::limits::MAX_PROMPT_BYTES;
use wire::text::one_line;

/// Bytes of a path; Linux takes no longer one.
const MAX_PATH_BYTES: usize = 4096;
/// Bytes of a file's name.
const MAX_NAME_BYTES: usize = 96;

/// Something that is wanted of the person's own machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// This text shall be in the clipboard.
    Copy(String),
    /// This text shall be changed with the person's editor.
    Edit(String),
    /// The paths that begin so.
    Complete(String),
    /// The file at this path.
    Attach(String),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// The text as the editor left it.
    Edited(Result<String, Fault>),
    /// Paths that begin with what was typed, clean.
    Completed(String, Vec<String>),
    /// A file.
    Attached(Result<Attachment, Fault>),
}

/// A text file that goes with the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    name: String,
    text: String,
}

impl Attachment {
    /// A file of that name; the name is cleaned.
    pub fn new(name: &str, text: String) -> Self {
        Self { name: one_line(name, MAX_NAME_BYTES), text }
    }

    /// Its name, clean.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of its text.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The file with another name and text.
    #[must_use]
    pub fn map(&self, other: impl Fn(&str) -> String) -> Self {
        Self::new(&other(&self.name), other(&self.text))
    }

    /// Its name and its text, in a fence that nothing in it closes.
    fn block(&self) -> String {
        let runs = self.text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
        let fence = "`".repeat(runs.saturating_add(1).max(3));
        let end = if self.text.ends_with('\n') { "" } else { "\n" };
        format!("{}:\n{fence}\n{}{end}{fence}", self.name, self.text)
    }
}

/// A message with what goes with it. It may be too long: who sends it says so.
pub fn message(text: &str, attachments: &[Attachment]) -> String {
    let blocks = attachments.iter().map(Attachment::block);
    let text = Some(text.to_owned()).filter(|text| !text.trim().is_empty());
    text.into_iter().chain(blocks).collect::<Vec<_>>().join("\n\n")
}

/// Bytes that a message may still get.
pub fn room(text: &str, attachments: &[Attachment]) -> usize {
    MAX_PROMPT_BYTES.saturating_sub(message(text, attachments).len())
}

/// The path that a text is, when it is one and nothing else: as a terminal gives it where a file
/// was dropped, in quotes, with escaped blanks, or as a URI.
pub fn dropped(text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() || text.contains(['\n', '\0']) || text.len() > MAX_PATH_BYTES {
        return None;
    }
    let quoted = ['\'', '"'].iter().find_map(|quote| {
        text.strip_prefix(*quote)?.strip_suffix(*quote).filter(|it| !it.contains(*quote))
    });
    let path = match quoted {
        Some(path) => path.to_owned(),
        None => match text.strip_prefix("file://") {
            Some(uri) => decoded(uri)?,
            None => text.replace("\\ ", " "),
        },
    };
    let names = path.split('/').filter(|name| !name.is_empty()).count();
    (path.starts_with('/') && names > 1).then_some(path)
}

/// What a URI says with `%20` and its like.
fn decoded(uri: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = uri.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stands_in_a_fence_that_it_cannot_close() {
        let file = Attachment::new("a\u{1b}.md", "x\n````\ny".to_owned());
        assert_eq!(
            message("look:", std::slice::from_ref(&file)),
            "look:\n\na .md:\n`````\nx\n````\ny\n`````"
        );
        assert_eq!(message(" ", &[Attachment::new("b", "c\n".into())]), "b:\n```\nc\n```");
    }

    #[test]
    fn a_path_that_was_dropped_is_known_and_other_text_is_not() {
        for text in ["/tmp/a b.txt", "'/tmp/a b.txt'", "/tmp/a\\ b.txt\n", "file:///tmp/a%20b.txt"]
        {
            assert_eq!(dropped(text).as_deref(), Some("/tmp/a b.txt"), "{text}");
        }
        for text in ["/help", "look at /tmp/a", "/tmp/a\n/tmp/b", "", "file:///%", "a/b"] {
            assert_eq!(dropped(text), None, "{text}");
        }
    }
}
