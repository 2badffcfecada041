//! Python's methods of texts, lists and dictionaries, as far as templates call them.

use minijinja::value::{Rest, Tuple, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat;
use wire::limits;

use super::{bounded, operators};

/// Calls a method that Jinja itself does not know.
///
/// # Errors
/// Of the kind `UnknownMethod` when Python's value has no such method, or one that would change it.
pub(super) fn call(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if method == operators::REVERSED {
        let () = from_args(args)?;
        return reversed(value);
    }
    let known = match (value.kind(), value.as_str()) {
        (ValueKind::String, Some(text)) => of_text(text, method, args)?,
        (ValueKind::Seq, _) => of_list(value, method, args)?,
        (ValueKind::Map, _) if method == "copy" => {
            let () = from_args(args)?;
            Some(value.clone())
        }
        _ => None,
    };
    match known {
        Some(result) => Ok(result),
        None => pycompat::unknown_method_callback(state, value, method, args),
    }
}

/// A text or a list from its end.
fn reversed(value: &Value) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        return Ok(Value::from(text.chars().rev().collect::<String>()));
    }
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Err(invalid("only texts and lists can be reversed"));
    }
    let mut items: Vec<Value> = value.try_iter()?.collect();
    items.reverse();
    Ok(Value::from(items))
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// What of a text's methods differs from, or is missing in, minijinja's own; none for the others.
fn of_text(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let result = match method {
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            partition(text, separator, method == "rpartition")?
        }
        "rsplit" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
            split_from_the_end(text, separator, most)?
        }
        "find" | "rfind" | "index" | "rindex" => {
            let (what, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
            let found = find(text, what, (start, end), method.starts_with('r'));
            if found.is_none() && method.ends_with("index") {
                return Err(invalid("substring not found"));
            }
            Value::from(found.unwrap_or(-1))
        }
        "replace" => {
            let (old, new, count): (&str, &str, Option<i64>) = from_args(args)?;
            Value::from(bounded::replace(text, old, new, count)?)
        }
        "join" => {
            let (items,): (&Value,) = from_args(args)?;
            bounded::check_joined(items, text.len())?;
            return Ok(None);
        }
        "format" => {
            bounded::check_widths(text)?;
            return Ok(None);
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        _ => return of_letters(text, method, args),
    };
    Ok(Some(result))
}

/// The methods that look at a text's letters alone.
fn of_letters(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let result = match method {
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let sign = text.len() - text.trim_start_matches(['+', '-']).len();
            let (sign, digits) = text.split_at(sign.min(1));
            let zeros = missing(text, width)?;
            Value::from(format!("{sign}{}{digits}", "0".repeat(zeros)))
        }
        "ljust" | "rjust" | "center" => {
            let (width, fill): (usize, Option<&str>) = from_args(args)?;
            justify(text, method, width, fill)?
        }
        "title" => {
            let () = from_args(args)?;
            Value::from(titled(text))
        }
        "swapcase" => {
            let () = from_args(args)?;
            Value::from(text.chars().map(swapped).collect::<String>())
        }
        "casefold" => {
            let () = from_args(args)?;
            Value::from(text.to_lowercase().replace('ß', "ss"))
        }
        "isdecimal" | "isdigit" => {
            let () = from_args(args)?;
            Value::from(!text.is_empty() && text.chars().all(|c| c.is_ascii_digit()))
        }
        "istitle" => {
            let () = from_args(args)?;
            Value::from(is_title(text))
        }
        _ => return Ok(None),
    };
    Ok(Some(result))
}

