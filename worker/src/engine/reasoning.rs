//! Parts an answer into the model's reasoning (`<think>` … `</think>`, or its kin) and the rest.

use super::markers::{THINK, Tags};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but white space yet: a tag may follow.
    Beginning,
    /// Inside, and nothing but white space since the tag.
    Opened,
    /// Inside.
    Reasoning,
    /// After the closing tag, and nothing but white space since.
    Closed,
    /// Everything from here on is the answer.
    Answer,
}

/// Sorts the text of an answer as it comes, wherever tokens cut the tags.
#[derive(Debug)]
pub(super) struct Splitter {
    tags: Tags,
    state: State,
    held: String,
}

/// What a piece of text came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// Part of the answer.
    pub text: String,
    /// Part of the reasoning.
    pub reasoning: String,
}

impl Splitter {
    /// For the answer to a chat in whose template reasoning stands between `tags`; `is_open` when
    /// the template's own generation prompt ended with an open one.
    pub(super) fn for_chat(tags: Tags, is_open: bool) -> Self {
        let state = if is_open { State::Opened } else { State::Beginning };
        Self { tags, state, held: String::new() }
    }

    /// For a raw completion: every byte is the answer.
    pub(super) fn for_raw() -> Self {
        Self { tags: THINK, state: State::Answer, held: String::new() }
    }

    /// Sorts the next piece of text.
    pub(super) fn push(&mut self, text: &str) -> Parts {
        self.held.push_str(text);
        let mut parts = Parts::default();
        while self.step(&mut parts) {}
        parts
    }

    /// What was held back, when the answer has ended.
    pub(super) fn finish(&mut self) -> Parts {
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Beginning | State::Answer => Parts { text: held, ..Parts::default() },
            State::Reasoning => Parts { reasoning: held, ..Parts::default() },
            // Only white space beside a tag can be left here.
            State::Opened | State::Closed => Parts::default(),
        }
    }

    /// Takes one step; false when more text is needed.
    fn step(&mut self, parts: &mut Parts) -> bool {
        match self.state {
            State::Beginning => self.look_for_open(),
            State::Opened => self.skip_space(State::Reasoning),
            State::Reasoning => self.look_for_close(parts),
            State::Closed => self.skip_space(State::Answer),
            State::Answer => {
                parts.text.push_str(&std::mem::take(&mut self.held));
                false
            }
        }
    }

    fn look_for_open(&mut self) -> bool {
        let begun = self.held.trim_start();
        if let Some(rest) = begun.strip_prefix(self.tags.open) {
            self.held = rest.to_owned();
            self.state = State::Opened;
        } else if self.tags.open.starts_with(begun) {
            return false;
        } else {
            self.state = State::Answer;
        }
        true
    }

    fn skip_space(&mut self, next: State) -> bool {
        self.held = self.held.trim_start().to_owned();
        if self.held.is_empty() {
            return false;
        }
        self.state = next;
        true
    }

    fn look_for_close(&mut self, parts: &mut Parts) -> bool {
        if let Some((reasoning, rest)) = self.held.split_once(self.tags.close) {
            parts.reasoning.push_str(reasoning.trim_end());
            self.held = rest.to_owned();
            self.state = State::Closed;
            return true;
        }
        // White space before a tag that may follow belongs to neither.
        let kept = self
            .held
            .char_indices()
            .map(|(at, _)| self.held.get(at..).unwrap_or_default())
            .find(|tail| self.tags.close.starts_with(tail.trim_start()))
            .map_or(0, str::len);
        let kept = self.held.split_off(self.held.len() - kept);
        parts.reasoning.push_str(&std::mem::replace(&mut self.held, kept));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(is_open: bool) -> Splitter {
        Splitter::for_chat(THINK, is_open)
    }

    fn feed(mut splitter: Splitter, parts: &[&str]) -> (String, String) {
        let (mut text, mut reasoning) = (String::new(), String::new());
        let mut add = |parts: Parts| {
            text.push_str(&parts.text);
            reasoning.push_str(&parts.reasoning);
        };
        for part in parts {
            add(splitter.push(part));
        }
        add(splitter.finish());
        (text, reasoning)
    }

    #[test]
    fn reasoning_is_found_wherever_tokens_cut_its_tags() {
        let answer = "\n<think>\nhm, 1 < 2\n</think>\n\nTwo. <think>";
        for first in 0..=answer.len() {
            for second in first..=answer.len() {
                let parts = [&answer[..first], &answer[first..second], &answer[second..]];
                let (text, reasoning) = feed(chat(false), &parts);
                assert_eq!((text.as_str(), reasoning.as_str()), ("Two. <think>", "hm, 1 < 2"));
            }
        }
    }

    #[test]
    fn a_template_that_opens_the_tag_itself_is_followed() {
        let (text, reasoning) = feed(chat(true), &["\nwell", "</thi", "nk>", "\nYes"]);
        assert_eq!((text.as_str(), reasoning.as_str()), ("Yes", "well"));
    }

    #[test]
    fn the_tags_are_those_of_the_family() {
        let tags = Tags { open: "[THINK]", close: "[/THINK]" };
        let answer = ["[TH", "INK]hm <think>", "[/THI", "NK] Yes [THINK]"];
        let (text, reasoning) = feed(Splitter::for_chat(tags, false), &answer);
        assert_eq!((text.as_str(), reasoning.as_str()), ("Yes [THINK]", "hm <think>"));
    }

    #[test]
    fn an_empty_thought_is_no_reasoning() {
        let (text, reasoning) = feed(chat(false), &["<think>\n\n</think>\n\nHi"]);
        assert_eq!((text.as_str(), reasoning.as_str()), ("Hi", ""));
    }

    #[test]
    fn an_answer_without_tags_passes_unchanged() {
        for answer in ["  plain", "a <think> in the middle", "<thin air", "<", ""] {
            assert_eq!(feed(chat(false), &[answer]), (answer.to_owned(), String::new()));
        }
        let raw = "<think>raw</think>";
        assert_eq!(feed(Splitter::for_raw(), &[raw]), (raw.to_owned(), String::new()));
    }

    #[test]
    fn reasoning_that_never_ends_is_all_reasoning() {
        let (text, reasoning) = feed(chat(false), &["<think>", "on and on </th"]);
        assert_eq!((text.as_str(), reasoning.as_str()), ("", "on and on </th"));
    }
}
