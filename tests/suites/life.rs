//! What is started is watched, found again and stopped, whoever is killed.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "what goes wrong here is a failed test"
)]

use std::io::Read;
use std::process::Child;
use std::time::{Duration, Instant};

use rbee_tests::procs::{self, Role};
use rbee_tests::sandbox::{self, PATIENCE};
use rbee_tests::{Sandbox, wait_until};
use rustix::process::Signal;

const QUESTION: &str = "What is a hive?";
/// An answer as long as the demo model's context, always the same.
const LONG: [&str; 9] =
    ["run", "-m", "demo", "--temperature", "0", "--ignore-eos", "--max-tokens", "1900", QUESTION];

fn warm(sandbox: &Sandbox) {
    let _ = sandbox.rbee(&["run", "-m", "demo", QUESTION]).expect_code(0);
}

/// An answer of many tokens that has begun, and what came of it.
fn begun(sandbox: &Sandbox) -> (Child, u8) {
    let mut child = sandbox.command(&LONG).spawn().expect("rbee starts");
    let mut first = [0u8; 1];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut first).expect("a byte");
    (child, first[0])
}

#[track_caller]
fn answers(sandbox: &Sandbox) {
    let asked = sandbox.rbee(&["run", "-m", "demo", "--temperature", "0", QUESTION]).expect_code(0);
    assert!(asked.stdout.contains("machine"), "{}", asked.stdout);
}

#[test]
fn each_part_may_be_killed_and_the_next_run_works() {
    let sandbox = Sandbox::new();
    for role in [Role::Engine, Role::Guard, Role::Agent] {
        warm(&sandbox);
        let pid = sandbox.pid_of(role);
        procs::signal(pid, Signal::KILL);
        wait_until("it is dead", PATIENCE, || (!procs::is_alive(pid)).then_some(()));
        answers(&sandbox);
        wait_until("one of each again", PATIENCE, || {
            (sandbox.processes().len() == 3).then_some(())
        });
    }
    sandbox.down();
}

#[test]
fn a_killed_agent_loses_no_loaded_model() {
    let sandbox = Sandbox::new();
    warm(&sandbox);
    let (agent, guard, engine) =
        (sandbox.pid_of(Role::Agent), sandbox.pid_of(Role::Guard), sandbox.pid_of(Role::Engine));
    procs::signal(agent, Signal::KILL);
    wait_until("the agent is dead", PATIENCE, || (!procs::is_alive(agent)).then_some(()));
    let asked = sandbox.rbee(&["run", "-m", "demo", "--json", QUESTION]).expect_code(0);
    assert_eq!(asked.json_lines()[0]["reused"], true, "adopted, not reloaded");
    assert_eq!(sandbox.pid_of(Role::Guard), guard);
    assert_eq!(sandbox.pid_of(Role::Engine), engine);
    assert_ne!(sandbox.pid_of(Role::Agent), agent);
}

#[test]
fn a_killed_guard_takes_its_engine_along() {
    let sandbox = Sandbox::new();
    warm(&sandbox);
    let (guard, engine) = (sandbox.pid_of(Role::Guard), sandbox.pid_of(Role::Engine));
    procs::signal(guard, Signal::KILL);
    wait_until("the engine is gone", PATIENCE, || (!procs::is_alive(engine)).then_some(()));
    wait_until("the hive has another", PATIENCE, || {
        let listed = sandbox.workers();
        let pid = listed.first().and_then(|worker| worker["pid"].as_i64());
        pid.is_some_and(|pid| pid != i64::from(engine)).then_some(())
    });
}

#[test]
fn a_worker_killed_in_the_middle_of_an_answer_is_named_within_a_second() {
    let sandbox = Sandbox::new();
    warm(&sandbox);
    let (child, first) = begun(&sandbox);
    procs::signal(sandbox.pid_of(Role::Engine), Signal::KILL);
    let killed = Instant::now();
    let finished = sandbox::finish(child).expect_code(22);
    assert!(killed.elapsed() < Duration::from_secs(3), "{:?}", killed.elapsed());
    assert!(!finished.stdout.is_empty(), "what was received is kept");
    assert!(finished.stderr.contains("signal 9"), "the cause is named: {}", finished.stderr);
    let kept = sandbox.home().join(".local/state/rbee/partial");
    assert!(finished.stderr.contains(&kept.display().to_string()), "{}", finished.stderr);
    let files: Vec<_> = std::fs::read_dir(&kept).expect("a directory").flatten().collect();
    assert_eq!(files.len(), 1);
    let partial = std::fs::read_to_string(files[0].path()).expect("text");
    let came = format!("{}{}", char::from(first), finished.stdout);
    assert_eq!(format!("{partial}\n"), came, "the file has what came, no more, no less");
    answers(&sandbox);
}

