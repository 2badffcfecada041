//! The worker with the demo model: loading, answering, refusing, cancelling, ending.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use http::header::CONTENT_LENGTH;
use rustix::process::{Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Child;
use wire::generate::{Chunk, FinishReason};
use wire::guard::{EngineCommand, files};
use wire::hello::{Hello, Role};
use wire::sse::Item;
use wire::status::{EnginePhase, EngineStatus};
use wire::worker::Exit;
use wire::{Code, Fault, limits, routes};

use crate::client::{Events, Exchange, post};
use crate::fixture::{
    Guarded, exit_code, is_alive, pid, role, shell, short_dir, stderr_of, wait_for_socket,
};
use crate::runner::tests;

tests! { "serve":
    a_model_that_is_missing_or_hostile_ends_it_with_a_fault
    a_device_that_this_build_lacks_is_refused
    it_loads_then_serves_and_says_so
    a_chat_streams_tokens_and_ends
    a_raw_prompt_streams_text
    the_same_seed_gives_the_same_text
    malformed_requests_are_refused_and_never_echoed
    bodies_over_the_limit_are_refused
    a_deadline_ends_a_request
    a_client_that_leaves_frees_the_slot
    a_client_that_leaves_the_queue_is_forgotten
    it_drains_when_it_is_told_to
    it_cuts_what_runs_when_no_time_is_given
    it_ends_when_its_standard_input_does
    the_number_of_threads_is_its_own
    a_guard_asks_it_and_it_ends_by_itself
    a_killed_guard_leaves_no_worker
}

/// The model that every build carries.
fn demo_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/demo/demo.gguf")
}

/// A long answer: nobody waits for its end.
const LONG_CHAT: &str =
    r#"{"messages":[{"role":"user","content":"Hi"}],"ignore_eos":true,"temperature":0.5}"#;

struct Worker {
    dir: TempDir,
    process: Child,
}

impl Worker {
    fn arguments(dir: &Path, model: &Path) -> Vec<String> {
        let socket = dir.join(files::ENGINE_SOCKET);
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let fixed = ["--ctx-size", "2048", "--slots", "1", "--device", "cpu"];
        let mut arguments = vec!["serve".to_owned(), "--socket".to_owned(), path(&socket)];
        arguments.extend(["--model".to_owned(), path(model)]);
        arguments.extend(fixed.map(str::to_owned));
        arguments.extend(["--heartbeat-ms".to_owned(), "100".to_owned()]);
        arguments
    }

    fn spawn(model: &Path, more: &[&str]) -> Self {
        let dir = short_dir();
        let arguments = Self::arguments(dir.path(), model);
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.extend(more);
        let process =
            role(&arguments).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self { dir, process }
    }

    /// A worker that serves the demo model.
    async fn serving() -> Self {
        let worker = Self::spawn(&demo_model(), &[]);
        wait_for_socket(&worker.socket()).await;
        worker.status("serving", |s| s.phase == EnginePhase::Serving).await;
        worker
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join(files::ENGINE_SOCKET)
    }

    async fn status(&self, name: &str, wanted: impl Fn(&EngineStatus) -> bool) -> EngineStatus {
        let mut lines = Exchange::get(&self.socket(), routes::STATUS).await.lines();
        lines.until(name, wanted).await
    }

    async fn chat(&self, body: &str) -> Exchange {
        Exchange::post(&self.socket(), routes::CHAT, body.to_owned()).await
    }

    /// The fault that ends the process, with its exit code.
    async fn fault(mut self) -> (Fault, i32) {
        let stderr = stderr_of(&mut self.process).await;
        let last = stderr.lines().last().expect("a last line");
        let line: serde_json::Value = serde_json::from_str(last).unwrap();
        let fault = serde_json::from_value(line["fault"].clone()).expect("a fault line");
        (fault, exit_code(&mut self.process).await)
    }
}

/// The chunks of an answer that went well.
async fn chunks(events: Events) -> Vec<Chunk> {
    let mut items = events.all().await;
    assert_eq!(items.pop(), Some(Item::Done));
    let chunk = |item| match item {
        Item::Value(chunk) => chunk,
        other => panic!("no chunk: {other:?}"),
    };
    items.into_iter().map(chunk).collect()
}

async fn first_token(events: &mut Events) {
    assert!(matches!(events.next().await, Some(Item::Value(_))));
}

