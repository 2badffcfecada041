//! Which part of the screen belongs to whom, for any size of it.
//!
//! ```text
//! wide and tall                     narrow            tiny
//! ╭ 1 Hives ──╮╭ 3 Chat ──────╮    ╭ 1 Hives ────╮   the focused
//! ╭ 2 Workers ╮│              │    ╭ 2 Workers ──╮   panel without
//! ╭ 4 Events ─╮│              │    ╭ 3 Chat ─────╮   its frame
//! │           │├──────────────┤    │             │
//! ╰───────────╯╰──────────────╯    ╰─────────────╯
//! status, keys                      status, keys      status
//! ```

use ratatui::layout::{Constraint, Layout, Margin, Rect};

use super::lanes::{self, LanePlaces};
use crate::tui::state::{Focus, State};

/// From so many columns on, the conversation stands beside the hives.
const WIDE: u16 = 100;
/// From so many columns on, the lists get nearly half of them.
const VERY_WIDE: u16 = 160;
/// From so many rows on, the events have a place beside the conversation.
const TALL: u16 = 32;
/// Rows of the events, where they have a place.
const MIN_EVENTS: u16 = 6;
/// Rows of the workers.
const MIN_WORKERS: u16 = 5;
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
    /// What happened.
    pub events: Rect,
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
    /// Files that go with what is written.
    pub files: Rect,
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
            Focus::Events => &mut places.events,
            Focus::Chat | Focus::Writing => &mut places.chat,
        } = main;
    } else if screen.width >= WIDE {
        side_by_side(state, main, &mut places);
    } else {
        stacked(state, main, &mut places);
    }
    places
}

/// The lists on the left, the conversation on the right.
fn side_by_side(state: &State, main: Rect, places: &mut Places) {
    let side = if main.width >= VERY_WIDE {
        (main.width * 47 / 100).min(112)
    } else {
        (main.width * 2 / 5).clamp(52, 76)
    };
    let [left, chat] =
        Layout::horizontal([Constraint::Length(side), Constraint::Min(0)]).areas(main);
    places.chat = chat;
    let has_events = left.height >= TALL;
    let (hive_rows, worker_rows) = rows_wanted(state);
    let least = if has_events { MIN_EVENTS } else { 0 };
    // Both lists get what they want while there is room, else the hives give way first.
    let workers = worker_rows.clamp(MIN_WORKERS, (left.height / 3).max(MIN_WORKERS));
    let most = left.height.saturating_sub(workers + least);
    let mut hives = hive_rows.min(most);
    if !has_events {
        hives = hives.max((left.height / 3).min(most));
    }
    let workers = if has_events { workers.max(worker_rows.min(left.height / 2)) } else { u16::MAX };
    let workers = workers.min(left.height.saturating_sub(hives + least));
    [places.hives, places.workers, places.events] = Layout::vertical([
        Constraint::Length(hives),
        Constraint::Length(workers),
        Constraint::Min(0),
    ])
    .areas(left);
    if state.focus == Focus::Events && !has_events {
        // Where they have no place of their own they take half of the conversation's.
        [places.chat, places.events] =
            Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(chat);
    }
}

/// One below the other; the events take the conversation's place while keys go to them.
fn stacked(state: &State, main: Rect, places: &mut Places) {
    let (hive_rows, worker_rows) = rows_wanted(state);
    let part = main.height / 3;
    let last;
    [places.hives, places.workers, last] = Layout::vertical([
        Constraint::Length(hive_rows.min(part)),
        Constraint::Length(worker_rows.min(part)),
        Constraint::Min(0),
    ])
    .areas(main);
    if state.focus == Focus::Events {
        places.events = last;
    } else {
        places.chat = last;
    }
}

/// Rows that all hives and all workers would take, frames included.
fn rows_wanted(state: &State) -> (u16, u16) {
    let hives: usize =
        state.hives().into_iter().map(|name| super::hives::height(state, name)).sum();
    let workers = state.board.workers().count().max(1) + 1;
    let framed = |rows: usize| u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(2);
    (framed(hives.max(1)), framed(workers))
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
    let files = u16::from(!state.draft.attachments.is_empty());
    let [transcript, rule, files, draft] = Layout::vertical([
        Constraint::Min(0),
        Constraint::Length(rule),
        Constraint::Length(files),
        Constraint::Length(draft),
    ])
    .areas(inner);
    let lanes = lanes::places(transcript, state.lanes.count(), state.lanes.at());
    ChatPlaces { lanes, rule, files, draft }
}

/// Lays everything out for the places that it has now: the conversations, and which rows of the
/// lists are seen.
pub fn lay_out(state: &mut State) {
    let all = places(state);
    let chats = chat_places(state, &all).lanes;
    for (lane, place) in state.lanes.iter_mut().zip(chats) {
        let place = place.transcript;
        if !place.is_empty() {
            let (width, height) = (usize::from(place.width), usize::from(place.height));
            lane.transcript.lay_out(&lane.chat, width, height);
        }
    }
    let rows = |panel: Rect| usize::from(inside(panel, all.framed).height);
    state.panels.hives_top = super::hives::top(state, rows(all.hives));
    state.panels.workers_top = super::workers::top(state, rows(all.workers));
}
