//! A text over the whole screen: a log as it is written, what an operation says. Pure.

use crossterm::event::KeyCode;
use ratatui::layout::Rect;

use super::Overlay;
use crate::tui::event::Effect;
use crate::tui::keys::Key;
use crate::tui::records::{Line, Record, RecordId};
use crate::tui::rows::{Row, Span, wrap};
use crate::tui::state::State;

/// Bytes of what is searched.
const MAX_SEARCH_BYTES: usize = 256;
/// Columns that a key shifts lines that are not wrapped.
const SHIFT: usize = 8;

/// A record that is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Viewer {
    /// Which one.
    pub record: RecordId,
    /// The line at the top, and its row; none: the end is followed.
    pub top: Option<(usize, usize)>,
    /// Whether long lines are cut instead of wrapped.
    pub cuts: bool,
    /// Columns that are left out on the left side of lines that are cut.
    pub left: usize,
    /// What was searched last.
    pub search: String,
    /// What is being typed to be searched.
    pub typing: Option<String>,
    /// The line that was found last.
    pub found: Option<usize>,
}

/// Where its lines stand on a screen of that size.
pub fn place(size: (u16, u16)) -> Rect {
    // A frame and a column of air around it, a line of keys below.
    Rect::new(2, 1, size.0.saturating_sub(4), size.1.saturating_sub(3))
}

impl Viewer {
    /// Looks at the end of a record.
    pub fn of(record: RecordId) -> Self {
        Self { record, ..Self::default() }
    }

    /// Takes a key. Who leaves a log that is followed ends that.
    pub fn press(mut self, state: &mut State, key: Key) -> Vec<Effect> {
        if self.typing.is_some() {
            self.type_search(state, key);
            state.overlay = Some(Overlay::Viewer(self));
            return Vec::new();
        }
        let place = place(state.size);
        let (width, height) = (usize::from(place.width), usize::from(place.height));
        let Some(record) = state.records.get(self.record) else { return Vec::new() };
        let (code, control, _) = key.parts();
        match code {
            KeyCode::Esc | KeyCode::Char('q') => return vec![Effect::Abandon(self.record)],
            KeyCode::Char('c') if control => return vec![Effect::Abandon(self.record)],
            KeyCode::Char(way @ ('[' | ']')) => {
                let beside = state.records.beside(self.record, way == '[');
                self = beside.map_or(self, Self::of);
            }
            KeyCode::Char('/') => self.typing = Some(String::new()),
            KeyCode::Char('n') => self.next(record, true),
            KeyCode::Char('N') => self.next(record, false),
            KeyCode::Char('w') => {
                self.cuts = !self.cuts;
                self.top = self.top.map(|(line, _)| (line, 0));
            }
            KeyCode::Char('f' | 'G') | KeyCode::End => self.top = None,
            KeyCode::Char('g') | KeyCode::Home => self.top = Some((record.numbers().0, 0)),
            KeyCode::Left => self.left = self.left.saturating_sub(SHIFT),
            KeyCode::Right if self.cuts => self.left = self.left.saturating_add(SHIFT),
            KeyCode::Up | KeyCode::Char('k') => self.scroll(record, -1, width, height),
            KeyCode::Down | KeyCode::Char('j') => self.scroll(record, 1, width, height),
            KeyCode::PageUp => self.scroll(record, -page(height), width, height),
            KeyCode::Char('b') if control => self.scroll(record, -page(height), width, height),
            KeyCode::PageDown | KeyCode::Char(' ') => {
                self.scroll(record, page(height), width, height);
            }
            KeyCode::Char('c') => {
                let command = record.command.clone();
                state.tell(command);
            }
            _ => {}
        }
        state.overlay = Some(Overlay::Viewer(self));
        Vec::new()
    }

    fn type_search(&mut self, state: &State, key: Key) {
        let Some(mut typed) = self.typing.take() else { return };
        match key.parts().0 {
            KeyCode::Esc => return,
            KeyCode::Enter => {
                if !typed.is_empty() {
                    self.search = typed;
                }
                self.found = None;
                if let Some(record) = state.records.get(self.record) {
                    self.next(record, false);
                }
                return;
            }
            KeyCode::Backspace => drop(typed.pop()),
            _ => typed.extend(key.types().filter(|_| typed.len() < MAX_SEARCH_BYTES)),
        }
        self.typing = Some(typed);
    }

    /// Goes to the next line that has the words, downwards or upwards; round the end.
    fn next(&mut self, record: &Record, down: bool) {
        let words = self.search.to_lowercase();
        let (first, end) = record.numbers();
        if words.is_empty() || first == end {
            return;
        }
        let has = |number: &usize| {
            record.line(*number).is_some_and(|line| line.text.to_lowercase().contains(&words))
        };
        let at = self.found.unwrap_or(end).clamp(first, end);
        self.found = if down {
            (at.saturating_add(1)..end).chain(first..at.saturating_add(1).min(end)).find(has)
        } else {
            (first..at).rev().chain((at..end).rev()).find(has)
        };
        if let Some(found) = self.found {
            self.top = Some((found, 0));
        }
    }

    /// Goes some rows up (negative) or down; at the end it is followed again.
    fn scroll(&mut self, record: &Record, rows: isize, width: usize, height: usize) {
        let (first, end) = record.numbers();
        let shown = self.rows(record, width, height);
        let mut at = shown.first().map_or((first, 0), |(at, _)| *at);
        for _ in 0..rows.unsigned_abs() {
            let count = |number| record.line(number).map_or(1, |l| self.wrapped(l, width).len());
            at = match at {
                (line, row) if rows < 0 && row > 0 => (line, row - 1),
                (line, _) if rows < 0 && line > first => (line - 1, count(line - 1) - 1),
                (line, row) if rows > 0 && row + 1 < count(line) => (line, row + 1),
                (line, _) if rows > 0 && line + 1 < end => (line + 1, 0),
                at => at,
            };
        }
        self.top = Some(at);
        if rows > 0 && self.rows(record, width, height).len() < height {
            self.top = None;
        }
    }

    fn wrapped(&self, line: &Line, width: usize) -> Vec<Row> {
        let span = Span::new(&line.text, line.kind);
        if !self.cuts {
            return wrap(&[span], width, "  ");
        }
        let text: String = span.text.chars().skip(self.left).collect();
        vec![vec![Span { text, ..span }]]
    }

    /// The rows that are seen, each with its line and its number in that.
    pub fn rows(&self, record: &Record, width: usize, height: usize) -> Vec<((usize, usize), Row)> {
        let (first, end) = record.numbers();
        let of_line = |number: usize| {
            let rows = record.line(number).map_or_else(Vec::new, |l| self.wrapped(l, width));
            rows.into_iter().enumerate().map(move |(row, content)| ((number, row), content))
        };
        if let Some(top) = self.top {
            let top = top.max((first, 0));
            let from = (top.0..end).flat_map(of_line).skip_while(|(at, _)| *at < top);
            return from.take(height).collect();
        }
        let mut shown = Vec::new();
        for number in (first..end).rev() {
            shown.extend(of_line(number).collect::<Vec<_>>().into_iter().rev());
            if shown.len() >= height {
                break;
            }
        }
        shown.truncate(height);
        shown.reverse();
        shown
    }
}

fn page(height: usize) -> isize {
    isize::try_from(height.saturating_sub(1).max(1)).unwrap_or(1)
}