async fn a_model_that_is_missing_or_hostile_ends_it_with_a_fault() {
    let dir = short_dir();
    let hostile = dir.path().join("m.gguf");
    let mut claims_too_much = b"GGUF\x03\0\0\0".to_vec();
    claims_too_much.extend([0xff; 16]);
    let demo = std::fs::read(demo_model()).unwrap();
    let cases: [(Option<&[u8]>, Code); 5] = [
        (None, Code::ModelNotFound),
        (Some(b""), Code::ModelCorrupt),
        (Some(b"#!/bin/sh\nrm -rf /\n"), Code::ModelCorrupt),
        (Some(&claims_too_much), Code::ModelCorrupt),
        (Some(&demo[..demo.len() / 2]), Code::ModelCorrupt),
    ];
    for (bytes, code) in cases {
        if let Some(bytes) = bytes {
            std::fs::write(&hostile, bytes).unwrap();
        }
        let (fault, exit) = Worker::spawn(&hostile, &[]).fault().await;
        assert_eq!((fault.code, exit), (code, 1), "{}", fault.message);
    }
}

async fn a_device_that_this_build_lacks_is_refused() {
    let dir = short_dir();
    let socket = dir.path().join("s");
    let mut process = role(&["serve", "--socket", socket.to_str().unwrap(), "--model", "/m.gguf"])
        .args(["--ctx-size", "2048", "--slots", "1", "--device", "cuda:0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = stderr_of(&mut process).await;
    assert!(stderr.contains("BACKEND_UNAVAILABLE") && stderr.contains("cuda:0"), "{stderr}");
    assert_eq!(exit_code(&mut process).await, 1);
}

async fn it_loads_then_serves_and_says_so() {
    let worker = Worker::spawn(&demo_model(), &[]);
    wait_for_socket(&worker.socket()).await;
    let mut lines = Exchange::get(&worker.socket(), routes::STATUS).await.lines();
    let first: EngineStatus = lines.until("any line", |_| true).await;
    assert!(matches!(first.phase, EnginePhase::Loading { .. } | EnginePhase::Serving));
    let serving: EngineStatus =
        lines.until("serving", |s: &EngineStatus| s.phase == EnginePhase::Serving).await;
    assert_eq!(Some(serving.pid), worker.process.id());
    assert_eq!((serving.ctx_size, serving.slots, serving.active, serving.queued), (2048, 1, 0, 0));
    assert!(serving.load_ms.is_some());
    let hello: Hello = Exchange::get(&worker.socket(), routes::HELLO).await.json().await;
    assert_eq!((hello.role, hello.pid), (Role::Worker, serving.pid));
    for _ in 0..3 {
        lines.until("a heartbeat", |s: &EngineStatus| s.phase == EnginePhase::Serving).await;
    }
}

async fn a_chat_streams_tokens_and_ends() {
    let worker = Worker::serving().await;
    let id = "6d1f4c8e-0c5e-4c40-9a6d-6d3f5c1b2a10";
    let body = r#"{"messages":[{"role":"user","content":"What is rbee?"}],"max_tokens":8,
        "temperature":0,"ignore_eos":true,"model":"ignored","stream":true}"#;
    let mut request = post(routes::CHAT, body);
    request.headers_mut().insert(routes::REQUEST_HEADER, id.parse().unwrap());
    let answer = Exchange::send(&worker.socket(), request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut chunks = chunks(answer.events()).await;
    let last = chunks.pop().unwrap();
    assert_eq!(chunks.len(), 8);
    for chunk in &chunks {
        assert_eq!((chunk.id.as_str(), chunk.object.as_str()), (id, "chat.completion.chunk"));
        assert_eq!((chunk.choices.len(), chunk.choices[0].token_ids.len()), (1, 1));
        assert!(chunk.choices[0].text.is_empty());
    }
    // The first says how long the prompt was, which is known then; the last says it all.
    let prompts: Vec<Option<u32>> =
        chunks.iter().map(|chunk| chunk.usage.as_ref().map(|usage| usage.prompt_tokens)).collect();
    let text: String = chunks.iter().map(|c| c.choices[0].delta.content.as_str()).collect();
    assert!(!text.is_empty());
    assert_eq!(last.choices[0].finish_reason, Some(FinishReason::Length));
    let usage = last.usage.unwrap();
    assert_eq!(usage.completion_tokens, 8);
    assert_eq!(usage.total_tokens, usage.prompt_tokens + 8);
    assert_eq!(prompts.first(), Some(&Some(usage.prompt_tokens)));
    assert!(prompts.iter().skip(1).all(Option::is_none), "{prompts:?}");
    assert!(last.timings.unwrap().decode_ms > 0.0);
}

async fn a_raw_prompt_streams_text() {
    let worker = Worker::serving().await;
    let body = r#"{"prompt":"rbee is","max_tokens":5,"temperature":0,"ignore_eos":true}"#;
    let answer = Exchange::post(&worker.socket(), routes::COMPLETE, body).await;
    let chunks = chunks(answer.events()).await;
    assert!(chunks.iter().all(|c| c.object == "text_completion"));
    let text: String = chunks.iter().map(|c| c.choices[0].text.as_str()).collect();
    assert!(!text.is_empty());
    assert!(chunks.iter().all(|c| c.choices[0].delta.content.is_empty()));
}

async fn the_same_seed_gives_the_same_text() {
    let worker = Worker::serving().await;
    let body = r#"{"prompt":"rbee","max_tokens":12,"temperature":1.2,"seed":7,"ignore_eos":true}"#;
    let mut texts = Vec::new();
    for _ in 0..2 {
        let answer = Exchange::post(&worker.socket(), routes::COMPLETE, body).await;
        let ids: Vec<u32> = chunks(answer.events())
            .await
            .into_iter()
            .flat_map(|chunk| chunk.choices[0].token_ids.clone())
            .collect();
        texts.push(ids);
    }
    assert_eq!(texts[0].len(), 12);
    assert_eq!(texts[0], texts[1]);
}

async fn malformed_requests_are_refused_and_never_echoed() {
    let worker = Worker::serving().await;
    let cases = [
        "{\"sekret",
        "\"sekret\"",
        r#"{"messages":"sekret"}"#,
        r#"{"messages":[{"role":"sekret","content":"x"}]}"#,
        r#"{"messages":[{"role":"user","content":"x"}],"top_k":"sekret"}"#,
        r#"{"messages":[]}"#,
        r#"{"messages":[{"role":"user","content":"sekret"}],"temperature":9}"#,
    ];
    for body in cases {
        let fault = worker.chat(body).await.fault().await;
        assert_eq!(fault.code, Code::InvalidArgument, "{body}");
        assert!(fault.correlation_id.is_some());
        assert!(!serde_json::to_string(&fault).unwrap().contains("sekret"), "{fault:?}");
    }
    let headers = [
        (routes::REQUEST_HEADER, "sekret"),
        (routes::DEADLINE_HEADER, "-1"),
        (routes::DEADLINE_HEADER, "99999999999"),
    ];
    for (name, value) in headers {
        let mut request = post(routes::CHAT, LONG_CHAT);
        request.headers_mut().insert(name, value.parse().unwrap());
        let fault = Exchange::send(&worker.socket(), request).await.unwrap().fault().await;
        assert_eq!(fault.code, Code::InvalidArgument);
        assert!(fault.message.contains(name) && !fault.message.contains("sekret"));
    }
    let fault = Exchange::get(&worker.socket(), routes::CHAT).await.fault().await;
    assert_eq!(fault.code, Code::NotFound);
}

async fn bodies_over_the_limit_are_refused() {
    let worker = Worker::serving().await;
    for (route, limit) in
        [(routes::CHAT, limits::MAX_GENERATE_BYTES), (routes::STOP, limits::MAX_MESSAGE_BYTES)]
    {
        // The length alone is enough: not one byte of the body is sent.
        let mut stream = UnixStream::connect(worker.socket()).await.unwrap();
        let head =
            format!("POST {route} HTTP/1.1\r\nhost: x\r\n{CONTENT_LENGTH}: {}\r\n\r\n", limit + 1);
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(30), read).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("TOO_LARGE"), "{answer}");
    }
    let prompt = "x".repeat(limits::MAX_PROMPT_BYTES + 1);
    let body = serde_json::json!({ "prompt": prompt }).to_string();
    let fault = Exchange::post(&worker.socket(), routes::COMPLETE, body).await.fault().await;
    assert_eq!((fault.code, &fault.details["over_bytes"]), (Code::TooLarge, &1.into()));
}

