//! One value of every message and of every variant, by the name of its golden file.

mod bounds;
mod devices;
mod pulls;
mod tools;

use std::fmt::Debug;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::doctor::{Check, Verdict};
use wire::event::{Event, Snapshot};
use wire::fault::ErrorEnvelope;
use wire::generate::{
    ChatRequest, ChatRole, Choice, ChoiceLogprobs, ChosenLogprob, Chunk, CompletionRequest, Delta,
    FinishReason, GenerationTimings, Message, TokenLogprob, Usage,
};
use wire::guard::{
    EngineCommand, ExitRecord, GuardRecord, GuardSpec, GuardStatus, ProcessIdentity, RECORD_VERSION,
};
use wire::hello::{Hello, ProtocolRange, Role};
use wire::memory::{MemoryBack, MemoryUse};
use wire::sampling::{Logprobs, SamplingFields};
use wire::status::{EnginePhase, EngineStatus};
use wire::worker::{
    Exit, HandoverReply, LastEnd, SpawnReply, SpawnRequest, StopReply, StopRequest, StoppedWorker,
    Supervision, WorkerInfo, WorkerSpec, WorkerState,
};
use wire::{Code, Device, Fault, ModelRef, Timings};

/// A message, what it is written as, and how its text is read back.
pub struct Sample {
    /// The golden file's name without `.json`.
    pub name: &'static str,
    /// What this build writes, pretty, with a final newline.
    pub written: String,
    /// Whether its reader skips fields that it does not know. Configuration refuses them.
    pub is_tolerant: bool,
    /// Reads a text and says what is wrong with it.
    pub read: Read,
}

type Read = Box<dyn Fn(&str) -> Result<(), String>>;

/// Pretty JSON with a final newline.
pub fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap();
    text.push('\n');
    text
}

