//! The themes, and what the chosen one looks like.

use ratatui::Frame;

use super::{line, popup, row};
use crate::tui::look::Look;
use crate::tui::overlay::theme::Chooser;
use crate::tui::state::State;

/// Columns of a name.
const NAME: usize = 22;

/// Draws a row each; the whole screen is the preview.
pub fn draw(state: &State, look: &Look, chooser: &Chooser, frame: &mut Frame<'_>) {
    let rows = state.themes.len() + 3;
    let place = popup(frame, look, "Theme · Enter keeps it, Esc does not", (46, rows));
    let height = usize::from(place.height.saturating_sub(3)).max(1);
    let skipped = (chooser.at + 1).saturating_sub(height);
    for (index, theme) in state.themes.iter().enumerate().skip(skipped).take(height) {
        let at = row(place, index - skipped);
        let name = [(format!(" {:<NAME$}", theme.name().to_string()), look.text())];
        line(frame, at, look, &name, &[]);
        if index == chooser.at {
            frame.buffer_mut().set_style(at, look.selected());
        }
    }
    let shown = state.themes.len().saturating_sub(skipped).min(height);
    let rule = look.shapes.rule.repeat(usize::from(place.width));
    line(frame, row(place, shown), look, &[(rule, look.border())], &[]);
    let samples = [
        ("ok ", look.ok()),
        ("warning ", look.warning()),
        ("error ", look.error()),
        ("hint ", look.hint()),
        ("muted ", look.muted()),
        ("code ", look.code()),
    ];
    let samples: Vec<_> = samples.map(|(word, style)| (word.to_owned(), style)).into();
    line(frame, row(place, shown + 1), look, &samples, &[]);
    let [ours, others, reserved, free] = look.shapes.memory;
    let bar = [
        (ours.repeat(12), look.bar()),
        (others.repeat(8), look.accent()),
        (reserved.repeat(6), look.hint()),
        (free.repeat(16), look.track()),
    ];
    line(frame, row(place, shown + 2), look, &bar, &[]);
}
