//! An agent hands over to the next one: what runs goes on, and no model is loaded twice.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what goes wrong here is a failed test"
)]

use std::io::Read;
use std::os::unix::net::UnixStream;

use rbee_tests::procs::{self, Role};
use rbee_tests::sandbox::PATIENCE;
use rbee_tests::{Sandbox, http, wait_until};

const QUESTION: &str = "What is a hive?";

fn warm(sandbox: &Sandbox) {
    let _ = sandbox.rbee(&["run", "-m", "demo", QUESTION]).expect_code(0);
}

/// A handover with `drain_ms`; its answer.
fn hand_over(sandbox: &Sandbox, drain_ms: u32) -> http::Response {
    let body = format!("{{\"drain_ms\":{drain_ms}}}");
    http::request(&sandbox.agent_socket(), "POST", wire::routes::HANDOVER, body.as_bytes())
        .expect("an answer")
}

fn wait_for_end(agent: i32, sandbox: &Sandbox) {
    wait_until("the agent has ended", PATIENCE, || (!procs::is_alive(agent)).then_some(()));
    assert!(!sandbox.agent_socket().exists(), "its socket is gone with it");
}

#[test]
fn the_next_agent_adopts_the_worker_and_answers_without_a_load() {
    let sandbox = Sandbox::new();
    warm(&sandbox);
    let (agent, guard, engine) =
        (sandbox.pid_of(Role::Agent), sandbox.pid_of(Role::Guard), sandbox.pid_of(Role::Engine));
    let id = sandbox.workers()[0]["id"].clone();
    let reply = hand_over(&sandbox, 1000);
    assert_eq!((reply.status, &reply.json()["kept"][0]), (200, &id));
    wait_for_end(agent, &sandbox);
    let asked = sandbox.rbee(&["run", "-m", "demo", "--json", QUESTION]).expect_code(0);
    assert_eq!(asked.json_lines()[0]["reused"], true, "adopted, not reloaded");
    assert_eq!((sandbox.pid_of(Role::Guard), sandbox.pid_of(Role::Engine)), (guard, engine));
    assert_ne!(sandbox.pid_of(Role::Agent), agent);
    sandbox.down();
}

/// An answer of many tokens that has begun.
fn begun(sandbox: &Sandbox, tokens: u32) -> UnixStream {
    let id = sandbox.workers()[0]["id"].as_str().expect("an id").to_owned();
    let chat = wire::routes::with_id(wire::routes::WORKER_CHAT, id);
    let body = format!(
        "{{\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}],\
         \"ignore_eos\":true,\"max_tokens\":{tokens}}}"
    );
    let mut stream =
        http::open(&sandbox.agent_socket(), "POST", &chat, body.as_bytes()).expect("a stream");
    let mut first = [0; 1];
    stream.read_exact(&mut first).expect("a byte");
    stream
}

fn rest(mut stream: UnixStream) -> String {
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("text");
    rest
}

#[test]
fn an_answer_that_has_begun_is_finished_and_none_begins() {
    let sandbox = Sandbox::new();
    warm(&sandbox);
    let agent = sandbox.pid_of(Role::Agent);
    let stream = begun(&sandbox, 1500);
    let socket = sandbox.agent_socket();
    let chat = wire::routes::with_id(
        wire::routes::WORKER_CHAT,
        sandbox.workers()[0]["id"].as_str().expect("an id"),
    );
    std::thread::scope(|scope| {
        let handover = scope.spawn(|| hand_over(&sandbox, 60_000));
        let body = br#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":1}"#;
        wait_until("new requests are refused", PATIENCE, || {
            // Queued behind the first one until the handover has begun; then refused with it.
            let refused = http::request(&socket, "POST", &chat, body).ok()?;
            (refused.error_code() == "SHUTTING_DOWN").then_some(())
        });
        assert!(procs::is_alive(agent), "it waits for the answer");
        assert!(rest(stream).ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "it was complete");
        assert_eq!(handover.join().expect("a thread").status, 200);
    });
    wait_for_end(agent, &sandbox);
    sandbox.down();
}

#[test]
fn an_answer_that_outlasts_the_drain_is_cut_with_a_reason_and_its_worker_stays() {
    let sandbox = Sandbox::new();
    warm(&sandbox);
    let (agent, engine) = (sandbox.pid_of(Role::Agent), sandbox.pid_of(Role::Engine));
    let stream = begun(&sandbox, 1900);
    assert_eq!(hand_over(&sandbox, 1).status, 200);
    assert!(rest(stream).contains("SHUTTING_DOWN"), "the last word is the reason");
    wait_for_end(agent, &sandbox);
    warm(&sandbox);
    assert_eq!(sandbox.pid_of(Role::Engine), engine);
    sandbox.down();
}
