//! A worker as its hive sees it, and what a keeper may ask of it.

use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::fault::Code;
use crate::ids::WorkerId;
use crate::limits;
use crate::memory::{DeviceMemoryBack, Limit, MemoryBack};
use crate::model_ref::ModelRef;

/// Where a worker is in its life. Serialized as an object tagged `state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum WorkerState {
    /// Its process was asked for and has not answered yet.
    Starting,
    /// It reads its model.
    Loading {
        /// Bytes of weights read.
        bytes_done: u64,
        /// Bytes of weights in all.
        bytes_total: u64,
    },
    /// It waits for requests.
    Ready,
    /// It computes; [`WorkerInfo::active`] and [`WorkerInfo::queued`] say how much.
    Busy,
    /// It finishes what it has and takes nothing new.
    Draining,
    /// It is on the stop ladder.
    Stopping,
    /// It ended because it was told to.
    Stopped,
    /// It ended by itself.
    Crashed {
        /// How.
        exit: Exit,
        /// The last lines that it wrote; untrusted text.
        #[serde(default)]
        stderr_tail: String,
    },
    /// It is alive but silent; nothing is routed to it.
    Stale,
    /// It ended by itself and is started again; [`Supervision::restart_in_ms`] says when.
    Restarting {
        /// The how manieth start in a row this will be; 0 when somebody asked for it.
        attempt: u32,
    },
    /// It could not start, or was given up.
    Failed {
        /// Why; untrusted text.
        why: String,
        /// The code of the fault that it ended with, when it said one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Code>,
    },
    /// A state of a newer hive.
    #[serde(other)]
    Unknown,
}

impl WorkerState {
    /// The word in `ps`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Loading { .. } => "loading",
            Self::Ready => "ready",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Crashed { .. } => "crashed",
            Self::Stale => "stale",
            Self::Restarting { .. } => "restarting",
            Self::Failed { .. } => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// Whether no process stands behind it any more.
    pub fn is_finished(&self) -> bool {
        matches!(self, Self::Stopped | Self::Crashed { .. } | Self::Failed { .. })
    }

    /// Whether a request may be sent to it now.
    pub fn is_routable(&self) -> bool {
        matches!(self, Self::Ready | Self::Busy)
    }

    /// Whether it will be routable if nothing goes wrong.
    pub fn is_promising(&self) -> bool {
        let comes = matches!(self, Self::Restarting { .. } | Self::Starting | Self::Loading { .. });
        comes || self.is_routable()
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody was left to see it.
    Unseen,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unseen => f.write_str("unseen cause"),
        }
    }
}

/// What a worker was started with; two workers of equal specs are interchangeable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSpec {
    /// Which model.
    pub model: ModelRef,
    /// What computes.
    pub device: Device,
    /// Tokens of context.
    pub ctx_size: u32,
    /// Sequences that it decodes at once.
    pub slots: u32,
    /// Seconds without a request after which it is unloaded; -1 never, 0 at once.
    pub keep_alive_s: i64,
}

impl WorkerSpec {
    /// Half of its context, when a worker can be started with that: what takes less memory.
    pub fn smaller_ctx_size(&self) -> Option<u32> {
        Some(self.ctx_size / 2).filter(|ctx| *ctx >= limits::MIN_CTX_SIZE)
    }
}

/// How a worker's process ended before the one that it has now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastEnd {
    /// The cause in a sentence; untrusted text.
    pub cause: String,
    /// The last lines that it wrote, at most [`crate::limits::MAX_LAST_WORDS_BYTES`] of them;
    /// untrusted text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stderr_tail: String,
}

/// What a hive did to keep a worker running.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervision {
    /// When its process began, in seconds of Unix time; absent without a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_unix_s: Option<u64>,
    /// How often it has been started again.
    #[serde(default)]
    pub restarts: u32,
    /// Milliseconds until it is started again, while it waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_in_ms: Option<u64>,
    /// How its process before this one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_end: Option<LastEnd>,
}

