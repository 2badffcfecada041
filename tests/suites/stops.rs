//! How workers end when they are told to: after their answers, all at once, within their time, and
//! with a word in the log for each.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "what goes wrong here is a failed test"
)]

use std::collections::BTreeSet;
use std::io::Read;
use std::process::Child;
use std::time::{Duration, Instant};

use rbee_tests::procs::{self, Role};
use rbee_tests::sandbox::{self, PATIENCE};
use rbee_tests::{Sandbox, http, wait_until};
use rustix::process::Signal;
use serde_json::Value;
use wire::routes;

const QUESTION: &str = "What is a hive?";
/// Tokens of an answer that lasts for a while.
const TOKENS: u64 = 1900;

/// Starts a worker of its own: none with another context is used for it.
fn start(sandbox: &Sandbox, ctx_size: &str) -> Value {
    let args = ["worker", "start", "-m", "demo", "--json", "--ctx-size", ctx_size];
    sandbox.rbee(&args).expect_code(0).json_lines().remove(0)
}

fn pid_of(worker: &Value) -> i32 {
    worker["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid")
}

fn id_of(worker: &Value) -> &str {
    worker["id"].as_str().expect("an id")
}

/// A long answer that has begun, of the worker with this context.
fn asking(sandbox: &Sandbox, ctx_size: &str) -> Child {
    let count = TOKENS.to_string();
    let ask = ["run", "-m", "demo", "--json", "--ignore-eos", "--max-tokens", &count];
    let args = [&ask[..], &["--ctx-size", ctx_size, QUESTION]].concat();
    let mut child = sandbox.command(&args).spawn().expect("rbee starts");
    let mut first = [0u8; 1];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut first).expect("a byte");
    child
}

/// Asserts that an answer came to its end.
#[track_caller]
fn is_whole(answer: Child) {
    let lines = sandbox::finish(answer).expect_code(0).json_lines();
    let done = lines.last().expect("lines");
    assert_eq!(done["event"], "done", "{done}");
    assert_eq!(done["usage"]["completion_tokens"], TOKENS, "{done}");
}

/// Asks a worker for one token, past the keeper; the answer.
fn ask(sandbox: &Sandbox, id: &str) -> http::Response {
    let chat = routes::with_id(routes::WORKER_CHAT, id);
    let body = br#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":1}"#;
    http::request(&sandbox.agent_socket(), "POST", &chat, body).expect("an answer")
}

/// The lines of the agent's log, without those that are not whole yet.
fn log(sandbox: &Sandbox) -> Vec<Value> {
    let path = sandbox.home().join(".local/state/rbee/log/agent.jsonl");
    let text = std::fs::read_to_string(path).expect("a log");
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn says(line: &Value, message: &str) -> bool {
    line["fields"]["message"] == message
}

/// The lines of a log that say so of a worker.
fn of<'a>(log: &'a [Value], message: &str, id: &str) -> Vec<&'a Value> {
    log.iter().filter(|line| says(line, message) && line["fields"]["worker"] == id).collect()
}

#[test]
fn a_stop_lets_the_answer_that_has_begun_end_and_takes_no_other() {
    let sandbox = Sandbox::new();
    let worker = start(&sandbox, "2048");
    let answer = asking(&sandbox, "2048");
    let began = Instant::now();
    let args = ["worker", "stop", id_of(&worker), "--json"];
    let stop = sandbox.command(&args).spawn().expect("rbee starts");
    wait_until("it drains", PATIENCE, || {
        (sandbox.workers().first()?["state"] == "draining").then_some(())
    });
    assert_eq!(ask(&sandbox, id_of(&worker)).error_code(), "SHUTTING_DOWN");
    is_whole(answer);
    let stopped = sandbox::finish(stop).expect_code(0).json_lines().remove(0);
    eprintln!("a stop in the middle of an answer took {:?}: {stopped}", began.elapsed());
    assert_eq!(stopped["stopped"][0]["killed"], false);
    assert!(sandbox.workers().is_empty() && !procs::is_alive(pid_of(&worker)));
    sandbox.down();
}

#[test]
fn a_restart_lets_the_answer_that_has_begun_end_and_the_next_process_serves_who_waits() {
    let sandbox = Sandbox::new();
    let worker = start(&sandbox, "2048");
    let id = id_of(&worker);
    let answer = asking(&sandbox, "2048");
    let began = Instant::now();
    let restarted = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(&sandbox, id).status);
        wait_until("another request waits", PATIENCE, || {
            (sandbox.workers().first()?["queued"] == 1).then_some(())
        });
        let args = ["worker", "restart", id, "--json"];
        let restart = sandbox.command(&args).spawn().expect("rbee starts");
        wait_until("it drains", PATIENCE, || {
            (sandbox.workers().first()?["state"] == "draining").then_some(())
        });
        is_whole(answer);
        assert_eq!(waiting.join().expect("no panic"), 200, "who waits keeps its place");
        sandbox::finish(restart).expect_code(0)
    });
    eprintln!("a restart in the middle of an answer took {:?}", began.elapsed());
    let restarted: Vec<Value> = serde_json::from_str(&restarted.stdout).expect("an array");
    assert_eq!(restarted[0]["id"], worker["id"]);
    assert_ne!(pid_of(&restarted[0]), pid_of(&worker));
    assert!(!procs::is_alive(pid_of(&worker)));
    sandbox.down();
}

