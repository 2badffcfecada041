//! A block of code as rows, line by line: what was laid out stays as it is while more comes.

use super::paint::Painter;
use crate::tui::rows::{Kind, Row, Span, chop, elide};

/// Before a line.
const EDGE: &str = "│ ";
/// Before what of it did not fit.
const GOES_ON: &str = "┆ ";

/// A block of code that is laid out.
#[derive(Debug)]
pub struct Code {
    painter: Painter,
    columns: usize,
}

impl Code {
    /// A block in `columns`, with what stands behind its fence.
    pub fn new(label: &str, columns: usize) -> Self {
        Self { painter: Painter::of(label), columns }
    }

    /// The row above the code: its language; nothing where none is named.
    pub fn label(label: &str, columns: usize) -> Option<Row> {
        let label = label.trim();
        (!label.is_empty()).then(|| vec![Span::new(elide(label, columns), Kind::Muted)])
    }

    /// The rows of the next line.
    pub fn line(&mut self, line: &str) -> Vec<Row> {
        let spans = self.painter.line(line);
        self.rows(&spans)
    }

    /// The rows of a line that is not complete; it will come again.
    pub fn peek(&mut self, line: &str) -> Vec<Row> {
        let spans = self.painter.peek(line);
        self.rows(&spans)
    }

    fn rows(&self, spans: &[Span]) -> Vec<Row> {
        let rows = chop(spans, self.columns.saturating_sub(2)).into_iter().enumerate();
        rows.map(|(number, row)| {
            let edge = if number == 0 { EDGE } else { GOES_ON };
            std::iter::once(Span::new(edge, Kind::Muted)).chain(row).collect()
        })
        .collect()
    }
}

/// The fence at the beginning of a text, when the block that it opens is at the left edge: the
/// fence, what stands behind it, and where the code begins.
pub fn fence(text: &str) -> Option<(&str, &str, usize)> {
    let end = text.find('\n')?;
    let line = text.get(..end)?;
    let mark = line.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
    let count = line.chars().take_while(|c| *c == mark).count();
    let (fence, label) = line.split_at_checked(count)?;
    let is_one =
        count >= 3 && !(mark == '`' && label.contains('`')) && !label.contains(['\\', '&']);
    is_one.then_some((fence, label, end + 1))
}

/// Whether a line closes a block that was opened with `fence`.
pub fn closes(line: &str, fence: &str) -> bool {
    let indented = line.len() - line.trim_start_matches(' ').len();
    let rest = line.trim();
    indented < 4 && rest.len() >= fence.len() && rest.chars().all(|c| fence.starts_with(c))
}
