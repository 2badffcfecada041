//! The last two lines: how things are, and what can be pressed.

use ratatui::Frame;
use ratatui::style::Style;

use super::layout::Places;
use super::{line, status};
use crate::tui::keys::Action;
use crate::tui::look::Look;
use crate::tui::state::State;

/// Draws both.
pub fn draw(state: &State, look: &Look, places: &Places, frame: &mut Frame<'_>) {
    let left = match &state.notice {
        Some(notice) if notice.warns => {
            vec![("warning: ".to_owned(), look.warning()), (notice.text.clone(), look.text())]
        }
        Some(notice) => vec![(notice.text.clone(), look.text())],
        None => status::parts(state, look, usize::from(places.status.width)),
    };
    line(frame, places.status, look, &left, &[]);
    line(frame, places.keys, look, &keys(state, look), &[]);
}

/// The keys of where keys go.
fn keys(state: &State, look: &Look) -> Vec<(String, Style)> {
    let scopes = state.scopes();
    let mut parts: Vec<(String, Style)> = Vec::new();
    let mut said = Vec::new();
    for scope in scopes {
        for binding in state.keys.bindings().iter().filter(|it| it.scope == *scope) {
            // The keys of lists do nothing in the conversation.
            let of_lists = matches!(binding.action, Action::Filter | Action::Sort);
            let is_said = binding.short.is_empty() || said.contains(&binding.short);
            if is_said || (of_lists && state.focus.is_chat()) {
                continue;
            }
            let Some(key) = binding.keys.first() else { continue };
            said.push(binding.short);
            parts.push((key.to_string(), look.hint()));
            parts.push((format!(" {}  ", binding.short), look.muted()));
        }
    }
    parts
}
