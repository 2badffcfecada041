//! Which block of code is copied.

use ratatui::Frame;
use wire::text::one_line;

use super::{line, popup, row};
use crate::tui::look::Look;
use crate::tui::overlay::blocks::Blocks;

/// Bytes of a line of code.
const MAX_LINE_BYTES: usize = 200;

/// A row for each block: its number, its language, how it begins and how long it is.
pub fn draw(look: &Look, Blocks { blocks, at }: &Blocks, frame: &mut Frame<'_>) {
    let place = popup(frame, look, "Copy which block?", (72, blocks.len().min(14)));
    let height = usize::from(place.height);
    let skipped = (at + 1).saturating_sub(height);
    for (index, block) in blocks.iter().enumerate().skip(skipped).take(height) {
        let here = row(place, index - skipped);
        let first = block.code.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let label = one_line(&block.label, MAX_LINE_BYTES);
        let left = [
            (format!("{:>2} ", index + 1), look.hint()),
            (format!("{label:<10} "), look.muted()),
            (one_line(first.trim(), MAX_LINE_BYTES), look.code()),
        ];
        let lines = match block.code.lines().count() {
            1 => "1 line".to_owned(),
            lines => format!("{lines} lines"),
        };
        line(frame, here, look, &left, &[(lines, look.muted())]);
        if index == *at {
            frame.buffer_mut().set_style(here, look.selected());
        }
    }
}
