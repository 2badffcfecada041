//! What the supervisor wants done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::device::Device;
use wire::event::Event;
use wire::worker::{HandoverReply, LastEnd, SpawnReply, StopReply, WorkerInfo, WorkerSpec};
use wire::{Fault, WorkerId};

use super::carryover::Carryover;
use super::input::Token;

/// The answer to an [`super::Ask`].
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// To `Look`.
    Look {
        /// The hive's revision.
        revision: u64,
        /// Every worker, finished ones included.
        workers: Vec<WorkerInfo>,
        /// Bytes of each device's memory that workers were promised and have not taken yet.
        promised: BTreeMap<Device, u64>,
        /// Whether new workers and requests are taken.
        accepting: bool,
    },
    /// To `Spawn` and `Restart`.
    Spawned(Box<SpawnReply>),
    /// To `Slot`: it is yours until you leave.
    Granted,
    /// To `Ahead`: nothing when the request does not wait.
    Ahead(Option<u64>),
    /// To `Cancel`: the request holds no slot.
    Cancelled,
    /// To `Stop` and `Down`.
    Stopped(StopReply),
    /// To `Leave`.
    Left,
    /// To `HandOver`.
    HandedOver(HandoverReply),
    /// No.
    Refused(Box<Fault>),
}

/// A worker that was admitted, with all that its guard has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Which worker.
    pub id: WorkerId,
    /// What for.
    pub spec: WorkerSpec,
    /// Context that the model itself was trained for.
    pub model_ctx: u32,
    /// Host memory that it was admitted with.
    pub need_bytes: u64,
    /// The model's file; empty when an older agent did not say, and then nothing starts it again.
    pub path: String,
    /// How often it was started before this time.
    pub restarts: u32,
    /// How many of those starts followed each other without a good while of serving between.
    pub attempts: u32,
    /// How its process before this one ended.
    pub last_end: Option<LastEnd>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Start a guard with an engine.
    Start(Start),
    /// Say, with [`super::Input::Free`], how much memory is free now that a worker's pause is over.
    Measure(WorkerId),
    /// Tell a guard to walk the stop ladder.
    StopGuard(WorkerId),
    /// Kill a guard that does not answer, and its engine; their identities are checked first.
    Kill(WorkerId),
    /// Take a slot back from its bearer, who shall tell its client why.
    Revoke {
        /// The token that it asked with.
        token: Token,
        /// Why.
        fault: Box<Fault>,
    },
    /// Tell everyone who reads events.
    Publish(Event),
    /// Keep this for the next agent, instead of what was to be kept before.
    CarryOver(Box<Carryover>),
    /// Answer a question.
    Reply(Token, Answer),
    /// End the agent.
    Exit,
}
