//! The conversations of the file.
//!
//! ```text
//! ╭ Conversations ──────────────────────────╮
//! │ ❯ words                                 │
//! │ ─────────────────────────────────────── │
//! │ What is a hive?        demo  2 turns 3m │
//! │ Enter open  F2 rename  …                │
//! ╰─────────────────────────────────────────╯
//! ```

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;

use super::{ago, line, popup, row};
use crate::conversations::Entry;
use crate::tui::look::Look;
use crate::tui::overlay::conversations::{Conversations, Mode};
use crate::tui::rows::{elide, width};

/// Columns that the list wants.
const COLUMNS: usize = 92;
/// Rows of the list that are seen, when the screen has them.
const ROWS: usize = 16;
/// Columns of a model's name.
const MODEL: usize = 24;

/// Draws the list and what is done with it.
pub fn draw(look: &Look, it: &Conversations, frame: &mut Frame<'_>) {
    let found = it.entries.as_deref().unwrap_or_default();
    let place = popup(frame, look, "Conversations", (COLUMNS, found.len().clamp(1, ROWS) + 4));
    let (prompt, text) = match &it.mode {
        Mode::Rename(title) => ("title: ", title),
        _ => (look.shapes.prompt, &it.typed),
    };
    let count = it.entries.as_ref().map(|found| format!("{} found", found.len()));
    let right = [(count.unwrap_or_default(), look.muted())];
    let typed = [(prompt.to_owned(), look.focus()), (text.clone(), look.text())];
    line(frame, row(place, 0), look, &typed, &right);
    let rule = look.shapes.rule.repeat(usize::from(place.width));
    line(frame, row(place, 1), look, &[(rule, look.border())], &[]);
    let height = usize::from(place.height.saturating_sub(3));
    let last = Rect { y: place.bottom().saturating_sub(1), height: 1, ..place };
    if found.is_empty() {
        let words = match &it.entries {
            None => "reading…",
            Some(_) if it.typed.is_empty() => "nothing was said yet",
            Some(_) => "no conversation has these words",
        };
        line(frame, row(place, 2), look, &[(words.to_owned(), look.muted())], &[]);
    }
    let skipped = (it.at + 1).saturating_sub(height);
    for (index, entry) in found.iter().enumerate().skip(skipped).take(height) {
        let at = row(place, index - skipped + 2);
        of_entry(look, entry, it.now_ms, at, frame);
        if index == it.at {
            frame.buffer_mut().set_style(at, look.selected());
        }
    }
    if place.height > 3 {
        line(frame, last, look, &keys(look, it), &[]);
    }
    if matches!(it.mode, Mode::Search | Mode::Rename(_)) {
        let column = u16::try_from(width(text) + width(prompt)).unwrap_or(u16::MAX);
        let x = place.x.saturating_add(column.min(place.width.saturating_sub(1)));
        frame.set_cursor_position(Position::new(x, place.y));
    }
}

fn of_entry(look: &Look, entry: &Entry, now_ms: u64, at: Rect, frame: &mut Frame<'_>) {
    let mut left = vec![(entry.title.clone(), look.title())];
    if let Some(found) = &entry.found {
        left.push((format!("  {found}"), look.muted()));
    }
    let age = ago(Duration::from_millis(now_ms.saturating_sub(entry.changed_ms)));
    let plural = if entry.turns == 1 { "turn" } else { "turns" };
    let words = format!("{}  {} {plural}  {age:>5}", elide(&entry.model, MODEL), entry.turns);
    line(frame, at, look, &left, &[(words, look.muted())]);
}

/// What can be pressed, or what is asked.
fn keys(look: &Look, it: &Conversations) -> Vec<(String, Style)> {
    let pairs: &[(&str, &str)] = match it.mode {
        Mode::Search => &[
            ("Enter", "open"),
            ("F2", "rename"),
            ("Ctrl-D", "delete"),
            ("Ctrl-X", "export"),
            ("Esc", "back"),
        ],
        Mode::Opening => &[("Esc", "back")],
        Mode::Rename(_) => &[("Enter", "rename"), ("Esc", "back")],
        Mode::Delete => &[("y", "delete it for ever"), ("n", "keep it")],
        Mode::Export => &[("m", "Markdown"), ("j", "JSON, in this directory"), ("Esc", "back")],
    };
    let part = |(key, says): &(&str, &str)| {
        [((*key).to_owned(), look.hint()), (format!(" {says}   "), look.muted())]
    };
    pairs.iter().flat_map(part).collect()
}
