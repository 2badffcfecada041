//! What bounds a worker's memory and processors, what it took, and what came back.

use serde::{Deserialize, Serialize};

use crate::device::Device;

/// Bytes of a worker's memory that may be missing after its end without a word: on a machine that
/// does other things, free memory moves by as much.
pub const MISSING_SLACK_BYTES: u64 = 256 * 1024 * 1024;
/// The part of a worker's memory that may be missing after its end without a word.
const MISSING_SLACK_DIVISOR: u64 = 4;

/// What keeps a worker within its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitBy {
    /// A control group of its own (cgroups(7), version 2): the kernel ends it beyond the limit.
    Cgroup2,
    /// A control group of its own (version 1): the kernel ends it beyond the limit.
    Cgroup1,
    /// `RLIMIT_DATA` (setrlimit(2)): an allocation fails beyond the limit, and it ends itself.
    Rlimit,
    /// Nothing.
    None,
    /// A mechanism of a newer guard.
    #[serde(other)]
    Unknown,
}

impl LimitBy {
    /// The word in `worker list --json` and in a sentence.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cgroup2 => "cgroup2",
            Self::Cgroup1 => "cgroup1",
            Self::Rlimit => "rlimit",
            Self::None => "none",
            Self::Unknown => "unknown",
        }
    }
}

/// The limits that are in force for a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Bytes of memory: of everything in its control group, or of its data segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What enforces them.
    pub by: LimitBy,
    /// Hundredths of one processor, when something enforces them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u32>,
}

/// What an agent wants enforced for an engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wanted {
    /// Bytes of memory for a control group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Bytes of data that the engine was told to limit itself to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_bytes: Option<u64>,
    /// Hundredths of one processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u32>,
}

/// What an engine that has ended did with memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryUse {
    /// Bytes of its own at the most, files that it mapped left out; the limit, when that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    /// Whether it ended because it got no more.
    #[serde(default)]
    pub out_of_memory: bool,
}

/// A hive's free memory around the end of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryBack {
    /// Bytes of its own that it had before.
    pub expected_bytes: u64,
    /// Bytes by which the hive's free memory grew.
    pub freed_bytes: u64,
}

impl MemoryBack {
    /// Bytes that did not come back, when they are worth a word: more than
    /// [`MISSING_SLACK_BYTES`] and more than a quarter of what was expected.
    pub fn missing_bytes(self) -> Option<u64> {
        let missing = self.expected_bytes.saturating_sub(self.freed_bytes);
        let slack = MISSING_SLACK_BYTES.max(self.expected_bytes / MISSING_SLACK_DIVISOR);
        (missing > slack).then_some(missing)
    }
}

/// The free memory of one GPU around the end of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMemoryBack {
    /// Which one.
    pub device: Device,
    /// How much of it.
    #[serde(flatten)]
    pub back: MemoryBack,
}

/// What `rbee worker limits` found out about where it runs: one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Containment {
    /// What a worker that is started from there would be bound by.
    pub by: LimitBy,
    /// Why nothing better binds it; empty for a control group.
    pub why: Vec<String>,
    /// The command that lets this user make control groups there, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn a_little_that_is_missing_is_not_worth_a_word() {
        let back = |expected, freed| {
            MemoryBack { expected_bytes: expected * MIB, freed_bytes: freed * MIB }.missing_bytes()
        };
        assert_eq!(back(100, 0), None);
        assert_eq!(back(1000, 700), Some(300 * MIB));
        assert_eq!(back(4000, 3100), None, "less than a quarter");
        assert_eq!(back(4000, 2000), Some(2000 * MIB));
        assert_eq!(back(1000, 5000), None);
    }

    #[test]
    fn a_mechanism_of_a_newer_guard_is_kept_as_unknown() {
        let limit: Limit = serde_json::from_str(r#"{"bytes":5,"by":"moon"}"#).unwrap();
        assert_eq!((limit.bytes, limit.by), (Some(5), LimitBy::Unknown));
        assert_eq!(serde_json::to_string(&LimitBy::Cgroup2).unwrap(), "\"cgroup2\"");
    }
}
