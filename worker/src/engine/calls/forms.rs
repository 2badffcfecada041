//! The forms in which models write calls of tools between their tags. What is of none of them is no
//! call.

use std::collections::HashSet;

use wire::generate::FunctionCall;
use wire::json::Json;

use super::super::markers;

/// What stands before and behind the parts of Qwen3-Coder's calls.
const FUNCTION: (&str, &str) = ("<function=", "</function>");
const PARAMETER: (&str, &str) = ("<parameter=", "</parameter>");
/// What `DeepSeek`'s first form writes around arguments.
const FENCE: (&str, &str) = ("```json", "```");

/// Parameters that are something else than texts, by their functions' names: a form without quotes
/// does not tell a number from a text.
#[derive(Debug, Default)]
pub(in super::super) struct Typed(HashSet<(String, String)>);

impl Typed {
    /// What the tools of a request declare, in the form of OpenAI's.
    pub(in super::super) fn of(tools: &[Json]) -> Self {
        let mut typed = HashSet::new();
        for tool in tools {
            let function = tool.get("function").unwrap_or(tool);
            let properties = function.get("parameters").and_then(|schema| schema.get("properties"));
            if let (Some(name), Some(Json::Object(all))) =
                (function.get("name").and_then(Json::as_text), properties)
            {
                let others = all.iter().filter(|(_, schema)| !may_be_text(schema));
                typed.extend(others.map(|(key, _)| (name.to_owned(), key.clone())));
            }
        }
        Self(typed)
    }

    /// A value as its parameter's type has it; what is none of that type stays a text.
    fn value(&self, name: &str, key: &str, text: &str) -> Json {
        let is_typed = self.0.contains(&(name.to_owned(), key.to_owned()));
        let parsed = match text.trim() {
            _ if !is_typed => None,
            "True" => Some(Json::Bool(true)),
            "False" => Some(Json::Bool(false)),
            "None" => Some(Json::Null),
            json => serde_json::from_str(json).ok(),
        };
        parsed.unwrap_or_else(|| Json::text(text))
    }
}

/// Whether a schema allows a text; one that says nothing of it does.
fn may_be_text(schema: &Json) -> bool {
    let is_text = |kind: &Json| kind.as_text() == Some("string");
    match (schema.get("type"), schema.get("anyOf").or_else(|| schema.get("oneOf"))) {
        (Some(Json::List(kinds)), _) => kinds.iter().any(is_text),
        (Some(kind), _) => is_text(kind),
        (None, Some(Json::List(several))) => several.iter().any(may_be_text),
        (None, _) => true,
    }
}

/// The calls that a model wrote between its tags.
pub(super) fn calls(inside: &str, typed: &Typed) -> Option<Vec<FunctionCall>> {
    let calls = of_json(inside)
        .or_else(|| of_elements(inside, typed))
        .or_else(|| of_deepseek(inside))
        .or_else(|| of_mistral(inside))?;
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

/// Qwen3-Coder's elements: `<function=NAME>`, and in it `<parameter=KEY>` for each argument.
fn of_elements(inside: &str, typed: &Typed) -> Option<Vec<FunctionCall>> {
    let mut calls = Vec::new();
    let mut rest = inside.trim_start();
    while !rest.is_empty() {
        let (name, mut body) = rest.strip_prefix(FUNCTION.0)?.split_once('>')?;
        let name = plain(name)?;
        let mut arguments = Vec::new();
        rest = loop {
            body = body.trim_start();
            if let Some(after) = body.strip_prefix(FUNCTION.1) {
                break after.trim_start();
            }
            let (key, value) = body.strip_prefix(PARAMETER.0)?.split_once('>')?;
            let (value, after) = value.split_once(PARAMETER.1)?;
            let value = value.strip_prefix('\n').unwrap_or(value);
            let value = value.strip_suffix('\n').unwrap_or(value);
            arguments.push((plain(key)?.to_owned(), typed.value(name, key.trim(), value)));
            body = after;
        };
        let arguments = Json::Object(arguments).to_string();
        calls.push(FunctionCall { name: name.to_owned(), arguments });
    }
    Some(calls)
}

/// `DeepSeek`'s: each call between tags of its own, the name and its arguments on both sides of
/// another. Its first form has a kind before that one, and arguments in a fence.
fn of_deepseek(inside: &str) -> Option<Vec<FunctionCall>> {
    let (open, close) = markers::DEEPSEEK_CALL;
    let mut calls = Vec::new();
    let mut rest = inside.trim();
    while !rest.is_empty() {
        let (before, behind) = rest.strip_prefix(open)?.split_once(markers::DEEPSEEK_BETWEEN)?;
        // An answer that ends within the tags may lack the last ones.
        let (behind, after) = behind.split_once(close).unwrap_or((behind, ""));
        let (name, arguments) = match behind.split_once(FENCE.0) {
            Some((name, fenced)) => (name, fenced.trim_end().strip_suffix(FENCE.1)?),
            None => (before, behind),
        };
        calls.push(named(name, arguments)?);
        rest = after.trim_start();
    }
    Some(calls)
}

/// Mistral's later form: `NAME[ARGS]{…}`, several with another tag between them.
fn of_mistral(inside: &str) -> Option<Vec<FunctionCall>> {
    let call = |part: &str| {
        let (name, arguments) = part.split_once(markers::MISTRAL_ARGS)?;
        named(name.split(markers::MISTRAL_ID).next().unwrap_or_default(), arguments)
    };
    inside.split(markers::MISTRAL_CALLS).map(call).collect()
}

/// A name beside its arguments, which are JSON.
fn named(name: &str, arguments: &str) -> Option<FunctionCall> {
    let arguments: Json = serde_json::from_str(arguments).ok()?;
    Some(FunctionCall { name: plain(name)?.to_owned(), arguments: arguments.to_string() })
}

/// A name without the blanks around it; none for one that has some in it.
fn plain(name: &str) -> Option<&str> {
    let name = name.trim();
    (!name.is_empty() && !name.contains(char::is_whitespace)).then_some(name)
}
