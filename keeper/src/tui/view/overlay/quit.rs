//! What shall become of the workers.

use ratatui::Frame;

use super::{line, popup, row};
use crate::tui::look::Look;
use crate::tui::overlay::quit::Quit;
use crate::tui::state::State;

/// Draws the question.
pub fn draw(state: &State, look: &Look, Quit { stops }: Quit, frame: &mut Frame<'_>) {
    let place = popup(frame, look, "Quit", (46, 5));
    let live = state.live_workers();
    let plural = if live == 1 { "worker has its model" } else { "workers have their models" };
    let unknown = state.unknown_hives();
    let head = match (live, unknown) {
        // What nobody knew when it was asked may be known now.
        (0, 0) => "Nothing is loaded.".to_owned(),
        (0, 1) => "Nobody knows yet what one hive has loaded.".to_owned(),
        (0, _) => format!("Nobody knows yet what {unknown} hives have loaded."),
        _ => format!("{live} {plural} loaded."),
    };
    let head = vec![(head, look.text())];
    let style = |chosen: bool| if chosen { look.selected() } else { look.text() };
    let choice = |key: &str, words: &str, chosen| {
        vec![(format!(" {key} "), look.hint()), (format!("{words} "), style(chosen))]
    };
    let lines = [
        head,
        Vec::new(),
        choice("k", "keep them warm", !stops),
        choice("s", "stop them, and the agents", stops),
        vec![(" Esc stays".to_owned(), look.muted())],
    ];
    for (number, content) in lines.iter().enumerate() {
        line(frame, row(place, number), look, content, &[]);
    }
}
