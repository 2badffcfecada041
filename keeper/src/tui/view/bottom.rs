//! The last two lines: how things are, and what can be pressed.

use ratatui::Frame;
use ratatui::style::Style;

use super::layout::Places;
use super::line;
use crate::tui::keys::{Shown, TABLE};
use crate::tui::look::Look;
use crate::tui::state::State;

/// Draws both.
pub fn draw(state: &State, look: &Look, places: &Places, frame: &mut Frame<'_>) {
    let left = match &state.notice {
        Some(notice) if notice.warns => {
            vec![("warning: ".to_owned(), look.warning()), (notice.text.clone(), look.text())]
        }
        Some(notice) => vec![(notice.text.clone(), look.text())],
        None => vec![(totals(state), look.muted())],
    };
    line(frame, places.status, look, &left, &[]);
    line(frame, places.keys, look, &keys(state, look), &[]);
}

/// What there is.
fn totals(state: &State) -> String {
    let hives = state.board.hives().len();
    let online = state.board.hives().filter(|(name, _)| state.board.is_online(name)).count();
    let workers = state.live_workers();
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    format!("{online} of {hives} hive{} online, {workers} worker{}", plural(hives), plural(workers))
}

/// The keys of where keys go.
fn keys(state: &State, look: &Look) -> Vec<(String, Style)> {
    let scopes = state.scopes();
    let mut parts: Vec<(String, Style)> = Vec::new();
    let mut said = Vec::new();
    for scope in scopes {
        for binding in TABLE.iter().filter(|it| it.scope == *scope && !it.short.is_empty()) {
            let Some(key) = binding.keys.first().filter(|_| !said.contains(&binding.short)) else {
                continue;
            };
            said.push(binding.short);
            parts.push((Shown(key).to_string(), look.hint()));
            parts.push((format!(" {}  ", binding.short), look.muted()));
        }
    }
    parts
}
