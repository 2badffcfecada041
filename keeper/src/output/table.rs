//! Tables for people: columns as wide as they must be, cut to the terminal's width.

use std::fmt::Write;

use wire::text;

/// Blanks between two columns.
const GAP: usize = 2;
/// Bytes of one cell; more helps nobody.
const MAX_CELL_BYTES: usize = 1024;

/// A table under construction.
#[derive(Debug)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// Index of the column that gives way when the terminal is narrow.
    flexible: usize,
}

impl Table {
    /// A table with its header. `flexible` is the column that is cut first.
    pub fn new(header: &[&'static str], flexible: usize) -> Self {
        Self { header: header.to_vec(), rows: Vec::new(), flexible }
    }

    /// Adds a row. Cells are untrusted text and are cleaned here.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|c| text::one_line(&c, MAX_CELL_BYTES)).collect());
    }

    /// The lines, each at most `width` characters; `None` cuts nothing.
    pub fn render(&self, width: Option<usize>) -> String {
        let mut widths: Vec<usize> = self.header.iter().map(|cell| length(cell)).collect();
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = length(cell).max(*widest);
            }
        }
        if let Some(width) = width {
            let total: usize = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
            let least = self.header.get(self.flexible).map_or(0, |cell| length(cell));
            if let Some(flexible) = widths.get_mut(self.flexible) {
                *flexible = flexible.saturating_sub(total.saturating_sub(width)).max(least);
            }
        }
        let mut out = String::new();
        let header: Vec<String> = self.header.iter().map(|&cell| cell.to_owned()).collect();
        for row in std::iter::once(&header).chain(&self.rows) {
            let mut line = String::new();
            for (cell, &wide) in row.iter().zip(&widths) {
                let cell = elide(cell, wide);
                let _ = write!(line, "{cell:wide$}{:GAP$}", "");
            }
            let line = line.trim_end();
            out.push_str(&width.map_or_else(|| line.to_owned(), |width| elide(line, width)));
            out.push('\n');
        }
        out
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// `text` in at most `width` characters, an ellipsis where something is missing.
fn elide(text: &str, width: usize) -> String {
    if length(text) <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table() -> Table {
        let mut table = Table::new(&["ID", "MODEL", "STATE"], 1);
        table.row(["a-1".into(), "hf:somebody/a-rather-long-name".into(), "ready".into()]);
        table
    }

    #[test]
    fn a_wide_terminal_and_a_pipe_show_everything() {
        let whole = "ID   MODEL                           STATE\n\
                     a-1  hf:somebody/a-rather-long-name  ready\n";
        assert_eq!(table().render(None), whole);
        assert_eq!(table().render(Some(80)), whole);
    }

    #[test]
    fn a_narrow_terminal_cuts_the_flexible_column_first() {
        assert_eq!(
            table().render(Some(24)),
            "ID   MODEL         STATE\na-1  hf:somebody…  ready\n"
        );
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(
            cells in proptest::collection::vec("\\PC{0,30}", 3..=3), width in 0usize..60,
        ) {
            let mut table = Table::new(&["ID", "MODEL", "STATE"], 1);
            table.row(cells);
            for line in table.render(Some(width)).lines() {
                prop_assert!(line.chars().count() <= width);
            }
        }
    }
}
