//! The form for a machine that shall become a hive.
//!
//! ```text
//! ╭ Add a hive ──────────────────────────────╮
//! │ Name     pc                              │
//! │ Address  ada@pc.lan                      │
//! │ Key                                      │
//! │ Jump                                     │
//! │ [user@]host[:port]; …                    │
//! │ ──────────────────────────────────────── │
//! │ pc: connecting                           │
//! │ Enter add it   Tab next   Esc close      │
//! ╰──────────────────────────────────────────╯
//! ```

use ratatui::Frame;
use ratatui::layout::{Position, Rect};

use super::{line, popup, row};
use crate::tui::look::Look;
use crate::tui::overlay::add_hive::{AddHive, FIELDS};
use crate::tui::rows::{Span, width, wrap};
use crate::tui::state::State;

/// Columns before what is typed.
const LABEL: usize = 9;
/// Columns and rows that it wants.
const SIZE: (usize, usize) = (74, 17);

/// Draws the fields, what is wrong with one, and what was said.
pub fn draw(state: &State, look: &Look, form: &AddHive, frame: &mut Frame<'_>) {
    let place = popup(frame, look, "Add a hive", SIZE);
    let runs = form.runs(state);
    // Where there is no room for all, only the field that is typed in is seen.
    let is_small = usize::from(place.height) < FIELDS.len() + 4;
    let fields = if is_small { form.at..form.at + 1 } else { 0..FIELDS.len() };
    let mut next = 0;
    for field in fields {
        self::field(look, form, (field, row(place, next), !runs), frame);
        next += 1;
    }
    let problem = form.problem(state, form.at);
    let typed = form.fields.get(form.at).is_some_and(|text| !text.is_empty());
    let explains = FIELDS.get(form.at).map_or("", |(_, explains)| explains);
    let said = match problem {
        Some(problem) if typed || form.pressed => (problem, look.warning()),
        _ => (explains.to_owned(), look.muted()),
    };
    let keys = usize::from(place.height).saturating_sub(1);
    if next < keys {
        line(frame, row(place, next), look, &[said], &[]);
        next += 1;
    }
    if next + 1 < keys && !is_small {
        let rule = look.shapes.rule.repeat(usize::from(place.width));
        line(frame, row(place, next), look, &[(rule, look.border())], &[]);
        next += 1;
    }
    log(
        state,
        look,
        form,
        Rect {
            y: place.y.saturating_add(u16::try_from(next).unwrap_or(u16::MAX)),
            height: u16::try_from(keys.saturating_sub(next)).unwrap_or(0),
            ..place
        },
        frame,
    );
    let words: &[(&str, &str)] = if runs {
        &[("Esc", " give it up")]
    } else {
        &[("Enter", " add it   "), ("Tab", " next   "), ("Esc", " close")]
    };
    let parts: Vec<_> = words
        .iter()
        .flat_map(|(key, says)| {
            [((*key).to_owned(), look.hint()), ((*says).to_owned(), look.text())]
        })
        .collect();
    line(frame, row(place, keys), look, &parts, &[]);
}

fn field(
    look: &Look,
    form: &AddHive,
    (field, place, typed_in): (usize, Rect, bool),
    frame: &mut Frame<'_>,
) {
    let (name, _) = FIELDS.get(field).copied().unwrap_or_default();
    let text = form.fields.get(field).map_or("", String::as_str);
    let is_here = form.at == field && typed_in;
    let room = usize::from(place.width).saturating_sub(LABEL + 1);
    // The end of what is too long is what is typed.
    let skipped = text.chars().count().saturating_sub(room);
    let tail: String = text.chars().skip(skipped).collect();
    let style = if is_here { look.focus() } else { look.muted() };
    let label = (format!("{name:<LABEL$}"), style);
    line(frame, place, look, &[label, (tail.clone(), look.text())], &[]);
    if is_here && !place.is_empty() {
        let column = u16::try_from(LABEL + width(&tail)).unwrap_or(u16::MAX).min(place.width);
        frame.set_cursor_position(Position::new(place.x.saturating_add(column), place.y));
    }
}

/// The end of what was said.
fn log(state: &State, look: &Look, form: &AddHive, place: Rect, frame: &mut Frame<'_>) {
    let Some(record) = form.record.and_then(|id| state.records.get(id)) else { return };
    let (first, end) = record.numbers();
    let mut rows = Vec::new();
    for said in (first..end).filter_map(|number| record.line(number)) {
        rows.extend(wrap(&[Span::new(&said.text, said.kind)], usize::from(place.width), "  "));
    }
    let skipped = rows.len().saturating_sub(usize::from(place.height));
    for (number, content) in rows.iter().skip(skipped).enumerate() {
        let parts: Vec<_> =
            content.iter().map(|span| (span.text.clone(), look.of(span.kind))).collect();
        line(frame, row(place, number), look, &parts, &[]);
    }
}
