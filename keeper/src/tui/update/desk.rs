//! The person's own things: what is copied, which turn is meant, files and the editor.

use wire::text::one_line;

use crate::output::progress::bytes;
use crate::tui::chat::Phase;
use crate::tui::desk::{self, News, Work};
use crate::tui::event::Effect;
use crate::tui::markdown;
use crate::tui::overlay::Overlay;
use crate::tui::overlay::attach::Attach;
use crate::tui::overlay::blocks::Blocks;
use crate::tui::state::{Focus, State};
use crate::tui::view::layout;

/// Bytes of a path in the bottom line.
const MAX_PATH_BYTES: usize = 120;

/// Chooses the turn before (or after) the one that is meant, and shows it.
pub fn choose_turn(state: &mut State, older: bool) {
    layout::lay_out(state);
    let lane = state.lane_mut();
    lane.chat.choose_turn(older);
    let Some(turn) = lane.chat.chosen_turn() else {
        state.tell("nothing was said here yet");
        return;
    };
    lane.transcript.scroll_to(turn.id);
}

/// Copies the answer that is meant, or its question while there is none.
pub fn copy(state: &mut State) -> Vec<Effect> {
    let Some(turn) = state.chat().chosen_turn() else {
        state.tell("nothing was said here yet");
        return Vec::new();
    };
    let text = if turn.answer.is_empty() { &turn.question } else { &turn.answer };
    let text = text.trim_end().to_owned();
    if matches!(turn.phase, Phase::Coming) {
        state.tell("the answer goes on; what came is copied");
    }
    vec![Effect::Desk(Work::Copy(text))]
}

/// Copies the block of code of the answer that is meant; asks which, when there are several.
pub fn copy_code(state: &mut State) -> Vec<Effect> {
    let answer = state.chat().chosen_turn().map(|turn| turn.answer.clone()).unwrap_or_default();
    let mut blocks = markdown::code_blocks(&answer);
    match blocks.len() {
        0 => state.tell("there is no block of code in this answer; y copies the answer"),
        1 => return blocks.pop().map(|it| Effect::Desk(Work::Copy(it.code))).into_iter().collect(),
        _ => state.overlay = Some(Overlay::Blocks(Blocks { blocks, at: 0 })),
    }
    Vec::new()
}

/// Asks for a file; a path that was pasted stands there already.
pub fn ask_for_file(state: &mut State) {
    let typed = state.draft.offered.clone().unwrap_or_default();
    state.overlay = Some(Overlay::Attach(Attach { typed, ..Attach::default() }));
}

/// Takes text that was pasted into the message. A path is offered as a file, and stays text.
pub fn paste(state: &mut State, text: &str) {
    state.focus = Focus::Writing;
    state.draft.editor.insert(text);
    state.draft.offered = desk::dropped(text);
    if let Some(path) = &state.draft.offered {
        let path = one_line(path, MAX_PATH_BYTES);
        state.tell(format!("Alt-A attaches the file {path} instead of its name"));
    }
}

/// Takes what came of something.
pub fn take(state: &mut State, news: News) {
    match news {
        News::Edited(Ok(text)) => {
            state.draft.editor.set(&text);
            state.focus = Focus::Writing;
        }
        News::Completed(typed, found) => {
            if let Some(Overlay::Attach(attach)) = &mut state.overlay {
                attach.take(&typed, found);
            }
        }
        News::Attached(Ok(file)) => {
            let room = desk::room(state.draft.editor.text(), &state.draft.attachments);
            let size = |count: usize| bytes(u64::try_from(count).unwrap_or(u64::MAX));
            // Its name and its fence take some more.
            if file.bytes().saturating_add(256) > room {
                let (file, room) = (size(file.bytes()), size(room));
                state.caution(format!("the file has {file}, and the message has room for {room}"));
                return;
            }
            state.tell(format!("{} goes with the message", file.name()));
            state.draft.attach(file);
            state.focus = Focus::Writing;
        }
        News::Edited(Err(fault)) | News::Attached(Err(fault)) => state.warn(&fault),
    }
}