fn sample<T>(name: &'static str, value: T) -> Sample
where
    T: Serialize + DeserializeOwned + PartialEq + Debug + 'static,
{
    let written = pretty(&value);
    let read = move |text: &str| match serde_json::from_str::<T>(text) {
        Ok(read) if read == value => Ok(()),
        Ok(read) => Err(format!("reads as {read:?}")),
        Err(error) => Err(error.to_string()),
    };
    Sample { name, written, is_tolerant: true, read: Box::new(read) }
}

fn strict<T>(name: &'static str, value: T) -> Sample
where
    T: Serialize + DeserializeOwned + PartialEq + Debug + 'static,
{
    Sample { is_tolerant: false, ..sample(name, value) }
}

/// All of them.
pub fn all() -> Vec<Sample> {
    let mut samples = vec![
        sample("hello", hello()),
        sample("error_envelope", ErrorEnvelope { error: fault() }),
        sample("check", checks()),
        sample("spawn_request", spawn_request()),
        sample("spawn_request_least", least_spawn_request()),
        sample("spawn_reply", spawn_reply()),
        sample("stop_request", StopRequest { drain_ms: Some(30_000) }),
        sample("stop_request_least", StopRequest { drain_ms: None }),
        sample("stop_reply", stop_reply()),
        sample("handover_reply", HandoverReply { kept: vec![id()] }),
        sample("guard_spec", guard_spec()),
        sample("guard_record", guard_record()),
        sample("guard_record_least", least_guard_record()),
        sample("containment", bounds::containment()),
        sample("exit_record", exit_record()),
        sample("journal_entry", crate::journal::ended()),
        sample("journal_entry_least", crate::journal::begun()),
        sample("chat_request", chat_request()),
        sample("chat_request_tools", tools::request()),
        sample("completion_request", completion_request()),
        sample("chunk_first", first_chunk()),
        sample("chunk_tools", tools::chunk()),
        sample("chunk_completion", completion_chunk()),
        sample("chunk_logprobs", logprobs_chunk()),
        sample("chunk_last", last_chunk()),
        sample("pull_request", pulls::request()),
        sample("pull_request_least", pulls::least_request()),
        sample("fetch_order", pulls::order()),
        sample("model_list", pulls::list()),
        sample("remove_request", pulls::removal()),
        sample("remove_reply", pulls::removed()),
        strict("agent_settings", bounds::agent_settings()),
        strict("timings", Timings::default()),
    ];
    let pulls = pulls::events().into_iter();
    samples.extend(pulls.map(|event| sample(pulls::event_name(&event), event)));
    samples.extend(events().into_iter().map(|event| sample(event_name(&event), event)));
    samples.extend(states().into_iter().map(|state| sample(state_name(&state), worker(state))));
    samples.extend(phases().into_iter().map(|phase| sample(phase_name(&phase), status(phase))));
    samples.extend(guard_statuses().into_iter().map(|s| sample(guard_status_name(&s), s)));
    samples
}

pub fn events() -> Vec<Event> {
    let devices = devices::all;
    let workers = || vec![worker(WorkerState::Busy)];
    vec![
        Event::Snapshot(Snapshot {
            revision: 41,
            hello: hello(),
            devices: devices(),
            workers: workers(),
            warnings: bounds::warnings(),
        }),
        Event::Worker { revision: 42, worker: worker(WorkerState::Ready) },
        Event::WorkerGone { revision: 43, id: id() },
        Event::Telemetry { devices: devices(), workers: workers() },
        Event::Warnings { warnings: bounds::warnings() },
        Event::Heartbeat { revision: 43 },
    ]
}

/// A variant that is added must be named here, and so get a golden file.
pub fn event_name(event: &Event) -> &'static str {
    match event {
        Event::Snapshot(_) => "event_snapshot",
        Event::Worker { .. } => "event_worker",
        Event::WorkerGone { .. } => "event_worker_gone",
        Event::Telemetry { .. } => "event_telemetry",
        Event::Warnings { .. } => "event_warnings",
        Event::Heartbeat { .. } => "event_heartbeat",
        Event::Unknown => panic!("nobody sends what nobody knows"),
    }
}

pub fn states() -> Vec<WorkerState> {
    vec![
        WorkerState::Starting,
        WorkerState::Loading { bytes_done: 1 << 20, bytes_total: 5 << 30 },
        WorkerState::Ready,
        WorkerState::Busy,
        WorkerState::Draining,
        WorkerState::Stopping,
        WorkerState::Stopped,
        WorkerState::Crashed { exit: Exit::Signal(9), stderr_tail: "one\ntwo\n".into() },
        WorkerState::Stale,
        WorkerState::Restarting { attempt: 2 },
        WorkerState::Failed {
            why: "the model's file breaks its format".into(),
            code: Some(Code::ModelCorrupt),
        },
    ]
}

pub fn state_name(state: &WorkerState) -> &'static str {
    match state {
        WorkerState::Starting => "worker_starting",
        WorkerState::Loading { .. } => "worker_loading",
        WorkerState::Ready => "worker_ready",
        WorkerState::Busy => "worker_busy",
        WorkerState::Draining => "worker_draining",
        WorkerState::Stopping => "worker_stopping",
        WorkerState::Stopped => "worker_stopped",
        WorkerState::Crashed { .. } => "worker_crashed",
        WorkerState::Stale => "worker_stale",
        WorkerState::Restarting { .. } => "worker_restarting",
        WorkerState::Failed { .. } => "worker_failed",
        WorkerState::Unknown => panic!("nobody sends what nobody knows"),
    }
}

pub fn phases() -> Vec<EnginePhase> {
    vec![
        EnginePhase::Loading { bytes_done: 1 << 20, bytes_total: 5 << 30 },
        EnginePhase::Serving,
        EnginePhase::Draining,
    ]
}

pub fn phase_name(phase: &EnginePhase) -> &'static str {
    match phase {
        EnginePhase::Loading { .. } => "engine_status_loading",
        EnginePhase::Serving => "engine_status_serving",
        EnginePhase::Draining => "engine_status_draining",
        EnginePhase::Unknown => panic!("nobody sends what nobody knows"),
    }
}

pub fn guard_statuses() -> Vec<GuardStatus> {
    vec![GuardStatus::Running(guard_record()), GuardStatus::Ended(exit_record())]
}

pub fn guard_status_name(status: &GuardStatus) -> &'static str {
    match status {
        GuardStatus::Running(_) => "guard_status_running",
        GuardStatus::Ended(_) => "guard_status_ended",
        GuardStatus::Unknown => panic!("nobody sends what nobody knows"),
    }
}

fn id() -> wire::WorkerId {
    "llama-3-2-1b-00c0ff".parse().unwrap()
}

fn build() -> wire::BuildId {
    "0123456789abcdef".parse().unwrap()
}

fn hello() -> Hello {
    Hello {
        role: Role::Agent,
        protocol: ProtocolRange { min: 1, max: 1 },
        build: build(),
        version: "0.1.0".into(),
        pid: 4242,
        features: vec!["cpu".into()],
    }
}

