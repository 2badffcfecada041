//! The message that is being written: text, a cursor, and the rows that it takes.

use crossterm::event::KeyCode;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;
use wire::limits::MAX_PROMPT_BYTES;

use super::keys::Key;

/// Text of some lines and where the next character goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Editor {
    text: String,
    /// Byte before which the next character goes; always between two graphemes.
    cursor: usize,
}

impl Editor {
    /// What was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Takes what was written and is empty then.
    pub fn take(&mut self) -> String {
        self.cursor = 0;
        std::mem::take(&mut self.text)
    }

    /// Holds other text, with the cursor at its end.
    pub fn set(&mut self, text: &str) {
        text.clone_into(&mut self.text);
        self.cursor = text.len();
    }

    /// Inserts text at the cursor, as far as a prompt may be long.
    pub fn insert(&mut self, text: &str) {
        let room = MAX_PROMPT_BYTES.saturating_sub(self.text.len());
        let fits = text.floor_char_boundary(room);
        let fitting = text.get(..fits).unwrap_or_default();
        self.text.insert_str(self.cursor, fitting);
        self.cursor += fitting.len();
    }

    /// Does what a key does in a text; whether it does anything there.
    pub fn press(&mut self, key: Key) -> bool {
        if let Some(c) = key.types() {
            self.insert(c.encode_utf8(&mut [0; 4]));
            return true;
        }
        let (code, control, alt) = key.parts();
        match (code, control, alt) {
            (KeyCode::Left, false, false) | (KeyCode::Char('b'), true, false) => self.go_left(),
            (KeyCode::Right, false, false) | (KeyCode::Char('f'), true, false) => self.go_right(),
            (KeyCode::Left, ..) | (KeyCode::Char('b'), false, true) => {
                self.cursor = self.word_start();
            }
            (KeyCode::Right, ..) | (KeyCode::Char('f'), false, true) => {
                self.cursor = self.word_end();
            }
            (KeyCode::Home, ..) | (KeyCode::Char('a'), true, false) => {
                self.cursor = self.line_start();
            }
            (KeyCode::End, ..) | (KeyCode::Char('e'), true, false) => {
                self.cursor = self.line_end();
            }
            (KeyCode::Up, ..) => self.go_to_line(-1),
            (KeyCode::Down, ..) => self.go_to_line(1),
            (KeyCode::Backspace, false, false) | (KeyCode::Char('h'), true, false) => {
                let end = self.cursor;
                self.go_left();
                self.cut(self.cursor, end);
            }
            (KeyCode::Delete, ..) | (KeyCode::Char('d'), true, false) => {
                let start = self.cursor;
                self.go_right();
                self.cut(start, self.cursor);
            }
            (KeyCode::Char('w'), true, false) | (KeyCode::Backspace, ..) => {
                self.cut(self.word_start(), self.cursor);
            }
            (KeyCode::Char('u'), true, false) => self.cut(self.line_start(), self.cursor),
            (KeyCode::Char('k'), true, false) => self.cut(self.cursor, self.line_end()),
            _ => return false,
        }
        true
    }

    fn before(&self) -> &str {
        self.text.get(..self.cursor).unwrap_or_default()
    }

    fn after(&self) -> &str {
        self.text.get(self.cursor..).unwrap_or_default()
    }

    fn go_left(&mut self) {
        self.cursor -= self.before().graphemes(true).next_back().map_or(0, str::len);
    }

    fn go_right(&mut self) {
        self.cursor += self.after().graphemes(true).next().map_or(0, str::len);
    }

    fn line_start(&self) -> usize {
        self.before().rfind('\n').map_or(0, |at| at + 1)
    }

    fn line_end(&self) -> usize {
        self.after().find('\n').map_or(self.text.len(), |at| self.cursor + at)
    }

    fn word_start(&self) -> usize {
        let trimmed = self.before().trim_end();
        let word = trimmed.char_indices().rev().find(|(_, c)| c.is_whitespace());
        word.map_or(0, |(at, c)| at + c.len_utf8())
    }

    fn word_end(&self) -> usize {
        let after = self.after();
        let skipped = after.len() - after.trim_start().len();
        let rest = after.get(skipped..).unwrap_or_default();
        self.cursor + skipped + rest.find(char::is_whitespace).unwrap_or(rest.len())
    }

