//! Finds the calls of tools in an answer as it comes, wherever tokens cut their tags.
//!
//! What stands between the tags and is no call that is understood stays text, tags and all.

use wire::generate::FunctionCall;
use wire::json::Json;

use super::markers::{self, Tags};

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
    /// White space before the tag that opened; it counts only if no call follows.
    blank: String,
    held: String,
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
        Self { state: State::Off, tags: BARE, blank: String::new(), held: String::new() }
    }

    /// For the answer to a chat with tools in whose template calls stand between `tags`.
    pub(super) fn new(tags: Tags) -> Self {
        let is_bare = tags.open == markers::PYTHON_TAG;
        let state = if is_bare { State::Beginning } else { State::Text };
        Self { state, tags, blank: String::new(), held: String::new() }
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
                found.take(&held, (&self.blank, tags.open, ""));
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
        if tags.close.is_empty() {
            return false;
        }
        let Some((inside, rest)) = self.held.split_once(tags.close) else { return false };
        let is_call = found.take(inside, (&self.blank, tags.open, tags.close));
        self.held = rest.to_owned();
        self.state = if is_call { State::After } else { State::Text };
        true
    }
}

impl Found {
    /// Takes what stands between two tags, which stay text if it is no call; whether it is one.
    fn take(&mut self, inside: &str, (blank, open, close): (&str, &str, &str)) -> bool {
        let calls = calls(inside);
        if calls.is_none() {
            self.text.extend([blank, open, inside, close]);
        }
        let is_call = calls.is_some();
        self.calls.extend(calls.into_iter().flatten());
        is_call
    }
}

/// The calls that a model wrote between its tags.
fn calls(inside: &str) -> Option<Vec<FunctionCall>> {
    let calls = of_json(inside).or_else(|| of_mistral(inside))?;
    (!calls.is_empty()).then_some(calls)
}

/// Objects of a name and arguments, one after the other or in a list.
fn of_json(inside: &str) -> Option<Vec<FunctionCall>> {
    let mut calls = Vec::new();
    for value in serde_json::Deserializer::from_str(inside).into_iter::<Json>() {
        match value.ok()? {
            Json::List(several) => {
                for one in &several {
                    calls.push(of_object(one)?);
                }
            }
            one => calls.push(of_object(&one)?),
        }
    }
    Some(calls)
}

fn of_object(value: &Json) -> Option<FunctionCall> {
    let object =
        value.get("function").filter(|inner| matches!(inner, Json::Object(_))).unwrap_or(value);
    let name = object.get("name")?.as_text()?.to_owned();
    let arguments = match object.get("arguments").or_else(|| object.get("parameters")) {
        None | Some(Json::Null) => "{}".to_owned(),
        Some(Json::Text(json)) => json.clone(),
        Some(object) => object.to_string(),
    };
    Some(FunctionCall { name, arguments })
}

/// Mistral's later form: `NAME[ARGS]{…}`, several with another tag between them.
fn of_mistral(inside: &str) -> Option<Vec<FunctionCall>> {
    let call = |part: &str| {
        let (name, arguments) = part.split_once(markers::MISTRAL_ARGS)?;
        let name = name.split(markers::MISTRAL_ID).next().unwrap_or_default().trim();
        let arguments: Json = serde_json::from_str(arguments).ok()?;
        let is_name = !name.is_empty() && !name.contains(char::is_whitespace);
        let arguments = arguments.to_string();
        is_name.then(|| FunctionCall { name: name.to_owned(), arguments })
    };
    inside.split(markers::MISTRAL_CALLS).map(call).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERMES: Tags = Tags { open: "<tool_call>", close: "</tool_call>" };
    const MISTRAL: Tags = Tags { open: "[TOOL_CALLS]", close: "" };
    const LLAMA: Tags = Tags { open: "<|python_tag|>", close: "" };

    fn feed(tags: Tags, parts: &[&str]) -> (String, Vec<(String, String)>) {
        let mut finder = CallFinder::new(tags);
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