/// Three parts: before, the separator, behind.
fn partition(text: &str, separator: &str, from_the_end: bool) -> Result<Value, Error> {
    if separator.is_empty() {
        return Err(invalid("empty separator"));
    }
    let cut = if from_the_end { text.rsplit_once(separator) } else { text.split_once(separator) };
    let parts = match cut {
        Some((before, behind)) => [before, separator, behind],
        None if from_the_end => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

/// At most `most` cuts, all for a negative number; without a separator at runs of white space.
fn split_from_the_end(
    text: &str,
    separator: Option<&str>,
    most: Option<i64>,
) -> Result<Value, Error> {
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let mut parts = Vec::new();
    let mut rest = text;
    match separator {
        Some("") => return Err(invalid("empty separator")),
        Some(separator) => {
            while parts.len() < most
                && let Some((before, behind)) = rest.rsplit_once(separator)
            {
                parts.push(Value::from(behind));
                rest = before;
            }
            parts.push(Value::from(rest));
        }
        None => {
            rest = rest.trim_end();
            while parts.len() < most
                && let Some((before, behind)) = rest.rsplit_once(char::is_whitespace)
            {
                parts.push(Value::from(behind));
                rest = before.trim_end();
            }
            if !rest.is_empty() {
                parts.push(Value::from(rest));
            }
        }
    }
    parts.reverse();
    Ok(Value::from(parts))
}

/// Where `what` is in characters, within Python's slice of the text.
fn find(
    text: &str,
    what: &str,
    (start, end): (Option<i64>, Option<i64>),
    from_the_end: bool,
) -> Option<i64> {
    let length = i64::try_from(text.chars().count()).ok()?;
    let place = |at: i64| if at < 0 { (at + length).max(0) } else { at };
    let (start, end) = (place(start.unwrap_or(0)), place(end.unwrap_or(length)).min(length));
    if start > end {
        return None;
    }
    let byte = |at: i64| {
        let at = usize::try_from(at).ok()?;
        Some(text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte))
    };
    let from = byte(start)?;
    let part = text.get(from..byte(end)?)?;
    let at = if from_the_end { part.rfind(what) } else { part.find(what) }?;
    i64::try_from(part.get(..at)?.chars().count()).ok().map(|at| start + at)
}

/// Characters that a text lacks of a width.
fn missing(text: &str, width: usize) -> Result<usize, Error> {
    if width > limits::MAX_RENDERED_BYTES {
        return Err(invalid("the width is larger than any text may be"));
    }
    Ok(width.saturating_sub(text.chars().count()))
}

pub(super) fn justify(
    text: &str,
    method: &str,
    width: usize,
    fill: Option<&str>,
) -> Result<Value, Error> {
    let fill = fill.unwrap_or(" ");
    if fill.chars().count() != 1 {
        return Err(invalid("the fill is exactly one character"));
    }
    let lacking = missing(text, width)?;
    let before = match method {
        "ljust" => 0,
        "rjust" => lacking,
        // Python gives the odd one to the left of an odd width only.
        _ => lacking / 2 + (lacking & width & 1),
    };
    let (before, behind) = (fill.repeat(before), fill.repeat(lacking - before));
    Ok(Value::from(format!("{before}{text}{behind}")))
}

fn swapped(c: char) -> String {
    if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
}

/// Each run of letters begins with a large one, also behind an apostrophe.
fn titled(text: &str) -> String {
    let mut within = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if within {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        within = c.is_alphabetic();
    }
    out
}

fn is_title(text: &str) -> bool {
    let (mut within, mut any) = (false, false);
    for c in text.chars() {
        if c.is_uppercase() == within && (c.is_uppercase() || c.is_lowercase()) {
            return false;
        }
        within = c.is_uppercase() || c.is_lowercase();
        any |= within;
    }
    any
}

fn of_list(list: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    match method {
        "copy" => {
            let () = from_args(args)?;
            Ok(Some(list.clone()))
        }
        "index" => {
            let (what, _bounds): (&Value, Rest<Value>) = from_args(args)?;
            let at = list.try_iter()?.position(|item| item == *what);
            at.map(Value::from).map(Some).ok_or_else(|| invalid("the value is not in the list"))
        }
        _ => Ok(None),
    }
}
