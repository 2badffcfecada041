//! The hives: how the keeper stands with each, and what computes there.
//!
//! ```text
//! ● pc       online 3m                    heard 2s ago
//!   cuda:0   ████▓▒░░ 12.3 of 24.0 GiB  ▁▂▅▇ 87%  64°C
//! ✗ nas      unreachable 12s, again in 4s
//!            nothing answers at nas:22
//! ```

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use wire::{HiveName, text};

use super::layout::{Places, inside};
use super::{ago, device, line, panel, row, titled};
use crate::link::watch::Standing;
use crate::tui::board::Stand;
use crate::tui::look::Look;
use crate::tui::panels::scrolled;
use crate::tui::rows::elide;
use crate::tui::state::{Focus, State};
use crate::tui::update::chosen_hive;

/// Bytes of what a hive says of itself.
const MAX_SAID_BYTES: usize = 200;
/// A hive that said nothing for longer is late.
const LATE: Duration = Duration::from_secs(5);
/// Columns of the names.
const NAME: usize = 10;

/// Rows that a hive takes.
pub fn height(state: &State, name: &HiveName) -> usize {
    let stand = state.board.stand(name);
    match stand.map(|stand| &stand.standing) {
        Some(Standing::Online) => {
            let devices = state.board.picture(name).map(|hive| hive.devices.as_slice());
            let devices = devices.unwrap_or_default();
            let more = devices.iter().filter(|info| device::has_details(info)).count();
            1 + devices.len() + if is_open(state, name) { more } else { 0 }
        }
        Some(Standing::Unreachable { .. } | Standing::Refused { .. }) => 2,
        _ => 1,
    }
}

/// Whether everything of a hive is shown: while keys go to it.
fn is_open(state: &State, name: &HiveName) -> bool {
    let first = || state.board.hives().next().map(|(name, _)| name);
    // Asked for each hive: to look for the chosen one among those that are seen would take long.
    state.focus == Focus::Hives && state.hive.as_ref().or_else(first) == Some(name)
}

/// Draws the panel.
pub fn draw(state: &State, look: &Look, places: &Places, frame: &mut Frame<'_>) {
    if places.hives.is_empty() {
        return;
    }
    let focused = state.focus == Focus::Hives;
    let hives = state.hives();
    if places.framed {
        panel(frame, places.hives, look, &title(state, hives.len()), focused);
    }
    let place = inside(places.hives, places.framed);
    if hives.is_empty() {
        let words = "no hive has that; Esc shows all".to_owned();
        line(frame, row(place, 0), look, &[(words, look.muted())], &[]);
    }
    let chosen = chosen_hive(state);
    let (mut at, top) = (0, state.panels.hives_top);
    for name in hives {
        let height = height(state, name);
        let seen = top..top + usize::from(place.height);
        if at >= seen.end {
            break;
        }
        // Only what is seen is laid out.
        if at + height > seen.start
            && let Some(stand) = state.board.stand(name)
        {
            let rows = std::iter::once(of_hive(state, look, name, stand));
            let rows = rows.chain(below(state, look, (name, stand), usize::from(place.width)));
            for (number, content) in rows.enumerate().filter(|(n, _)| seen.contains(&(at + n))) {
                let place = row(place, at + number - top);
                draw_row(frame, place, look, &content);
                if number == 0 && focused && chosen == Some(name) {
                    frame.buffer_mut().set_style(place, look.selected());
                }
            }
        }
        at += height;
    }
}

fn title(state: &State, seen: usize) -> String {
    let all = state.board.hives().len();
    let online = state.board.hives().filter(|(name, _)| state.board.is_online(name)).count();
    let mut count = format!("{online} of {all} online");
    if seen < all {
        count = format!("{count}, {seen} shown");
    }
    let marked = state.panels.marked_hives.len();
    if marked > 0 {
        count = format!("{count}, {marked} marked");
    }
    titled(state, Focus::Hives, "1 Hives", count)
}

