//! The live picture of a hive: NDJSON lines of `GET /v1/events`.

use serde::{Deserialize, Serialize};

use crate::device::DeviceInfo;
use crate::hello::Hello;
use crate::ids::WorkerId;
use crate::worker::WorkerInfo;

/// All of a hive at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Grows by one with every change; a gap means that a snapshot is due.
    pub revision: u64,
    /// Who speaks.
    pub hello: Hello,
    /// What computes here.
    pub devices: Vec<DeviceInfo>,
    /// What runs here, finished workers that are still remembered included.
    pub workers: Vec<WorkerInfo>,
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
        devices: Vec<DeviceInfo>,
        /// The workers' memory and countdowns.
        workers: Vec<WorkerInfo>,
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
