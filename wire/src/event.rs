//! The live picture of a hive: NDJSON lines of `GET /v1/events`.

use serde::{Deserialize, Serialize};

use crate::device::{self, DeviceInfo};
use crate::hello::Hello;
use crate::ids::WorkerId;
use crate::text;
use crate::worker::WorkerInfo;

/// Bytes of a path in a sentence.
const MAX_SHOWN_PATH_BYTES: usize = 512;

/// All of a hive at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Grows by one with every change; a gap means that a snapshot is due.
    pub revision: u64,
    /// Who speaks.
    pub hello: Hello,
    /// What computes here.
    #[serde(deserialize_with = "device::read_list")]
    pub devices: Vec<DeviceInfo>,
    /// What runs here, finished workers that are still remembered included.
    pub workers: Vec<WorkerInfo>,
    /// What runs short here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// What can run short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// The host's memory.
    Memory,
    /// The disk that a directory of rbee is on.
    Disk,
    /// A resource of a newer hive.
    #[serde(other)]
    Unknown,
}

/// Something of a hive that is less than shall stay free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What runs short.
    pub resource: Resource,
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Bytes that shall stay free.
    pub reserve_bytes: u64,
    /// The directory on the disk; untrusted text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl Warning {
    /// What a person is told.
    pub fn sentence(&self) -> String {
        let (free, reserve) = (self.free_bytes >> 20, self.reserve_bytes >> 20);
        let what = match (self.resource, &self.path) {
            (Resource::Memory, _) => "memory".to_owned(),
            (Resource::Disk, Some(path)) => {
                format!("disk space at {}", text::one_line(path, MAX_SHOWN_PATH_BYTES))
            }
            (Resource::Disk, None) => "disk space".to_owned(),
            (Resource::Unknown, _) => "something".to_owned(),
        };
        format!("{what} runs short: {free} MiB are free, {reserve} MiB shall stay free")
    }

    /// The command to paste next, on the hive.
    pub fn hint(&self) -> Option<String> {
        match (self.resource, &self.path) {
            (Resource::Memory, _) => Some("rbee ps  # then `rbee worker stop ID`".to_owned()),
            (Resource::Disk, Some(path)) => Some(format!("df -h {}", text::shell_word(path))),
            _ => None,
        }
    }
}

/// One line of the event stream. The first is always a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Everything; replaces what the reader knew.
    Snapshot(Snapshot),
    /// A worker is new or changed.
    Worker {
        /// The hive's revision with this change.
        revision: u64,
        /// The worker as it is now.
        worker: WorkerInfo,
    },
    /// A worker is forgotten.
    WorkerGone {
        /// The hive's revision with this change.
        revision: u64,
        /// Which one.
        id: WorkerId,
    },
    /// Figures that change all the time; no revision of their own.
    Telemetry {
        /// What computes here.
        #[serde(deserialize_with = "device::read_list")]
        devices: Vec<DeviceInfo>,
        /// The workers' memory and countdowns.
        workers: Vec<WorkerInfo>,
    },
    /// What runs short is not what it was; no revision of its own.
    Warnings {
        /// All of it.
        warnings: Vec<Warning>,
    },
    /// Nothing changed, and the hive is alive.
    Heartbeat {
        /// The hive's revision.
        revision: u64,
    },
    /// An event of a newer hive.
    #[serde(other)]
    Unknown,
}