/// The first row that is seen when the panel has `height` rows inside: the chosen hive is seen with
/// its devices, as far as they fit.
pub fn top(state: &State, height: usize) -> usize {
    let hives = state.hives();
    let heights: Vec<usize> = hives.iter().map(|name| self::height(state, name)).collect();
    let chosen = hives.iter().position(|name| Some(*name) == state.hive.as_ref()).unwrap_or(0);
    let first: usize = heights.iter().take(chosen).sum();
    let last = first + heights.get(chosen).copied().unwrap_or(1).saturating_sub(1);
    let rows = heights.iter().sum();
    let top = scrolled(state.panels.hives_top, last, height, rows);
    scrolled(top, first, height, rows)
}

/// The hive whose row or rows are at a row of the panel's inside.
pub fn at(state: &State, row: usize) -> Option<&HiveName> {
    let mut left = state.panels.hives_top + row;
    state.hives().into_iter().find(|name| {
        let height = height(state, name);
        let is_here = left < height;
        left = left.saturating_sub(height);
        is_here
    })
}

type Part = (String, Style);
type Row = (Vec<Part>, Vec<Part>);

fn draw_row(frame: &mut Frame<'_>, place: Rect, look: &Look, (left, right): &Row) {
    line(frame, place, look, left, right);
}

fn of_hive(state: &State, look: &Look, name: &HiveName, stand: &Stand) -> Row {
    let time = state.now.saturating_sub(stand.since);
    let since = ago(time);
    let [good, coming, wrong, none] = look.shapes.marks;
    let (mark, style, words) = match &stand.standing {
        Standing::Online => (good, look.ok(), format!("online {since}")),
        Standing::Connecting => {
            let step = stand.step.clone().unwrap_or_else(|| "connecting".to_owned());
            (coming, look.accent(), format!("{step} {since}"))
        }
        Standing::Stopped => (none, look.muted(), "no agent runs there yet".to_owned()),
        Standing::Unreachable { .. } => {
            // Why an attempt failed stands in the row below.
            let step = stand.step.as_deref().and_then(|step| step.split(": ").next());
            let step = step.map(|step| format!(", {step}")).unwrap_or_default();
            (wrong, look.error(), format!("unreachable {since}{step}"))
        }
        Standing::Refused { .. } => {
            (wrong, look.error(), format!("refused {since}; r tries again"))
        }
    };
    let is_marked = state.panels.marked_hives.contains(name);
    let left = vec![
        (mark.to_owned(), style),
        (if is_marked { look.shapes.marked } else { " " }.to_owned(), look.accent()),
        (format!("{:<NAME$} ", elide(name.as_str(), 24)), look.title()),
        (words, style),
    ];
    let heard = state.board.picture(name).map(|hive| state.now.saturating_sub(hive.heard));
    let right = heard.map(|heard| {
        let style = if heard > LATE { look.warning() } else { look.muted() };
        (format!("heard {} ago", ago(heard)), style)
    });
    (left, right.into_iter().collect())
}

fn below(
    state: &State,
    look: &Look,
    (name, stand): (&HiveName, &Stand),
    columns: usize,
) -> Vec<Row> {
    if let Standing::Unreachable { why, .. } | Standing::Refused { why } = &stand.standing {
        let words = text::one_line(&why.message, MAX_SAID_BYTES);
        return vec![(vec![(format!("  {words}"), look.muted())], Vec::new())];
    }
    let open = is_open(state, name);
    let devices = state.board.picture(name).map(|hive| hive.devices.as_slice());
    let mut rows = Vec::new();
    for info in devices.unwrap_or_default() {
        let trace = state.board.trace(name, info.device);
        rows.push((device::row(look, info, trace, columns), Vec::new()));
        if open && device::has_details(info) {
            rows.push((device::details(look, info, columns), Vec::new()));
        }
    }
    rows
}
