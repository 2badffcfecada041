//! The dialect of Jinja that chat templates are written in: Jinja2 in Hugging Face's sandbox.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State};
use wire::{limits, text};

use super::{bounded, cycler, json, methods, operators};

/// An environment with the bounds of untrusted templates, and with what Hugging Face's renderer
/// (`transformers.utils.chat_template_utils`) gives a template.
///
/// # Errors
/// None that depends on a template.
pub(super) fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
    environment.set_syntax(syntax);
    environment.set_fuel(Some(limits::MAX_TEMPLATE_FUEL));
    environment.set_recursion_limit(limits::MAX_TEMPLATE_DEPTH);
    environment.set_unknown_method_callback(methods::call);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    // Jinja2 has none of that name; this one would show a template the inside of this engine.
    environment.remove_global("debug");
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    environment.add_function("cycler", cycler::cycler);
    environment.add_filter(operators::PERCENT, operators::percent);
    environment.add_filter("center", |value: Value, width: Option<usize>| {
        methods::justify(&string(value).to_string(), "center", width.unwrap_or(80), None)
    });
    environment.add_filter("urlencode", |value: Value| urlencode(&string(value).to_string()));
    environment.add_filter("filesizeformat", minijinja_contrib::filters::filesizeformat);
    environment.add_filter("tojson", |value: Value, place: Rest<Value>, options: Kwargs| {
        json::dump(&value, &place, &options)
    });
    bounded::register(&mut environment);
    environment.set_formatter(write);
    environment.add_filter("string", string);
    environment.add_filter("length", length);
    environment.add_filter("count", length);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("wordcount", |value: &str| value.split_whitespace().count());
    environment.add_filter("striptags", minijinja_contrib::filters::striptags);
    environment.add_filter("truncate", minijinja_contrib::filters::truncate);
    // Python's sequences are whatever has a length and items, its texts and dictionaries too.
    environment.add_test("sequence", |value: &Value| {
        let kinds = [ValueKind::Seq, ValueKind::Map, ValueKind::String, ValueKind::Undefined];
        kinds.contains(&value.kind())
    });
    environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    environment.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
    Ok(environment)
}

/// Writes a value as Python does.
///
/// # Errors
/// When the output is full.
pub(super) fn write(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match json::float_of(value) {
        Some(float) => out.write_str(&json::float(float)).map_err(Error::from),
        None => minijinja::escape_formatter(out, state, value),
    }
}

/// A value as Python's `str`.
fn string(value: Value) -> Value {
    match json::float_of(&value) {
        _ if value.kind() == ValueKind::String => value,
        Some(float) => Value::from(json::float(float)),
        None => Value::from(value.to_string()),
    }
}

/// A text as a part of a URL: Python's `quote`, which leaves slashes as they are.
fn urlencode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"_.-~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

fn raise_exception(message: &Value) -> Result<Value, Error> {
    let message = text::one_line(&message.to_string(), limits::MAX_FAULT_MESSAGE_BYTES);
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// Nothing is as long as nothing.
fn length(value: &Value) -> Result<usize, Error> {
    if value.is_undefined() {
        return Ok(0);
    }
    value.len().ok_or_else(|| {
        let message = format!("a {} has no length", value.kind());
        Error::new(ErrorKind::InvalidOperation, message)
    })
}

/// Whatever is no number is the default.
fn int(value: Value, default: Option<Value>, base: Option<u32>) -> Value {
    let default = default.unwrap_or_else(|| Value::from(0));
    if let Some(text) = value.as_str() {
        let text = text.trim();
        let whole = i64::from_str_radix(text, base.unwrap_or(10).clamp(2, 36)).ok();
        let parsed = whole.map(Value::from);
        return parsed.or_else(|| text.parse().ok().and_then(truncated)).unwrap_or(default);
    }
    match json::float_of(&value) {
        Some(float) => truncated(float).unwrap_or(default),
        None if value.kind() == ValueKind::Number => value,
        None if value.kind() == ValueKind::Bool => Value::from(i64::from(value.is_true())),
        None => default,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "within the range that is checked")]
fn truncated(float: f64) -> Option<Value> {
    (float.abs() < 9e18).then(|| Value::from(float as i64))
}

/// Whatever is no number is the default.
fn float(value: Value, default: Option<f64>) -> f64 {
    let parsed = match value.as_str() {
        Some(text) => text.trim().parse().ok(),
        None if value.kind() == ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        None => f64::try_from(value).ok(),
    };
    parsed.or(default).unwrap_or(0.0)
}