async fn a_deadline_ends_a_request() {
    let worker = Worker::serving().await;
    let mut request = post(routes::CHAT, LONG_CHAT);
    request.headers_mut().insert(routes::DEADLINE_HEADER, "0".parse().unwrap());
    let fault = Exchange::send(&worker.socket(), request).await.unwrap().fault().await;
    assert_eq!(fault.code, Code::DeadlineExceeded);
    // Behind a request that holds the only slot, the deadline passes in the queue.
    let mut busy = worker.chat(LONG_CHAT).await.events();
    first_token(&mut busy).await;
    let mut request = post(routes::CHAT, LONG_CHAT);
    request.headers_mut().insert(routes::DEADLINE_HEADER, "30".parse().unwrap());
    let fault = Exchange::send(&worker.socket(), request).await.unwrap().fault().await;
    assert_eq!(fault.code, Code::DeadlineExceeded);
}

async fn a_client_that_leaves_frees_the_slot() {
    let worker = Worker::serving().await;
    let mut events = worker.chat(LONG_CHAT).await.events();
    first_token(&mut events).await;
    worker.status("one active", |s| s.active == 1).await;
    let left = Instant::now();
    drop(events);
    worker.status("none active", |s| s.active == 0).await;
    assert!(left.elapsed() < Duration::from_secs(3), "{:?}", left.elapsed());
}

