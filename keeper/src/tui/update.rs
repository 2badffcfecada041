//! What an event does to the state, and what shall be done because of it. Pure: no terminal, no
//! hive, no clock.

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent};
use wire::worker::{WorkerInfo, WorkerState};
use wire::{HiveName, WorkerId, text};

use super::board::Board;
use super::chat::{Partner, Phase};
use super::event::{Effect, Event, Form, Leave, News, Operation, Question};
use super::keys::{self, Action, Key};
use super::picker::{self, Picker};
use super::state::{Focus, Overlay, State};
use super::view::layout;
use crate::fleet::Moment;
use crate::link::watch::Standing;
use crate::output::style::Theme;

/// How long a line about what happened stays.
const NOTICE: Duration = Duration::from_secs(12);
/// Bytes of what a hive said in such a line.
const MAX_WHY_BYTES: usize = 200;
/// Questions that may wait for their turn.
const MAX_QUESTIONS: usize = 64;

/// Takes an event that happened `now`.
pub fn update(state: &mut State, event: Event, now: Moment) -> Vec<Effect> {
    state.now = now;
    let effects = match event {
        Event::Key(key) => press(state, key),
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
        Event::Board(board) => {
            take_board(state, board);
            Vec::new()
        }
        Event::Answer(id, news) => answer(state, id, news),
        Event::Question(question) => {
            if state.questions.len() >= MAX_QUESTIONS {
                return vec![Effect::Reply(question.id, None)];
            }
            state.questions.push(question);
            Vec::new()
        }
        Event::Done(outcome) => {
            match outcome {
                Ok(line) => state.tell(text::one_line(&line, MAX_WHY_BYTES)),
                Err(fault) => state.warn(&fault),
            }
            Vec::new()
        }
    };
    state.ask_next();
    effects
}

/// Tells what changed for the worse, and keeps what was chosen if it is still there.
fn take_board(state: &mut State, board: Arc<Board>) {
    let old = std::mem::replace(&mut state.board, board);
    let board = state.board.clone();
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
            let is_first = state.chat.running().is_some_and(|turn| turn.phase == Phase::Placing);
            if is_first && !state.board.hives().all(|(hive, _)| state.board.is_online(hive)) {
                effects.push(Effect::LookAgain);
            }
        }
        News::Placed(placed) if !state.board.is_online(&placed.hive) => {
            effects.push(Effect::LookAgain);
        }
        _ => {}
    }
    state.chat.take(id, news, state.now);
    effects
}

fn paste(state: &mut State, text: &str) {
    // Terminals paste lines as if Return was pressed.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    match &mut state.overlay {
        Some(Overlay::Question(_, typed)) => typed.push_str(text.trim_end_matches('\n')),
        Some(Overlay::Picker(picker)) => picker.typed.push_str(text.trim_end_matches('\n')),
        Some(_) => {}
        None => {
            state.focus = Focus::Writing;
            state.chat.draft.insert(&text);
        }
    }
}

fn press(state: &mut State, event: KeyEvent) -> Vec<Effect> {
    let key = Key::of(event);
    match state.overlay.take() {
        Some(Overlay::Help(row)) => {
            state.overlay = in_help(key, row);
            Vec::new()
        }
        Some(Overlay::Quit { stops }) => in_quit(state, key, stops),
        Some(Overlay::Picker(picker)) => {
            in_picker(state, key, picker);
            Vec::new()
        }
        Some(Overlay::Confirm(operation)) => in_confirm(state, key, operation),
        Some(Overlay::Question(question, typed)) => in_question(state, key, question, typed),
        None => in_panels(state, key),
    }
}

fn in_help(key: Key, row: usize) -> Option<Overlay> {
    let row = match key.parts().0 {
        KeyCode::Up | KeyCode::Char('k') => row.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => row.saturating_add(1),
        KeyCode::PageUp => row.saturating_sub(10),
        KeyCode::PageDown | KeyCode::Char(' ') => row.saturating_add(10),
        _ => return None,
    };
    Some(Overlay::Help(row.min(keys::TABLE.len() + 16)))
}

fn in_quit(state: &mut State, key: Key, stops: bool) -> Vec<Effect> {
    let (code, control, _) = key.parts();
    let leave = |stops| vec![Effect::Leave(if stops { Leave::Stop } else { Leave::Keep })];
    match code {
        // Who presses it again wants out.
        KeyCode::Char('c' | 'q') if control => leave(false),
        KeyCode::Char('k' | 'q') => leave(false),
        KeyCode::Char('s') => leave(true),
        KeyCode::Enter => leave(stops),
        KeyCode::Left | KeyCode::Right | KeyCode::Up | KeyCode::Down | KeyCode::Tab => {
            state.overlay = Some(Overlay::Quit { stops: !stops });
            Vec::new()
        }
        _ => Vec::new(),
    }
}

