//! How the lists of the screen are looked at: filter, order, marks, and what is scrolled to. Pure.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use wire::worker::WorkerInfo;
use wire::{HiveName, WorkerId};

use super::board::Board;
use super::state::Focus;
use crate::link::watch::Standing;

/// Bytes of a filter; a name has fewer.
pub const MAX_FILTER_BYTES: usize = 128;

/// A worker of all hives.
pub type WorkerKey = (HiveName, WorkerId);

/// The lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Panels {
    /// Words that a hive's row has.
    pub hives: Filter,
    /// Words that a worker's row has.
    pub workers: Filter,
    /// Words that an event has.
    pub events: Filter,
    /// The order of the hives.
    pub hive_order: HiveOrder,
    /// The order of the workers.
    pub worker_order: WorkerOrder,
    /// The first row of the hives that is seen.
    pub hives_top: usize,
    /// The first row of the workers that is seen.
    pub workers_top: usize,
    /// The event at the top, while the reader is not at the end.
    pub event: Option<u64>,
    /// Workers that were marked.
    pub marked: BTreeSet<WorkerKey>,
    /// Hives that were marked.
    pub marked_hives: BTreeSet<HiveName>,
}

impl Panels {
    /// The filter of a panel; the conversation has none.
    pub fn filter(&self, focus: Focus) -> Option<&Filter> {
        match focus {
            Focus::Hives => Some(&self.hives),
            Focus::Workers => Some(&self.workers),
            Focus::Events => Some(&self.events),
            Focus::Chat | Focus::Writing => None,
        }
    }

    /// The filter of a panel, to change it.
    pub fn filter_mut(&mut self, focus: Focus) -> Option<&mut Filter> {
        match focus {
            Focus::Hives => Some(&mut self.hives),
            Focus::Workers => Some(&mut self.workers),
            Focus::Events => Some(&mut self.events),
            Focus::Chat | Focus::Writing => None,
        }
    }

    /// Takes the marks of a panel away; whether there were any.
    pub fn unmark(&mut self, focus: Focus) -> bool {
        match focus {
            Focus::Hives => !std::mem::take(&mut self.marked_hives).is_empty(),
            Focus::Workers => !std::mem::take(&mut self.marked).is_empty(),
            Focus::Events | Focus::Chat | Focus::Writing => false,
        }
    }

    /// Forgets marks of workers and hives that are not there any more.
    pub fn keep_marks_of(&mut self, board: &Board) {
        self.marked.retain(|(hive, id)| board.worker(hive, id).is_some());
        self.marked_hives.retain(|hive| board.stand(hive).is_some());
    }
}

/// Words that are typed to see only the rows that have them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    text: String,
    words: Vec<String>,
}

impl Filter {
    /// What was typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its words, in lower case.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Whether everything is seen.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Takes another text; what is too long is cut.
    pub fn set(&mut self, text: &str) {
        let line = wire::text::one_line(text, MAX_FILTER_BYTES);
        line.trim_start().clone_into(&mut self.text);
        self.words = self.text.split_whitespace().map(str::to_lowercase).collect();
    }
}

/// Whether each of `words`, in lower case, is found in one of `texts`.
pub fn has_words(texts: &[&str], words: &[String]) -> bool {
    let has = |text: &str, word: &String| text.to_lowercase().contains(word.as_str());
    words.iter().all(|word| texts.iter().any(|text| has(text, word)))
}

/// The order of the hives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HiveOrder {
    /// By name.
    #[default]
    Name,
    /// Those first that need somebody.
    Standing,
    /// Most free memory of one device first.
    Free,
}

impl HiveOrder {
    /// The order after this one.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Self::Name => Self::Standing,
            Self::Standing => Self::Free,
            Self::Free => Self::Name,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Standing => "state",
            Self::Free => "free memory",
        }
    }
}

/// The order of the workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WorkerOrder {
    /// By hive and id.
    #[default]
    Hive,
    /// By model.
    Model,
    /// By state, in the order of its words.
    State,
    /// Those with the most requests first.
    Busy,
    /// Those first that are unloaded next.
    Unload,
}

impl WorkerOrder {
    /// The order after this one.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Self::Hive => Self::Model,
            Self::Model => Self::State,
            Self::State => Self::Busy,
            Self::Busy => Self::Unload,
            Self::Unload => Self::Hive,
        }
    }

    /// The head of its column.
    pub fn column(self) -> &'static str {
        match self {
            Self::Hive => "HIVE",
            Self::Model => "MODEL",
            Self::State => "STATE",
            Self::Busy => "BUSY",
            Self::Unload => "UNLOAD",
        }
    }

    fn compare(self, one: &WorkerInfo, other: &WorkerInfo) -> Ordering {
        match self {
            // The order in which they come.
            Self::Hive => Ordering::Equal,
            Self::Model => one.spec.model.to_string().cmp(&other.spec.model.to_string()),
            Self::State => one.state.name().cmp(other.state.name()),
            Self::Busy => (other.active, other.queued).cmp(&(one.active, one.queued)),
            Self::Unload => {
                let last = |worker: &WorkerInfo| worker.unload_in_s.unwrap_or(u64::MAX);
                last(one).cmp(&last(other))
            }
        }
    }
}

