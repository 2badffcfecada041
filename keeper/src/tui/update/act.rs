//! What an action does, whoever asked for it: a key, a word of the palette, the mouse.

use super::operate;
use super::pointer;
use super::select::{chosen_worker, edge, go, mark, sort};
use super::{conversations, desk, lanes};
use crate::tui::chat::Partner;
use crate::tui::desk::Work;
use crate::tui::event::{Effect, Leave};
use crate::tui::keys::Action;
use crate::tui::overlay::Overlay;
use crate::tui::overlay::filter::Typing;
use crate::tui::overlay::help::Help;
use crate::tui::overlay::picker::Picker;
use crate::tui::overlay::quit::Quit;
use crate::tui::overlay::theme::Chooser;
use crate::tui::state::{Focus, State};
use crate::tui::view::layout;
use wire::generate::Prompt;

/// Does what is asked for.
pub fn act(state: &mut State, action: Action) -> Vec<Effect> {
    match action {
        Action::Quit => return quit(state),
        Action::Interrupt => return interrupt(state),
        Action::Help => state.overlay = Some(Overlay::Help(Help::default())),
        Action::NextPanel => state.focus = next(state, true),
        Action::PreviousPanel => state.focus = next(state, false),
        Action::Panel(1) => state.focus = Focus::Hives,
        Action::Panel(2) => state.focus = Focus::Workers,
        Action::Panel(4) => state.focus = Focus::Events,
        Action::Panel(_) => state.focus = Focus::Chat,
        Action::Zoom => state.zoomed = !state.zoomed,
        Action::Back => return back(state),
        Action::Send => return send(state),
        Action::NewLine => state.draft.editor.insert("\n"),
        Action::Write => state.focus = Focus::Writing,
        Action::Forget => forget(state),
        Action::Reasoning => {
            let shown = !state.chat().reasoning;
            for lane in state.lanes.iter_mut() {
                lane.chat.reasoning = shown;
                lane.transcript.forget();
            }
        }
        Action::Conversations => return conversations::open(state),
        Action::Settings => conversations::settings(state),
        Action::Edit => conversations::edit(state),
        Action::Regenerate => return conversations::regenerate(state),
        Action::Up => go(state, -1, false),
        Action::Down => go(state, 1, false),
        Action::PageUp => go(state, -1, true),
        Action::PageDown => go(state, 1, true),
        Action::Top => edge(state, true),
        Action::Bottom => edge(state, false),
        Action::Choose => choose(state),
        Action::Sort => sort(state),
        Action::Mark => mark(state),
        Action::Filter => filter(state),
        Action::ShowAll => show_all(state),
        Action::LookAgain => {
            state.tell("trying the hives again");
            return vec![Effect::LookAgain];
        }
        Action::Pick => state.overlay = Some(Overlay::Picker(Picker::default())),
        Action::OlderTurn => desk::choose_turn(state, true),
        Action::NewerTurn => desk::choose_turn(state, false),
        Action::Copy => return desk::copy(state),
        Action::CopyCode => return desk::copy_code(state),
        Action::Attach => desk::ask_for_file(state),
        Action::Editor => {
            let text = state.draft.editor.text().to_owned();
            return vec![Effect::Desk(Work::Edit(text))];
        }
        Action::Compare => state.overlay = Some(Overlay::Picker(lanes::picker(state))),
        Action::LaneLeft => state.lanes.go(false),
        Action::LaneRight => state.lanes.go(true),
        Action::KeepLane => return lanes::keep(state),
        Action::CancelLane => return lanes::cancel_one(state),
        Action::EndCompare => return lanes::end(state),
        Action::Do(deed) => return operate::act(state, deed),
        Action::Theme => state.overlay = Some(Overlay::Theme(Chooser::of(state))),
        Action::Mouse => return vec![pointer::toggle(state)],
        Action::Suspend => return vec![Effect::Suspend],
        Action::Record => return vec![Effect::Record { whole: false }],
        Action::RecordWhole => return vec![Effect::Record { whole: true }],
        Action::Redraw => return vec![Effect::Redraw],
    }
    Vec::new()
}

/// Cancels what is being answered, else leaves writing.
fn back(state: &mut State) -> Vec<Effect> {
    if state.lanes.run() {
        return cancel(state);
    }
    if state.focus == Focus::Writing {
        state.focus = Focus::Chat;
    }
    Vec::new()
}

