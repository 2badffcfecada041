//! Between agent and guard: the spec that starts an engine, and the records that outlive both.

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::ids::{BuildId, WorkerId};
use crate::memory::{Limit, MemoryUse, Wanted};
use crate::timings::{self, Timings};
use crate::worker::{Exit, LastEnd, WorkerSpec};

/// Version of every file in a worker's directory. Newer files are refused, older ones read.
pub const RECORD_VERSION: u32 = 1;

/// File names in a worker's directory. Short, because a socket's path has 100 bytes.
pub mod files {
    /// [`super::GuardSpec`], written by the agent before it starts the guard.
    pub const SPEC: &str = "spec.json";
    /// [`super::GuardRecord`], written by the guard once its engine runs.
    pub const RECORD: &str = "record.json";
    /// [`super::ExitRecord`], written by the guard when its engine has ended.
    pub const EXIT: &str = "exit.json";
    /// The guard's socket.
    pub const GUARD_SOCKET: &str = "g.sock";
    /// The engine's socket.
    pub const ENGINE_SOCKET: &str = "e.sock";
    /// What the engine wrote on stderr last, bounded.
    pub const STDERR: &str = "stderr.log";
    /// What it wrote before that; both files together have the bound.
    pub const STDERR_OLDER: &str = "stderr.log.1";
}

/// A program and its arguments. Never a shell line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineCommand {
    /// Absolute path.
    pub program: String,
    /// Arguments without the program.
    pub args: Vec<String>,
    /// Whether it speaks `POST /rbee/v1/stop`; others start the ladder at SIGTERM.
    pub can_be_asked: bool,
}

/// What a guard needs to know. `rbee worker guard --dir DIR` reads it from `DIR/spec.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardSpec {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// Which worker.
    pub id: WorkerId,
    /// Random; the guard repeats it, so that an adopting agent knows its own.
    pub nonce: String,
    /// What the worker was started for.
    pub spec: WorkerSpec,
    /// Context that the model itself was trained for.
    pub model_ctx: u32,
    /// Bytes of memory that it was admitted with; an adopting agent keeps the promise.
    #[serde(default)]
    pub need_bytes: u64,
    /// What its engine shall be bound by, as far as the machine lets its guard do it.
    #[serde(default)]
    pub wanted: Wanted,
    /// How often the worker was started before this time.
    #[serde(default)]
    pub restarts: u32,
    /// How many of those starts followed each other without a good while of serving between.
    #[serde(default)]
    pub attempts: u32,
    /// How its process before this one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_end: Option<LastEnd>,
    /// The model's file, for another start; empty when an older agent wrote this.
    #[serde(default)]
    pub model_path: String,
    /// What to run.
    pub engine: EngineCommand,
    /// How long everything may take.
    #[serde(deserialize_with = "timings::of_any_build")]
    pub timings: Timings,
}

/// A process that cannot be confused with a later one of the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Process id.
    pub pid: u32,
    /// Start time in the operating system's own ticks; compared, never computed with.
    pub start_time: u64,
}

/// What a guard leaves on disk while its engine runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardRecord {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// Which worker.
    pub id: WorkerId,
    /// The spec's nonce.
    pub nonce: String,
    /// What the guard was built from.
    pub build: BuildId,
    /// The guard.
    pub guard: ProcessIdentity,
    /// Its engine; also the id of the engine's process group.
    pub engine: ProcessIdentity,
    /// Which run of the operating system both belong to, where it says so: a process of another
    /// run is gone, whatever has its pid and start time now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// What bounds the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// Directories of the control groups that were made for it, for whoever finds them left over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// What a guard leaves on disk when its engine has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// Which worker.
    pub id: WorkerId,
    /// How the engine ended.
    pub exit: Exit,
    /// Whether the guard was told to end it, by an agent or by its own orphan timeout.
    pub told: bool,
    /// Whether the last step of the ladder was needed.
    pub killed: bool,
    /// The last lines of its stderr; untrusted text.
    pub stderr_tail: String,
    /// Why the engine itself says it ended, when its last line on stderr was a fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// What is known of its memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryUse>,
}

/// One line of a guard's `GET /rbee/v1/guard`: at once, on every change, and as heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum GuardStatus {
    /// The engine runs.
    Running(GuardRecord),
    /// The engine has ended; the guard follows as soon as this line is out.
    Ended(ExitRecord),
    /// A line of a newer guard.
    #[serde(other)]
    Unknown,
}
