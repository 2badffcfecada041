//! A conversation as a chat template sees it.

use std::time::SystemTime;

use minijinja::Value;
use wire::generate::{Message, ToolCall};
use wire::json::Json;

use super::template::Inputs;

/// Messages and tools in the form of Hugging Face's templates.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conversation {
    messages: Vec<Json>,
    tools: Vec<Json>,
}

impl Conversation {
    /// The conversation of a request.
    pub(super) fn new(messages: &[Message], tools: &[Json]) -> Self {
        Self { messages: messages.iter().map(message).collect(), tools: tools.to_vec() }
    }

    /// Every text that is not of this program.
    pub(super) fn texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        let _same = self.changed(&mut |text| {
            texts.push(text.to_owned());
            text.to_owned()
        });
        texts
    }

    /// The same with every text that is not of this program changed.
    pub(super) fn changed(&self, change: &mut dyn FnMut(&str) -> String) -> Self {
        let messages = self.messages.iter().map(|message| {
            with_fields(message, |key, value| match (key, value) {
                ("content" | "tool_call_id", Json::Text(text)) => Json::Text(change(text)),
                ("tool_calls", Json::List(calls)) => {
                    let call = |call| {
                        with_fields(call, |key, value| match key {
                            "id" | "function" => deeply(value, change),
                            _ => value.clone(),
                        })
                    };
                    Json::List(calls.iter().map(call).collect())
                }
                _ => value.clone(),
            })
        });
        let messages = messages.collect();
        Self { messages, tools: self.tools.iter().map(|tool| deeply(tool, change)).collect() }
    }

    /// What a template is given, for an answer.
    pub(super) fn inputs(&self, now: SystemTime) -> Inputs {
        let has_tools = !self.tools.is_empty();
        let tools =
            if has_tools { self.tools.iter().map(value).collect() } else { Value::from(()) };
        let messages = self.messages.iter().map(value).collect();
        Inputs { messages, tools, add_generation_prompt: true, now }
    }
}

fn message(message: &Message) -> Json {
    let has_calls = !message.tool_calls.is_empty();
    let is_none = has_calls && message.content.is_empty();
    let content = if is_none { Json::Null } else { Json::text(&message.content) };
    let mut fields = vec![("role", Json::text(message.role.as_str())), ("content", content)];
    if has_calls {
        fields.push(("tool_calls", Json::List(message.tool_calls.iter().map(call).collect())));
    }
    fields.extend(message.tool_call_id.as_ref().map(|id| ("tool_call_id", Json::text(id))));
    Json::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Templates want the arguments as an object, where OpenAI's clients send its JSON.
fn call(call: &ToolCall) -> Json {
    let text = &call.function.arguments;
    let object = serde_json::from_str(text).ok().filter(|json| matches!(json, Json::Object(_)));
    let arguments = object.unwrap_or_else(|| Json::text(text));
    let name = Json::text(&call.function.name);
    let function = Json::object([("name", name), ("arguments", arguments)]);
    let (id, kind) = (Json::text(&call.id), Json::text("function"));
    Json::object([("id", id), ("type", kind), ("function", function)])
}

/// An object with its fields changed; everything else as it is.
fn with_fields(json: &Json, mut change: impl FnMut(&str, &Json) -> Json) -> Json {
    match json {
        Json::Object(fields) => {
            let field = |(key, value): &(String, Json)| (key.clone(), change(key, value));
            Json::Object(fields.iter().map(field).collect())
        }
        other => other.clone(),
    }
}

/// Changes all texts and keys but plain words, by which templates choose: no control token is one.
fn deeply(json: &Json, change: &mut dyn FnMut(&str) -> String) -> Json {
    match json {
        Json::Text(text) => Json::Text(unless_plain(text, change)),
        Json::List(items) => Json::List(items.iter().map(|item| deeply(item, change)).collect()),
        Json::Object(fields) => {
            let field =
                |(key, value): &(String, Json)| (unless_plain(key, change), deeply(value, change));
            Json::Object(fields.iter().map(field).collect())
        }
        other => other.clone(),
    }
}

fn unless_plain(text: &str, change: &mut dyn FnMut(&str) -> String) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if text.bytes().all(is_plain) { text.to_owned() } else { change(text) }
}

/// As templates see it.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(truth) => Value::from(*truth),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => Value::from(number),
            (_, Some(number), _) => Value::from(number),
            (_, _, number) => Value::from(number.unwrap_or_default()),
        },
        Json::Text(text) => Value::from(text.as_str()),
        Json::List(items) => items.iter().map(value).collect(),
        Json::Object(fields) => {
            Value::from_pairs(fields.iter().map(|(key, field)| (key.as_str(), value(field))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::generate::{ChatRole, FunctionCall};

    fn json(text: &str) -> Json {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn all_that_a_request_brings_is_changed_and_nothing_that_templates_choose_by() {
        let function = FunctionCall { name: "f".into(), arguments: r#"{"k <":"v <"}"#.into() };
        let call = ToolCall { id: "i <".into(), function, ..ToolCall::default() };
        let called = Message { tool_calls: vec![call], ..Message::new(ChatRole::Assistant, "") };
        let told =
            Message { tool_call_id: Some("i <".into()), ..Message::new(ChatRole::Tool, "t") };
        let tool = json(r#"{"type":"function","function":{"name":"f","description":"d <"}}"#);
        let conversation = Conversation::new(&[called, told], &[tool]);
        assert_eq!(conversation.texts(), ["i <", "k <", "v <", "t", "i <", "d <"]);
        let changed = conversation.changed(&mut |text| text.replace('<', "!"));
        let expected = [
            json(
                r#"{"role":"assistant","content":null,"tool_calls":[{"id":"i !",
                    "type":"function","function":{"name":"f","arguments":{"k !":"v !"}}}]}"#,
            ),
            json(r#"{"role":"tool","content":"t","tool_call_id":"i !"}"#),
        ];
        assert_eq!(changed.messages, expected);
        let expected = json(r#"{"type":"function","function":{"name":"f","description":"d !"}}"#);
        assert_eq!(changed.tools, [expected]);
    }

    #[test]
    fn arguments_that_are_no_object_stay_the_text_they_are() {
        for arguments in ["{oops", "[1]", ""] {
            let function = FunctionCall { name: "f".into(), arguments: arguments.into() };
            let call = ToolCall { function, ..ToolCall::default() };
            let called =
                Message { tool_calls: vec![call], ..Message::new(ChatRole::Assistant, "I ask") };
            let conversation = Conversation::new(&[called], &[]);
            let shown = conversation.messages[0].to_string();
            let expected = format!("\"arguments\":{}", Json::text(arguments));
            assert!(shown.contains(&expected) && shown.contains("I ask"), "{shown}");
        }
    }
}
