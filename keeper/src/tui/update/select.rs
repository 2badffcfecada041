//! Moving about: scrolling the conversation, choosing a row of a panel.

use wire::worker::WorkerInfo;
use wire::{HiveName, WorkerId};

use crate::tui::lanes::Lane;
use crate::tui::state::{Focus, State};
use crate::tui::view::{events, layout};

/// Goes a row or a page up (negative) or down in the focused panel.
pub fn go(state: &mut State, way: isize, page: bool) {
    match state.focus {
        Focus::Chat | Focus::Writing => {
            layout::lay_out(state);
            for lane in scrolled(state) {
                if page {
                    lane.transcript.scroll_pages(way);
                } else {
                    lane.transcript.scroll_by(way);
                }
            }
        }
        Focus::Events => events::go(state, way, page),
        Focus::Hives | Focus::Workers => {
            let way = if page { way.saturating_mul(10) } else { way };
            select(state, |at, last| at.saturating_add_signed(way).min(last));
        }
    }
}

/// The lanes that are scrolled: the focused one, and all of them while a message to all is written.
fn scrolled(state: &mut State) -> impl Iterator<Item = &mut Lane> {
    let (at, all) = (state.lanes.at(), state.focus == Focus::Writing);
    state.lanes.iter_mut().enumerate().filter(move |it| all || it.0 == at).map(|(_, lane)| lane)
}

/// Goes to the first or last row of the focused panel.
pub fn edge(state: &mut State, top: bool) {
    match state.focus {
        Focus::Chat | Focus::Writing if top => {
            layout::lay_out(state);
            scrolled(state).for_each(|lane| lane.transcript.scroll_to_top());
        }
        Focus::Chat | Focus::Writing => {
            scrolled(state).for_each(|lane| lane.transcript.scroll_to_end());
        }
        Focus::Events => state.panels.event = top.then_some(0),
        Focus::Hives | Focus::Workers => select(state, |_, last| if top { 0 } else { last }),
    }
}

/// Chooses the row that `to` says, of the row that is chosen and the last one.
fn select(state: &mut State, to: impl Fn(usize, usize) -> usize) {
    if state.focus == Focus::Hives {
        let names = state.hives();
        let at = names.iter().position(|name| Some(*name) == state.hive.as_ref()).unwrap_or(0);
        let target = to(at, names.len().saturating_sub(1));
        state.hive = names.get(target).map(|name| (*name).clone());
        return;
    }
    let ids: Vec<(HiveName, WorkerId)> =
        state.workers().iter().map(|(hive, worker)| ((*hive).clone(), worker.id.clone())).collect();
    let at = ids.iter().position(|id| Some(id) == state.worker.as_ref()).unwrap_or(0);
    let target = to(at, ids.len().saturating_sub(1));
    state.worker = ids.get(target).cloned();
}

/// Marks the chosen row, or takes its mark away, and goes to the next one.
pub fn mark(state: &mut State) {
    if state.focus == Focus::Hives {
        let Some(hive) = chosen_hive(state).cloned() else { return };
        if !state.panels.marked_hives.remove(&hive) {
            state.panels.marked_hives.insert(hive);
        }
        go(state, 1, false);
        return;
    }
    let Some((hive, worker)) = chosen_worker(state) else { return };
    let key = (hive.clone(), worker.id.clone());
    if !state.panels.marked.remove(&key) {
        state.panels.marked.insert(key);
    }
    go(state, 1, false);
}

/// Another order of the focused panel.
pub fn sort(state: &mut State) {
    match state.focus {
        Focus::Hives => {
            state.panels.hive_order = state.panels.hive_order.next();
            state.tell(format!("hives by {}", state.panels.hive_order.name()));
        }
        Focus::Workers => state.panels.worker_order = state.panels.worker_order.next(),
        Focus::Events | Focus::Chat | Focus::Writing => {
            state.tell("this panel has one order, that of time");
        }
    }
}

/// The hive that is chosen: the first one while none is.
pub fn chosen_hive(state: &State) -> Option<&HiveName> {
    let hives = state.hives();
    let found = hives.iter().find(|name| Some(**name) == state.hive.as_ref());
    found.or(hives.first()).copied()
}

/// The worker that is chosen: the first one while none is.
pub fn chosen_worker(state: &State) -> Option<(&HiveName, &WorkerInfo)> {
    let workers = state.workers();
    let chosen = state.worker.as_ref();
    let is_chosen =
        |hive: &HiveName, id: &WorkerId| chosen.is_some_and(|(h, w)| h == hive && w == id);
    let found = workers.iter().find(|(hive, worker)| is_chosen(hive, &worker.id));
    found.or(workers.first()).copied()
}