    /// Goes to the line above (-1) or below (1), as near to the same column as it has one.
    fn go_to_line(&mut self, way: i8) {
        let start = self.line_start();
        let column = self.text.get(start..self.cursor).unwrap_or_default().graphemes(true).count();
        let target = if way < 0 {
            let Some(end) = start.checked_sub(1) else {
                self.cursor = 0;
                return;
            };
            self.text.get(..end).unwrap_or_default().rfind('\n').map_or(0, |at| at + 1)
        } else {
            let end = self.line_end();
            if end == self.text.len() {
                self.cursor = end;
                return;
            }
            end + 1
        };
        let line = self.text.get(target..).unwrap_or_default().lines().next().unwrap_or_default();
        self.cursor = target + line.graphemes(true).take(column).map(str::len).sum::<usize>();
    }

    /// Whether the cursor is in the first line.
    pub fn is_at_the_top(&self) -> bool {
        self.line_start() == 0
    }

    /// Whether the cursor is in the last line.
    pub fn is_at_the_end(&self) -> bool {
        self.line_end() == self.text.len()
    }

    fn cut(&mut self, from: usize, to: usize) {
        self.text.replace_range(from..to, "");
        self.cursor = from;
    }

    /// The rows of the text in `width` columns, and column and row of the cursor among them.
    pub fn rows(&self, width: usize) -> (Vec<String>, (usize, usize)) {
        let width = width.max(1);
        let mut rows = vec![String::new()];
        let (mut at, mut column, mut cursor) = (0, 0, (0, 0));
        for grapheme in self.text.graphemes(true) {
            // A tab is as wide as four blanks here and stays a tab in the message.
            let shown = if grapheme == "\t" { "    " } else { grapheme };
            let cells = shown.width();
            if grapheme != "\n" && column + cells > width {
                rows.push(String::new());
                column = 0;
            }
            if at == self.cursor {
                cursor = (column, rows.len() - 1);
            }
            at += grapheme.len();
            if grapheme == "\n" {
                rows.push(String::new());
                column = 0;
            } else if let Some(row) = rows.last_mut() {
                row.push_str(&wire::text::for_terminal(shown));
                column += cells;
            }
        }
        if at == self.cursor {
            if column >= width {
                rows.push(String::new());
                column = 0;
            }
            cursor = (column, rows.len() - 1);
        }
        (rows, cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn typed(keys: &[&str]) -> Editor {
        let mut editor = Editor::default();
        for key in keys {
            assert!(editor.press(key.parse().unwrap()), "{key}");
        }
        editor
    }

    #[test]
    fn keys_edit_as_in_a_shell() {
        assert_eq!(typed(&["a", "b", "left", "c"]).text(), "acb");
        assert_eq!(typed(&["a", "space", "b", "c", "ctrl-w", "d"]).text(), "a d");
        assert_eq!(typed(&["a", "b", "home", "delete"]).text(), "b");
        assert_eq!(typed(&["a", "b", "ctrl-a", "ctrl-k"]).text(), "");
        let mut editor = Editor::default();
        editor.insert("one\ntwo👩‍👩‍👧");
        assert!(editor.press("backspace".parse().unwrap()), "a family is one character");
        assert_eq!(editor.text(), "one\ntwo");
        editor.press("up".parse().unwrap());
        editor.insert("!");
        assert_eq!(editor.text(), "one!\ntwo");
    }

    #[test]
    fn the_cursor_stands_where_the_next_character_will_be() {
        let mut editor = Editor::default();
        editor.insert("abcd");
        assert_eq!(editor.rows(4), (vec!["abcd".into(), String::new()], (0, 1)));
        editor.insert("日本");
        assert_eq!(editor.rows(5), (vec!["abcd".into(), "日本".into()], (4, 1)));
    }

    proptest! {
        #[test]
        fn any_keys_in_any_text_keep_the_cursor_in_it(
            text in "\\PC{0,20}|[a\\n ]{0,20}", keys in prop::collection::vec(0..12_usize, 0..30),
            width in 1..9_usize,
        ) {
            let words = ["left", "right", "up", "down", "home", "end", "backspace", "delete",
                "ctrl-w", "ctrl-u", "x", "alt-b"];
            let mut editor = Editor::default();
            editor.insert(&text);
            for key in keys {
                editor.press(words[key].parse().unwrap());
                let (rows, (column, row)) = editor.rows(width);
                prop_assert!(row < rows.len() && column <= width.max(2), "{rows:?} {column} {row}");
            }
        }
    }
}
