//! The last two lines: how things are, and what can be pressed.

use ratatui::Frame;
use ratatui::style::Style;

use super::layout::Places;
use super::{line, status};
use crate::tui::keys::Action;
use crate::tui::look::Look;
use crate::tui::rows::width;
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
    let columns = usize::from(places.keys.width);
    line(frame, places.keys, look, &keys(state, look, columns), &[]);
}

/// A key and what it does, in a word.
type Hint = (String, &'static str);

/// Columns between two hints.
const GAP: usize = 2;

/// The keys of where keys go, in `columns`: the nearest place's first, and those that have no room
/// are left out whole. The key that shows all the others is always there.
fn keys(state: &State, look: &Look, columns: usize) -> Vec<(String, Style)> {
    let (mut hints, help) = match &state.overlay {
        Some(overlay) => {
            let keys = overlay.keys().iter();
            (keys.map(|(key, short)| ((*key).to_owned(), *short)).collect(), None)
        }
        None => of_scopes(state),
    };
    let cells = |(key, short): &Hint| width(key) + 1 + width(short) + GAP;
    let mut room = (columns + GAP).saturating_sub(help.as_ref().map_or(0, cells));
    hints.retain(|hint| {
        let fits = cells(hint) <= room;
        room -= if fits { cells(hint) } else { 0 };
        fits
    });
    let parts = hints.into_iter().chain(help).enumerate().flat_map(|(number, (key, short))| {
        let gap = if number > 0 { GAP } else { 0 };
        [(format!("{}{key}", " ".repeat(gap)), look.hint()), (format!(" {short}"), look.muted())]
    });
    parts.collect()
}

/// The hints of the key table, and the one for all keys.
fn of_scopes(state: &State) -> (Vec<Hint>, Option<Hint>) {
    let (mut hints, mut help): (Vec<Hint>, _) = (Vec::new(), None);
    for scope in state.scopes() {
        for binding in state.keys.bindings().iter().filter(|it| it.scope == *scope) {
            let is_said = hints.iter().any(|(_, short)| *short == binding.short);
            let Some(key) = binding.keys.first() else { continue };
            let hint = (key.to_string(), binding.short);
            if binding.action == Action::Help {
                help.get_or_insert(hint);
            } else if !binding.short.is_empty() && !is_said && does_something(state, binding.action)
            {
                hints.push(hint);
            }
        }
    }
    (hints, help)
}

/// Whether an action does anything where keys go now.
fn does_something(state: &State, action: Action) -> bool {
    match action {
        // Those are of lists.
        Action::Filter | Action::Sort => !state.focus.is_chat(),
        // Below what a terminal shows there is nothing but the conversation.
        Action::NextPanel | Action::Compare => !state.is_inline(),
        _ => true,
    }
}