fn in_picker(state: &mut State, key: Key, mut picker: Picker) {
    let (code, control, _) = key.parts();
    let found = picker::choices(state, &picker.typed);
    let last = found.len().saturating_sub(1);
    match code {
        KeyCode::Esc => return,
        KeyCode::Char('c' | 'o') if control => return,
        KeyCode::Enter => {
            if let Some(choice) = found.into_iter().nth(picker.at) {
                state.chat.partner = Some(choice.partner);
                state.focus = Focus::Writing;
            }
            return;
        }
        KeyCode::Up => picker.at = picker.at.saturating_sub(1),
        KeyCode::Down | KeyCode::Tab => picker.at = (picker.at + 1).min(last),
        KeyCode::Backspace => {
            picker.typed.pop();
            picker.at = 0;
        }
        _ => {
            if let Some(c) = key.types() {
                picker.typed.push(c);
                picker.at = 0;
            }
        }
    }
    state.overlay = Some(Overlay::Picker(picker));
}

fn in_confirm(state: &mut State, key: Key, operation: Operation) -> Vec<Effect> {
    match key.parts().0 {
        KeyCode::Char('y') => {
            state.tell(operation.command());
            vec![Effect::Operate(operation)]
        }
        KeyCode::Char('n') | KeyCode::Esc => Vec::new(),
        KeyCode::Char('c') if key.parts().1 => Vec::new(),
        _ => {
            state.overlay = Some(Overlay::Confirm(operation));
            Vec::new()
        }
    }
}

fn in_question(
    state: &mut State,
    key: Key,
    question: Question,
    mut typed: zeroize::Zeroizing<String>,
) -> Vec<Effect> {
    let (code, control, _) = key.parts();
    let reply = |text: Option<zeroize::Zeroizing<String>>| vec![Effect::Reply(question.id, text)];
    let given_up = code == KeyCode::Esc || (control && code == KeyCode::Char('c'));
    match (question.form, code) {
        _ if given_up => return reply(None),
        (Form::YesNo, KeyCode::Char('y')) => return reply(Some("yes".to_owned().into())),
        (Form::YesNo, KeyCode::Char('n')) => return reply(None),
        (Form::Line { .. }, KeyCode::Enter) => return reply(Some(typed)),
        (Form::Line { .. }, KeyCode::Backspace) => drop(typed.pop()),
        (Form::Line { .. }, _) => {
            if let Some(c) = key.types() {
                typed.push(c);
            }
        }
        (Form::YesNo, _) => {}
    }
    state.overlay = Some(Overlay::Question(question, typed));
    Vec::new()
}

fn in_panels(state: &mut State, key: Key) -> Vec<Effect> {
    if let Some(action) = keys::action(key, state.focus.scopes()) {
        return act(state, action);
    }
    if state.focus == Focus::Writing {
        let draft = &state.chat.draft;
        match key.parts() {
            (KeyCode::Up, ..) if draft.is_at_the_top() => state.chat.recall(true),
            (KeyCode::Down, ..) if draft.is_at_the_end() => state.chat.recall(false),
            (KeyCode::Char('d'), true, false) if draft.is_empty() => return quit(state),
            _ => drop(state.chat.draft.press(key)),
        }
    }
    Vec::new()
}

/// Does what a key, or later a word, asks for.
pub fn act(state: &mut State, action: Action) -> Vec<Effect> {
    match action {
        Action::Quit => return quit(state),
        Action::Interrupt => return interrupt(state),
        Action::Help => state.overlay = Some(Overlay::Help(0)),
        Action::NextPanel => state.focus = next(state.focus, true),
        Action::PreviousPanel => state.focus = next(state.focus, false),
        Action::Panel(1) => state.focus = Focus::Hives,
        Action::Panel(2) => state.focus = Focus::Workers,
        Action::Panel(_) => state.focus = Focus::Chat,
        Action::Zoom => state.zoomed = !state.zoomed,
        Action::Back => match state.chat.cancel() {
            Some(id) => return vec![Effect::Cancel(id)],
            None if state.focus == Focus::Writing => state.focus = Focus::Chat,
            None => {}
        },
        Action::Send => return send(state),
        Action::NewLine => state.chat.draft.insert("\n"),
        Action::Write => state.focus = Focus::Writing,
        Action::Forget => forget(state),
        Action::Reasoning => {
            state.chat.reasoning = !state.chat.reasoning;
            state.transcript.forget();
        }
        Action::Up => go(state, -1, false),
        Action::Down => go(state, 1, false),
        Action::PageUp => go(state, -1, true),
        Action::PageDown => go(state, 1, true),
        Action::Top => edge(state, true),
        Action::Bottom => edge(state, false),
        Action::Choose => choose(state),
        Action::LookAgain => {
            state.tell("trying the hives again");
            return vec![Effect::LookAgain];
        }
        Action::Pick => state.overlay = Some(Overlay::Picker(Picker::default())),
        Action::StopWorker => match chosen_worker(state) {
            Some((hive, worker)) if !worker.state.is_finished() => {
                let operation = Operation::StopWorker(hive.clone(), worker.id.clone());
                state.overlay = Some(Overlay::Confirm(operation));
            }
            _ => state.tell("no model is loaded"),
        },
        Action::StartAgent => start_agent(state),
        Action::Theme => {
            let at = Theme::ALL.iter().position(|theme| *theme == state.theme).unwrap_or(0);
            let next = Theme::ALL.iter().cycle().nth(at + 1);
            state.theme = next.copied().unwrap_or_default();
            state.tell(format!("theme = \"{}\"", state.theme.name()));
        }
        Action::Suspend => return vec![Effect::Suspend],
        Action::Redraw => return vec![Effect::Redraw],
    }
    Vec::new()
}

