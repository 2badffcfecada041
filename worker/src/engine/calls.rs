//! Finds the calls of tools in an answer as it comes, wherever tokens cut their tags.
//!
//! What stands between the tags and is no call that is understood stays text, tags and all.

mod forms;

use wire::generate::FunctionCall;

use super::markers::{self, Tags};
pub(super) use forms::Typed;

/// Bytes between the tags of calls: what is longer is text. A prompt has no more either.
const MAX_CALL_BYTES: usize = wire::limits::MAX_PROMPT_BYTES;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but white space yet: the whole answer may be a call without tags.
    Beginning,
    /// Text; a tag may come.
    Text,
    /// Behind the tag that opens.
    Inside(Tags),
    /// Behind a call, and nothing but white space since.
    After,
    /// Nobody looks for calls.
    Off,
}

/// Takes the calls of tools out of the text of an answer.
#[derive(Debug)]
pub(super) struct CallFinder {
    state: State,
    tags: Tags,
    typed: Typed,
    /// White space before the tag that opened; it counts only if no call follows.
    blank: String,
    held: String,
    /// Bytes of what is held in which the closing tag does not begin.
    searched: usize,
}

/// What a piece of text came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Part of the answer.
    pub text: String,
    /// Calls that are complete.
    pub calls: Vec<FunctionCall>,
}

/// A call without tags: Llama 3 writes nothing else then.
const BARE: Tags = Tags { open: "", close: "" };

impl CallFinder {
    /// For an answer whose model has no tools.
    pub(super) fn off() -> Self {
        Self::begin(State::Off, BARE, Typed::default())
    }

    /// For the answer to a chat with tools in whose template calls stand between `tags`.
    pub(super) fn new(tags: Tags, typed: Typed) -> Self {
        let is_bare = tags.open == markers::PYTHON_TAG;
        Self::begin(if is_bare { State::Beginning } else { State::Text }, tags, typed)
    }

    fn begin(state: State, tags: Tags, typed: Typed) -> Self {
        let (blank, held) = (String::new(), String::new());
        Self { state, tags, typed, blank, held, searched: 0 }
    }

    /// Sorts the next piece of text.
    pub(super) fn push(&mut self, text: &str) -> Found {
        self.held.push_str(text);
        let mut found = Found::default();
        while self.step(&mut found) {}
        found
    }

    /// What was held back, when the answer has ended.
    pub(super) fn finish(&mut self) -> Found {
        let mut found = Found::default();
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Inside(tags) => {
                found.take(&held, (&self.blank, tags.open, ""), &self.typed);
            }
            State::After => {}
            State::Beginning | State::Text | State::Off => found.text = held,
        }
        found
    }

    /// Takes one step; false when more text is needed.
    fn step(&mut self, found: &mut Found) -> bool {
        match self.state {
            State::Off => {
                found.text.push_str(&std::mem::take(&mut self.held));
                false
            }
            State::Beginning => {
                let begun = self.held.trim_start();
                if begun.is_empty() {
                    return false;
                }
                self.state =
                    if begun.starts_with(['{', '[']) { State::Inside(BARE) } else { State::Text };
                true
            }
            State::Text => self.look_for_open(found),
            State::Inside(tags) => self.look_for_close(tags, found),
            State::After => {
                self.held = self.held.trim_start().to_owned();
                self.state = if self.held.is_empty() { State::After } else { State::Text };
                self.state == State::Text
            }
        }
    }

    fn look_for_open(&mut self, found: &mut Found) -> bool {
        let open = self.tags.open;
        if let Some((before, rest)) = self.held.split_once(open) {
            let text = before.trim_end();
            found.text.push_str(text);
            self.blank = before.get(text.len()..).unwrap_or_default().to_owned();
            self.held = rest.to_owned();
            self.searched = 0;
            self.state = State::Inside(self.tags);
            return true;
        }
        // White space before a tag that may follow belongs to neither.
        let kept = self
            .held
            .char_indices()
            .map(|(at, _)| self.held.get(at..).unwrap_or_default())
            .find(|tail| open.starts_with(tail.trim_start()))
            .map_or(0, str::len);
        let kept = self.held.split_off(self.held.len() - kept);
        found.text.push_str(&std::mem::replace(&mut self.held, kept));
        false
    }

    fn look_for_close(&mut self, tags: Tags, found: &mut Found) -> bool {
        if self.held.len() > MAX_CALL_BYTES {
            let held = std::mem::take(&mut self.held);
            found.text.extend([self.blank.as_str(), tags.open, &held]);
            self.state = State::Text;
            return true;
        }
        if tags.close.is_empty() {
            return false;
        }
        let new = self.held.get(self.searched..).unwrap_or_default();
        let Some(at) = new.find(tags.close) else {
            let mut searched = self.held.len().saturating_sub(tags.close.len() - 1);
            while !self.held.is_char_boundary(searched) {
                searched -= 1;
            }
            self.searched = searched;
            return false;
        };
        let (inside, rest) = self.held.split_at(self.searched + at);
        let is_call = found.take(inside, (&self.blank, tags.open, tags.close), &self.typed);
        self.held = rest.strip_prefix(tags.close).unwrap_or(rest).to_owned();
        self.state = if is_call { State::After } else { State::Text };
        true
    }
}

