//! The file of conversations: what is asked of it, and what came of that.

use crate::conversations::desk::{Job, Reply};
use crate::conversations::{Conversation, ConversationId};
use crate::tui::chat::Chat;
use crate::tui::event::{AskId, Effect};
use crate::tui::overlay::Overlay;
use crate::tui::overlay::conversations::{Conversations, Mode};
use crate::tui::overlay::settings::Form;
use crate::tui::state::{Focus, State};

/// Shows the list, and asks for what is in it.
pub fn open(state: &mut State) -> Vec<Effect> {
    let mut list = Conversations::default();
    let effects = list.ask(state);
    state.overlay = Some(Overlay::Conversations(list));
    effects
}

/// Shows how the answers of the conversation are made.
pub fn settings(state: &mut State) {
    state.overlay = Some(Overlay::Settings(Form::from(&state.chat().record.settings)));
}

/// Takes what came of a job.
pub fn take(state: &mut State, reply: Reply) -> Vec<Effect> {
    match reply {
        Reply::Saved(turns) => {
            for lane in state.lanes.iter_mut() {
                lane.chat.was_saved(&turns);
            }
        }
        Reply::NotSaved(id, fault) => {
            state.archive.failed(state.now);
            for lane in state.lanes.iter_mut().filter(|lane| lane.chat.record.id == Some(id)) {
                lane.chat.was_not_saved();
            }
            state.warn(&fault);
        }
        Reply::Gone(id) => {
            for lane in state.lanes.iter_mut().filter(|lane| lane.chat.record.id == Some(id)) {
                lane.chat.is_not_in_the_file();
            }
        }
        Reply::Listed(number, entries, now_ms) => {
            if let Some(Overlay::Conversations(list)) = &mut state.overlay {
                list.take(number, entries, now_ms);
            }
        }
        Reply::Loaded(conversation) => {
            let waits =
                |it: &Overlay| matches!(it, Overlay::Conversations(it) if it.mode == Mode::Opening);
            state.overlay.take_if(|it| waits(it));
            show(state, *conversation);
        }
        Reply::Renamed(id, title) => {
            for lane in state.lanes.iter_mut().filter(|lane| lane.chat.record.id == Some(id)) {
                lane.chat.record.title = Some(title.clone());
            }
            return again(state);
        }
        Reply::Deleted(id) => {
            forget(state, id);
            return again(state);
        }
        Reply::Exported(path) => state.tell(format!("written: {}", path.display())),
        Reply::Failed(fault) => {
            if let Some(Overlay::Conversations(list)) = &mut state.overlay {
                list.mode = Mode::Search;
            }
            state.warn(&fault);
        }
    }
    Vec::new()
}

/// The list may be another one now.
fn again(state: &mut State) -> Vec<Effect> {
    let Some(Overlay::Conversations(mut list)) = state.overlay.take() else { return Vec::new() };
    let effects = list.ask(state);
    state.overlay = Some(Overlay::Conversations(list));
    effects
}

/// Goes on with a conversation in the focused lane.
pub fn show(state: &mut State, conversation: Conversation) {
    if state.chat().running().is_some() {
        state.tell("an answer is coming; Esc cancels it");
        return;
    }
    if conversation.is_cut {
        state.tell("only the newest messages of this conversation are shown");
    }
    let (lanes, now) = (&mut state.lanes, state.now);
    let reasoning = lanes.focused().chat.reasoning;
    let chat = Chat::opened(conversation, || lanes.new_id(), now);
    let lane = lanes.focused_mut();
    lane.chat = Chat { reasoning, ..chat };
    lane.transcript.forget();
    lane.transcript.scroll_to_end();
    state.editing = None;
    state.focus = Focus::Writing;
}

/// A conversation that is on the screen was deleted.
fn forget(state: &mut State, id: ConversationId) {
    for lane in state.lanes.iter_mut().filter(|lane| lane.chat.record.id == Some(id)) {
        lane.chat.forget();
        lane.transcript.forget();
    }
}

/// Takes a question of the person's back into the editor: that of the turn that is meant, and each
/// time the one before.
pub fn edit(state: &mut State) {
    if state.lanes.run() {
        state.tell("an answer is coming; Esc cancels it");
        return;
    }
    let turns = &state.chat().turns;
    let index = match state.editing {
        Some(index) => index.min(turns.len()).checked_sub(1),
        None => state.chat().chosen_at(),
    };
    let before = index.and_then(|index| Some((index, turns.get(index)?)));
    let Some((index, question)) = before.map(|(index, turn)| (index, turn.question.clone())) else {
        state.tell("there is no question before");
        return;
    };
    let count = turns.len();
    state.draft.editor.set(&question);
    state.editing = Some(index);
    state.focus = Focus::Writing;
    let which = format!("question {} of {count}", index + 1);
    state.tell(format!(
        "{which}: sent again, it takes the place of what follows; Ctrl-C stops that"
    ));
}

/// What was edited is sent: that turn and those after it are another branch now.
pub fn drop_what_was_edited(state: &mut State) {
    if let Some(index) = state.editing.take() {
        for lane in state.lanes.iter_mut() {
            lane.chat.turns.truncate(index);
            lane.transcript.forget();
        }
    }
}

/// Asks the question of the turn that is meant again, in all lanes; the answer that there is stays
/// in the file, and so does what followed.
pub fn regenerate(state: &mut State) -> Vec<Effect> {
    if state.lanes.run() {
        state.tell("an answer is coming; Esc cancels it");
        return Vec::new();
    }
    let (now, at) = (state.now, state.chat().chosen_at());
    let follow = at.map_or(0, |at| state.chat().turns.len() - at - 1);
    let ids: Vec<AskId> = (0..state.lanes.count()).map(|_| state.lanes.new_id()).collect();
    let mut effects = Vec::new();
    for (lane, id) in state.lanes.iter_mut().zip(ids) {
        if lane.chat.partner.is_none() {
            continue;
        }
        let question = at.and_then(|at| lane.chat.turns.get(at)).map(|it| it.question.clone());
        let Some(question) = question else { continue };
        lane.chat.turns.truncate(at.unwrap_or_default());
        lane.transcript.forget();
        lane.transcript.scroll_to_end();
        effects.extend(lane.chat.ask(id, question, now).map(|it| Effect::Ask(Box::new(it))));
    }
    state.editing = None;
    if effects.is_empty() {
        state.tell("nothing was asked yet");
    } else if follow > 0 {
        state.tell("what followed stays in the file of conversations");
    }
    effects
}

/// What a job is for the loop.
pub fn job(job: Job) -> Vec<Effect> {
    vec![Effect::Conversations(job)]
}
