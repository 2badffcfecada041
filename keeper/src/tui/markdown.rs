//! Markdown of an answer as rows. What is not complete yet is shown as far as it came: the same
//! text gives the same rows, and more text changes only those at the end.

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::rows::{Kind, Row, Span, elide, width, wrap};

/// Narrowest column of a table.
const MIN_CELL: usize = 3;

/// Lays out `text` in `columns`.
pub fn rows(text: &str, columns: usize) -> Vec<Row> {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut page = Page { columns, ..Page::default() };
    for event in Parser::new_ext(text, options) {
        page.take(event);
    }
    page.flush();
    page.rows
}

/// What stands before the rows of a list item or a quotation.
struct Prefix {
    first: String,
    rest: String,
    used: bool,
}

#[derive(Default)]
struct Page {
    columns: usize,
    rows: Vec<Row>,
    inline: Vec<Span>,
    kinds: Vec<Kind>,
    prefixes: Vec<Prefix>,
    /// The number of the next item of each list; none where they have no numbers.
    lists: Vec<Option<u64>>,
    code: Option<String>,
    table: Option<Vec<Vec<String>>>,
    link: Option<String>,
}

impl Page {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text)
            | Event::Html(text)
            | Event::InlineHtml(text)
            | Event::FootnoteReference(text) => self.text(&text),
            Event::SoftBreak => self.text(" "),
            Event::HardBreak => self.text("\n"),
            Event::Rule => {
                self.gap();
                let rule = "─".repeat(self.room());
                self.emit(vec![Span::new(rule, Kind::Muted)]);
            }
            Event::TaskListMarker(done) => self.text(if done { "[x] " } else { "[ ] " }),
            Event::Code(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                self.put(&text, Kind::Code);
            }
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph => self.gap(),
            Tag::Heading { level, .. } => {
                self.flush();
                self.gap();
                self.kinds.push(Kind::Heading);
                let marks = if level > HeadingLevel::H2 { "· " } else { "" };
                self.text(marks);
            }
            Tag::BlockQuote(_) => {
                self.flush();
                self.gap();
                self.indent("│ ".to_owned(), "│ ".to_owned());
                self.kinds.push(Kind::Quote);
            }
            Tag::CodeBlock(kind) => {
                self.flush();
                self.gap();
                if let CodeBlockKind::Fenced(language) = kind
                    && !language.is_empty()
                {
                    let language = elide(&language, self.room());
                    self.emit(vec![Span::new(language, Kind::Muted)]);
                }
                self.code = Some(String::new());
            }
            Tag::List(first) => {
                self.flush();
                if self.lists.is_empty() {
                    self.gap();
                }
                self.lists.push(first);
            }
            Tag::Item => self.item(),
            Tag::Emphasis => self.kinds.push(Kind::Emphasis),
            Tag::Strong => self.kinds.push(Kind::Strong),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.link = Some(dest_url.into_string());
            }
            Tag::Table(_) => {
                self.flush();
                self.gap();
                self.table = Some(Vec::new());
            }
            Tag::TableHead | Tag::TableRow => {
                if let Some(table) = &mut self.table {
                    table.push(Vec::new());
                }
            }
            Tag::TableCell => self.inline.clear(),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph => self.flush(),
            TagEnd::Heading(_) => {
                self.flush();
                self.kinds.pop();
            }
            TagEnd::BlockQuote(_) => {
                self.flush();
                self.kinds.pop();
                self.prefixes.pop();
            }
            TagEnd::CodeBlock => self.end_code(),
            TagEnd::List(_) => {
                self.flush();
                self.lists.pop();
            }
            TagEnd::Item => {
                self.flush();
                self.prefixes.pop();
            }
            TagEnd::Emphasis | TagEnd::Strong => drop(self.kinds.pop()),
            TagEnd::Link | TagEnd::Image => {
                if let Some(url) = self.link.take()
                    && self.inline.last().is_none_or(|span| span.text != url)
                {
                    self.put(&format!(" ({url})"), Kind::Muted);
                }
            }
            TagEnd::TableCell => {
                let text: String = self.inline.drain(..).map(|span| span.text).collect();
                if let Some(row) = self.table.as_mut().and_then(|table| table.last_mut()) {
                    row.push(text);
                }
            }
            TagEnd::Table => self.end_table(),
            _ => {}
        }
    }

    fn item(&mut self) {
        self.flush();
        let marker = match self.lists.last_mut() {
            Some(Some(number)) => {
                let marker = format!("{number}. ");
                *number = number.saturating_add(1);
                marker
            }
            _ => "• ".to_owned(),
        };
        let rest = " ".repeat(width(&marker));
        self.indent(marker, rest);
    }

    /// Half of the columns are for text: what is deeper than that is not indented further.
    fn indent(&mut self, first: String, rest: String) {
        let taken = self.columns.saturating_sub(self.room()) + width(&first);
        let (first, rest) =
            if taken > self.columns / 2 { (String::new(), String::new()) } else { (first, rest) };
        self.prefixes.push(Prefix { first, rest, used: false });
    }

    fn text(&mut self, text: &str) {
        if let Some(code) = &mut self.code {
            code.push_str(text);
            return;
        }
        let kind = self.kinds.last().copied().unwrap_or_default();
        self.put(text, kind);
    }

    fn put(&mut self, text: &str, kind: Kind) {
        if !text.is_empty() {
            self.inline.push(Span::new(text, kind));
        }
    }

    /// An empty row between two blocks, but not between an item's mark and its text.
    fn gap(&mut self) {
        let begins = self.prefixes.last().is_some_and(|prefix| !prefix.used);
        if !begins && self.rows.last().is_some_and(|row| !row.is_empty()) {
            self.rows.push(Row::new());
        }
    }

    fn room(&self) -> usize {
        let taken: usize = self.prefixes.iter().map(|prefix| width(&prefix.rest)).sum();
        self.columns.saturating_sub(taken).max(1)
    }

    fn flush(&mut self) {
        if self.inline.is_empty() {
            return;
        }
        let inline = std::mem::take(&mut self.inline);
        for row in wrap(&inline, self.room(), "") {
            self.emit(row);
        }
    }

    /// Adds one row, behind what stands before it.
    fn emit(&mut self, content: Row) {
        let mut row = Row::new();
        for prefix in &mut self.prefixes {
            let text = if prefix.used { &prefix.rest } else { &prefix.first };
            if !text.is_empty() {
                row.push(Span::new(text, Kind::Muted));
            }
            prefix.used = true;
        }
        row.extend(content);
        self.rows.push(row);
    }

    fn end_code(&mut self) {
        let code = self.code.take().unwrap_or_default();
        let room = self.room();
        for line in code.trim_end_matches('\n').split('\n') {
            let line = Span::new(line, Kind::Code);
            let edge = Span::new("│ ", Kind::Muted);
            for content in wrap(&[line], room.saturating_sub(2), "") {
                self.emit(std::iter::once(edge.clone()).chain(content).collect());
            }
        }
    }

    fn end_table(&mut self) {
        let table = self.table.take().unwrap_or_default();
        let count = table.iter().map(Vec::len).max().unwrap_or(0);
        let widest = |column: usize| {
            table.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max()
        };
        let mut widths: Vec<usize> = (0..count).map(|at| widest(at).unwrap_or(0)).collect();
        let between = count.saturating_sub(1) * 3;
        let room = self.room();
        // The widest column gives way until all fit.
        while widths.iter().sum::<usize>() + between > room {
            let Some(most) = widths.iter_mut().max().filter(|most| **most > MIN_CELL) else {
                break;
            };
            *most -= 1;
        }
        for (number, cells) in table.iter().enumerate() {
            let kind = if number == 0 { Kind::Strong } else { Kind::Text };
            let mut row = Row::new();
            for (at, columns) in widths.iter().enumerate() {
                if at > 0 {
                    row.push(Span::new(" │ ", Kind::Muted));
                }
                let cell = elide(cells.get(at).map_or("", String::as_str), *columns);
                let air = " ".repeat(columns.saturating_sub(width(&cell)));
                row.push(Span::new(format!("{cell}{air}"), kind));
            }
            self.emit(clipped(row, room));
            if number == 0 {
                let rules: Vec<String> =
                    widths.iter().map(|columns| "─".repeat(*columns)).collect();
                let rule = vec![Span::new(rules.join("─┼─"), Kind::Muted)];
                self.emit(clipped(rule, room));
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str, columns: usize) -> Vec<String> {
        let rows = rows(text, columns);
        let line = |row: &Row| row.iter().map(|span| span.text.as_str()).collect::<String>();
        rows.iter().map(|row| line(row).trim_end().to_owned()).collect()
    }

    #[test]
    fn the_usual_blocks_have_their_shapes() {
        let text = "# Bees\nThey *do* `buzz`.\n\n- one\n- two\n  1. a\n  2. b\n\n> so it is\n\n\
                    ```sh\nrbee ps\n\nls\n```\n";
        assert_eq!(
            shown(text, 40),
            [
                "Bees",
                "",
                "They do buzz.",
                "",
                "• one",
                "• two",
                "  1. a",
                "  2. b",
                "",
                "│ so it is",
                "",
                "sh",
                "│ rbee ps",
                "│",
                "│ ls",
            ]
        );
        let kinds: Vec<Kind> =
            rows("a **b** `c`", 40).concat().iter().map(|span| span.kind).collect();
        assert_eq!(kinds, [Kind::Text, Kind::Strong, Kind::Text, Kind::Code]);
    }

    #[test]
    fn a_table_fits_its_room() {
        let text = "| name | what |\n|---|---|\n| bee | an insect that flies |\n";
        assert_eq!(
            shown(text, 40),
            ["name │ what", "─────┼─────────────────────", "bee  │ an insect that flies"]
        );
        assert!(shown(text, 16).iter().all(|row| width(row) <= 16), "{:?}", shown(text, 16));
    }

    #[test]
    fn what_is_not_complete_is_shown_as_far_as_it_came() {
        assert_eq!(shown("```rust\nfn main() {", 40), ["rust", "│ fn main() {"]);
        assert_eq!(shown("a **bo", 40), ["a **bo"]);
    }

    proptest! {
        #[test]
        fn any_text_is_laid_out_without_controls_and_in_its_columns(
            text in "\\PC{0,80}|[-#>*`|1. \\na]{0,80}|[\\x00-\\x7f]{0,60}", columns in 24..60_usize,
        ) {
            for row in rows(&text, columns) {
                let line: String = row.iter().map(|span| span.text.as_str()).collect();
                prop_assert!(!line.chars().any(char::is_control), "{line:?}");
                prop_assert!(width(&line) <= columns, "{line:?}");
            }
        }

        #[test]
        fn more_text_leaves_the_blocks_before_as_they_are(
            words in prop::collection::vec("[a-z]{1,8}", 1..12),
        ) {
            let whole = words.join("\n\n");
            let before = rows(&words[..words.len() - 1].join("\n\n"), 30);
            prop_assert_eq!(&rows(&whole, 30)[..before.len()], &before[..]);
        }
    }
}
