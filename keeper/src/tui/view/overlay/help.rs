//! The keys.

use ratatui::Frame;
use ratatui::style::Style;

use super::{line, popup, row};
use crate::tui::keys::{Key, Scope};
use crate::tui::look::Look;
use crate::tui::overlay::help::Help;
use crate::tui::state::State;

/// The key table, a line each, with the names by which the configuration knows the actions.
pub fn draw(state: &State, look: &Look, it: Help, frame: &mut Frame<'_>) {
    let mut lines: Vec<(Vec<(String, Style)>, &str)> = Vec::new();
    for scope in Scope::ALL {
        lines.push((vec![(scope.title().to_owned(), look.title())], ""));
        for binding in state.keys.bindings().iter().filter(|binding| binding.scope == scope) {
            let keys: Vec<String> = binding.keys.iter().map(Key::to_string).collect();
            let says = vec![
                (format!("  {:<22} ", keys.join(", ")), look.hint()),
                (binding.says.to_owned(), look.text()),
            ];
            lines.push((says, binding.name));
        }
        lines.push((Vec::new(), ""));
    }
    let place = popup(frame, look, "Keys · any other key closes this", (88, lines.len() - 1));
    let from = it.from.min(lines.len().saturating_sub(usize::from(place.height)));
    for (number, (content, name)) in lines.iter().skip(from).enumerate() {
        let name = [((*name).to_owned(), look.muted())];
        line(frame, row(place, number), look, content, &name);
    }
}
