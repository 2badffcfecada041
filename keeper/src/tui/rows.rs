//! Text as rows of a certain width: words are wrapped, kinds of text are named, no colour is known.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;
use wire::text::for_terminal;

/// What kind of text a span is; a theme knows how that looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nothing special.
    #[default]
    Text,
    /// What may be passed over.
    Muted,
    /// What the person said.
    Person,
    /// The model's name.
    Model,
    /// What failed.
    Error,
    /// What somebody should look at.
    Warning,
    /// What to do next.
    Hint,
    /// A heading.
    Heading,
    /// What is said with weight.
    Strong,
    /// What is said with a little of it.
    Emphasis,
    /// Code.
    Code,
    /// A remark in code.
    Comment,
    /// A text in code.
    Literal,
    /// A number in code, or what is true or false.
    Number,
    /// A word of a programming language.
    Keyword,
    /// What somebody else said.
    Quote,
}

/// A piece of a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    /// Its text, clean.
    pub text: String,
    /// Its kind.
    pub kind: Kind,
}

impl Span {
    /// A span of clean text.
    pub fn new(text: impl AsRef<str>, kind: Kind) -> Self {
        Self { text: for_terminal(text.as_ref()).replace('\t', "    "), kind }
    }
}

/// One row.
pub type Row = Vec<Span>;

/// Columns that a text takes.
/// Characters that belong together take what they take alone: so they are put into cells.
pub fn width(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.graphemes(true).map(UnicodeWidthStr::width).sum()
    }
}

/// `text` in at most `columns`, with an ellipsis where something was left out.
pub fn elide(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for grapheme in text.graphemes(true) {
        if used + width(grapheme) + 1 > columns {
            break;
        }
        used += width(grapheme);
        out.push_str(grapheme);
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// Cuts spans into rows of `columns`, wherever that is: each character is kept. At least one row.
pub fn chop(spans: &[Span], columns: usize) -> Vec<Row> {
    let mut wrapped =
        Wrapped { rows: vec![Row::new()], used: 0, columns: columns.max(1), indent: "" };
    for span in spans {
        for grapheme in span.text.graphemes(true) {
            let cells = width(grapheme);
            if wrapped.used + cells > wrapped.columns && wrapped.used > 0 {
                wrapped.begin_row(false);
            }
            wrapped.add(grapheme, cells, span);
        }
    }
    wrapped.rows
}

/// Wraps spans to `columns`: between words where it can be, inside of a word that is too long.
/// `indent` stands before every row but the first.
pub fn wrap(spans: &[Span], columns: usize, indent: &str) -> Vec<Row> {
    let columns = columns.max(1);
    let mut wrapped = Wrapped { rows: vec![Row::new()], used: 0, columns, indent };
    // One word may have several kinds.
    let mut word: Vec<(&str, &Span)> = Vec::new();
    for span in spans {
        for (number, line) in span.text.split('\n').enumerate() {
            if number > 0 {
                wrapped.push(&std::mem::take(&mut word));
                wrapped.begin_row(false);
            }
            for part in line.split_inclusive(char::is_whitespace) {
                let letters = part.trim_end();
                word.push((letters, span));
                if letters.len() < part.len() {
                    wrapped.push(&std::mem::take(&mut word));
                    wrapped.push(&[(part.get(letters.len()..).unwrap_or_default(), span)]);
                }
            }
        }
    }
    wrapped.push(&word);
    wrapped.rows
}

struct Wrapped<'a> {
    rows: Vec<Row>,
    used: usize,
    columns: usize,
    indent: &'a str,
}

impl Wrapped<'_> {
    fn begin_row(&mut self, indented: bool) {
        let mut row = Row::new();
        self.used = 0;
        if indented && !self.indent.is_empty() && width(self.indent) < self.columns {
            self.used = width(self.indent);
            row.push(Span { text: self.indent.to_owned(), ..Span::default() });
        }
        self.rows.push(row);
    }

    /// Adds a word, or a blank between two.
    fn push(&mut self, word: &[(&str, &Span)]) {
        let cells: usize = word.iter().map(|(text, _)| width(text)).sum();
        if self.used + cells > self.columns {
            if word.iter().all(|(text, _)| text.trim().is_empty()) {
                // Blanks at the end of a row are not seen.
                return;
            }
            // What no row can hold, as a text without blanks, goes on where it stands.
            if self.used > width(self.indent) && cells <= self.columns {
                self.begin_row(true);
            }
        }
        let fits = self.used + cells <= self.columns;
        for (text, like) in word.iter().filter(|(text, _)| !text.is_empty()) {
            if fits {
                self.add(text, width(text), like);
                continue;
            }
            for grapheme in text.graphemes(true) {
                if width(grapheme) <= self.columns {
                    self.put(grapheme, like);
                    continue;
                }
                // A cluster that no row can hold falls apart.
                for c in grapheme.chars() {
                    self.put(c.encode_utf8(&mut [0; 4]), like);
                }
            }
        }
    }

    /// Adds what cannot be cut, in the next row when this one has no room.
    fn put(&mut self, text: &str, like: &Span) {
        let cells = width(text);
        if self.used + cells > self.columns {
            self.begin_row(true);
        }
        self.add(text, cells, like);
    }

    fn add(&mut self, text: &str, cells: usize, like: &Span) {
        self.used += cells;
        let Some(row) = self.rows.last_mut() else { return };
        match row.last_mut() {
            Some(last) if last.kind == like.kind => last.text.push_str(text),
            _ => row.push(Span { text: text.to_owned(), ..like.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(text: &str, columns: usize) -> Vec<String> {
        let rows = wrap(&[Span::new(text, Kind::Text)], columns, "");
        rows.iter().map(|row| row.iter().map(|span| span.text.as_str()).collect()).collect()
    }

    #[test]
    fn words_are_kept_whole_where_they_fit() {
        assert_eq!(plain("one two three", 8), ["one two ", "three"]);
        assert_eq!(plain("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(plain("a\n\nb", 4), ["a", "", "b"]);
        assert_eq!(plain("日本語", 4), ["日本", "語"]);
    }

    #[test]
    fn what_would_move_the_cursor_is_not_passed_on() {
        assert_eq!(plain("a\u{1b}[2Jb\u{202e}", 20), ["a\u{fffd}[2Jb\u{fffd}"]);
        assert_eq!(elide("a long name", 6), "a lon…");
    }

    proptest! {
        #[test]
        fn no_row_is_wider_than_it_may_be(
            text in "\\PC{0,60}|[a-z \\n]{0,60}", columns in 2..20_usize,
        ) {
            for row in plain(&text, columns) {
                prop_assert!(width(&row) <= columns, "{row:?}");
            }
        }
    }
}