/// A worker as its hive sees it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Its id within the hive.
    pub id: WorkerId,
    /// What it was started with.
    #[serde(flatten)]
    pub spec: WorkerSpec,
    /// Where it is in its life.
    #[serde(flatten)]
    pub state: WorkerState,
    /// The engine's process id while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Context that the model itself was trained for.
    #[serde(default)]
    pub model_ctx: u32,
    /// Requests in a slot.
    #[serde(default)]
    pub active: u32,
    /// Requests that wait for one.
    #[serde(default)]
    pub queued: u32,
    /// Resident bytes of its process, as the operating system says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Thousandths of tokens a second that it decoded lately, for whomever; absent when none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub millitokens_per_s: Option<u32>,
    /// Seconds until it is unloaded, while it idles with a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unload_in_s: Option<u64>,
    /// What bounds its memory, once its guard has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// What its hive did to keep it running.
    #[serde(flatten)]
    pub supervision: Supervision,
}

impl WorkerInfo {
    /// Tokens a second that it decoded lately; none when none.
    pub fn tokens_per_s(&self) -> Option<f64> {
        self.millitokens_per_s.map(|thousandths| f64::from(thousandths) / 1000.0)
    }
}

/// `POST /v1/workers/spawn`: a worker for a model, started or found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnRequest {
    /// Which model.
    pub model: ModelRef,
    /// What shall compute; absent: the hive's best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// Tokens of context; absent: the default of the hive for this model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctx_size: Option<u32>,
    /// Seconds without a request after which it is unloaded; absent: the hive's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_alive_s: Option<i64>,
    /// Whether a worker that runs or loads with a fitting spec will do.
    #[serde(default)]
    pub reuse: bool,
}

/// The reply to a [`SpawnRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnReply {
    /// The worker, in whatever state it is now.
    pub worker: WorkerInfo,
    /// Whether it was there before.
    pub reused: bool,
    /// The hive's revision after the decision: events from here on tell the rest.
    pub revision: u64,
}

/// `POST /v1/workers/{id}/stop`, `…/restart`, `POST /v1/down` and `POST /v1/handover`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRequest {
    /// Milliseconds that active requests get to finish; absent: the hive's `drain`, or
    /// `down_drain` for `down`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_ms: Option<u64>,
}

/// One worker's end, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppedWorker {
    /// Which worker.
    pub id: WorkerId,
    /// How its engine ended.
    pub exit: Exit,
    /// Whether the last step of the ladder was needed.
    pub killed: bool,
    /// Milliseconds from the request to the end.
    pub took_ms: u64,
    /// What of its memory came back, where that could be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryBack>,
    /// What of its memory on GPUs came back, where that could be seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_memory: Vec<DeviceMemoryBack>,
}

/// The reply to a [`StopRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopReply {
    /// What ended.
    pub stopped: Vec<StoppedWorker>,
    /// What did not end; empty when all is well.
    pub left: Vec<WorkerId>,
}

/// The reply to `POST /v1/handover`, the agent's last word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandoverReply {
    /// Workers that go on without an agent.
    pub kept: Vec<WorkerId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_worker_is_read_back_as_it_was() {
        let info = WorkerInfo {
            id: "demo-1".parse().unwrap(),
            spec: WorkerSpec {
                model: ModelRef::Demo,
                device: Device::CPU,
                ctx_size: 512,
                slots: 1,
                keep_alive_s: -1,
            },
            state: WorkerState::Busy,
            pid: Some(7),
            model_ctx: 512,
            active: 1,
            queued: 2,
            memory_bytes: None,
            millitokens_per_s: None,
            unload_in_s: None,
            limit: None,
            supervision: Supervision { restarts: 3, ..Supervision::default() },
        };
        let json = serde_json::to_string(&info).unwrap();
        assert_eq!(serde_json::from_str::<WorkerInfo>(&json).unwrap(), info, "{json}");
    }
}
