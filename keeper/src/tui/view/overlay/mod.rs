//! What stands over everything else, one file each.

mod add_hive;
mod attach;
mod blocks;
mod confirm;
mod conversations;
mod help;
mod palette;
mod picker;
mod question;
mod quit;
mod settings;
mod theme;
mod viewer;

use ratatui::Frame;

use super::{ago, line, panel, popup, row};
use crate::tui::look::Look;
use crate::tui::overlay::Overlay;
use crate::tui::state::State;

/// Draws what there is.
pub fn draw(state: &State, look: &Look, frame: &mut Frame<'_>) {
    match &state.overlay {
        // What is typed stands in the title of its panel.
        None | Some(Overlay::Filter(_)) => {}
        Some(Overlay::Help(it)) => help::draw(state, look, *it, frame),
        Some(Overlay::Theme(it)) => theme::draw(state, look, it, frame),
        Some(Overlay::Quit(it)) => quit::draw(state, look, *it, frame),
        Some(Overlay::Attach(it)) => attach::draw(look, it, frame),
        Some(Overlay::Blocks(it)) => blocks::draw(look, it, frame),
        Some(Overlay::Picker(it)) => picker::draw(state, look, it, frame),
        Some(Overlay::Confirm(it)) => confirm::draw(look, it, frame),
        Some(Overlay::Question(it)) => {
            below(state, look, it.below.as_deref(), frame);
            question::draw(look, it, frame);
        }
        Some(Overlay::Viewer(it)) => viewer::draw(state, look, it, frame),
        Some(Overlay::Conversations(it)) => conversations::draw(look, it, frame),
        Some(Overlay::Settings(it)) => settings::draw(state, look, it, frame),
        Some(Overlay::AddHive(it)) => add_hive::draw(state, look, it, frame),
        Some(Overlay::Palette(it)) => palette::draw(state, look, it, frame),
    }
}

/// Draws what a question covers.
fn below(state: &State, look: &Look, covered: Option<&Overlay>, frame: &mut Frame<'_>) {
    match covered {
        Some(Overlay::Viewer(it)) => viewer::draw(state, look, it, frame),
        Some(Overlay::AddHive(it)) => add_hive::draw(state, look, it, frame),
        _ => {}
    }
}
