//! One block of Markdown as rows: a paragraph, a list or an item of one, code, a table.

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Parser, Tag, TagEnd};

use super::code::Code;
use super::table::Table;
use crate::tui::rows::{Kind, Row, Span, width, wrap};

/// Lays out one block in `columns`. Where it is an item that goes on with a list, `number` is its
/// number.
pub fn rows(text: &str, columns: usize, number: Option<u64>) -> Vec<Row> {
    let mut page = Page { columns, number, ..Page::default() };
    for event in Parser::new_ext(text, super::OPTIONS) {
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
    /// What stands behind the fence, and the code.
    code: Option<(String, String)>,
    table: Option<Table>,
    /// The number of the first item, where it goes on with a list.
    number: Option<u64>,
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
                let label = match kind {
                    CodeBlockKind::Fenced(label) => label.into_string(),
                    CodeBlockKind::Indented => String::new(),
                };
                self.code = Some((label, String::new()));
            }
            Tag::List(first) => {
                self.flush();
                if self.lists.is_empty() {
                    self.gap();
                }
                // Only the outermost list may go on.
                let goes_on = self.number.take();
                self.lists.push(first.map(|first| goes_on.unwrap_or(first)));
            }
            Tag::Item => self.item(),
            Tag::Emphasis => self.kinds.push(Kind::Emphasis),
            Tag::Strong => self.kinds.push(Kind::Strong),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.link = Some(dest_url.into_string());
            }
            Tag::Table(alignments) => {
                self.flush();
                self.gap();
                self.table = Some(Table { alignments, ..Table::default() });
            }
            Tag::TableHead | Tag::TableRow => {
                if let Some(table) = &mut self.table {
                    table.rows.push(Vec::new());
                }
            }
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
                let mut cell = std::mem::take(&mut self.inline);
                let Some(table) = &mut self.table else { return };
                if table.rows.len() == 1 {
                    for span in &mut cell {
                        span.kind = Kind::Strong;
                    }
                }
                if let Some(row) = table.rows.last_mut() {
                    row.push(cell);
                }
            }
            TagEnd::Table => {
                let rows = self.table.take().unwrap_or_default().lay_out(self.room());
                for row in rows {
                    self.emit(row);
                }
            }
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
        if let Some((_, code)) = &mut self.code {
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
        let (label, text) = self.code.take().unwrap_or_default();
        let room = self.room();
        if let Some(row) = Code::label(&label, room) {
            self.emit(row);
        }
        let mut code = Code::new(&label, room);
        for line in text.trim_end_matches('\n').split('\n') {
            for row in code.line(line) {
                self.emit(row);
            }
        }
    }
}
