//! Logs: read, followed across a rotation and over SSH, bounded on disk, harmless on a terminal.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "what goes wrong here is a failed test, and what was measured is shown"
)]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout};
use std::time::{Duration, Instant};

use rbee_tests::procs::{self, Role};
use rbee_tests::sandbox::{self, PATIENCE};
use rbee_tests::{Fleet, Sandbox, http, wait_until};
use rustix::process::Signal;
use wire::{limits, routes};

const QUESTION: &str = "What is a hive?";

fn run(sandbox: &Sandbox) {
    let _ = sandbox.rbee(&["run", "-m", "demo", "-n", "4", QUESTION]).expect_code(0);
}

fn worker(sandbox: &Sandbox) -> String {
    sandbox.workers()[0]["id"].as_str().expect("an id").to_owned()
}

fn log_dir(sandbox: &Sandbox) -> PathBuf {
    sandbox.home().join(".local/state/rbee/log")
}

/// A command that follows a log, and its lines.
fn follow(sandbox: &Sandbox, args: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut child = sandbox.command(args).spawn().expect("rbee starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe"));
    (child, lines)
}

/// Reads lines until one has `words`; all of them.
#[track_caller]
fn until(lines: &mut impl BufRead, words: &str) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let mut line = String::new();
        assert_ne!(lines.read_line(&mut line).expect("text"), 0, "no {words:?} in {seen:#?}");
        seen.push(line);
        if seen.last().is_some_and(|line| line.contains(words)) {
            return seen;
        }
    }
}

#[test]
fn a_workers_log_is_read_while_it_lives_and_after_it_ended() {
    let sandbox = Sandbox::new();
    run(&sandbox);
    let id = worker(&sandbox);
    let told = sandbox.rbee(&["worker", "logs", &id]).expect_code(0).stdout;
    assert!(told.contains("INFO  serving") && told.contains("request finished"), "{told}");
    let raw = sandbox.rbee(&["worker", "logs", &id, "-n", "1", "--json"]).expect_code(0);
    assert_eq!((raw.stdout.lines().count(), raw.json_lines().len()), (1, 1), "{}", raw.stdout);
    let _ = sandbox.rbee(&["worker", "stop", &id]).expect_code(0);
    let after = sandbox.rbee(&["worker", "logs", &id]).expect_code(0).stdout;
    assert!(after.starts_with(&told), "{after}");
    let none = sandbox.rbee(&["worker", "logs", "nobody"]).expect_code(1);
    assert!(none.stderr.contains("no hive has a log of a worker nobody"), "{}", none.stderr);
}

#[test]
fn a_log_is_followed_until_ctrl_c_or_the_end_of_its_worker() {
    let sandbox = Sandbox::new();
    run(&sandbox);
    let id = worker(&sandbox);
    let (child, mut lines) = follow(&sandbox, &["worker", "logs", &id, "-f", "-n", "1"]);
    let _ = until(&mut lines, "request finished");
    run(&sandbox);
    let _ = until(&mut lines, "request received");
    let _ = until(&mut lines, "request finished");
    let (interrupted, mut others) = follow(&sandbox, &["hive", "logs", "local", "-f"]);
    let _ = until(&mut others, "request ended");
    procs::signal(i32::try_from(interrupted.id()).expect("a pid"), Signal::INT);
    let ended = sandbox::finish(interrupted).expect_code(130);
    assert_eq!(ended.stderr, "");
    let _ = sandbox.rbee(&["worker", "stop", &id]).expect_code(0);
    let ended = sandbox::finish(child).expect_code(0);
    assert_eq!(ended.stderr, "", "a worker that ended is the end of its log");
}

#[test]
fn a_reader_that_leaves_a_quiet_log_is_noticed() {
    let sandbox = Sandbox::new();
    run(&sandbox);
    let (child, lines) = follow(&sandbox, &["hive", "logs", "local", "-f", "-n", "0"]);
    wait_until("it follows", PATIENCE, || {
        let busy = http::request(&sandbox.agent_socket(), "GET", routes::LIVE, b"").ok()?;
        (busy.status == 200).then_some(())
    });
    drop(lines);
    let left = Instant::now();
    let _ = sandbox::finish(child).expect_code(141);
    println!("noticed after {:?}", left.elapsed());
}