fn fault() -> Fault {
    let request = "5f0c8a52-8d4c-4a7e-9f39-3d6f2f1f6b0a".parse().unwrap();
    Fault::new(Code::InsufficientRam, "the model needs 6 GiB, 4 GiB are free")
        .detail("required_bytes", 6u64 << 30)
        .detail("available_bytes", 4u64 << 30)
        .hint("rbee run --ctx-size 8192")
        .cause("the context takes 2 GiB")
        .of_request(request)
}

fn checks() -> Vec<Check> {
    vec![
        Check {
            name: "runtime directory".into(),
            verdict: Verdict::Ok,
            seen: "mode 0700, owned by this user".into(),
            hint: None,
        },
        Check {
            name: "free memory".into(),
            verdict: Verdict::Warning,
            seen: "1 GiB of 64 GiB".into(),
            hint: Some("rbee ps".into()),
        },
        Check {
            name: "agent".into(),
            verdict: Verdict::Failed,
            seen: "no answer".into(),
            hint: None,
        },
    ]
}

fn spec() -> WorkerSpec {
    WorkerSpec {
        model: "hf:bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M".parse().unwrap(),
        device: "cuda:1".parse().unwrap(),
        ctx_size: 32_768,
        slots: 4,
        keep_alive_s: 1800,
    }
}

fn supervision() -> Supervision {
    Supervision {
        started_unix_s: Some(1_790_000_000),
        restarts: 2,
        restart_in_ms: Some(1750),
        last_end: Some(LastEnd { cause: "signal 9".into(), stderr_tail: "one\ntwo\n".into() }),
    }
}

pub fn worker(state: WorkerState) -> WorkerInfo {
    WorkerInfo {
        id: id(),
        spec: spec(),
        state,
        pid: Some(4243),
        model_ctx: 131_072,
        active: 1,
        queued: 2,
        memory_bytes: Some(1 << 30),
        millitokens_per_s: Some(12_345),
        unload_in_s: Some(1799),
        limit: Some(bounds::limit()),
        supervision: supervision(),
    }
}

fn spawn_request() -> SpawnRequest {
    SpawnRequest {
        model: ModelRef::File("/models/a b.gguf".into()),
        device: Some(Device::CPU),
        ctx_size: Some(8192),
        keep_alive_s: Some(-1),
        reuse: true,
    }
}

fn least_spawn_request() -> SpawnRequest {
    SpawnRequest {
        model: ModelRef::Demo,
        device: None,
        ctx_size: None,
        keep_alive_s: None,
        reuse: false,
    }
}

fn spawn_reply() -> SpawnReply {
    SpawnReply { worker: worker(WorkerState::Starting), reused: false, revision: 42 }
}

fn stop_reply() -> StopReply {
    let stopped = |exit, killed| StoppedWorker {
        id: id(),
        exit,
        killed,
        took_ms: 17,
        memory: killed.then_some(MemoryBack { expected_bytes: 3 << 30, freed_bytes: 1 << 30 }),
        device_memory: if killed { devices::memory_back() } else { Vec::new() },
    };
    StopReply {
        stopped: vec![
            stopped(Exit::Code(0), false),
            stopped(Exit::Signal(9), true),
            stopped(Exit::Unseen, false),
        ],
        left: vec!["stuck-1".parse().unwrap()],
    }
}

fn guard_spec() -> GuardSpec {
    GuardSpec {
        version: RECORD_VERSION,
        id: id(),
        nonce: "6b1f".into(),
        spec: spec(),
        model_ctx: 131_072,
        need_bytes: 3_221_225_472,
        wanted: bounds::wanted(),
        restarts: 2,
        attempts: 1,
        last_end: Some(LastEnd { cause: "signal 9".into(), stderr_tail: "one\ntwo\n".into() }),
        model_path: "/models/a.gguf".into(),
        engine: EngineCommand {
            program: "/opt/rbee".into(),
            args: vec!["worker".into(), "serve".into()],
            can_be_asked: true,
        },
        timings: Timings { heartbeat: Duration::from_millis(30), ..Timings::default() },
    }
}

fn guard_record() -> GuardRecord {
    GuardRecord {
        version: RECORD_VERSION,
        id: id(),
        nonce: "6b1f".into(),
        build: build(),
        guard: ProcessIdentity { pid: 4242, start_time: 987_654 },
        engine: ProcessIdentity { pid: 4243, start_time: 987_655 },
        boot: Some("0f2a9b1c-6d1e-4b0e-9f57-2f5f6f6c8a11".into()),
        limit: Some(bounds::limit()),
        groups: vec!["/sys/fs/cgroup/rbee-a".into()],
    }
}