impl Found {
    /// Takes what stands between two tags, which stay text if it is no call; whether it is one.
    fn take(
        &mut self,
        inside: &str,
        (blank, open, close): (&str, &str, &str),
        typed: &Typed,
    ) -> bool {
        let calls = forms::calls(inside, typed);
        if calls.is_none() {
            self.text.extend([blank, open, inside, close]);
        }
        let is_call = calls.is_some();
        self.calls.extend(calls.into_iter().flatten());
        is_call
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERMES: Tags = Tags { open: "<tool_call>", close: "</tool_call>" };
    const MISTRAL: Tags = Tags { open: "[TOOL_CALLS]", close: "" };
    const LLAMA: Tags = Tags { open: "<|python_tag|>", close: "" };
    const DEEPSEEK: Tags =
        Tags { open: "<｜tool▁calls▁begin｜>", close: "<｜tool▁calls▁end｜>" };

    fn typed() -> Typed {
        let tool = r#"{"type": "function", "function": {"name": "f", "parameters": {"properties": {
            "n": {"type": "integer"}, "s": {"type": "string"}, "u": {},
            "l": {"anyOf": [{"type": "array"}, {"type": "null"}]},
            "b": {"type": ["boolean", "null"]}, "o": {"type": ["object", "string"]}}}}}"#;
        Typed::of(&[serde_json::from_str(tool).unwrap()])
    }

    fn feed(tags: Tags, parts: &[&str]) -> (String, Vec<(String, String)>) {
        let mut finder = CallFinder::new(tags, typed());
        let (mut text, mut calls) = (String::new(), Vec::new());
        let mut add = |found: Found| {
            text.push_str(&found.text);
            calls.extend(found.calls.into_iter().map(|call| (call.name, call.arguments)));
        };
        for part in parts {
            add(finder.push(part));
        }
        add(finder.finish());
        (text, calls)
    }

    fn call(name: &str, arguments: &str) -> (String, String) {
        (name.to_owned(), arguments.to_owned())
    }

    #[test]
    fn calls_are_found_wherever_tokens_cut_their_tags() {
        let answer = "Let me see.\n<tool_call>\n\
                      {\"name\": \"f\", \"arguments\": {\"a\": \"<b>\"}}\n\
                      </tool_call>\n<tool_call>{\"name\":\"g\"}</tool_call>\n";
        let expected = vec![call("f", r#"{"a":"<b>"}"#), call("g", "{}")];
        for first in 0..=answer.len() {
            for second in first..=answer.len() {
                let parts = [&answer[..first], &answer[first..second], &answer[second..]];
                assert_eq!(feed(HERMES, &parts), ("Let me see.".to_owned(), expected.clone()));
            }
        }
    }

    /// Answers of each form, cut at each of their characters.
    #[test]
    fn calls_of_every_form_are_found_however_they_come() {
        let fenced = "Well.\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n\
                      ```json\n{\"a\": \"```\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>\
                      function<｜tool▁sep｜>g\n```json\n{}\n```<｜tool▁call▁end｜>\
                      <｜tool▁calls▁end｜>";
        let short = "Well.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>\
                     {\"a\": \"```\"}<｜tool▁call▁end｜><｜tool▁call▁begin｜>g<｜tool▁sep｜>{}\
                     <｜tool▁call▁end｜>";
        let elements = "Well.\n<tool_call>\n<function=f>\n<parameter=a>\n```\n</parameter>\n\
                        </function>\n<function=g>\n</function>\n</tool_call>";
        let cases = [(DEEPSEEK, fenced), (DEEPSEEK, short), (HERMES, elements)];
        for (tags, answer) in cases {
            for (at, _) in answer.char_indices() {
                let (text, calls) = feed(tags, &[&answer[..at], &answer[at..]]);
                let expected = [call("f", r#"{"a":"```"}"#), call("g", "{}")];
                assert_eq!((text.as_str(), calls), ("Well.", expected.to_vec()), "{answer} {at}");
            }
            let letters: Vec<String> = answer.chars().map(String::from).collect();
            let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
            assert_eq!(feed(tags, &letters), feed(tags, &[answer]));
        }
    }

    #[test]
    fn values_without_quotes_are_of_the_type_that_the_tool_declares() {
        let value = |key: &str, value: &str| {
            let answer = format!(
                "<tool_call>\n<function=f>\n<parameter={key}>\n{value}\n</parameter>\n\
                 </function>\n</tool_call>"
            );
            let (text, calls) = feed(HERMES, &[&answer]);
            assert_eq!((text.as_str(), calls.len()), ("", 1), "{answer}");
            calls[0].1.clone()
        };
        let cases = [
            ("n", "42", r#"{"n":42}"#),
            ("n", "many", r#"{"n":"many"}"#),
            ("s", "42", r#"{"s":"42"}"#),
            ("s", "\n a\n\n", r#"{"s":"\n a\n\n"}"#),
            ("u", "[1]", r#"{"u":"[1]"}"#),
            ("x", "1", r#"{"x":"1"}"#),
            ("l", "[1, {\"k\": null}]", r#"{"l":[1,{"k":null}]}"#),
            ("b", "True", r#"{"b":true}"#),
            ("b", "None", r#"{"b":null}"#),
            ("o", "{}", r#"{"o":"{}"}"#),
            ("s", "<a> & \"b\"", r#"{"s":"<a> & \"b\""}"#),
        ];
        for (key, text, expected) in cases {
            assert_eq!(value(key, text), expected);
        }
    }

    #[test]
    fn what_never_closes_is_text_from_the_bound_on_and_found_in_one_pass() {
        let mut finder = CallFinder::new(HERMES, Typed::default());
        let piece = "x".repeat(1000);
        let mut text = finder.push("a <tool_call>").text;
        for _ in 0..=MAX_CALL_BYTES / piece.len() + 1 {
            text.push_str(&finder.push(&piece).text);
        }
        assert!(
            text.starts_with("a <tool_call>xx") && text.len() > MAX_CALL_BYTES,
            "{}",
            text.len()
        );
        let found = finder.push("<tool_call>{\"name\":\"f\"}</tool_call>");
        assert_eq!(found.calls.len(), 1);
    }

    #[test]
    fn each_family_writes_calls_in_its_own_form() {
        let args = r#"{"a":1}"#;
        let cases = [
            (MISTRAL, r#"[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}]"#),
            (MISTRAL, r#"[TOOL_CALLS]f[ARGS]{"a": 1}"#),
            (MISTRAL, r#"[TOOL_CALLS]f[CALL_ID]123456789[ARGS]{"a": 1}"#),
            (LLAMA, r#" {"name": "f", "parameters": {"a": 1}}"#),
            (LLAMA, r#"<|python_tag|>{"type": "function", "name": "f", "parameters": {"a": 1}}"#),
            (HERMES, r#"<tool_call>[{"name":"f","arguments":"{\"a\":1}"}]</tool_call>"#),
            (HERMES, r#"<tool_call>{"function":{"name":"f","arguments":{"a":1}}}"#),
        ];
        for (tags, answer) in cases {
            assert_eq!(feed(tags, &[answer]), (String::new(), vec![call("f", args)]), "{answer}");
        }
        let two = r#"[TOOL_CALLS]f[ARGS]{"a":1}[TOOL_CALLS]g[ARGS]{}"#;
        assert_eq!(feed(MISTRAL, &[two]).1, [call("f", args), call("g", "{}")]);
    }

    #[test]
    fn what_is_no_call_stays_text_to_the_letter() {
        let cases = [
            (HERMES, "a <tool_call>not json</tool_call> b"),
            (HERMES, "<tool_call>{\"name\": 1}</tool_call>"),
            (HERMES, "<tool_call></tool_call>"),
            (HERMES, "<tool_call>{\"name\": \"f\""),
            (HERMES, "a <tool and \n"),
            (MISTRAL, "[TOOL_CALLS]f g[ARGS]{}"),
            (HERMES, "<tool_call><function=f></tool_call>"),
            (HERMES, "<tool_call><function=f g></function></tool_call>"),
            (HERMES, "<tool_call><function=f><parameter=a>1</function></tool_call>"),
            (HERMES, "<tool_call><function=f></function>and more</tool_call>"),
            (DEEPSEEK, "<｜tool▁calls▁begin｜>f<｜tool▁sep｜>{}<｜tool▁calls▁end｜>"),
            (
                DEEPSEEK,
                "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{<｜tool▁call▁end｜>",
            ),
            (LLAMA, "{\"answer\": 42}"),
            (LLAMA, "[1, 2]"),
            (LLAMA, "<|python_tag|>print(1)"),
            (LLAMA, "  plain"),
        ];
        for (tags, answer) in cases {
            let (text, calls) = feed(tags, &[answer]);
            assert_eq!((text.as_str(), calls), (answer, Vec::new()));
        }
        let mut off = CallFinder::off();
        let raw = "<tool_call>{\"name\":\"f\"}</tool_call>";
        assert_eq!(off.push(raw).text, raw);
    }
}
