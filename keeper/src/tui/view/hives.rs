//! The hives: how the keeper stands with each, and what computes there.
//!
//! ```text
//! ● pc       online 3m
//!   cuda:0   ███░░░░ 12.3 of 24.0 GiB  NVIDIA …
//! ✗ nas      unreachable 12s, next try in 4s
//!            nothing answers at nas:22
//! ```

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use wire::device::DeviceInfo;
use wire::{HiveName, text};

use super::layout::{Places, inside};
use super::{ago, bar, line, panel, row};
use crate::link::watch::Standing;
use crate::output::progress::bytes;
use crate::tui::board::Stand;
use crate::tui::look::Look;
use crate::tui::rows::elide;
use crate::tui::state::{Focus, State};

/// Bytes of what a hive says of itself.
const MAX_SAID_BYTES: usize = 200;
/// Columns of the names.
const NAME: usize = 10;

/// Rows that a hive takes.
pub fn height(state: &State, name: &HiveName) -> usize {
    let stand = state.board.stand(name);
    match stand.map(|stand| &stand.standing) {
        Some(Standing::Online) => {
            1 + state.board.picture(name).map_or(0, |hive| hive.devices.len())
        }
        Some(Standing::Unreachable { .. } | Standing::Refused { .. }) => 2,
        _ => 1,
    }
}

/// Draws the panel.
pub fn draw(state: &State, look: &Look, places: &Places, frame: &mut Frame<'_>) {
    if places.hives.is_empty() {
        return;
    }
    let focused = state.focus == Focus::Hives;
    let online = state.board.hives().filter(|(name, _)| state.board.is_online(name)).count();
    if places.framed {
        let title = format!("1 Hives · {online} of {} online", state.board.hives().len());
        panel(frame, places.hives, look, &title, focused);
    }
    let place = inside(places.hives, places.framed);
    let mut rows: Vec<(Row, bool)> = Vec::new();
    let mut chosen_at = 0;
    let first = state.board.hives().next().map(|(name, _)| name);
    for (name, stand) in state.board.hives() {
        let chosen = focused && state.hive.as_ref().or(first) == Some(name);
        if chosen {
            chosen_at = rows.len();
        }
        rows.push((of_hive(state, look, name, stand), chosen));
        rows.extend(below(state, look, name, stand).into_iter().map(|row| (row, false)));
    }
    let height = usize::from(place.height);
    let skipped = (chosen_at + 1).saturating_sub(height);
    for (number, (content, chosen)) in rows.iter().skip(skipped).take(height).enumerate() {
        let at = row(place, number);
        draw_row(frame, at, look, content);
        if *chosen {
            frame.buffer_mut().set_style(at, look.selected());
        }
    }
}

type Part = (String, Style);
type Row = (Vec<Part>, Vec<Part>);

fn draw_row(frame: &mut Frame<'_>, place: Rect, look: &Look, (left, right): &Row) {
    line(frame, place, look, left, right);
}

fn of_hive(state: &State, look: &Look, name: &HiveName, stand: &Stand) -> Row {
    let since = ago(state.now.saturating_sub(stand.since));
    let [good, coming, wrong, none] = look.shapes.marks;
    let (mark, style, words) = match &stand.standing {
        Standing::Online => (good, look.ok(), format!("online {since}")),
        Standing::Connecting => {
            let step = stand.step.clone().unwrap_or_else(|| "connecting".to_owned());
            (coming, look.accent(), format!("{step} {since}"))
        }
        Standing::Stopped => (none, look.muted(), "no agent runs there yet".to_owned()),
        Standing::Unreachable { .. } => (wrong, look.error(), format!("unreachable {since}")),
        Standing::Refused { .. } => {
            (wrong, look.error(), format!("refused {since}; r tries again"))
        }
    };
    let left = vec![
        (format!("{mark} "), style),
        (format!("{:<NAME$} ", elide(name.as_str(), 24)), look.title()),
        (words, style),
    ];
    let heard = state.board.picture(name).map(|hive| state.now.saturating_sub(hive.heard));
    let right = heard.map(|heard| (format!("heard {} ago", ago(heard)), look.muted()));
    (left, right.into_iter().collect())
}

fn below(state: &State, look: &Look, name: &HiveName, stand: &Stand) -> Vec<Row> {
    match &stand.standing {
        Standing::Unreachable { why, .. } | Standing::Refused { why } => {
            let words = text::one_line(&why.message, MAX_SAID_BYTES);
            vec![(vec![(format!("  {words}"), look.muted())], Vec::new())]
        }
        _ => {
            let devices = state.board.picture(name).map(|hive| hive.devices.as_slice());
            devices.unwrap_or_default().iter().map(|device| of_device(look, device)).collect()
        }
    }
}

fn of_device(look: &Look, device: &DeviceInfo) -> Row {
    let mut left = vec![(format!("  {:<NAME$} ", device.device.to_string()), look.text())];
    match (device.memory_used_bytes, device.memory_total_bytes) {
        (Some(used), Some(total)) if total > 0 => {
            left.extend(bar(look, used, total, 10));
            left.push((format!(" {} of {}", bytes(used), bytes(total)), look.text()));
        }
        (None, Some(total)) => {
            left.push((format!("{}, use not reported", bytes(total)), look.muted()));
        }
        _ => left.push(("memory not reported".to_owned(), look.muted())),
    }
    let name = device.name.as_deref().map(|name| text::one_line(name, MAX_SAID_BYTES));
    if let Some(name) = name {
        left.push((format!("  {name}"), look.muted()));
    }
    (left, Vec::new())
}
