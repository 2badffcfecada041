//! Entries of a hive's journal: one that is complete, and one that has just begun.

use wire::generate::{FinishReason, GenerationTimings};
use wire::journal::{EndedBy, Entry};
use wire::{Code, ModelRef, RequestId, WorkerId};

fn id() -> RequestId {
    "5f0c8a52-8d4c-4a7e-9f39-3d6f2f1f6b0a".parse().unwrap()
}

fn worker() -> WorkerId {
    "demo-3f2a1c".parse().unwrap()
}

/// A request of which everything is known.
pub fn ended() -> Entry {
    Entry {
        connection: 7,
        client: Some("ada@laptop".parse().unwrap()),
        model: Some(ModelRef::Demo),
        deadline_ms: Some(30_000),
        queued_ms: Some(1),
        ahead: Some(2),
        slot_ms: Some(812),
        first_token_ms: Some(900),
        ended_ms: Some(2_345),
        prompt_tokens: Some(12),
        completion_tokens: 34,
        timings: Some(GenerationTimings {
            load_ms: 812.5,
            queue_ms: 0.25,
            prefill_ms: 31.0,
            decode_ms: 400.75,
        }),
        finish_reason: Some(FinishReason::Stop),
        code: Some(Code::DeadlineExceeded),
        ended_by: Some(EndedBy::Deadline),
        ..begun()
    }
}

/// A request that has just been received.
pub fn begun() -> Entry {
    Entry::received(id(), worker(), 1_790_000_000_123)
}
