//! What is started is watched, found again and stopped, whoever is killed.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "what goes wrong here is a failed test"
)]

use std::time::{Duration, Instant};

use rbee_tests::procs::{self, Role};
use rbee_tests::sandbox::{self, PATIENCE};
use rbee_tests::{Sandbox, wait_until};
use rustix::process::Signal;

const QUESTION: &str = "What is a hive?";

fn warm(sandbox: &Sandbox) {
    let _ = sandbox.rbee(&["run", "-m", "demo", QUESTION]).expect_code(0);
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
    let args = ["run", "-m", "demo", "--ignore-eos", "--max-tokens", "1900", QUESTION];
    let mut child = sandbox.command(&args).spawn().expect("rbee starts");
    let mut first = [0u8; 1];
    std::io::Read::read_exact(child.stdout.as_mut().expect("a pipe"), &mut first).expect("a byte");
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
    let first = String::from_utf8_lossy(&first);
    let came = format!("{first}{}", finished.stdout);
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
    let args = ["run", "-m", "demo", "--ignore-eos", "--max-tokens", "1900", QUESTION];
    let mut child = sandbox.command(&args).spawn().expect("rbee starts");
    let mut first = [0u8; 1];
    std::io::Read::read_exact(child.stdout.as_mut().expect("a pipe"), &mut first).expect("a byte");
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
    let _ = sandbox.rbee(&["worker", "stop", &id]).expect_code(0);
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
