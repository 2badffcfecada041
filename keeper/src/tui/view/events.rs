//! What happened, newest last.
//!
//! ```text
//! 14:03:22 ● pc     demo-1 is ready
//! 14:05:10 ✗ nas    unreachable: nothing answers at nas:22
//! ```

use ratatui::Frame;
use ratatui::layout::Rect;

use super::layout::{Places, inside, places};
use super::{line, panel, row, titled};
use crate::tui::diary::{Entry, Weight};
use crate::tui::look::Look;
use crate::tui::rows::elide;
use crate::tui::state::{Focus, State};

/// Columns of a hive's name.
const HIVE: usize = 10;
/// Narrower panels leave the hive's column to the sentence.
const MIN_WITH_COLUMNS: u16 = 40;

/// Draws the panel.
pub fn draw(state: &State, look: &Look, places: &Places, frame: &mut Frame<'_>) {
    if places.events.is_empty() {
        return;
    }
    let filter = &state.panels.events;
    let place = inside(places.events, places.framed);
    let (seen, below) = seen(state, place);
    if places.framed {
        let mut title = titled(state, Focus::Events, "4 Events", state.diary.len());
        if below > 0 {
            title = format!("{title} · {below} newer {}", look.shapes.below);
        }
        panel(frame, places.events, look, &title, state.focus == Focus::Events);
    }
    if seen.is_empty() {
        let words = if filter.is_empty() { "nothing happened yet" } else { "no event has that" };
        line(frame, row(place, 0), look, &[(words.to_owned(), look.muted())], &[]);
    }
    for (number, entry) in seen.into_iter().enumerate() {
        draw_entry(look, row(place, number), entry, frame);
    }
}

fn draw_entry(look: &Look, place: Rect, entry: &Entry, frame: &mut Frame<'_>) {
    let [good, _, wrong, _] = look.shapes.marks;
    let (mark, style) = match entry.weight {
        Weight::Good => (good, look.ok()),
        Weight::Plain => (" ", look.text()),
        Weight::Warning => ("!", look.warning()),
        Weight::Error => (wrong, look.error()),
    };
    let hive = entry.hive.as_ref().map(ToString::to_string).unwrap_or_default();
    let hive = if place.width >= MIN_WITH_COLUMNS {
        format!("{:<HIVE$} ", elide(&hive, HIVE))
    } else if hive.is_empty() {
        hive
    } else {
        format!("{hive} ")
    };
    let left = [
        (format!("{} ", entry.clock()), look.muted()),
        (format!("{mark} "), style),
        (hive, look.title()),
        (entry.sentence.clone(), look.of(entry.weight.kind())),
    ];
    line(frame, place, look, &left, &[]);
}

/// The entries that are seen, and how many are newer than those.
fn seen(state: &State, place: Rect) -> (Vec<&Entry>, usize) {
    let height = usize::from(place.height);
    let words = state.panels.events.words();
    let Some(top) = state.panels.event else {
        let mut last: Vec<&Entry> =
            state.diary.found(words).rev().take(height).map(|(_, entry)| entry).collect();
        last.reverse();
        return (last, 0);
    };
    let after: Vec<&Entry> = state
        .diary
        .found(words)
        .filter(|(number, _)| *number >= top)
        .map(|(_, entry)| entry)
        .collect();
    let below = after.len().saturating_sub(height);
    (after.into_iter().take(height).collect(), below)
}

/// Goes up (negative) or down a row or a page. At the end it follows what happens.
pub fn go(state: &mut State, way: isize, page: bool) {
    let place = places(state);
    let height = usize::from(inside(place.events, place.framed).height).max(1);
    let numbers: Vec<u64> =
        state.diary.found(state.panels.events.words()).map(|(number, _)| number).collect();
    let last_top = numbers.len().saturating_sub(height);
    let top = match state.panels.event {
        None => last_top,
        Some(event) => numbers.partition_point(|number| *number < event).min(last_top),
    };
    let step = if page { isize::try_from(height).unwrap_or(1) } else { 1 };
    let top = top.saturating_add_signed(way.saturating_mul(step));
    state.panels.event = numbers.get(top).copied().filter(|_| top < last_top);
}
