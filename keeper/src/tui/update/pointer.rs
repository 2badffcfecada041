//! What the mouse does: a click goes to a panel and chooses a row, the wheel scrolls what is under
//! it.

use ratatui::layout::{Position, Rect};

use super::select::go;
use crate::tui::event::{Effect, Pointer};
use crate::tui::state::{Focus, State};
use crate::tui::view::layout::{self, Places};
use crate::tui::view::{hives, workers};

/// Rows that a step of the wheel scrolls.
const WHEEL_ROWS: isize = 3;

/// Takes the mouse from the terminal, or gives it back.
pub fn toggle(state: &mut State) -> Effect {
    state.mouse = !state.mouse;
    state.tell(if state.mouse {
        "the mouse chooses and scrolls; with Shift it selects text"
    } else {
        "the mouse is the terminal's"
    });
    Effect::Mouse(state.mouse)
}

/// Takes what the mouse did. What stands over everything else has no use for it.
pub fn take(state: &mut State, pointer: Pointer) {
    if state.overlay.is_some() {
        return;
    }
    let places = layout::places(state);
    match pointer {
        Pointer::Click(column, row) => click(state, &places, Position::new(column, row)),
        Pointer::Wheel(column, row, down) => {
            let Some(panel) = under(&places, Position::new(column, row)) else { return };
            // Keys go on where they go.
            let focus = std::mem::replace(&mut state.focus, panel);
            let rows = if matches!(panel, Focus::Hives | Focus::Workers) { 1 } else { WHEEL_ROWS };
            for _ in 0..rows {
                go(state, if down { 1 } else { -1 }, false);
            }
            state.focus = focus;
        }
    }
}

fn under(places: &Places, at: Position) -> Option<Focus> {
    let panels = [
        (places.hives, Focus::Hives),
        (places.workers, Focus::Workers),
        (places.events, Focus::Events),
        (places.chat, Focus::Chat),
    ];
    panels.into_iter().find(|(panel, _)| panel.contains(at)).map(|(_, focus)| focus)
}

fn click(state: &mut State, places: &Places, at: Position) {
    let Some(panel) = under(places, at) else { return };
    let row = |panel: Rect| {
        let inside = layout::inside(panel, places.framed);
        inside.contains(at).then(|| usize::from(at.y - inside.y))
    };
    match panel {
        Focus::Hives => {
            let hive = row(places.hives).and_then(|row| hives::at(state, row)).cloned();
            state.hive = hive.or(state.hive.take());
        }
        Focus::Workers => {
            let worker = row(places.workers).and_then(|row| workers::at(state, row));
            let worker = worker.map(|(hive, worker)| (hive.clone(), worker.id.clone()));
            state.worker = worker.or(state.worker.take());
        }
        Focus::Events | Focus::Chat | Focus::Writing => {}
    }
    let draft = layout::chat_places(state, places).draft;
    state.focus = if draft.contains(at) { Focus::Writing } else { panel };
}
