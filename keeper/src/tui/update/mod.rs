//! What an event does to the state, and what shall be done because of it. Pure: no terminal, no
//! hive, no clock.

pub mod act;
mod chronicle;
pub mod conversations;
mod desk;
pub mod lanes;
pub mod operate;
mod pointer;
mod select;

pub use select::chosen_hive;

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent};
use wire::text;
use wire::worker::WorkerState;

use super::archive;
use super::board::Board;
use super::chat::Phase;
use super::event::{Effect, Event, News};
use super::keys::{Action, Key, Scope};
use super::overlay::Overlay;
use super::state::{Focus, State};
use crate::fleet::Moment;
use crate::link::watch::Standing;

/// How long a line about what happened stays.
const NOTICE: Duration = Duration::from_secs(12);
/// Bytes of what a hive said in such a line.
const MAX_WHY_BYTES: usize = 200;
/// Questions that may wait for their turn.
const MAX_QUESTIONS: usize = 64;

/// Takes an event that happened `now`.
pub fn update(state: &mut State, event: Event, now: Moment) -> Vec<Effect> {
    state.now = now;
    let mut effects = match event {
        Event::Key(key) => press(state, key),
        Event::Pointer(pointer) => {
            pointer::take(state, pointer);
            Vec::new()
        }
        Event::Paste(text) => {
            paste(state, &text);
            Vec::new()
        }
        Event::Resized(columns, rows) => {
            state.size = (columns, rows);
            Vec::new()
        }
        Event::Tick => {
            if state.notice.as_ref().is_some_and(|notice| now.saturating_sub(notice.at) > NOTICE) {
                state.notice = None;
            }
            Vec::new()
        }
        Event::Clock(second_of_day) => {
            state.diary.set_clock(now, second_of_day);
            Vec::new()
        }
        Event::Board(board) => {
            take_board(state, board);
            act::quit_if_asked_in_vain(state)
        }
        Event::Answer(id, news) => answer(state, id, news),
        Event::Question(question) => {
            if state.questions.len() >= MAX_QUESTIONS {
                return vec![Effect::Reply(question.id, None)];
            }
            state.questions.push(question);
            Vec::new()
        }
        Event::Operation(id, news) => {
            operate::take(state, id, news);
            Vec::new()
        }
        Event::Shell(words) => vec![Effect::Run(words)],
        Event::Configured(models) => {
            state.models = models;
            Vec::new()
        }
        Event::Desk(news) => {
            desk::take(state, news);
            Vec::new()
        }
        Event::Done(outcome) => {
            chronicle::note_outcome(&mut state.diary, &outcome, now);
            match outcome {
                Ok(line) => state.tell(text::one_line(&line, MAX_WHY_BYTES)),
                Err(fault) => state.warn(&fault),
            }
            Vec::new()
        }
        Event::Conversations(reply) => conversations::take(state, reply),
    };
    state.ask_next();
    if state.is_inline() {
        // There is nowhere else to go.
        (state.focus, state.zoomed) = (Focus::Writing, false);
    }
    effects.extend(archive::due(state).into_iter().map(Effect::Conversations));
    effects
}

