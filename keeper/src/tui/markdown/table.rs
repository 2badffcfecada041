//! A table as rows: the widest column gives way until all fit, and its cells take more rows.

use pulldown_cmark::Alignment;

use crate::tui::rows::{Kind, Row, Span, elide, width, wrap};

/// Narrowest column.
const MIN_CELL: usize = 4;

/// What a table says.
#[derive(Debug, Default)]
pub struct Table {
    /// How each column stands.
    pub alignments: Vec<Alignment>,
    /// The cells of each row; the first are the heads.
    pub rows: Vec<Vec<Vec<Span>>>,
}

impl Table {
    /// Lays it out in so many columns of the screen.
    pub fn lay_out(&self, room: usize) -> Vec<Row> {
        let widths = self.widths(room);
        let mut rows = Vec::new();
        for (number, cells) in self.rows.iter().enumerate() {
            rows.extend(self.of_cells(cells, &widths).into_iter().map(|row| clipped(row, room)));
            if number == 0 {
                let rules: Vec<String> =
                    widths.iter().map(|columns| "─".repeat(*columns)).collect();
                let rule = vec![Span::new(rules.join("─┼─"), Kind::Muted)];
                rows.push(clipped(rule, room));
            }
        }
        rows
    }

    fn widths(&self, room: usize) -> Vec<usize> {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widest = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.iter().map(|span| width(&span.text)).sum()).max()
        };
        let mut widths: Vec<usize> = (0..count).map(|at| widest(at).unwrap_or(0)).collect();
        let between = count.saturating_sub(1) * 3;
        while widths.iter().sum::<usize>() + between > room {
            let Some(most) = widths.iter_mut().max().filter(|most| **most > MIN_CELL) else {
                break;
            };
            *most -= 1;
        }
        widths
    }

    fn of_cells(&self, cells: &[Vec<Span>], widths: &[usize]) -> Vec<Row> {
        let wrapped: Vec<Vec<Row>> = widths
            .iter()
            .enumerate()
            .map(|(at, columns)| wrap(cells.get(at).map_or(&[], Vec::as_slice), *columns, ""))
            .collect();
        let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
        let line = |line: usize| {
            let mut row = Row::new();
            for (at, (cell, columns)) in wrapped.iter().zip(widths).enumerate() {
                if at > 0 {
                    row.push(Span::new(" │ ", Kind::Muted));
                }
                let cell = cell.get(line).cloned().unwrap_or_default();
                row.extend(self.aligned(cell, at, *columns));
            }
            row
        };
        (0..height).map(line).collect()
    }

    fn aligned(&self, mut cell: Row, at: usize, columns: usize) -> Row {
        // Blanks at the end of a wrapped row are air already.
        if let Some(last) = cell.last_mut() {
            last.text.truncate(last.text.trim_end().len());
        }
        let used: usize = cell.iter().map(|span| width(&span.text)).sum();
        let air = columns.saturating_sub(used);
        let left = match self.alignments.get(at) {
            Some(Alignment::Right) => air,
            Some(Alignment::Center) => air / 2,
            _ => 0,
        };
        let blank = |count: usize| Span::new(" ".repeat(count), Kind::Text);
        let mut row = vec![blank(left)];
        row.append(&mut cell);
        row.push(blank(air - left));
        row.retain(|span| !span.text.is_empty());
        row
    }
}

/// As much of a row as there is room for: a table may have more columns than the screen.
fn clipped(row: Row, mut room: usize) -> Row {
    let mut clipped = Row::new();
    for span in row {
        if width(&span.text) > room {
            clipped.push(Span::new(elide(&span.text, room), span.kind));
            break;
        }
        room -= width(&span.text);
        clipped.push(span);
    }
    clipped
}
