//! What an action does, whoever asked for it: a key, a word of the palette, the mouse.

use super::select::{chosen_worker, edge, go};
use crate::output::style::Theme;
use crate::tui::chat::{Partner, Phase};
use crate::tui::event::{Effect, Leave, Operation};
use crate::tui::keys::Action;
use crate::tui::overlay::Overlay;
use crate::tui::overlay::help::Help;
use crate::tui::overlay::picker::Picker;
use crate::tui::overlay::quit::Quit;
use crate::tui::state::{Focus, State};

/// Does what is asked for.
pub fn act(state: &mut State, action: Action) -> Vec<Effect> {
    match action {
        Action::Quit => return quit(state),
        Action::Interrupt => return interrupt(state),
        Action::Help => state.overlay = Some(Overlay::Help(Help::default())),
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
                state.overlay = Some(Overlay::Confirm(operation.into()));
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
pub fn quit(state: &mut State) -> Vec<Effect> {
    if state.live_workers() == 0 {
        return vec![Effect::Leave(Leave::Keep)];
    }
    state.overlay = Some(Overlay::Quit(Quit::default()));
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
        state.overlay = Some(Overlay::Confirm(Operation::StartAgent(hive).into()));
    }
}
