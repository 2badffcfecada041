//! Markdown of an answer as rows, block by block. What is not complete yet is shown as far as it
//! came: the same text gives the same rows however it came, and a block that is over is not laid
//! out again.

mod code;
mod page;
mod paint;
mod table;

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::rows::Row;
use code::Code;

/// What is read besides `CommonMark`.
const OPTIONS: Options =
    Options::ENABLE_TABLES.union(Options::ENABLE_STRIKETHROUGH).union(Options::ENABLE_TASKLISTS);

/// A block at the left edge, or one item of a list there.
struct Block {
    range: Range<usize>,
    item: Option<Item>,
}

/// An item of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Item {
    /// Whether it goes on with a list whose items before are other blocks.
    goes_on: bool,
    /// Its number, in a list that has some.
    number: Option<u64>,
}

/// How far a text that grows was laid out.
#[derive(Debug, Default)]
pub struct Flow {
    /// Bytes and rows of the blocks that are over.
    settled: (usize, usize),
    /// Bytes in which no block that is over is left to find.
    searched: usize,
    /// The item that comes next, where a list goes on.
    next: Option<Item>,
    /// Code at the end that more lines may follow.
    code: Option<OpenCode>,
}

/// A block of code that was not closed.
#[derive(Debug)]
struct OpenCode {
    code: Code,
    fence: String,
    /// Bytes up to the line that is not complete, and rows of the lines before it.
    done: (usize, usize),
}

impl Flow {
    /// Lays out `text`, which begins with what it was before, in `columns`. `rows` are those of
    /// the last time; behind those of the blocks that are over they become others.
    pub fn lay_out(&mut self, text: &str, columns: usize, rows: &mut Vec<Row>) {
        if self.more_code(text, rows) {
            return;
        }
        rows.truncate(self.settled.1);
        self.settle(text, columns, rows);
        let rest = text.get(self.settled.0..).unwrap_or_default();
        let open = rest.trim_start_matches('\n');
        let begin = text.len() - open.len();
        if let Some((fence, label, from)) = code::fence(open)
            && !open.get(from..).unwrap_or_default().lines().any(|it| code::closes(it, fence))
        {
            gap(rows);
            rows.extend(Code::label(label, columns));
            let code = Code::new(label, columns);
            let done = (begin + from, rows.len());
            self.code = Some(OpenCode { code, fence: fence.to_owned(), done });
            self.more_code(text, rows);
            return;
        }
        for block in blocks(rest, self.next) {
            add(rest, &block, columns, rows);
        }
    }

    /// Adds lines to code that is open; whether it still is.
    fn more_code(&mut self, text: &str, rows: &mut Vec<Row>) -> bool {
        let Some(OpenCode { code, fence, done }) = &mut self.code else { return false };
        rows.truncate(done.1);
        let new = text.get(done.0..).unwrap_or_default();
        if new.lines().any(|line| code::closes(line, fence)) {
            self.code = None;
            return false;
        }
        let complete = new.rfind('\n').map_or(0, |at| at + 1);
        let (lines, last) = new.split_at_checked(complete).unwrap_or_default();
        for line in lines.lines() {
            rows.extend(code.line(line));
        }
        *done = (done.0 + complete, rows.len());
        rows.extend(code.peek(last));
        true
    }

    /// Lays out the blocks that no more text can change: those before the last one, as far as
    /// lines are complete.
    fn settle(&mut self, text: &str, columns: usize, rows: &mut Vec<Row>) {
        let complete = text.rfind('\n').map_or(0, |at| at + 1);
        if complete <= self.searched {
            return;
        }
        self.searched = complete;
        let new = text.get(self.settled.0..complete).unwrap_or_default();
        let blocks = blocks(new, self.next);
        let Some((last, over)) = blocks.split_last() else { return };
        for block in over {
            add(new, block, columns, rows);
        }
        if let Some(block) = over.last() {
            self.settled = (self.settled.0 + block.range.end, rows.len());
            self.next = last.item.filter(|item| item.goes_on);
        }
    }
}

/// A block of code in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeBlock {
    /// What stands behind its fence, as the model wrote it.
    pub label: String,
    /// The code, without the line end behind it.
    pub code: String,
}

/// The blocks of code of a text, wherever they stand in it.
pub fn code_blocks(text: &str) -> Vec<CodeBlock> {
    let mut blocks: Vec<CodeBlock> = Vec::new();
    let mut inside = false;
    for event in Parser::new_ext(text, OPTIONS) {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                let label = match kind {
                    CodeBlockKind::Fenced(label) => label.into_string(),
                    CodeBlockKind::Indented => String::new(),
                };
                inside = true;
                blocks.push(CodeBlock { label, code: String::new() });
            }
            Event::Text(text) if inside => {
                if let Some(block) = blocks.last_mut() {
                    block.code.push_str(&text);
                }
            }
            Event::End(TagEnd::CodeBlock) => {
                inside = false;
                if let Some(block) = blocks.last_mut() {
                    block.code.truncate(block.code.trim_end_matches('\n').len());
                }
            }
            _ => {}
        }
    }
    blocks
}

