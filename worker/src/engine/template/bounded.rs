//! Filters that make a large text or list of a few letters in one step, which no fuel counts, each
//! behind a bound.

use minijinja::value::{Kwargs, Rest, StringInput, Value, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, filters};
use wire::limits::{MAX_TEMPLATE_BLANKS, MAX_TEMPLATE_STEP_BYTES};

/// Puts the bounded filters in place of minijinja's.
pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("replace", |text: StringInput<'_>, old: &str, new: &str, n| {
        replace(text.as_str(), old, new, n)
    });
    environment.add_filter("join", join);
    environment.add_filter("indent", indent);
    environment.add_filter("format", format);
    environment.add_filter("batch", |state: &State, items: Value, count: usize, fill| {
        filters::batch(state, items, counted(count)?, fill)
    });
    environment.add_filter("slice", |state: &State, items: Value, count: usize, fill| {
        filters::slice(state, items, counted(count)?, fill)
    });
}

/// A text with some or all of `old` replaced.
///
/// # Errors
/// When it would be too long.
pub(super) fn replace(
    text: &str,
    old: &str,
    new: &str,
    count: Option<i64>,
) -> Result<String, Error> {
    let most = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    let found = text.matches(old).take(most).count();
    check(found.saturating_mul(new.len()).saturating_add(text.len()))?;
    Ok(text.replacen(old, new, most))
}

fn join(
    state: &mut State,
    value: &Value,
    joiner: Option<StringInput<'_>>,
    attribute: Option<&str>,
    options: Kwargs,
) -> Result<Value, Error> {
    let between = joiner.as_ref().map_or(0, |joiner| joiner.as_str().len());
    check_joined(value, between)?;
    filters::join(state, value, joiner, attribute, options)
}

/// Refuses to put texts of `between` bytes between the items of a value when that is too long.
///
/// # Errors
/// As its name says.
pub(super) fn check_joined(items: &Value, between: usize) -> Result<(), Error> {
    check(items.len().unwrap_or(0).saturating_mul(between))
}

fn indent(
    text: StringInput<'_>,
    width: Option<usize>,
    first: Option<bool>,
    blank: Option<bool>,
    options: Kwargs,
) -> Result<Value, Error> {
    let named = if width.is_none() && options.has("width") { options.peek("width")? } else { None };
    let lines = text.as_str().matches('\n').count().saturating_add(1);
    let blanks: usize = width.or(named).unwrap_or(4);
    check(lines.saturating_mul(blanks).saturating_add(text.as_str().len()))?;
    filters::indent(text, width, first, blank, options)
}

fn format(state: &mut State, pattern: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    check_widths(pattern.as_str().unwrap_or_default())?;
    filters::format(state, pattern, args)
}

/// Refuses a pattern of `format` with a width or precision of many digits.
///
/// # Errors
/// As its name says.
pub(super) fn check_widths(pattern: &str) -> Result<(), Error> {
    let numbers = pattern.split(|c: char| !c.is_ascii_digit());
    let is_wide = |digits: &str| {
        let digits = digits.trim_start_matches('0');
        !digits.is_empty()
            && digits.parse().map_or(true, |width: usize| width > MAX_TEMPLATE_BLANKS)
    };
    if numbers.into_iter().any(is_wide) { Err(too_large()) } else { Ok(()) }
}

fn counted(count: usize) -> Result<usize, Error> {
    if count > MAX_TEMPLATE_BLANKS { Err(too_large()) } else { Ok(count) }
}

fn check(bytes: usize) -> Result<(), Error> {
    if bytes > MAX_TEMPLATE_STEP_BYTES { Err(too_large()) } else { Ok(()) }
}

fn too_large() -> Error {
    Error::new(ErrorKind::InvalidOperation, "one step would make too much")
}
