//! Operations: from a wish over a question to what came of them.

use serde::{Deserialize, Serialize};

use super::select::{chosen_hive, chosen_worker};
use crate::operations::removal::How;
use crate::tui::event::Effect;
use crate::tui::operation::{Deed, Operation};
use crate::tui::overlay::Overlay;
use crate::tui::overlay::add_hive::AddHive;
use crate::tui::overlay::palette::Palette;
use crate::tui::overlay::viewer::Viewer;
use crate::tui::records::{Line, RecordId, lines_of};
use crate::tui::rows::Kind;
use crate::tui::state::{Focus, State};
use wire::{Fault, HiveName, WorkerId};

/// What became of an operation so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// It says this.
    Lines(Vec<Line>),
    /// It is over; one line about what came of it.
    Ended(Result<String, Fault>),
}

/// Does what a key says to what is chosen.
pub fn act(state: &mut State, deed: Deed) -> Vec<Effect> {
    match deed {
        Deed::StopWorker => return on_worker(state, Operation::StopWorker, false),
        Deed::RestartWorker => return on_worker(state, Operation::RestartWorker, true),
        Deed::WorkerLog => return worker_log(state),
        Deed::StartAgent => return start(state),
        Deed::StopAgent => return on_hives(state, Operation::StopAgent),
        Deed::Install => return on_hives(state, Operation::Install),
        Deed::Doctor => return on_hives(state, Operation::Doctor),
        Deed::HiveLog => return hive_log(state),
        Deed::RemoveHive => return remove(state),
        Deed::EndAll => return propose(state, vec![Operation::Down]),
        Deed::Why => return propose(state, vec![Operation::Why(None)]),
        Deed::Reload => return propose(state, vec![Operation::Reload]),
        Deed::ShowLast => show_last(state),
        Deed::Shell => return chosen_hive(state).cloned().map(Effect::Shell).into_iter().collect(),
        Deed::AddHive => state.overlay = Some(Overlay::AddHive(AddHive::default())),
        Deed::Load => state.overlay = Some(Overlay::Palette(Palette::with("load "))),
        Deed::Palette => state.overlay = Some(Overlay::Palette(Palette::default())),
    }
    Vec::new()
}

/// The hives that are marked, else the chosen one.
fn meant(state: &State) -> Vec<HiveName> {
    let marked = &state.panels.marked_hives;
    if marked.is_empty() {
        return chosen_hive(state).cloned().into_iter().collect();
    }
    marked.iter().cloned().collect()
}

/// Does something to the hives that are meant.
fn on_hives(state: &mut State, operation: impl Fn(HiveName) -> Operation) -> Vec<Effect> {
    let hives = meant(state);
    if hives.is_empty() {
        return told(state, "there is no hive");
    }
    propose(state, hives.into_iter().map(operation).collect())
}

/// Logs are looked at one by one, whatever is marked.
fn hive_log(state: &mut State) -> Vec<Effect> {
    match chosen_hive(state).cloned() {
        Some(hive) => propose(state, vec![Operation::HiveLog(hive)]),
        None => told(state, "there is no hive"),
    }
}

fn worker_log(state: &mut State) -> Vec<Effect> {
    let chosen = chosen_worker(state).map(|(hive, worker)| (hive.clone(), worker.id.clone()));
    match chosen {
        Some((hive, id)) => propose(state, vec![Operation::WorkerLog(hive, id)]),
        None => told(state, "no model is loaded"),
    }
}

fn told(state: &mut State, words: impl Into<String>) -> Vec<Effect> {
    state.tell(words);
    Vec::new()
}

fn start(state: &mut State) -> Vec<Effect> {
    let (running, stopped): (Vec<_>, Vec<_>) =
        meant(state).into_iter().partition(|hive| state.board.is_online(hive));
    match (running.as_slice(), stopped.is_empty()) {
        ([], true) => told(state, "there is no hive"),
        ([only], true) => told(state, format!("the agent of {only} runs")),
        (_, true) => told(state, "the agents of all marked hives run"),
        (_, false) => propose(state, stopped.into_iter().map(Operation::StartAgent).collect()),
    }
}

