//! What happens to a hive: everything that the supervisor is told.

use std::time::Duration;

use wire::device::Device;
use wire::gguf::ModelShape;
use wire::guard::{ExitRecord, GuardSpec};
use wire::memory::{DeviceMemoryBack, Limit, MemoryBack};
use wire::status::EngineStatus;
use wire::{Fault, ModelRef, RequestId, WorkerId};

use super::carryover::Carryover;

/// Time since [`BEGINNING`] before the agent's start. Only differences are used.
pub type Moment = Duration;

/// How long before an agent's start its time begins: what an earlier agent saw has a moment too.
pub const BEGINNING: Duration = Duration::from_secs(24 * 60 * 60);

/// Names one question to the supervisor, so that its answer finds the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Whose a request is: one connection to the agent, counted from its start. Those who wait for a
/// worker take turns by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(pub u64);

/// A worker that somebody wants, with everything that was found out about its model.
#[derive(Debug, Clone)]
pub struct SpawnAsk {
    /// Which model.
    pub model: ModelRef,
    /// What shall compute; absent: the hive's best.
    pub device: Option<Device>,
    /// Tokens of context; absent: the default for this model.
    pub ctx_size: Option<u32>,
    /// Seconds of idleness before it is unloaded; absent: the hive's default.
    pub keep_alive_s: Option<i64>,
    /// Whether a worker that runs or loads will do.
    pub reuse: bool,
    /// The model's file, canonical and absolute.
    pub path: String,
    /// What the file's header says.
    pub shape: ModelShape,
    /// Bytes of host memory that are free now.
    pub available_bytes: u64,
    /// Bytes that a worker of this model took beyond its computed need, as measured before.
    pub overrun_bytes: u64,
    /// Why nothing can be started now, whatever its size; a worker that is there may still do.
    pub obstacle: Option<Fault>,
    /// First candidate for the six hexadecimal digits of the worker's id.
    pub seed: u32,
}

/// A question that gets exactly one answer.
#[derive(Debug, Clone)]
pub enum Ask {
    /// The hive as it is now.
    Look,
    /// A worker, started or found.
    Spawn(Box<SpawnAsk>),
    /// A slot of a worker for a request.
    Slot {
        /// Which worker.
        worker: WorkerId,
        /// Which request.
        request: RequestId,
        /// Whose.
        client: Client,
    },
    /// How many are served before a request that waits.
    Ahead(RequestId),
    /// The end of one request.
    Cancel(RequestId),
    /// The end of one worker.
    Stop {
        /// Which worker.
        worker: WorkerId,
        /// How long its active requests may go on.
        drain: Duration,
    },
    /// The end of one worker's process, and another one in its place.
    Restart {
        /// Which worker.
        worker: WorkerId,
        /// How long its active requests may go on.
        drain: Duration,
    },
    /// The end of all workers and of the agent.
    Down {
        /// How long active requests may go on.
        drain: Duration,
    },
    /// A keeper leaves, and needs nothing here any more.
    Leave,
    /// The end of the agent, but of no worker.
    HandOver {
        /// How long active requests may go on.
        drain: Duration,
    },
}

/// How an engine ended.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "it travels in a box, and most are recorded")]
pub enum End {
    /// Its guard recorded it.
    Recorded(ExitRecord),
    /// Its guard is gone too; what was left of the engine has been killed.
    Unseen {
        /// The last lines that it wrote; untrusted text.
        stderr_tail: String,
    },
    /// Its guard could not be started.
    NotStarted {
        /// Why.
        why: String,
    },
}

/// What came back of the memory of an engine that has ended, where that could be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Back {
    /// Of the host's.
    pub host: Option<MemoryBack>,
    /// Of GPUs'.
    pub devices: Vec<DeviceMemoryBack>,
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// Somebody asks.
    Ask(Token, Ask),
    /// The bearer of a slot, or one who waited for it, is gone.
    Left {
        /// The token that it asked with.
        token: Token,
        /// Whether the engine said by itself that it is done with the request.
        done: bool,
    },
    /// A guard of an earlier agent was found alive, or dead with its record.
    Adopted(Box<GuardSpec>),
    /// What an earlier agent left, after everything that was adopted.
    CarriedOver(Box<Carryover>),
    /// A guard says that its engine runs.
    Running {
        /// Which worker.
        worker: WorkerId,
        /// The engine's process.
        pid: u32,
        /// When it began, in seconds of Unix time, where the system says so.
        started_unix_s: Option<u64>,
    },
    /// An engine said how it is.
    Engine {
        /// Which worker.
        worker: WorkerId,
        /// What it said.
        status: EngineStatus,
    },
    /// An engine has ended.
    Ended {
        /// Which worker.
        worker: WorkerId,
        /// How.
        end: Box<End>,
    },
    /// A guard says what bounds its engine.
    Limited {
        /// Which worker.
        worker: WorkerId,
        /// What is in force.
        limit: Limit,
    },
    /// What came back of the memory of an engine that has ended; its end follows.
    Returned {
        /// Which worker.
        worker: WorkerId,
        /// How much.
        back: Back,
    },
    /// The answer to [`super::Effect::Measure`].
    Free {
        /// Which worker shall be started again.
        worker: WorkerId,
        /// Bytes of host memory that are free now; absent when the system does not say.
        available_bytes: Option<u64>,
        /// Why none can be started now, whatever it needs.
        obstacle: Option<Box<Fault>>,
    },
    /// What the operating system says of an engine's memory.
    Memory {
        /// Which worker.
        worker: WorkerId,
        /// Resident bytes.
        bytes: u64,
    },
    /// A keeper connected.
    Connected,
    /// A keeper's connection ended.
    Disconnected,
    /// Time passed.
    Tick,
}
