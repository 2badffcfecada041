//! The last rows of the terminal while the chat is inline.
//!
//! ```text
//! A hive is a machine            the end of the answer that comes
//! ── 120.0 tokens/s ────────      figures
//! › what is written
//! 1 of 1 hive online             how things are
//! Enter send  Esc back  …        keys
//! ```

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};

use super::layout::Places;
use super::{bottom, chat, overlay, row};
use crate::tui::look::Look;
use crate::tui::rows::Row;
use crate::tui::state::State;

/// Most rows of the message.
const MAX_DRAFT_ROWS: u16 = 8;
/// Columns of the line above it.
const MAX_RULE: u16 = 60;

/// Rows that are wanted on a terminal of so many columns and rows.
pub fn height(state: &State, live: usize, width: u16, rows: u16) -> u16 {
    // Half of the terminal is for what was said.
    let live = u16::try_from(live).unwrap_or(u16::MAX).min(rows / 2);
    live.saturating_add(draft_rows(state, width, rows)).saturating_add(3)
}

fn draft_rows(state: &State, width: u16, rows: u16) -> u16 {
    let (lines, _) = state.draft.editor.rows(usize::from(width.saturating_sub(2)));
    u16::try_from(lines.len()).unwrap_or(u16::MAX).clamp(1, MAX_DRAFT_ROWS.min(rows / 3).max(1))
}

/// Draws them.
pub fn draw(state: &State, look: &Look, live: &[Row], frame: &mut Frame<'_>) {
    let area = frame.area();
    let draft = draft_rows(state, area.width, u16::MAX);
    let [answer, rule, draft, status, keys] = Layout::vertical([
        Constraint::Min(0),
        Constraint::Length(1),
        Constraint::Length(draft),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(area);
    let skipped = live.len().saturating_sub(usize::from(answer.height));
    let blank = usize::from(answer.height).saturating_sub(live.len());
    for (number, content) in live.iter().skip(skipped).enumerate() {
        frame.render_widget(chat::painted(content, look), row(answer, blank + number));
    }
    // Short: a terminal that becomes narrower may lay it out again.
    let rule = Rect { width: rule.width.min(MAX_RULE), ..rule };
    chat::rule(state, look, rule, frame);
    chat::draft(state, look, draft, frame);
    let places = Places { status, keys, ..Places::default() };
    bottom::draw(state, look, &places, frame);
    if state.overlay.is_some() {
        overlay::draw(state, look, frame);
    }
}
