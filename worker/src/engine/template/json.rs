//! `tojson` as Hugging Face's renderer has it: Python's `json.dumps`, and no HTML escapes.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// How `json.dumps` shall write.
struct Style {
    /// Blanks of each level; absent: one line.
    indent: Option<usize>,
    ascii_only: bool,
    sorts_keys: bool,
    item: String,
    key: String,
}

impl Style {
    fn from_options(options: &Kwargs) -> Result<Self, Error> {
        let indent: Option<usize> = options.get("indent")?;
        let separators: Option<Vec<String>> = options.get("separators")?;
        if indent.is_some_and(|blanks| blanks > 16) {
            return Err(Error::new(ErrorKind::InvalidOperation, "indent is at most 16"));
        }
        let style = Self {
            indent,
            ascii_only: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
            sorts_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
            item: if indent.is_some() { "," } else { ", " }.to_owned(),
            key: ": ".to_owned(),
        };
        options.assert_all_used()?;
        match separators.as_deref() {
            None => Ok(style),
            Some([item, key]) => Ok(Self { item: item.clone(), key: key.clone(), ..style }),
            Some(_) => Err(Error::new(ErrorKind::InvalidOperation, "separators are two texts")),
        }
    }
}

/// `value` as JSON.
///
/// # Errors
/// For an unknown option and for a value that JSON has no form for.
pub(super) fn dump(value: &Value, options: &Kwargs) -> Result<String, Error> {
    let style = Style::from_options(options)?;
    let mut out = String::new();
    write_value(value, &style, 0, &mut out)?;
    Ok(out)
}

fn write_value(value: &Value, style: &Style, level: usize, out: &mut String) -> Result<(), Error> {
    if level > wire::limits::MAX_TEMPLATE_DEPTH {
        return Err(Error::new(ErrorKind::InvalidOperation, "a value is nested too deeply"));
    }
    if out.len() > wire::limits::MAX_RENDERED_BYTES {
        return Err(Error::new(ErrorKind::InvalidOperation, "a value is too long as JSON"));
    }
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&value.to_string()),
        ValueKind::String => write_text(value.as_str().unwrap_or_default(), style, out),
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| (None, item)).collect();
            write_all(items, ['[', ']'], style, level, out)?;
        }
        ValueKind::Map => {
            let mut items = Vec::new();
            for key in value.try_iter()? {
                let item = value.get_item(&key)?;
                items.push((Some(key.to_string()), item));
            }
            if style.sorts_keys {
                items.sort_by(|(a, _), (b, _)| a.cmp(b));
            }
            write_all(items, ['{', '}'], style, level, out)?;
        }
        kind => {
            let message = format!("a {kind} has no form in JSON");
            return Err(Error::new(ErrorKind::InvalidOperation, message));
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
        if let Some(blanks) = style.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', blanks * level));
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