fn remove(state: &mut State) -> Vec<Effect> {
    let mut hives = meant(state);
    hives.retain(|hive| *hive != HiveName::local());
    if hives.is_empty() {
        return told(state, "this machine is always there; S stops its agent");
    }
    let remove = |hive| Operation::Remove(hive, How::default());
    propose(state, hives.into_iter().map(remove).collect())
}

/// Does something to the workers that are marked, else to the chosen one; also to those that have
/// ended when that makes sense.
fn on_worker(
    state: &mut State,
    operation: impl Fn(HiveName, WorkerId) -> Operation,
    ended: bool,
) -> Vec<Effect> {
    let counts = |hive: &HiveName, id: &WorkerId| {
        let worker = state.board.worker(hive, id);
        worker.is_some_and(|worker| ended || !worker.state.is_finished())
    };
    let marked = state.panels.marked.iter();
    let mut wanted: Vec<(HiveName, WorkerId)> = marked.cloned().collect();
    if wanted.is_empty() {
        let chosen = chosen_worker(state).map(|(hive, worker)| (hive.clone(), worker.id.clone()));
        wanted.extend(chosen);
    }
    wanted.retain(|(hive, id)| counts(hive, id));
    if wanted.is_empty() {
        return told(state, "no model is loaded");
    }
    propose(state, wanted.into_iter().map(|(hive, id)| operation(hive, id)).collect())
}

/// Asks before what destroys, else begins.
pub fn propose(state: &mut State, operations: Vec<Operation>) -> Vec<Effect> {
    if operations.iter().any(|one| one.question().is_some()) {
        state.overlay = Some(Overlay::Confirm(operations.into()));
        return Vec::new();
    }
    begin(state, operations)
}

/// Begins operations, each with a record of its own.
pub fn begin(state: &mut State, operations: Vec<Operation>) -> Vec<Effect> {
    let mut effects = Vec::new();
    for operation in operations {
        let id = record(state, &operation);
        if operation.is_shown() {
            state.overlay = Some(Overlay::Viewer(Viewer::of(id)));
        } else {
            state.tell(operation.command());
        }
        effects.push(Effect::Operate(id, Box::new(operation)));
    }
    effects
}

/// A record of an operation that begins.
pub fn record(state: &mut State, operation: &Operation) -> RecordId {
    let id = state.records.begin(operation.title(), operation.command());
    if let Some(record) = state.records.get_mut(id) {
        record.push(Line::new(&format!("$ {}", operation.command()), Kind::Muted));
    }
    id
}

/// Shows the record of what was done last.
pub fn show_last(state: &mut State) {
    match state.records.latest() {
        Some(id) => state.overlay = Some(Overlay::Viewer(Viewer::of(id))),
        None => state.tell("nothing was done yet"),
    }
}

/// A form has done what it is for: the new hive is among the others.
fn was_added(state: &mut State, id: RecordId) {
    match &state.overlay {
        Some(Overlay::AddHive(form)) if form.record == Some(id) => {
            state.hive = form.fields.first().and_then(|name| name.trim().parse().ok());
            state.focus = Focus::Hives;
            state.overlay = None;
        }
        _ => {}
    }
}

/// Takes news of an operation.
pub fn take(state: &mut State, id: RecordId, news: News) {
    match news {
        News::Lines(lines) => {
            if let Some(record) = state.records.get_mut(id) {
                for line in lines {
                    record.push(line);
                }
            }
        }
        News::Ended(outcome) => {
            if let Some(record) = state.records.get_mut(id) {
                record.goes_on = false;
                match &outcome {
                    Ok(line) if line.is_empty() => {}
                    Ok(line) => record.push(Line::new(line, Kind::Strong)),
                    Err(fault) => {
                        for line in lines_of(fault) {
                            record.push(line);
                        }
                    }
                }
            }
            match outcome {
                Ok(line) if line.is_empty() => {}
                Ok(line) => {
                    was_added(state, id);
                    state.tell(line);
                }
                Err(fault) => state.warn(&fault),
            }
        }
    }
}
