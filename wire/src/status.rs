//! What OpenAI's API has no word for: NDJSON lines of a worker's `GET /rbee/v1/status`.

use serde::{Deserialize, Serialize};

/// Where an engine is, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum EnginePhase {
    /// It reads its model.
    Loading {
        /// Bytes of weights read.
        bytes_done: u64,
        /// Bytes of weights in all.
        bytes_total: u64,
    },
    /// It takes requests.
    Serving,
    /// It finishes what it has.
    Draining,
    /// A phase of a newer engine.
    #[serde(other)]
    Unknown,
}

/// One line of the status stream: at once, on every change, and as heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineStatus {
    /// Where it is.
    #[serde(flatten)]
    pub phase: EnginePhase,
    /// The engine's process.
    pub pid: u32,
    /// Tokens of context of each slot.
    pub ctx_size: u32,
    /// Sequences that it decodes at once.
    pub slots: u32,
    /// Requests in a slot.
    pub active: u32,
    /// Requests that wait inside the engine.
    pub queued: u32,
    /// Milliseconds that the load took, once it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_ms: Option<u64>,
}
