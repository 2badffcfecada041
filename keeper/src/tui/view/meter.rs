//! Small pictures of figures: how memory is divided, and how a figure went.

use ratatui::style::Style;

use crate::tui::look::Look;
use crate::tui::trace::Percent;

type Part = (String, Style);

/// How a device's memory is divided, in bytes. What nobody knows to be ours is what is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// Held by workers of rbee; none where that is not known.
    pub ours: Option<u64>,
    /// Held by others; where it is not known by whom, all that is used.
    pub others: u64,
    /// Promised to workers that have not taken it yet.
    pub reserved: u64,
}

impl Memory {
    /// What is neither used nor promised.
    pub fn free(&self) -> u64 {
        let taken = self.ours.unwrap_or(0).saturating_add(self.others);
        self.total.saturating_sub(taken.saturating_add(self.reserved))
    }

    /// What is used by anybody.
    pub fn used(&self) -> u64 {
        self.ours.unwrap_or(0).saturating_add(self.others)
    }
}

/// The division as a bar of `cells`: each part has a character of its own, in a role of its own.
/// What is there at all takes a cell at least.
pub fn memory(look: &Look, memory: Memory, cells: usize) -> Vec<Part> {
    let [ours, others, reserved, free] = look.shapes.memory;
    let parts = [
        (memory.ours.unwrap_or(0), ours, look.bar()),
        (memory.others, others, look.accent()),
        (memory.reserved, reserved, look.hint()),
    ];
    let mut left = cells;
    let mut bar: Vec<Part> = Vec::new();
    for (bytes, shape, style) in parts {
        let width = cells_of(bytes, memory.total, cells).min(left);
        left -= width;
        if width > 0 {
            bar.push((shape.repeat(width), style));
        }
    }
    bar.push((free.repeat(left), look.track()));
    bar
}

fn cells_of(bytes: u64, total: u64, cells: usize) -> usize {
    let all = u64::try_from(cells).unwrap_or(0);
    let half = total / 2;
    let rounded = bytes.min(total).saturating_mul(all).saturating_add(half).checked_div(total);
    usize::try_from(rounded.unwrap_or(0)).unwrap_or(0).max(usize::from(bytes > 0 && cells > 0))
}

/// A figure over time, a character each; nothing where it was not known.
pub fn spark(look: &Look, columns: &[Percent]) -> String {
    let steps = look.shapes.spark;
    let shown = columns.iter().map(|percent| {
        let Some(percent) = percent else { return " " };
        let last = steps.len() - 1;
        let step = usize::from((*percent).min(100)) * last;
        steps.get(step.div_ceil(100)).copied().unwrap_or(" ")
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Depth;
    use crate::output::theme::Theme;
    use proptest::prelude::*;

    fn drawn(parts: Memory, cells: usize) -> String {
        let look = Look::new(&Theme::default(), Depth::None, true);
        memory(&look, parts, cells).into_iter().map(|(text, _)| text).collect()
    }

    #[test]
    fn every_part_of_the_memory_has_a_character_of_its_own() {
        let parts = Memory { total: 100, ours: Some(40), others: 1, reserved: 20 };
        assert_eq!(drawn(parts, 10), "████▓▒▒░░░");
        let unknown = Memory { total: 100, ours: None, others: 50, reserved: 0 };
        assert_eq!(drawn(unknown, 10), "▓▓▓▓▓░░░░░");
        assert_eq!(parts.free(), 39);
    }

    #[test]
    fn a_figure_over_time_is_as_high_as_it_was() {
        let look = Look::new(&Theme::default(), Depth::None, true);
        assert_eq!(spark(&look, &[None, Some(0), Some(1), Some(50), Some(100)]), " ▁▂▅█");
    }

    proptest! {
        #[test]
        fn a_bar_is_as_wide_as_it_shall_be_whatever_a_hive_says(
            total in any::<u64>(), ours in any::<Option<u64>>(), others in any::<u64>(),
            reserved in any::<u64>(), cells in 0..40_usize,
        ) {
            let drawn = drawn(Memory { total, ours, others, reserved }, cells);
            prop_assert_eq!(drawn.chars().count(), cells);
        }
    }
}