/// Tells what changed for the worse, and keeps what was chosen if it is still there.
fn take_board(state: &mut State, board: Arc<Board>) {
    let old = std::mem::replace(&mut state.board, board);
    let board = state.board.clone();
    chronicle::note(&mut state.diary, &old, &board, state.now);
    state.panels.keep_marks_of(&board);
    for (hive, stand) in board.hives() {
        let before = old.stand(hive).map(|stand| &stand.standing);
        let (Standing::Unreachable { why, .. } | Standing::Refused { why }) = &stand.standing
        else {
            continue;
        };
        let is_news =
            !matches!(before, Some(Standing::Unreachable { .. } | Standing::Refused { .. }));
        if is_news {
            let mut fault = why.clone();
            let why = text::one_line(&why.message, MAX_WHY_BYTES);
            fault.message = format!("hive {hive}: {why}");
            state.warn(&fault);
        }
    }
    for (hive, _) in board.hives() {
        let warnings = |board: &Board| {
            board.picture(hive).map(|hive| hive.warnings.clone()).unwrap_or_default()
        };
        let known = warnings(&old);
        for warning in warnings(&board).iter().filter(|warning| !known.contains(warning)) {
            state.caution(format!("{hive}: {}", warning.sentence()));
        }
    }
    for (hive, worker) in board.workers() {
        let ended =
            matches!(worker.state, WorkerState::Crashed { .. } | WorkerState::Failed { .. });
        let before = old.worker(hive, &worker.id).map(|worker| worker.state.is_finished());
        if ended && before == Some(false) {
            let (id, word) = (&worker.id, worker.state.name());
            let fault = wire::Fault::new(wire::Code::WorkerCrashed, format!("{hive}: {id} {word}"));
            state.warn(&fault.hint("rbee worker list --all"));
        }
    }
}

fn answer(state: &mut State, id: u64, news: News) -> Vec<Effect> {
    let mut effects = Vec::new();
    match &news {
        News::Absent(hive, why) => {
            let mut fault = why.clone();
            fault.message = format!("without the hive {hive}: {}", why.message);
            state.warn(&fault);
        }
        News::Silent(hive, Some(time)) => {
            state.caution(format!("{hive} has been silent for {} s; waiting", time.as_secs()));
        }
        News::Silent(hive, None) => state.tell(format!("{hive} is heard again")),
        // A hive whose agent was just started is not watched before the next attempt.
        News::Waits(_) => {
            let is_first = state.lanes.turn(id).is_some_and(|turn| turn.phase == Phase::Placing);
            if is_first && !state.board.hives().all(|(hive, _)| state.board.is_online(hive)) {
                effects.push(Effect::LookAgain);
            }
        }
        News::Placed(placed) if !state.board.is_online(&placed.hive) => {
            effects.push(Effect::LookAgain);
        }
        _ => {}
    }
    chronicle::note_news(&mut state.diary, &news, state.now);
    state.lanes.take(id, news, state.now);
    effects
}

fn paste(state: &mut State, text: &str) {
    // Terminals paste lines as if Return was pressed.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    if let Some(Overlay::Filter(typing)) = state.overlay {
        typing.paste(state, &text);
    } else if let Some(overlay) = &mut state.overlay {
        overlay.paste(&text);
    } else {
        desk::paste(state, &text);
    }
}

fn press(state: &mut State, event: KeyEvent) -> Vec<Effect> {
    let key = Key::of(event);
    // What stands over everything else may be what a recording is to show.
    if let Some(action @ (Action::Record | Action::RecordWhole)) =
        state.keys.action(key, &[Scope::Everywhere])
    {
        return act::act(state, action);
    }
    match state.overlay.take() {
        Some(overlay) => overlay.press(state, key),
        None => in_panels(state, key),
    }
}

fn in_panels(state: &mut State, key: Key) -> Vec<Effect> {
    if let Some(action) = state.keys.action(key, state.scopes()) {
        if state.is_inline() && action == Action::Compare {
            state.tell("`rbee` without a command compares models");
            return Vec::new();
        }
        return act::act(state, action);
    }
    if state.focus == Focus::Writing {
        let editor = &state.draft.editor;
        match key.parts() {
            (KeyCode::Backspace, ..) if editor.is_empty() => state.draft.detach(),
            (KeyCode::Up, ..) if editor.is_at_the_top() => state.draft.recall(true),
            (KeyCode::Down, ..) if editor.is_at_the_end() => state.draft.recall(false),
            (KeyCode::Char('d'), true, false) if editor.is_empty() => return act::quit(state),
            _ => drop(state.draft.editor.press(key)),
        }
    }
    Vec::new()
}
