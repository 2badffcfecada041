//! A text over the whole screen.
//!
//! ```text
//! ╭ Log of pc · follows ─────────────╮
//! │ 2026-11-30 12:00:01Z INFO  ready │
//! │ / search  n next  w cut  Esc     │
//! ╰──────────────────────────────────╯
//! ```

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use ratatui::widgets::Clear;

use super::{line, panel, row};
use crate::tui::look::Look;
use crate::tui::overlay::viewer::{Viewer, place};
use crate::tui::rows::width;
use crate::tui::state::State;

/// Draws the lines and what can be pressed.
pub fn draw(state: &State, look: &Look, viewer: &Viewer, frame: &mut Frame<'_>) {
    let screen = frame.area();
    let Some(record) = state.records.get(viewer.record) else { return };
    frame.render_widget(Clear, screen);
    frame.buffer_mut().set_style(screen, look.text());
    let (first, end) = record.numbers();
    let how = match (record.goes_on, viewer.top) {
        (true, None) => " · follows",
        (true, Some(_)) => " · goes on below; f follows",
        (false, _) => "",
    };
    panel(frame, screen, look, &format!("{}{how}", record.title), true);
    let place = place((screen.width, screen.height)).intersection(screen);
    let (columns, rows) = (usize::from(place.width), usize::from(place.height));
    let shown = viewer.rows(record, columns, rows);
    for (index, ((number, _), content)) in shown.iter().enumerate() {
        let parts: Vec<(String, Style)> =
            content.iter().map(|span| (span.text.clone(), look.of(span.kind))).collect();
        let at = row(place, index);
        line(frame, at, look, &parts, &[]);
        if viewer.found == Some(*number) {
            frame.buffer_mut().set_style(at, look.selected());
        }
    }
    if first == end {
        let words = if record.goes_on { "nothing yet" } else { "nothing was said" };
        line(frame, row(place, 0), look, &[(words.to_owned(), look.muted())], &[]);
    }
    let last = shown.last().map_or(end, |((number, _), _)| number + 1);
    let below = Rect { y: place.bottom(), height: 1, ..place }.intersection(screen);
    keys(state, look, viewer, (below, format!("{last}/{end}")), frame);
}

/// The line at the bottom: what is typed, what happened, else the keys.
fn keys(
    state: &State,
    look: &Look,
    viewer: &Viewer,
    (place, at): (Rect, String),
    frame: &mut Frame<'_>,
) {
    let right = [(at, look.muted())];
    if let Some(typed) = &viewer.typing {
        let parts = [("/".to_owned(), look.focus()), (typed.clone(), look.text())];
        line(frame, place, look, &parts, &right);
        let column = u16::try_from(width(typed) + 1).unwrap_or(u16::MAX).min(place.width);
        frame.set_cursor_position(Position::new(place.x.saturating_add(column), place.y));
        return;
    }
    let missing = !viewer.search.is_empty() && viewer.found.is_none();
    let said = match &state.notice {
        _ if missing => Some(format!("nothing has \"{}\"", viewer.search)),
        Some(notice) => Some(notice.text.clone()),
        None => None,
    };
    if let Some(said) = said {
        line(frame, place, look, &[(said, look.text())], &right);
        return;
    }
    let wrap = if viewer.cuts { " wrap  " } else { " cut  " };
    let mut keys = vec![
        ("Esc", " close  "),
        ("/", " search  "),
        ("n N", " next  "),
        ("w", wrap),
        ("f", " follow  "),
        ("g G", " ends  "),
        ("c", " command"),
    ];
    let beside = |older| state.records.beside(viewer.record, older);
    if beside(true).or(beside(false)).is_some() {
        keys.insert(1, ("[ ]", " others  "));
    }
    let parts: Vec<(String, Style)> = keys
        .iter()
        .flat_map(|(key, says)| {
            [((*key).to_owned(), look.hint()), ((*says).to_owned(), look.muted())]
        })
        .collect();
    line(frame, place, look, &parts, &right);
}