async fn a_client_that_leaves_the_queue_is_forgotten() {
    let worker = Worker::serving().await;
    let mut busy = worker.chat(LONG_CHAT).await.events();
    first_token(&mut busy).await;
    let socket = worker.socket();
    let waiting =
        tokio::spawn(async move { Exchange::send(&socket, post(routes::CHAT, LONG_CHAT)).await });
    worker.status("one queued", |s| s.queued == 1).await;
    waiting.abort();
    worker.status("none queued", |s| s.active == 1 && s.queued == 0).await;
}

async fn it_drains_when_it_is_told_to() {
    let mut worker = Worker::serving().await;
    let body = r#"{"prompt":"rbee","max_tokens":300,"temperature":0,"ignore_eos":true}"#;
    let mut events = Exchange::post(&worker.socket(), routes::COMPLETE, body).await.events();
    first_token(&mut events).await;
    let socket = worker.socket();
    let stop = tokio::spawn(async move {
        Exchange::post(&socket, routes::STOP, r#"{"drain_ms":60000}"#).await.status()
    });
    worker.status("draining", |s| s.phase == EnginePhase::Draining).await;
    let fault = worker.chat(LONG_CHAT).await.fault().await;
    assert_eq!(fault.code, Code::ShuttingDown);
    assert_eq!(chunks(events).await.len(), 300, "299 tokens and the last chunk");
    assert_eq!(stop.await.unwrap(), 200);
    assert_eq!(exit_code(&mut worker.process).await, 0);
    assert!(!worker.socket().exists());
}

async fn it_cuts_what_runs_when_no_time_is_given() {
    for by_signal in [false, true] {
        let mut worker = Worker::serving().await;
        let mut events = worker.chat(LONG_CHAT).await.events();
        first_token(&mut events).await;
        if by_signal {
            kill_process(pid(worker.process.id().unwrap()), Signal::TERM).unwrap();
        } else {
            assert_eq!(Exchange::post(&worker.socket(), routes::STOP, "").await.status(), 200);
        }
        let last = events.all().await.pop();
        assert!(matches!(&last, Some(Item::Error(f)) if f.code == Code::ShuttingDown), "{last:?}");
        assert_eq!(exit_code(&mut worker.process).await, 0);
    }
}

async fn it_ends_when_its_standard_input_does() {
    let mut worker = Worker::serving().await;
    let mut events = worker.chat(LONG_CHAT).await.events();
    first_token(&mut events).await;
    let closed = Instant::now();
    drop(worker.process.stdin.take());
    assert_eq!(exit_code(&mut worker.process).await, 0);
    assert!(closed.elapsed() < Duration::from_secs(3), "{:?}", closed.elapsed());
}

async fn the_number_of_threads_is_its_own() {
    let worker = Worker::spawn(&demo_model(), &["--threads", "1"]);
    wait_for_socket(&worker.socket()).await;
    let status = worker.status("serving", |s| s.phase == EnginePhase::Serving).await;
    assert_eq!(Some(status.pid), worker.process.id(), "it replaced itself with the same pid");
}

/// A guard whose engine is this program's own worker.
async fn guarded_worker() -> Guarded {
    let dir = short_dir();
    let mut arguments = vec!["worker".to_owned()];
    arguments.extend(Worker::arguments(dir.path(), &demo_model()));
    let mut guard_spec = shell("");
    guard_spec.engine = EngineCommand {
        program: std::env::current_exe().unwrap().to_str().unwrap().to_owned(),
        args: arguments,
        can_be_asked: true,
    };
    guard_spec.timings.stop_ask = Duration::from_secs(20);
    let guarded = Guarded::start_in(dir, &guard_spec).await;
    let socket = guarded.path(files::ENGINE_SOCKET);
    wait_for_socket(&socket).await;
    let mut lines = Exchange::get(&socket, routes::STATUS).await.lines();
    lines.until("serving", |s: &EngineStatus| s.phase == EnginePhase::Serving).await;
    guarded
}

async fn a_guard_asks_it_and_it_ends_by_itself() {
    let mut guarded = guarded_worker().await;
    let engine = guarded.record().await.engine.pid;
    // Whoever only watches does not keep it.
    let mut watched = Exchange::get(&guarded.path(files::ENGINE_SOCKET), routes::STATUS).await;
    watched.bytes().await.expect("a first line");
    let (record, took) = guarded.stop().await;
    // It would be asked for twenty seconds.
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(record.exit, Exit::Code(0));
    assert!(record.told && !record.killed && record.fault.is_none());
    assert!(!is_alive(engine));
    assert_eq!(exit_code(&mut guarded.guard).await, 0);
}

async fn a_killed_guard_leaves_no_worker() {
    let guarded = guarded_worker().await;
    let engine = guarded.record().await.engine.pid;
    guarded.signal_guard(Signal::KILL);
    crate::fixture::wait_until("no worker", || !is_alive(engine)).await;
}