fn least_guard_record() -> GuardRecord {
    GuardRecord { boot: None, limit: None, groups: Vec::new(), ..guard_record() }
}

fn exit_record() -> ExitRecord {
    ExitRecord {
        version: RECORD_VERSION,
        id: id(),
        exit: Exit::Code(1),
        told: true,
        killed: false,
        stderr_tail: "one\ntwo\n".into(),
        fault: Some(Fault::new(Code::OutOfMemory, "no memory for the context")),
        memory: Some(MemoryUse { peak_bytes: Some(5 << 30), out_of_memory: true }),
    }
}

fn status(phase: EnginePhase) -> EngineStatus {
    let load_ms = (phase == EnginePhase::Serving).then_some(812);
    EngineStatus { phase, pid: 4243, ctx_size: 8192, slots: 4, active: 1, queued: 2, load_ms }
}

fn sampling() -> SamplingFields {
    SamplingFields {
        temperature: Some(0.7),
        top_k: Some(40),
        typical_p: Some(0.9),
        top_p: Some(0.95),
        min_p: Some(0.05),
        repeat_penalty: Some(1.1),
        presence_penalty: Some(-0.5),
        frequency_penalty: Some(0.5),
        repeat_last_n: Some(-1),
        logit_bias: [(7, 1.5), (15_043, -100.0)].into(),
        seed: Some(7),
        max_tokens: Some(256),
        min_tokens: Some(8),
        stop: vec!["</s>".into(), "\n\n".into()],
        ignore_eos: true,
        logprobs: Some(Logprobs::Wanted(true)),
        top_logprobs: Some(2),
    }
}

fn chat_request() -> ChatRequest {
    let messages = vec![
        Message::new(ChatRole::System, "Be brief."),
        Message::new(ChatRole::User, "What is rbee?"),
        Message::new(ChatRole::Assistant, "A hive.\n\"Yes\" 🐝"),
        Message::new(ChatRole::User, "More."),
    ];
    ChatRequest { messages, tools: None, sampling: sampling() }
}

fn completion_request() -> CompletionRequest {
    CompletionRequest { prompt: "Once upon a time".into(), sampling: SamplingFields::default() }
}

pub(super) fn chunk(object: &str, choice: Choice) -> Chunk {
    let id = "5f0c8a52-8d4c-4a7e-9f39-3d6f2f1f6b0a".to_owned();
    Chunk { id, object: object.into(), choices: vec![choice], usage: None, timings: None }
}

fn first_chunk() -> Chunk {
    let delta = Delta { content: "A".into(), reasoning_content: "hm".into(), ..Delta::default() };
    let choice = Choice { delta, token_ids: vec![319], ..Choice::default() };
    chunk("chat.completion.chunk", choice)
}

fn completion_chunk() -> Chunk {
    let choice = Choice { text: " there".into(), token_ids: vec![1, 2], ..Choice::default() };
    chunk("text_completion", choice)
}

fn logprobs_chunk() -> Chunk {
    let one = |id, token: &str, logprob| {
        let bytes = token.as_bytes().to_vec();
        TokenLogprob { id, token: token.to_owned(), logprob, bytes }
    };
    let chosen = one(319, " A", -0.25);
    let top_logprobs = vec![chosen.clone(), one(7, "é", -1.5)];
    let logprobs = ChoiceLogprobs { content: vec![ChosenLogprob { chosen, top_logprobs }] };
    let delta = Delta { content: " A".into(), ..Delta::default() };
    let logprobs = Some(logprobs);
    chunk(
        "chat.completion.chunk",
        Choice { delta, token_ids: vec![319], logprobs, ..Choice::default() },
    )
}

fn last_chunk() -> Chunk {
    let choice = Choice { finish_reason: Some(FinishReason::Length), ..Choice::default() };
    let (prompt_tokens, completion_tokens) = (12, 34);
    Chunk {
        usage: Some(Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            cached_tokens: 4,
        }),
        timings: Some(GenerationTimings {
            load_ms: 812.5,
            queue_ms: 0.25,
            prefill_ms: 31.0,
            decode_ms: 400.75,
        }),
        ..chunk("chat.completion.chunk", choice)
    }
}
