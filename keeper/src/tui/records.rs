//! What operations and logs say: bounded rings of lines, the last few of them kept. Pure.

use std::collections::VecDeque;

use wire::Fault;
use wire::limits::MAX_FAULT_MESSAGE_BYTES;
use wire::text::one_line;

use super::rows::Kind;

/// Which record.
pub type RecordId = u64;

/// Lines that a record keeps; the oldest ones go first. A screen shows some dozens.
const MAX_LINES: usize = 10_000;
/// Bytes that the lines of a record have together.
const MAX_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of one line.
const MAX_LINE_BYTES: usize = 4 * 1024;
/// Records that are kept: what was done before, and what is done to many hives at once.
const MAX_RECORDS: usize = 32;

/// One line, clean.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Line {
    /// Its text.
    pub text: String,
    /// What kind of text it is.
    pub kind: Kind,
    /// The next one takes its place: how far something is.
    pub passes: bool,
}

impl Line {
    /// A line of that kind, cleaned.
    pub fn new(text: &str, kind: Kind) -> Self {
        Self { text: one_line(text, MAX_LINE_BYTES).replace('\t', "    "), kind, passes: false }
    }

    /// A line of which only the latest counts.
    pub fn passing(text: &str) -> Self {
        Self { passes: true, ..Self::new(text, Kind::Muted) }
    }
}

/// What a fault says, a line each.
pub fn lines_of(fault: &Fault) -> Vec<Line> {
    let clean = |text: &str| one_line(text, MAX_FAULT_MESSAGE_BYTES);
    let mut lines = vec![Line::new(&format!("error: {}", clean(&fault.message)), Kind::Error)];
    lines.extend(fault.causes.iter().map(|cause| Line::new(&format!("  {cause}"), Kind::Muted)));
    lines.extend(fault.hints.iter().map(|hint| Line::new(&format!("hint: {hint}"), Kind::Hint)));
    lines
}

/// What one operation said.
#[derive(Debug, Default)]
pub struct Record {
    /// Over it.
    pub title: String,
    /// The command that does the same.
    pub command: String,
    /// Whether more may come.
    pub goes_on: bool,
    lines: VecDeque<Line>,
    bytes: usize,
    /// Lines that are not kept any more.
    dropped: usize,
}

impl Record {
    /// Adds a line; the oldest ones give way.
    pub fn push(&mut self, line: Line) {
        if self.lines.back().is_some_and(|last| last.passes)
            && let Some(last) = self.lines.pop_back()
        {
            self.bytes -= last.text.len();
        }
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.lines.len() > MAX_LINES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.text.len();
            self.dropped += 1;
        }
    }

    /// The number of the oldest line that is kept, and the number after the last one.
    pub fn numbers(&self) -> (usize, usize) {
        (self.dropped, self.dropped + self.lines.len())
    }

    /// A line by its number.
    pub fn line(&self, number: usize) -> Option<&Line> {
        self.lines.get(number.checked_sub(self.dropped)?)
    }
}

/// The last records.
#[derive(Debug, Default)]
pub struct Records {
    all: VecDeque<(RecordId, Record)>,
    last: RecordId,
}

impl Records {
    /// Begins one.
    pub fn begin(&mut self, title: String, command: String) -> RecordId {
        self.last = self.last.saturating_add(1);
        if self.all.len() >= MAX_RECORDS {
            self.all.pop_front();
        }
        let record = Record { title, command, goes_on: true, ..Record::default() };
        self.all.push_back((self.last, record));
        self.last
    }

    /// Makes sure of one whose beginning is not known here; what began later is not it.
    pub fn know(&mut self, id: RecordId, title: &str, command: &str) {
        if id > self.last {
            self.last = id - 1;
            let clean = |text| one_line(text, MAX_LINE_BYTES);
            self.begin(clean(title), clean(command));
        }
    }

    /// One of them, while it is kept.
    pub fn get(&self, id: RecordId) -> Option<&Record> {
        self.all.iter().find(|(one, _)| *one == id).map(|(_, record)| record)
    }

    /// One of them, while it is kept.
    pub fn get_mut(&mut self, id: RecordId) -> Option<&mut Record> {
        self.all.iter_mut().find(|(one, _)| *one == id).map(|(_, record)| record)
    }

    /// The one that began before another, or after it.
    pub fn beside(&self, id: RecordId, older: bool) -> Option<RecordId> {
        let at = self.all.iter().position(|(one, _)| *one == id)?;
        let beside = if older { at.checked_sub(1)? } else { at + 1 };
        self.all.get(beside).map(|(id, _)| *id)
    }

    /// The one that began last.
    pub fn latest(&self) -> Option<RecordId> {
        self.all.back().map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_bounded_in_lines_and_bytes_and_numbers_stay() {
        let mut record = Record::default();
        for number in 0..MAX_LINES + 7 {
            record.push(Line::new(&format!("line {number}"), Kind::Text));
        }
        assert_eq!(record.numbers(), (7, MAX_LINES + 7));
        assert_eq!(record.line(7).unwrap().text, "line 7");
        assert_eq!(record.line(6), None);
        let huge = "x".repeat(1 << 20);
        for _ in 0..MAX_LINES {
            record.push(Line::new(&huge, Kind::Text));
        }
        assert!(record.bytes <= MAX_BYTES, "{}", record.bytes);
        let (first, end) = record.numbers();
        assert!(record.line(end - 1).unwrap().text.len() <= MAX_LINE_BYTES + 3 && first < end);
    }

    #[test]
    fn how_far_something_is_takes_one_line_and_control_characters_none() {
        let mut record = Record::default();
        record.push(Line::passing("1 of 3"));
        record.push(Line::passing("2 of 3"));
        record.push(Line::new("done\u{1b}[2J\r\n", Kind::Text));
        assert_eq!(record.numbers(), (0, 1));
        assert!(!record.line(0).unwrap().text.contains(|c: char| c.is_control()));
    }

    #[test]
    fn only_the_last_records_are_kept() {
        let mut records = Records::default();
        let first = records.begin("a".into(), String::new());
        for _ in 0..MAX_RECORDS {
            records.begin("b".into(), String::new());
        }
        assert!(records.get(first).is_none() && records.get(records.latest().unwrap()).is_some());
    }
}
