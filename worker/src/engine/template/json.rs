//! `tojson` as Hugging Face's renderer has it: Python's `json.dumps`, and no HTML escapes.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// Most blanks of one level.
const MAX_INDENT: usize = 16;

/// How `json.dumps` shall write.
struct Style {
    /// What each level begins with; absent: one line.
    indent: Option<String>,
    ascii_only: bool,
    sorts_keys: bool,
    item: String,
    key: String,
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

impl Style {
    /// The options in the order of Hugging Face's `tojson`, or by their names.
    fn from_options(place: &[Value], options: &Kwargs) -> Result<Self, Error> {
        const NAMES: [&str; 4] = ["ensure_ascii", "indent", "separators", "sort_keys"];
        if place.len() > NAMES.len() {
            return Err(Error::from(ErrorKind::TooManyArguments));
        }
        let mut all = [const { None }; NAMES.len()];
        for (at, (name, value)) in NAMES.iter().zip(&mut all).enumerate() {
            let named = if options.has(name) { Some(options.get::<Value>(name)?) } else { None };
            *value = place.get(at).cloned().or(named).filter(|value| !value.is_none());
        }
        options.assert_all_used()?;
        let [ascii_only, indent, separators, sorts_keys] = all;
        let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
        let indent = indent.map(indentation).transpose()?;
        let style = Self {
            item: if indent.is_some() { "," } else { ", " }.to_owned(),
            key: ": ".to_owned(),
            indent,
            ascii_only: is_true(ascii_only),
            sorts_keys: is_true(sorts_keys),
        };
        let Some(separators) = separators else { return Ok(style) };
        let separators: Vec<String> = separators
            .try_iter()?
            .map(|text| text.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .unwrap_or_default();
        match <[String; 2]>::try_from(separators) {
            Ok([item, key]) => Ok(Self { item, key, ..style }),
            Err(_) => Err(invalid("separators are two texts")),
        }
    }
}

/// A number of blanks, or the text itself.
fn indentation(value: Value) -> Result<String, Error> {
    let text = match value.as_str() {
        Some(text) => text.to_owned(),
        None => " ".repeat(usize::try_from(value)?.min(MAX_INDENT + 1)),
    };
    if text.len() > MAX_INDENT { Err(invalid("indent is at most 16")) } else { Ok(text) }
}

/// The number, if a value is a float and no whole number.
pub(super) fn float_of(value: &Value) -> Option<f64> {
    let is_float = value.kind() == ValueKind::Number && !value.is_integer();
    if is_float { f64::try_from(value.clone()).ok() } else { None }
}

/// A float as Python writes it (`repr`).
pub(super) fn float(float: f64) -> String {
    if float.is_nan() {
        return "nan".to_owned();
    }
    if float.is_infinite() {
        return if float > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let size = float.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{float:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{float:?}")
}

/// A float as Python's JSON has it, which knows more than the standard's.
fn json_float(value: f64) -> String {
    match float(value).as_str() {
        "nan" => "NaN".to_owned(),
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        number => number.to_owned(),
    }
}

/// A key as Python's JSON has it: a text, or what becomes one.
fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.to_string()),
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number => Ok(float_of(key).map_or_else(|| key.to_string(), json_float)),
        kind => Err(invalid(format!("a {kind} is no key in JSON"))),
    }
}

/// `value` as JSON.
///
/// # Errors
/// For an unknown option and for a value that JSON has no form for.
pub(super) fn dump(value: &Value, place: &[Value], options: &Kwargs) -> Result<String, Error> {
    let style = Style::from_options(place, options)?;
    let mut out = String::new();
    write_value(value, &style, 0, &mut out)?;
    Ok(out)
}

fn write_value(value: &Value, style: &Style, level: usize, out: &mut String) -> Result<(), Error> {
    if level > wire::limits::MAX_TEMPLATE_DEPTH {
        return Err(invalid("a value is nested too deeply"));
    }
    if out.len() > wire::limits::MAX_RENDERED_BYTES {
        return Err(invalid("a value is too long as JSON"));
    }
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => match float_of(value) {
            Some(float) => out.push_str(&json_float(float)),
            None => out.push_str(&value.to_string()),
        },
        ValueKind::String => write_text(value.as_str().unwrap_or_default(), style, out),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| (None, item)).collect();
            write_all(items, ['[', ']'], style, level, out)?;
        }
        ValueKind::Map => {
            let mut items = Vec::new();
            for key in value.try_iter()? {
                let item = value.get_item(&key)?;
                items.push((Some(key_text(&key)?), item));
            }
            if style.sorts_keys {
                items.sort_by(|(a, _), (b, _)| a.cmp(b));
            }
            write_all(items, ['{', '}'], style, level, out)?;
        }
        kind => {
            return Err(invalid(format!("a {kind} has no form in JSON")));
        }
    }
    Ok(())
}

fn write_all(
    items: Vec<(Option<String>, Value)>,
    [open, close]: [char; 2],
    style: &Style,
    level: usize,
    out: &mut String,
) -> Result<(), Error> {
    let new_line = |level: usize, out: &mut String| {
        if let Some(indent) = &style.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(indent.as_str(), level));
        }
    };
    out.push(open);
    let is_empty = items.is_empty();
    for (index, (key, item)) in items.into_iter().enumerate() {
        if index > 0 {
            out.push_str(&style.item);
        }
        new_line(level + 1, out);
        if let Some(key) = key {
            write_text(&key, style, out);
            out.push_str(&style.key);
        }
        write_value(&item, style, level + 1, out)?;
    }
    if !is_empty {
        new_line(level, out);
    }
    out.push(close);
    Ok(())
}

/// Whether Python would write an escape (`\u` and four digits) for it.
fn needs_escape(c: char, style: &Style) -> bool {
    c < ' ' || (style.ascii_only && (!c.is_ascii() || c == '\u{7f}'))
}

fn write_text(text: &str, style: &Style, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if needs_escape(c, style) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a text cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