/// The panel after the focused one, or before it, among those that are on the screen.
fn next(state: &State, forward: bool) -> Focus {
    let events = !layout::places(state).events.is_empty();
    match (state.focus, forward) {
        (Focus::Workers, true) | (Focus::Chat | Focus::Writing, false) if events => Focus::Events,
        (Focus::Hives, true) | (Focus::Events | Focus::Chat | Focus::Writing, false) => {
            Focus::Workers
        }
        (Focus::Workers | Focus::Events, true) | (Focus::Hives, false) => Focus::Writing,
        (Focus::Chat | Focus::Writing, true) | (Focus::Workers, false) => Focus::Hives,
    }
}

/// Begins to type the filter of the panel.
fn filter(state: &mut State) {
    if state.panels.filter(state.focus).is_some() {
        state.overlay = Some(Overlay::Filter(Typing { panel: state.focus }));
    } else {
        state.tell("this panel has no filter");
    }
}

/// Takes the filter of the panel away; without one its marks, without those its zoom.
fn show_all(state: &mut State) {
    let focus = state.focus;
    if let Some(filter) = state.panels.filter_mut(focus).filter(|filter| !filter.is_empty()) {
        filter.set("");
    } else if !state.panels.unmark(focus) {
        state.zoomed = false;
    }
}

/// Leaves at once when it is known that nothing is loaded, else asks what shall become of it.
pub fn quit(state: &mut State) -> Vec<Effect> {
    // What is loaded stays loaded behind a chat, as behind a `run`.
    if state.is_inline() || knows_of_none(state) {
        return vec![Effect::Leave(Leave::Keep)];
    }
    state.overlay = Some(Overlay::Quit(Quit { stops: state.stops }));
    Vec::new()
}

/// Leaves when the question what shall become of the workers has come to nothing: the hives that
/// were not known when it was asked have none.
pub fn quit_if_asked_in_vain(state: &mut State) -> Vec<Effect> {
    if matches!(state.overlay, Some(Overlay::Quit(_))) && knows_of_none(state) {
        state.overlay = None;
        return vec![Effect::Leave(Leave::Keep)];
    }
    Vec::new()
}

/// Whether all hives were heard of and nothing is loaded there.
fn knows_of_none(state: &State) -> bool {
    state.live_workers() == 0 && state.unknown_hives() == 0
}

fn interrupt(state: &mut State) -> Vec<Effect> {
    if state.lanes.can_cancel() {
        return cancel(state);
    }
    if state.focus == Focus::Writing && !state.draft.is_empty() {
        state.draft.clear();
        state.editing = None;
        return Vec::new();
    }
    quit(state)
}

/// Ends all answers that go on.
fn cancel(state: &mut State) -> Vec<Effect> {
    state.lanes.cancel().into_iter().map(Effect::Cancel).collect()
}

fn send(state: &mut State) -> Vec<Effect> {
    if state.lanes.iter().any(|lane| lane.chat.partner.is_none()) {
        state.overlay = Some(Overlay::Picker(Picker::default()));
        return Vec::new();
    }
    if state.lanes.run() {
        state.tell("an answer is coming; Esc cancels it");
        return Vec::new();
    }
    if state.draft.is_empty() {
        return Vec::new();
    }
    let question = state.draft.message();
    if let Err(fault) = Prompt::Raw(question.clone()).check() {
        state.warn(&fault);
        return Vec::new();
    }
    state.draft.take();
    conversations::drop_what_was_edited(state);
    state.lanes.ask(&question, state.now).into_iter().map(|it| Effect::Ask(Box::new(it))).collect()
}

fn forget(state: &mut State) {
    if state.lanes.run() {
        state.tell("an answer is coming; Esc cancels it");
        return;
    }
    for lane in state.lanes.iter_mut() {
        lane.chat.forget();
        lane.transcript.forget();
        lane.transcript.scroll_to_end();
    }
    state.editing = None;
    state.tell("a new conversation; F3 shows those before");
}

fn choose(state: &mut State) {
    let Some((hive, worker)) = chosen_worker(state) else {
        state.tell("no model is loaded");
        return;
    };
    let partner = Partner { model: worker.spec.model.clone(), hive: Some(hive.clone()) };
    state.chat_mut().partner = Some(partner);
    state.focus = Focus::Writing;
}