fn next(focus: Focus, forward: bool) -> Focus {
    match (focus, forward) {
        (Focus::Hives, true) | (Focus::Chat | Focus::Writing, false) => Focus::Workers,
        (Focus::Workers, true) | (Focus::Hives, false) => Focus::Writing,
        (Focus::Chat | Focus::Writing, true) | (Focus::Workers, false) => Focus::Hives,
    }
}

/// Leaves at once when nothing is loaded, else asks what shall become of it.
fn quit(state: &mut State) -> Vec<Effect> {
    if state.live_workers() == 0 {
        return vec![Effect::Leave(Leave::Keep)];
    }
    state.overlay = Some(Overlay::Quit { stops: false });
    Vec::new()
}

fn interrupt(state: &mut State) -> Vec<Effect> {
    if let Some(turn) = state.chat.running()
        && turn.phase != Phase::Cancelling
    {
        return state.chat.cancel().map(Effect::Cancel).into_iter().collect();
    }
    if state.focus == Focus::Writing && !state.chat.draft.is_empty() {
        state.chat.draft.take();
        return Vec::new();
    }
    quit(state)
}

fn send(state: &mut State) -> Vec<Effect> {
    if state.chat.partner.is_none() {
        state.overlay = Some(Overlay::Picker(Picker::default()));
        return Vec::new();
    }
    if state.chat.running().is_some() {
        state.tell("an answer is coming; Esc cancels it");
        return Vec::new();
    }
    let Some(wanted) = state.chat.send(state.now) else { return Vec::new() };
    state.transcript.scroll_to_end();
    vec![Effect::Ask(Box::new(wanted))]
}

fn forget(state: &mut State) {
    if state.chat.running().is_some() {
        state.tell("an answer is coming; Esc cancels it");
        return;
    }
    state.chat.forget();
    state.transcript.forget();
    state.transcript.scroll_to_end();
    state.tell("the conversation is forgotten");
}

fn go(state: &mut State, way: isize, page: bool) {
    match state.focus {
        Focus::Chat | Focus::Writing => {
            layout::lay_out(state);
            if page {
                state.transcript.scroll_pages(way);
            } else {
                state.transcript.scroll_by(way);
            }
        }
        Focus::Hives | Focus::Workers => {
            let way = if page { way.saturating_mul(10) } else { way };
            select(state, |at, last| at.saturating_add_signed(way).min(last));
        }
    }
}

fn edge(state: &mut State, top: bool) {
    match state.focus {
        Focus::Chat | Focus::Writing if top => {
            layout::lay_out(state);
            state.transcript.scroll_to_top();
        }
        Focus::Chat | Focus::Writing => state.transcript.scroll_to_end(),
        Focus::Hives | Focus::Workers => select(state, |_, last| if top { 0 } else { last }),
    }
}

/// Chooses the row that `to` says, of the row that is chosen and the last one.
fn select(state: &mut State, to: impl Fn(usize, usize) -> usize) {
    if state.focus == Focus::Hives {
        let names: Vec<HiveName> = state.board.hives().map(|(name, _)| name.clone()).collect();
        let at = names.iter().position(|name| Some(name) == state.hive.as_ref()).unwrap_or(0);
        let target = to(at, names.len().saturating_sub(1));
        state.hive = names.get(target).cloned();
        return;
    }
    let ids: Vec<(HiveName, WorkerId)> =
        state.workers().iter().map(|(hive, worker)| ((*hive).clone(), worker.id.clone())).collect();
    let at = ids.iter().position(|id| Some(id) == state.worker.as_ref()).unwrap_or(0);
    let target = to(at, ids.len().saturating_sub(1));
    state.worker = ids.get(target).cloned();
}

fn chosen_worker(state: &State) -> Option<(&HiveName, &WorkerInfo)> {
    let workers = state.workers();
    let chosen = state.worker.as_ref();
    let is_chosen =
        |hive: &HiveName, id: &WorkerId| chosen.is_some_and(|(h, w)| h == hive && w == id);
    let found = workers.iter().find(|(hive, worker)| is_chosen(hive, &worker.id));
    found.or(workers.first()).copied()
}

fn choose(state: &mut State) {
    let Some((hive, worker)) = chosen_worker(state) else {
        state.tell("no model is loaded");
        return;
    };
    let partner = Partner { model: worker.spec.model.clone(), hive: Some(hive.clone()) };
    state.chat.partner = Some(partner);
    state.focus = Focus::Writing;
}

fn start_agent(state: &mut State) {
    let first = state.board.hives().next().map(|(name, _)| name.clone());
    let Some(hive) = state.hive.clone().or(first) else { return };
    if state.board.is_online(&hive) {
        state.tell(format!("the agent of {hive} runs"));
    } else {
        state.overlay = Some(Overlay::Confirm(Operation::StartAgent(hive)));
    }
}
