//! What happened, as lines with a time of day: the last of them. Pure.

use std::collections::VecDeque;

use wire::HiveName;
use wire::text::one_line;

use super::rows::Kind;
use crate::fleet::Moment;

/// Entries that are kept; an hour of a bad day has fewer.
pub const MAX_ENTRIES: usize = 2000;
/// Bytes of a sentence.
const MAX_SENTENCE_BYTES: usize = 400;
/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// How much something matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// It is as it should be.
    Good,
    /// It happened.
    Plain,
    /// Somebody should look at it.
    Warning,
    /// It failed.
    Error,
}

impl Weight {
    /// The kind of its text.
    pub fn kind(self) -> Kind {
        match self {
            Self::Good | Self::Plain => Kind::Text,
            Self::Warning => Kind::Warning,
            Self::Error => Kind::Error,
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// How much it matters.
    pub weight: Weight,
    /// The local time of day, in seconds.
    pub second_of_day: u64,
    /// Where; none: here.
    pub hive: Option<HiveName>,
    /// What, as one clean line.
    pub sentence: String,
}

impl Entry {
    /// Its time of day as a clock shows it.
    pub fn clock(&self) -> String {
        let second = self.second_of_day;
        format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
    }

    /// Whether all words, in lower case, are found in it.
    fn has(&self, words: &[String]) -> bool {
        let hive = self.hive.as_ref().map(HiveName::as_str).unwrap_or_default();
        super::panels::has_words(&[hive, &self.sentence], words)
    }
}

/// The last entries, and the wall clock by which they have their times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diary {
    entries: VecDeque<Entry>,
    /// How many were dropped before the first.
    dropped: u64,
    /// The local time of day at the moment zero, in seconds.
    zero: u64,
}

impl Diary {
    /// The wall clock shows this local time of day, in seconds.
    pub fn set_clock(&mut self, now: Moment, second_of_day: u64) {
        let passed = now.as_secs() % DAY_S;
        self.zero = (second_of_day % DAY_S + DAY_S - passed) % DAY_S;
    }

    /// The local time of day at a moment, in seconds.
    pub fn second_of_day(&self, moment: Moment) -> u64 {
        (self.zero + moment.as_secs()) % DAY_S
    }

    /// Writes something down; the oldest entry goes when there are too many.
    pub fn write(&mut self, now: Moment, hive: Option<&HiveName>, weight: Weight, what: &str) {
        if self.entries.len() == MAX_ENTRIES {
            self.entries.pop_front();
            self.dropped += 1;
        }
        self.entries.push_back(Entry {
            weight,
            second_of_day: self.second_of_day(now),
            hive: hive.cloned(),
            sentence: one_line(what, MAX_SENTENCE_BYTES),
        });
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entries that have all `words`, oldest first, with numbers that stay theirs.
    pub fn found<'a>(
        &'a self,
        words: &'a [String],
    ) -> impl DoubleEndedIterator<Item = (u64, &'a Entry)> {
        let dropped = self.dropped;
        let numbered = self.entries.iter().enumerate();
        numbered
            .map(move |(index, entry)| (dropped.saturating_add(index as u64), entry))
            .filter(|(_, entry)| entry.has(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_oldest_entries_go_and_the_others_keep_their_numbers() {
        let mut diary = Diary::default();
        for number in 0..MAX_ENTRIES + 5 {
            diary.write(Moment::ZERO, None, Weight::Plain, &format!("event {number}"));
        }
        assert_eq!(diary.len(), MAX_ENTRIES);
        let (number, first) = diary.found(&[]).next().unwrap();
        assert_eq!((number, first.sentence.as_str()), (5, "event 5"));
        let words = ["event".to_owned(), "2004".to_owned()];
        let found: Vec<u64> = diary.found(&words).map(|(number, _)| number).collect();
        assert_eq!(found, [2004]);
    }

    #[test]
    fn times_are_those_of_the_wall_clock_also_over_midnight() {
        let mut diary = Diary::default();
        diary.set_clock(Duration::from_secs(100), 23 * 3600 + 59 * 60 + 58);
        diary.write(Duration::from_secs(103), None, Weight::Good, "past midnight");
        assert_eq!(diary.found(&[]).next().unwrap().1.clock(), "00:00:01");
        diary.set_clock(Duration::from_secs(200), 7);
        assert_eq!(diary.second_of_day(Duration::from_secs(200)), 7);
    }

    #[test]
    fn what_a_hive_says_is_one_clean_line() {
        let mut diary = Diary::default();
        diary.write(Moment::ZERO, None, Weight::Plain, "a\nb\u{1b}[2J");
        let sentence = &diary.found(&[]).next().unwrap().1.sentence;
        assert!(!sentence.contains(char::is_control), "{sentence:?}");
    }
}
