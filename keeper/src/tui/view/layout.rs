//! Which part of the screen belongs to whom, for any size of it.
//!
//! ```text
//! wide                              narrow            tiny
//! ╭ 1 Hives ──╮╭ 3 Chat ──────╮    ╭ 1 Hives ────╮   the focused
//! │           ││              │    ╭ 2 Workers ──╮   panel without
//! ╭ 2 Workers ╮│              │    ╭ 3 Chat ─────╮   its frame
//! │           │├──────────────┤    │             │
//! ╰───────────╯╰──────────────╯    ╰─────────────╯
//! status, keys                      status, keys      status
//! ```

use ratatui::layout::{Constraint, Layout, Margin, Rect};

use super::lanes::{self, LanePlaces};
use crate::tui::state::{Focus, State};

/// From so many columns on, the conversation stands beside the hives.
const WIDE: u16 = 100;
/// Below so many columns or rows only one panel is shown.
const TINY: (u16, u16) = (40, 12);
/// Most rows of the message that are seen while it is written.
const MAX_DRAFT_ROWS: u16 = 8;

/// Where everything is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Places {
    /// The hives.
    pub hives: Rect,
    /// The workers.
    pub workers: Rect,
    /// The conversation, the message included.
    pub chat: Rect,
    /// The line about how things are.
    pub status: Rect,
    /// The line with the keys.
    pub keys: Rect,
    /// Whether panels have frames.
    pub framed: bool,
}

/// The parts of the panel of the conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChatPlaces {
    /// What was said, for each lane.
    pub lanes: Vec<LanePlaces>,
    /// The line between.
    pub rule: Rect,
    /// What is written.
    pub draft: Rect,
}

/// Divides a screen.
pub fn places(state: &State) -> Places {
    let screen = Rect::new(0, 0, state.size.0, state.size.1);
    let tiny = screen.width < TINY.0 || screen.height < TINY.1;
    let bottom = if tiny { [u16::from(screen.height > 2), 0] } else { [1, 1] };
    let [main, status, keys] = Layout::vertical([
        Constraint::Min(0),
        Constraint::Length(bottom[0]),
        Constraint::Length(bottom[1]),
    ])
    .areas(screen);
    let mut places = Places { status, keys, framed: !tiny, ..Places::default() };
    if tiny || state.zoomed {
        *match state.focus {
            Focus::Hives => &mut places.hives,
            Focus::Workers => &mut places.workers,
            Focus::Chat | Focus::Writing => &mut places.chat,
        } = main;
        return places;
    }
    let (hive_rows, worker_rows) = rows_wanted(state);
    if screen.width >= WIDE {
        let side = (screen.width * 2 / 5).clamp(52, 76);
        let [left, chat] =
            Layout::horizontal([Constraint::Length(side), Constraint::Min(0)]).areas(main);
        places.chat = chat;
        let most = left.height.saturating_sub(worker_rows.clamp(5, left.height / 2));
        let hives = hive_rows.max(left.height / 3).min(most);
        [places.hives, places.workers] =
            Layout::vertical([Constraint::Length(hives), Constraint::Min(0)]).areas(left);
    } else {
        let part = main.height / 3;
        let hives = hive_rows.min(part);
        let workers = worker_rows.min(part);
        [places.hives, places.workers, places.chat] = Layout::vertical([
            Constraint::Length(hives),
            Constraint::Length(workers),
            Constraint::Min(0),
        ])
        .areas(main);
    }
    places
}

/// Rows that all hives and all workers would take, frames included.
fn rows_wanted(state: &State) -> (u16, u16) {
    let hives: usize = state.board.hives().map(|(name, _)| super::hives::height(state, name)).sum();
    let workers = state.board.workers().count().max(1) + 1;
    let framed = |rows: usize| u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(2);
    (framed(hives), framed(workers))
}

/// The inside of a panel.
pub fn inside(panel: Rect, framed: bool) -> Rect {
    if framed { panel.inner(Margin::new(1, 1)) } else { panel }
}

/// Divides the panel of the conversation.
pub fn chat_places(state: &State, places: &Places) -> ChatPlaces {
    let inner = inside(places.chat, places.framed);
    if inner.is_empty() {
        return ChatPlaces::default();
    }
    let (rows, _) = state.draft.editor.rows(usize::from(inner.width.saturating_sub(2)));
    let most = MAX_DRAFT_ROWS.min(inner.height / 2).max(1);
    let draft = u16::try_from(rows.len()).unwrap_or(u16::MAX).clamp(1, most);
    let rule = u16::from(inner.height > 4);
    let [transcript, rule, draft] =
        Layout::vertical([Constraint::Min(0), Constraint::Length(rule), Constraint::Length(draft)])
            .areas(inner);
    let lanes = lanes::places(transcript, state.lanes.count(), state.lanes.at());
    ChatPlaces { lanes, rule, draft }
}

/// Lays the conversations out for the places that they have now.
pub fn lay_out(state: &mut State) {
    let places = chat_places(state, &places(state)).lanes;
    for (lane, place) in state.lanes.iter_mut().zip(places) {
        let place = place.transcript;
        if !place.is_empty() {
            let (width, height) = (usize::from(place.width), usize::from(place.height));
            lane.transcript.lay_out(&lane.chat, width, height);
        }
    }
}