#[test]
fn sigterm_lets_answers_that_have_begun_end_within_their_time() {
    let sandbox = Sandbox::with_config("[timings]\ndown_drain_ms = 30000\n");
    let sizes = ["2048", "2047"];
    let workers = sizes.map(|size| start(&sandbox, size));
    let answers = sizes.map(|size| asking(&sandbox, size));
    procs::signal(sandbox.pid_of(Role::Agent), Signal::TERM);
    let began = Instant::now();
    for answer in answers {
        is_whole(answer);
    }
    let answered = began.elapsed();
    wait_until("nothing runs any more", PATIENCE, || sandbox.processes().is_empty().then_some(()));
    eprintln!("two answers were whole after {answered:?}, all over after {:?}", began.elapsed());
    assert!(!sandbox.agent_socket().exists());
    let log = log(&sandbox);
    assert!(log.iter().any(|line| says(line, "agent ends")), "it ended by itself");
    for worker in &workers {
        let ended = of(&log, "worker ended", id_of(worker));
        assert!(ended[0]["fields"]["end"].to_string().contains("killed: false"), "{ended:?}");
    }
}

#[test]
fn workers_end_all_at_once_and_those_that_hang_are_killed_within_the_time_of_one() {
    let sandbox = Sandbox::new();
    let sizes = ["512", "448", "384", "320", "256"];
    let workers = sizes.map(|size| start(&sandbox, size));
    let (hung, well) = workers.split_at(3);
    for worker in hung {
        procs::signal(pid_of(worker), Signal::STOP);
    }
    let began = Instant::now();
    let down = sandbox.rbee(&["down", "--json"]).expect_code(0);
    let took = began.elapsed();
    assert_eq!(sandbox.processes(), Vec::new());
    let ended: Value = serde_json::from_str(&down.stdout).expect("JSON");
    assert_eq!(ended[0]["left"], Value::Array(Vec::new()));
    let ended = ended[0]["stopped"].as_array().expect("workers");
    let end_of = |worker: &Value| {
        let found = ended.iter().find(|one| one["id"] == worker["id"]).expect("each is told");
        (found["killed"].as_bool(), found["took_ms"].as_u64().expect("a time"))
    };
    let (hung_ends, well_ends): (Vec<_>, Vec<_>) =
        (hung.iter().map(end_of).collect(), well.iter().map(end_of).collect());
    eprintln!("five ended in {took:?}: {hung_ends:?} of those that hung, {well_ends:?} else");
    // Each step of the ladder has five seconds; one after the other the three would take thirty.
    for (killed, ms) in hung_ends {
        assert_eq!(killed, Some(true));
        assert!((10_000..20_000).contains(&ms), "{ms}");
    }
    for (killed, ms) in well_ends {
        assert_eq!(killed, Some(false), "asked first, and that was enough");
        assert!(ms < 5_000, "{ms}");
    }
    assert!(took < Duration::from_secs(20), "{took:?}");
    each_end_is_in_the_log(&log(&sandbox), hung, well);
}

/// Asserts that the log has of each worker that and how it ended, with its process, and how many
/// were left.
fn each_end_is_in_the_log(log: &[Value], hung: &[Value], well: &[Value]) {
    let remaining: BTreeSet<u64> = log
        .iter()
        .filter(|line| says(line, "a worker's end is known"))
        .filter_map(|line| line["fields"]["remaining"].as_u64())
        .collect();
    assert_eq!(remaining, (0..5).collect(), "four, three, two, one, none were left");
    for (workers, how) in
        [(hung, "exit: Signal(9), told: true, killed: true"), (well, "killed: false")]
    {
        for worker in workers {
            let id = id_of(worker);
            let stopping = of(log, "worker changed", id);
            let stopping = stopping.iter().find(|line| line["fields"]["state"] == "stopping");
            assert_eq!(stopping.expect("a line")["fields"]["pid"], worker["pid"]);
            let end = of(log, "worker ended", id)[0];
            assert!(end["fields"]["end"].to_string().contains(how), "{end}");
            assert!(end["timestamp"].is_string(), "{end}");
        }
    }
    assert!(says(log.last().expect("a line"), "agent ends"), "{:?}", log.last());
}

#[test]
fn a_load_that_stands_still_is_ended_and_said_to_have() {
    let sandbox = Sandbox::with_config(
        "[timings]\nload_stall_ms = 1500\nstop_ask_ms = 300\nstop_term_ms = 300\n\
         stale_ms = 120000\nrestart_first_ms = 100\n",
    );
    let args = ["worker", "start", "-m", "demo"];
    let mut child = sandbox.command(&args).spawn().expect("rbee starts");
    let began = Instant::now();
    let mut stopped = BTreeSet::new();
    wait_until("the command ends", PATIENCE, || {
        for engine in sandbox.processes().iter().filter(|process| process.role == Role::Engine) {
            if stopped.insert(engine.pid) {
                procs::signal(engine.pid, Signal::STOP);
            }
        }
        child.try_wait().expect("it can be waited for").map(|_| ())
    });
    let ended = sandbox::finish(child).expect_code(124);
    eprintln!("{} loads stood still, given up after {:?}", stopped.len(), began.elapsed());
    assert!(stopped.iter().all(|pid| !procs::is_alive(*pid)), "{stopped:?}");
    assert!(ended.stderr.contains("no progress"), "{}", ended.stderr);
    assert!(sandbox.workers().is_empty());
    sandbox.down();
}