#[test]
fn a_full_log_is_rotated_and_whoever_follows_misses_nothing() {
    let sandbox = Sandbox::new();
    let (dir, half) = (log_dir(&sandbox), limits::MAX_LOG_BYTES / 2);
    std::fs::create_dir_all(&dir).expect("a directory");
    // Nearly full, with text that would move a terminal's cursor.
    let mut full = String::new();
    while u64::try_from(full.len()).expect("bytes") < half - 3000 {
        writeln!(full, "\u{1b}[31mline {:060}", full.len()).expect("a String takes it");
    }
    std::fs::write(dir.join("agent.jsonl"), &full).expect("a log");
    let _ = sandbox.rbee(&["hive", "start", "local"]).expect_code(0);
    let (mut child, mut lines) = follow(&sandbox, &["hive", "logs", "local", "-f", "-n", "20"]);
    let mut ids = Vec::new();
    for _ in 0..8 {
        let asked = sandbox.rbee(&["run", "-m", "demo", "--json", "-n", "2", QUESTION]);
        let line = asked.expect_code(0).json_lines().remove(0);
        ids.push(line["request"].as_str().expect("an id").to_owned());
    }
    assert!(dir.join("agent.jsonl.1").exists(), "it was rotated meanwhile");
    for id in &ids {
        let seen = until(&mut lines, id);
        assert!(!seen.concat().contains('\u{1b}'), "{seen:?}");
        let _ = until(&mut lines, "request ended");
    }
    let size = |name: &str| std::fs::metadata(dir.join(name)).expect("a file").len();
    let both = size("agent.jsonl") + size("agent.jsonl.1");
    assert!(both <= limits::MAX_LOG_BYTES, "{both}");
    let lines = sandbox.rbee(&["hive", "logs", "local", "-n", "100"]).expect_code(0).stdout;
    assert_eq!(lines.lines().count(), 100, "also those of the file before");
    child.kill().expect("it follows still");
    let _ = child.wait();
}

#[test]
fn readers_that_do_not_read_are_bounded_and_hold_up_nobody() {
    let sandbox = Sandbox::new();
    run(&sandbox);
    // Something to read: more than a socket and HTTP take.
    let log = log_dir(&sandbox).join("agent.jsonl");
    let line = format!("{}\n", "x".repeat(999));
    let mut file = std::fs::OpenOptions::new().append(true).open(log).expect("the log");
    (0..3000).for_each(|_| std::io::Write::write_all(&mut file, line.as_bytes()).expect("it"));
    let agent = sandbox.pid_of(Role::Agent);
    let before = procs::resident_bytes(agent).expect("it lives");
    let path = format!("{}?lines=100000&follow=1", routes::LOGS);
    let open = || http::open(&sandbox.agent_socket(), "GET", &path, b"").expect("a connection");
    let mut unread: Vec<_> = (0..limits::MAX_LOG_STREAMS).map(|_| open()).collect();
    for stream in &mut unread {
        let mut first = [0; 12];
        stream.read_exact(&mut first).expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 200");
    }
    let refused = http::request(&sandbox.agent_socket(), "GET", &path, b"").expect("an answer");
    assert_eq!((refused.status, refused.error_code().as_str()), (429, "RATE_LIMITED"));
    let asked = Instant::now();
    run(&sandbox);
    println!("an answer beside 16 unread logs took {:?}", asked.elapsed());
    let now = procs::resident_bytes(agent).expect("it lives");
    assert!(now < before + 32 * 1024 * 1024, "{before} bytes became {now}");
    drop(unread);
    wait_until("there is room again", PATIENCE, || {
        let path = format!("{}?lines=1", routes::LOGS);
        let answer = http::request(&sandbox.agent_socket(), "GET", &path, b"").ok()?;
        (answer.status == 200).then_some(())
    });
}

#[test]
fn logs_of_a_hive_are_followed_over_ssh() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let _ = fleet.add("a");
    let asked = ["run", "-m", "demo", "--hive", "a", "--json", "-n", "4", "hello"];
    let first = fleet.rbee(&asked).expect_code(0).json_lines().remove(0);
    let worker = first["worker"].as_str().expect("a worker").to_owned();
    let follow = |args: &[&str]| {
        let mut child = fleet.spawn(args);
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        (child, lines)
    };
    let (mut of_hive, mut hive) = follow(&["hive", "logs", "a", "-f", "-n", "0"]);
    let (mut of_worker, mut engine) = follow(&["worker", "logs", &worker, "-f", "-n", "1"]);
    let _ = until(&mut engine, "request finished");
    let second = fleet.rbee(&asked).expect_code(0).json_lines().remove(0);
    let id = second["request"].as_str().expect("an id");
    let _ = until(&mut hive, id);
    let _ = until(&mut engine, id);
    let told = fleet.rbee(&["why", id]).expect_code(0).stdout;
    assert!(told.contains("on a\n") && told.contains("complete"), "{told}");
    for child in [&mut of_hive, &mut of_worker] {
        let _ = child.kill();
        let _ = child.wait();
    }
    let quiet = Duration::from_secs(60);
    wait_until("the hive has let both logs go", quiet, || {
        let told = fleet.rbee(&["hive", "logs", "a", "-n", "1"]);
        (told.code == Some(0)).then_some(())
    });
}
