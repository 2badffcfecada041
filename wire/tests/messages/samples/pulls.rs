//! What is said of models that a hive fetches and keeps.

use wire::pull::{
    FetchOrder, HubSource, ModelList, PullEvent, PullRequest, RemoveReply, RemoveRequest,
    StoredFile, StoredModel,
};
use wire::{Code, Fault, ModelRef, Timings};

fn model() -> ModelRef {
    "hf:org/repo:Q8_0".parse().unwrap()
}

fn source() -> HubSource {
    HubSource {
        endpoint: "https://mirror.example/hf".parse().ok(),
        token: "hf_example".parse().ok(),
    }
}

pub fn request() -> PullRequest {
    PullRequest { model: model(), source: source() }
}

pub fn least_request() -> PullRequest {
    PullRequest { model: model(), source: HubSource::default() }
}

pub fn order() -> FetchOrder {
    FetchOrder {
        repo: "org/repo".to_owned(),
        selector: Some("Q8_0".to_owned()),
        source: source(),
        dir: "/home/ada/.local/share/rbee/models".to_owned(),
        reserve_bytes: 10_737_418_240,
        timings: Timings::default(),
    }
}

fn files() -> Vec<StoredFile> {
    let sha256 = "0123456789abcdef".repeat(4).parse().unwrap();
    vec![StoredFile { name: "model-Q8_0.gguf".parse().unwrap(), sha256, bytes: 1_073_741_824 }]
}

fn stored() -> StoredModel {
    StoredModel {
        model: model(),
        provider: "hf".to_owned(),
        revision: "c0ffee".to_owned(),
        files: files(),
        bytes: 1_073_741_824,
        pulled_at_ms: 1_796_136_000_000,
        path: "/home/ada/.local/share/rbee/models/sha256-0123".to_owned(),
        missing_bytes: 0,
    }
}

pub fn list() -> ModelList {
    ModelList { models: vec![stored()], damaged: vec!["/models/catalog/x.corrupt".to_owned()] }
}

pub fn removal() -> RemoveRequest {
    RemoveRequest { model: model() }
}

pub fn removed() -> RemoveReply {
    RemoveReply { model: stored(), freed_bytes: 1_073_741_824 }
}

pub fn events() -> Vec<PullEvent> {
    let revision = || "c0ffee".to_owned();
    vec![
        PullEvent::Found {
            revision: revision(),
            files: 1,
            bytes_total: 1_073_741_824,
            bytes_done: 4096,
        },
        PullEvent::Progress {
            bytes_done: 8192,
            bytes_total: 1_073_741_824,
            bytes_per_s: 12_582_912,
        },
        PullEvent::Retrying {
            attempt: 2,
            attempts: 6,
            pause_ms: 100,
            why: Fault::new(Code::DownloadFailed, "the connection broke"),
        },
        PullEvent::Fetched { revision: revision(), files: files() },
        PullEvent::Done { model: stored() },
        PullEvent::Failed { fault: Fault::new(Code::AccessDenied, "the hub does not let you") },
    ]
}

/// A variant that is added must be named here, and so get a golden file.
pub fn event_name(event: &PullEvent) -> &'static str {
    match event {
        PullEvent::Found { .. } => "pull_found",
        PullEvent::Progress { .. } => "pull_progress",
        PullEvent::Retrying { .. } => "pull_retrying",
        PullEvent::Fetched { .. } => "pull_fetched",
        PullEvent::Done { .. } => "pull_done",
        PullEvent::Failed { .. } => "pull_failed",
        PullEvent::Unknown => panic!("nobody sends what nobody knows"),
    }
}