/// Lays out a text that is complete.
#[cfg(test)]
pub fn rows(text: &str, columns: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    Flow::default().lay_out(text, columns, &mut rows);
    rows
}

fn gap(rows: &mut Vec<Row>) {
    if rows.last().is_some_and(|row| !row.is_empty()) {
        rows.push(Row::new());
    }
}

fn add(text: &str, block: &Block, columns: usize, rows: &mut Vec<Row>) {
    let text = text.get(block.range.clone()).unwrap_or_default();
    let number = block.item.and_then(|item| item.number);
    let new = page::rows(text, columns, number);
    if !new.is_empty() && !block.item.is_some_and(|item| item.goes_on) {
        gap(rows);
    }
    rows.extend(new);
}

/// The blocks of a text; its first one may be an item of a list that goes on.
fn blocks(text: &str, next: Option<Item>) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut depth = 0_usize;
    let mut list: Option<Item> = None;
    for (event, range) in Parser::new_ext(text, OPTIONS).into_offset_iter() {
        match &event {
            Event::Start(Tag::List(number)) if depth == 0 => {
                let first = Item { goes_on: false, number: *number };
                list = Some(next.filter(|_| blocks.is_empty()).unwrap_or(first));
            }
            Event::Start(Tag::Item) if depth == 1 && list.is_some() => {
                blocks.push(Block { range: whole_lines(text, range), item: list });
                let number = list.and_then(|item| item.number);
                list = Some(Item { goes_on: true, number: number.map(|it| it.saturating_add(1)) });
            }
            Event::End(TagEnd::List(_)) if depth == 1 => list = None,
            Event::End(_) => {}
            _ if depth == 0 => blocks.push(Block { range: whole_lines(text, range), item: None }),
            _ => {}
        }
        match event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    blocks
}

/// A range from the beginning of its first line: what stands before a block tells what it is.
fn whole_lines(text: &str, range: Range<usize>) -> Range<usize> {
    let before = text.get(..range.start).unwrap_or_default();
    before.rfind('\n').map_or(0, |at| at + 1)..range.end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::rows::{Kind, width};
    use proptest::prelude::*;

    /// What blocks begin, go on and end with.
    const PARTS: &[&str] = &[
        "word ",
        "two words",
        "\n",
        "\n\n",
        "# ",
        "- ",
        "-",
        "* ",
        "1. ",
        "2) ",
        "3. ",
        "> ",
        "```",
        "```rust\n",
        "~~~\n",
        "    ",
        "  ",
        "| a | b |\n",
        "|---|--:|\n",
        "---\n",
        "===\n",
        "[a]: /u\n",
        "[a]",
        "**b**",
        "`c`",
        "<b>",
        "<!-- ",
        "-->",
        "fn x() { \"",
        "/* ",
        "日本 ",
    ];

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
    fn blocks_of_code_are_found_wherever_they_stand() {
        let text = "a\n```rust\nfn x() {}\n\nfn y() {}\n```\n- b\n  ```\n  ls\n  ```\n\n\
                    ```sh\nopen";
        let found: Vec<(String, String)> =
            code_blocks(text).into_iter().map(|it| (it.label, it.code)).collect();
        let wanted = [("rust", "fn x() {}\n\nfn y() {}"), ("", "ls"), ("sh", "open")];
        for (label, code) in wanted {
            assert!(found.contains(&(label.to_owned(), code.to_owned())), "{code} in {found:?}");
        }
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
        fn the_same_text_gives_the_same_rows_however_it_came(
            parts in prop::collection::vec(prop::sample::select(PARTS.to_vec()), 1..14),
            cuts in prop::collection::vec(1..9_usize, 1..60), columns in 24..60_usize,
        ) {
            let text = parts.concat();
            let (mut flow, mut laid) = (Flow::default(), Vec::new());
            let (mut at, mut cuts) = (0, cuts.iter().cycle());
            while at < text.len() {
                at = text.ceil_char_boundary((at + cuts.next().unwrap()).min(text.len()));
                // As the transcript does it: blanks at the end are not there yet.
                flow.lay_out(text[..at].trim_end(), columns, &mut laid);
            }
            prop_assert_eq!(&laid, &rows(text.trim_end(), columns), "{:?}", text);
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
