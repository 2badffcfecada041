//! Many requests at once: what is broken is refused, what waits is served, nothing is lost.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "what goes wrong here is a failed test, and what was measured is shown"
)]

use std::time::{Duration, Instant};

use rbee_tests::procs::Role;
use rbee_tests::sandbox::PATIENCE;
use rbee_tests::{Sandbox, http, wait_until};
use serde_json::Value;
use wire::routes;

const QUESTION: &str = "What is a hive?";

fn warm(config: &str) -> Sandbox {
    let sandbox = Sandbox::with_config(config);
    let _ = sandbox.rbee(&["run", "-m", "demo", QUESTION]).expect_code(0);
    sandbox
}

fn chat_route(sandbox: &Sandbox) -> String {
    let id = sandbox.workers()[0]["id"].as_str().expect("an id").to_owned();
    routes::with_id(routes::WORKER_CHAT, id)
}

fn chat(max_tokens: u32) -> Vec<u8> {
    format!(
        "{{\"messages\":[{{\"role\":\"user\",\"content\":\"{QUESTION}\"}}],\
         \"max_tokens\":{max_tokens},\"ignore_eos\":true,\"temperature\":0}}"
    )
    .into_bytes()
}

#[test]
fn of_a_hundred_requests_at_once_the_broken_half_is_refused_by_code_and_nobody_panics() {
    let sandbox = warm("");
    let (agent, engine) = (sandbox.pid_of(Role::Agent), sandbox.pid_of(Role::Engine));
    let path = chat_route(&sandbox);
    let broken: [&[u8]; 5] = [
        b"",
        b"{",
        b"{\"messages\":[]}",
        b"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"temperature\":7}",
        b"{\"messages\":7}",
    ];
    let answers: Vec<(usize, http::Response)> = std::thread::scope(|scope| {
        let ask = |n: usize| {
            let (sandbox, path) = (&sandbox, &path);
            let body = if n.is_multiple_of(2) { chat(2) } else { broken[n / 2 % 5].to_vec() };
            let answer = http::request(&sandbox.agent_socket(), "POST", path, &body);
            (n, answer.expect("an answer"))
        };
        let threads: Vec<_> = (0..100).map(|n| scope.spawn(move || ask(n))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    for (n, answer) in answers {
        if n.is_multiple_of(2) {
            assert!(answer.status == 200 && answer.body.ends_with(b"[DONE]\n\n"), "{answer:?}");
            continue;
        }
        let code = answer.error_code();
        assert!(["INVALID_ARGUMENT", "RATE_LIMITED"].contains(&code.as_str()), "{answer:?}");
        let id = answer.json()["error"]["correlation_id"].as_str().map(str::len);
        assert_eq!(id, Some(36), "each failure has its id: {answer:?}");
    }
    assert_eq!((sandbox.pid_of(Role::Agent), sandbox.pid_of(Role::Engine)), (agent, engine));
    let log = sandbox.rbee(&["hive", "logs", "local", "-n", "1000"]).expect_code(0).stdout;
    assert!(!log.contains("panicked"), "{log}");
}

/// Chats at once: `RBEE_CHATS=1000` for the full number, on 3 workers instead of 2.
fn chats() -> (usize, usize) {
    let asked = std::env::var_os("RBEE_CHATS").and_then(|count| count.to_str()?.parse().ok());
    asked.map_or((80, 2), |count| (count, 3))
}

/// What became of one chat.
struct Chatted {
    tokens: Vec<Value>,
    refused: u32,
}

/// Asks until the queue has room; every refusal must say when to come back.
fn ask(sandbox: &Sandbox, path: &str) -> Result<Chatted, String> {
    let mut refused = 0;
    loop {
        let answer = http::request(&sandbox.agent_socket(), "POST", path, &chat(12));
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status == 429 {
            let after = answer.json()["error"]["details"]["retry_after_s"].as_u64();
            let after = Duration::from_secs(after.ok_or("no time to come back")?);
            refused += 1;
            let told = Instant::now();
            while told.elapsed() < after {
                std::thread::park_timeout(after.saturating_sub(told.elapsed()));
            }
            continue;
        }
        let of_event = |event: &Value| event["choices"][0]["token_ids"].as_array().cloned();
        let tokens = answer.events().iter().filter_map(of_event).flatten().collect();
        let complete = answer.status == 200 && answer.body.ends_with(b"data: [DONE]\n\n");
        if !complete {
            return Err(format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)));
        }
        return Ok(Chatted { tokens, refused });
    }
}

#[test]
fn of_many_chats_at_once_none_is_lost_and_a_full_queue_says_when_to_come_back() {
    let (chats, workers) = chats();
    let most = (chats / workers / 3).max(1);
    let sandbox = warm(&format!("[agent]\nmax_queue = {most}\n"));
    for _ in 1..workers {
        let spawn = br#"{"model":"demo","reuse":false}"#;
        let socket = sandbox.agent_socket();
        let answer = http::request(&socket, "POST", routes::WORKERS_SPAWN, spawn).expect("it");
        assert_eq!(answer.status, 200, "{}", answer.json());
    }
    let ready = wait_until("all workers are ready", PATIENCE, || {
        let seen = sandbox.workers();
        let ready = seen.iter().filter(|worker| worker["state"] == "ready").count() == workers;
        ready.then_some(seen)
    });
    let paths: Vec<String> = ready
        .iter()
        .map(|worker| routes::with_id(routes::WORKER_CHAT, worker["id"].as_str().expect("an id")))
        .collect();
    let alone = ask(&sandbox, &paths[0]).expect("an answer").tokens;
    let began = Instant::now();
    let outcomes: Vec<Result<Chatted, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..chats)
            .map(|n| {
                let (sandbox, path) = (&sandbox, &paths[n % workers]);
                let thread = std::thread::Builder::new().stack_size(256 * 1024);
                thread.spawn_scoped(scope, move || ask(sandbox, path)).expect("a thread")
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let took = began.elapsed();
    let failed: Vec<&String> =
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    let refused: u32 = outcomes.iter().flatten().map(|chat| chat.refused).sum();
    println!(
        "{chats} chats on {workers} workers in {took:?}: {} failed, {refused} times QUEUE_FULL",
        failed.len()
    );
    assert!(failed.len() * 100 < chats, "{failed:?}");
    assert!(outcomes.iter().flatten().all(|chat| chat.tokens == alone), "in order, none lost");
    assert!(refused > 0, "the bound was passed");
    let left: u64 = sandbox.workers().iter().filter_map(|worker| worker["active"].as_u64()).sum();
    assert_eq!(left, 0);
}