#[test]
fn down_leaves_no_process_and_no_socket() {
    let sandbox = Sandbox::new();
    warm(&sandbox);
    let said = sandbox.rbee(&["down"]).expect_code(0);
    assert!(sandbox.processes().is_empty(), "{:?}", sandbox.processes());
    assert!(said.stderr.contains("demo") || said.stdout.contains("demo"), "says what it stopped");
    let sockets: Vec<_> = files_under(&sandbox.home().join(".local/state/rbee/run"))
        .into_iter()
        .filter(|path| std::path::Path::new(path).extension().is_some_and(|ext| ext == "sock"))
        .collect();
    assert_eq!(sockets, Vec::<String>::new());
    let _ = sandbox.rbee(&["down"]).expect_code(0);
}

fn files_under(dir: &std::path::Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .flat_map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                files_under(&path)
            } else {
                vec![path.to_string_lossy().into_owned()]
            }
        })
        .collect()
}

#[test]
fn down_ends_a_worker_that_is_busy() {
    let sandbox = Sandbox::with_config("[timings]\ndown_drain_ms = 200\n");
    let (child, _) = begun(&sandbox);
    sandbox.down();
    let finished = sandbox::finish(child);
    assert!(finished.code.is_some_and(|code| code != 0), "{finished:?}");
}

