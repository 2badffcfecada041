//! Comparing: what happens to the lanes.

use crate::tui::archive;
use crate::tui::chat::Partner;
use crate::tui::event::{AskId, Effect};
use crate::tui::overlay::picker::{Picker, Purpose};
use crate::tui::state::{Focus, State};

/// The choice of those to compare; those that are compared now are marked.
pub fn picker(state: &State) -> Picker {
    let partners = state.lanes.iter().filter_map(|lane| lane.chat.partner.clone());
    let marked = if state.lanes.is_comparing() { partners.collect() } else { Vec::new() };
    Picker { purpose: Purpose::Compare(marked), ..Picker::default() }
}

/// Begins to compare.
pub fn compare(state: &mut State, partners: Vec<Partner>) -> Vec<Effect> {
    let mut effects = saved(state);
    let left = state.lanes.compare(partners);
    state.focus = Focus::Writing;
    // What stands side by side needs the whole screen.
    state.zoomed = true;
    effects.extend(cancelled(left));
    effects
}

/// Goes on with the focused lane alone.
pub fn keep(state: &mut State) -> Vec<Effect> {
    let mut effects = saved(state);
    let left = state.lanes.keep();
    state.zoomed = false;
    state.focus = Focus::Writing;
    effects.extend(cancelled(left));
    effects
}

/// Ends comparing.
pub fn end(state: &mut State) -> Vec<Effect> {
    let mut effects = saved(state);
    let left = state.lanes.take_back();
    state.zoomed = false;
    effects.extend(cancelled(left));
    effects
}

/// Cancels the answer of the focused lane.
pub fn cancel_one(state: &mut State) -> Vec<Effect> {
    let id = state.chat_mut().cancel();
    if id.is_none() {
        state.tell("no answer is coming here");
    }
    cancelled(id.into_iter().collect())
}

/// A lane that goes is saved as far as its answer came.
fn saved(state: &mut State) -> Vec<Effect> {
    archive::rest(state).into_iter().map(Effect::Conversations).collect()
}

fn cancelled(ids: Vec<AskId>) -> Vec<Effect> {
    ids.into_iter().map(Effect::Cancel).collect()
}