/// The workers that are seen, in their order.
pub fn workers<'a>(board: &'a Board, panels: &Panels) -> Vec<(&'a HiveName, &'a WorkerInfo)> {
    let words = panels.workers.words();
    let is_seen = |(hive, worker): &(&HiveName, &WorkerInfo)| {
        if words.is_empty() {
            return true;
        }
        let (model, device) = (worker.spec.model.to_string(), worker.spec.device.to_string());
        let (id, state) = (worker.id.as_str(), worker.state.name());
        has_words(&[hive.as_str(), &model, &device, id, state], words)
    };
    let mut workers: Vec<_> = board.workers().filter(is_seen).collect();
    workers.sort_by(|(_, one), (_, other)| panels.worker_order.compare(one, other));
    workers
}

/// The hives that are seen, in their order.
pub fn hives<'a>(board: &'a Board, panels: &Panels) -> Vec<&'a HiveName> {
    let words = panels.hives.words();
    let is_seen = |name: &&HiveName| words.is_empty() || hive_has(board, name, words);
    let mut hives: Vec<_> = board.hives().map(|(name, _)| name).filter(is_seen).collect();
    match panels.hive_order {
        HiveOrder::Name => {}
        HiveOrder::Standing => hives.sort_by_key(|name| urgency(board, name)),
        HiveOrder::Free => hives.sort_by_key(|name| std::cmp::Reverse(most_free(board, name))),
    }
    hives
}

fn hive_has(board: &Board, name: &HiveName, words: &[String]) -> bool {
    let standing = board.stand(name).map(|stand| standing_word(&stand.standing));
    let mut texts = vec![name.as_str(), standing.unwrap_or_default()];
    let devices = board.picture(name).map(|hive| hive.devices.as_slice()).unwrap_or_default();
    texts.extend(devices.iter().filter_map(|device| device.name.as_deref()));
    let kinds: Vec<String> = devices.iter().map(|device| device.device.to_string()).collect();
    texts.extend(kinds.iter().map(String::as_str));
    has_words(&texts, words)
}

/// How a hive stands, as one word.
pub fn standing_word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Online => "online",
        Standing::Connecting => "connecting",
        Standing::Stopped => "stopped",
        Standing::Unreachable { .. } => "unreachable",
        Standing::Refused { .. } => "refused",
    }
}

fn urgency(board: &Board, name: &HiveName) -> u8 {
    match board.stand(name).map(|stand| &stand.standing) {
        Some(Standing::Refused { .. }) => 0,
        Some(Standing::Unreachable { .. }) => 1,
        Some(Standing::Connecting) => 2,
        Some(Standing::Online) => 3,
        Some(Standing::Stopped) | None => 4,
    }
}

fn most_free(board: &Board, name: &HiveName) -> u64 {
    let devices = board.picture(name).map(|hive| hive.devices.as_slice()).unwrap_or_default();
    let free = devices.iter().filter_map(|device| {
        Some(device.memory_total_bytes?.saturating_sub(device.memory_used_bytes?))
    });
    free.max().unwrap_or(0)
}

/// The first row to see of a list of which `height` rows are seen, so that `chosen` is among them
/// and as little moves as can be.
pub fn scrolled(top: usize, chosen: usize, height: usize, rows: usize) -> usize {
    let least = (chosen + 1).saturating_sub(height);
    top.clamp(least.min(chosen), chosen.max(least)).min(rows.saturating_sub(height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_chosen_is_always_seen(
            top in 0..50_usize, rows in 1..50_usize, at in 0..50_usize, height in 1..20_usize,
        ) {
            let chosen = at.min(rows - 1);
            let first = scrolled(top, chosen, height, rows);
            prop_assert!(first <= chosen && chosen < first + height);
            // What was seen and still is does not move.
            if top <= chosen && chosen < top + height && top + height <= rows {
                prop_assert_eq!(first, top);
            }
        }
    }

    #[test]
    fn every_word_of_a_filter_must_be_found_whatever_its_case() {
        let mut filter = Filter::default();
        filter.set("  RTX pc");
        assert!(has_words(&["pc", "NVIDIA rtx 4090"], filter.words()));
        assert!(!has_words(&["nas", "NVIDIA rtx 4090"], filter.words()));
        filter.set(&"x".repeat(500));
        assert!(filter.text().len() <= MAX_FILTER_BYTES + 3);
        filter.set(" ");
        assert!(filter.is_empty());
    }
}