#[test]
fn down_ends_a_worker_that_does_not_react() {
    let sandbox = Sandbox::with_config(
        "[timings]\nstop_ask_ms = 300\nstop_term_ms = 300\ndown_drain_ms = 100\n",
    );
    warm(&sandbox);
    let engine = sandbox.pid_of(Role::Engine);
    procs::signal(engine, Signal::STOP);
    let asked = Instant::now();
    sandbox.down();
    assert!(!procs::is_alive(engine));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[test]
fn an_agent_that_does_not_react_is_told_in_time_and_ended_by_down_with_what_it_started() {
    let sandbox =
        Sandbox::with_config("[timings]\nheartbeat_ms = 200\nstale_ms = 1000\ndead_ms = 3000\n");
    warm(&sandbox);
    let agent = sandbox.pid_of(Role::Agent);
    procs::signal(agent, Signal::STOP);
    let asked = Instant::now();
    let told = sandbox.rbee(&["run", "-m", "demo", QUESTION]).expect_code(10);
    eprintln!("an agent that does not react was told after {:?}", asked.elapsed());
    assert!(asked.elapsed() < PATIENCE, "{:?}", asked.elapsed());
    assert!(told.stderr.contains(&format!("kill -KILL {agent}")), "{}", told.stderr);
    let said = sandbox.rbee(&["down"]).expect_code(0);
    assert!(said.stderr.contains(&format!("process {agent}")), "{}", said.stderr);
    assert_eq!(sandbox.processes(), Vec::new());
}

#[test]
fn a_worker_is_stopped_by_its_id() {
    let sandbox = Sandbox::new();
    warm(&sandbox);
    let id = sandbox.workers()[0]["id"].as_str().expect("an id").to_owned();
    let stopped = sandbox.rbee(&["worker", "stop", "--json", &id]).expect_code(0);
    assert_eq!(stopped.json_lines()[0]["stopped"][0]["killed"], false, "it was asked, and went");
    assert!(sandbox.workers().is_empty());
    let left: Vec<_> = sandbox.processes().into_iter().filter(|p| p.role != Role::Agent).collect();
    assert_eq!(left, Vec::new());
    answers(&sandbox);
}

#[test]
fn an_idle_worker_is_unloaded_and_an_idle_agent_leaves() {
    let sandbox =
        Sandbox::with_config("[agent]\nkeep_alive_s = 1\n[timings]\nidle_exit_ms = 700\n");
    warm(&sandbox);
    wait_until("nothing runs any more", PATIENCE, || sandbox.processes().is_empty().then_some(()));
    assert!(!sandbox.agent_socket().exists());
    answers(&sandbox);
}

#[test]
fn an_orphaned_engine_ends_by_itself() {
    let sandbox = Sandbox::with_config("[timings]\norphan_timeout_ms = 2000\n");
    warm(&sandbox);
    procs::signal(sandbox.pid_of(Role::Agent), Signal::KILL);
    wait_until("guard and engine are gone", PATIENCE, || {
        sandbox.processes().is_empty().then_some(())
    });
    answers(&sandbox);
}

#[test]
fn a_frozen_worker_is_stale_and_recovers() {
    let sandbox = Sandbox::with_config("[timings]\nheartbeat_ms = 100\nstale_ms = 500\n");
    warm(&sandbox);
    let engine = sandbox.pid_of(Role::Engine);
    procs::signal(engine, Signal::STOP);
    let _ = sandbox.wait_for_state("stale");
    procs::signal(engine, Signal::CONT);
    let _ = sandbox.wait_for_state("ready");
    answers(&sandbox);
    assert_eq!(sandbox.pid_of(Role::Engine), engine);
}

#[test]
fn a_worker_that_falls_silent_in_an_answer_ends_it_when_it_goes_on() {
    let sandbox = Sandbox::with_config("[timings]\nheartbeat_ms = 100\nstale_ms = 500\n");
    let whole = sandbox.rbee(&LONG).expect_code(0).stdout;
    let (child, first) = begun(&sandbox);
    let engine = sandbox.pid_of(Role::Engine);
    procs::signal(engine, Signal::STOP);
    let stale = sandbox.wait_for_state("stale");
    assert_eq!(stale["active"], 1, "its answer is not given up");
    procs::signal(engine, Signal::CONT);
    let rest = sandbox::finish(child).expect_code(0).stdout;
    assert_eq!(format!("{}{rest}", char::from(first)), whole, "every token, each once");
    assert_eq!(sandbox.pid_of(Role::Engine), engine);
}

#[test]
fn sigterm_lets_an_answer_end_and_refuses_what_waits_with_a_reason() {
    let sandbox = Sandbox::with_config("[timings]\ndown_drain_ms = 60000\n");
    let whole = sandbox.rbee(&LONG).expect_code(0).stdout;
    let (agent, (child, first)) = (sandbox.pid_of(Role::Agent), begun(&sandbox));
    let waiting = sandbox.command(&["run", "-m", "demo", "--temperature", "0", QUESTION]).spawn();
    wait_until("another one waits", PATIENCE, || {
        (sandbox.workers().first()?["queued"] == 1).then_some(())
    });
    procs::signal(agent, Signal::TERM);
    let told = Instant::now();
    let rest = sandbox::finish(child).expect_code(0).stdout;
    assert_eq!(format!("{}{rest}", char::from(first)), whole, "what has begun is not cut");
    let refused = sandbox::finish(waiting.expect("rbee starts")).expect_code(1).stderr;
    assert!(refused.contains("shutting down") && refused.contains("hint: rbee ps"), "{refused}");
    wait_until("the agent is gone", PATIENCE, || (!procs::is_alive(agent)).then_some(()));
    eprintln!("all of it ended {:?} after the agent was told to", told.elapsed());
    answers(&sandbox);
}

#[test]
fn sigterm_to_the_agent_is_the_same_as_down() {
    let sandbox = Sandbox::new();
    warm(&sandbox);
    procs::signal(sandbox.pid_of(Role::Agent), Signal::TERM);
    wait_until("nothing runs any more", PATIENCE, || sandbox.processes().is_empty().then_some(()));
    assert!(!sandbox.agent_socket().exists());
}

#[test]
fn files_and_sockets_belong_to_their_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    warm(&sandbox);
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    };
    assert_eq!(mode(&sandbox.home().join(".local/state/rbee/run")), 0o700);
    assert_eq!(mode(&sandbox.agent_socket()), 0o600);
    for path in files_under(&sandbox.home().join(".local/state/rbee/run")) {
        assert_eq!(mode(path.as_ref()) & 0o077, 0, "{path}");
    }
}
