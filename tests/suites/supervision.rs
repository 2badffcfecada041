//! What ends by itself comes back, what hangs is replaced, and nothing is left behind.

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
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::Value;

const QUESTION: &str = "What is a hive?";
/// Quick, and slow enough that a busy machine is not taken for a dead worker.
const TIMES: &str = "[timings]\nheartbeat_ms = 100\nstale_ms = 1500\ndead_ms = 4000\n\
                     stop_ask_ms = 300\nstop_term_ms = 300\nrestart_first_ms = 100\n";

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

/// Ends everything, and shows that neither a zombie nor an orphan stays.
fn ends_clean(sandbox: &Sandbox) {
    let pids: Vec<i32> = sandbox.processes().iter().map(|process| process.pid).collect();
    wait_until("no zombie is left", PATIENCE, || procs::zombies_of(&pids).is_empty().then_some(()));
    let began = Instant::now();
    sandbox.down();
    eprintln!("shutdown: {:.2} s", seconds(began));
    assert!(!pids.iter().any(|pid| procs::is_alive(*pid)));
}

/// Every worker, those that ended included.
fn all_workers(sandbox: &Sandbox) -> Vec<Value> {
    let listed = sandbox.rbee(&["worker", "list", "--all", "--json"]).expect_code(0);
    serde_json::from_str(&listed.stdout).expect("a JSON array")
}

/// Waits until the worker `id` is ready with another process than `before`.
fn wait_for_another(sandbox: &Sandbox, id: &str, before: i32) -> Value {
    wait_until("another process serves", PATIENCE, || {
        let found = sandbox.workers().into_iter().find(|worker| worker["id"] == *id)?;
        let other = found["pid"].as_i64()? != i64::from(before);
        (found["state"] == "ready" && other).then_some(found)
    })
}

fn start(sandbox: &Sandbox, more: &[&str]) -> Value {
    let args = [&["worker", "start", "-m", "demo", "--json"], more].concat();
    sandbox.rbee(&args).expect_code(0).json_lines().remove(0)
}

fn pid_of(worker: &Value) -> i32 {
    worker["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid")
}

fn id_of(worker: &Value) -> &str {
    worker["id"].as_str().expect("an id")
}

/// A long answer that has begun.
fn asking(sandbox: &Sandbox) -> Child {
    let args = ["run", "-m", "demo", "--ignore-eos", "--max-tokens", "1900", QUESTION];
    let mut child = sandbox.command(&args).spawn().expect("rbee starts");
    let mut first = [0u8; 1];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut first).expect("a byte");
    child
}

#[test]
fn a_worker_killed_in_an_answer_is_told_at_once_and_comes_back_by_itself() {
    let sandbox = Sandbox::with_config(TIMES);
    let worker = start(&sandbox, &[]);
    let engine = pid_of(&worker);
    let child = asking(&sandbox);
    procs::signal(engine, Signal::KILL);
    let killed = Instant::now();
    let finished = sandbox::finish(child).expect_code(22);
    let told = killed.elapsed();
    let back = wait_for_another(&sandbox, id_of(&worker), engine);
    eprintln!("told after {:.2} s, ready again after {:.2} s", told.as_secs_f64(), seconds(killed));
    assert!(told < Duration::from_secs(3), "{told:?}");
    assert!(!finished.stdout.is_empty(), "what came is kept");
    assert_eq!((&back["restarts"], &back["last_end"]["cause"]), (&1.into(), &"signal 9".into()));
    assert!(back["started_unix_s"].as_u64() >= worker["started_unix_s"].as_u64());
    assert_eq!(sandbox.processes().len(), 3, "{:?}", sandbox.processes());
    ends_clean(&sandbox);
}

/// Kills every engine that appears until `child` has ended; how many there were.
fn kill_engines_until_it_ends(sandbox: &Sandbox, child: &mut Child) -> usize {
    let mut killed = BTreeSet::new();
    wait_until("the command ends", PATIENCE, || {
        for engine in sandbox.processes().iter().filter(|process| process.role == Role::Engine) {
            if killed.insert(engine.pid) {
                procs::signal(engine.pid, Signal::KILL);
            }
        }
        child.try_wait().expect("it can be waited for").map(|_| ())
    });
    killed.len()
}

#[test]
fn what_dies_before_it_is_ready_is_given_up_after_its_attempts_and_the_breaker_is_closed_by_hand() {
    let sandbox = Sandbox::with_config(TIMES);
    let launch = || {
        let args = ["worker", "start", "-m", "demo"];
        sandbox.command(&args).spawn().expect("rbee starts")
    };
    let began = Instant::now();
    let mut child = launch();
    let first = kill_engines_until_it_ends(&sandbox, &mut child);
    let finished = sandbox::finish(child).expect_code(22);
    eprintln!(
        "{first} processes were killed and the worker given up after {:.2} s",
        seconds(began)
    );
    assert_eq!(first, 4, "one start and three attempts: {}", finished.stderr);
    let crashed = all_workers(&sandbox);
    assert_eq!(crashed[0]["state"], "crashed", "{crashed:?}");
    let left: Vec<_> = sandbox.processes().into_iter().filter(|p| p.role != Role::Agent).collect();
    assert_eq!(left, Vec::new());
    // Its memory is promised to nobody: the next one is let in, and fails for the fifth time.
    let mut child = launch();
    assert_eq!(kill_engines_until_it_ends(&sandbox, &mut child), 1);
    let _ = sandbox::finish(child).expect_code(22);
    let refused = sandbox.rbee(&["worker", "start", "-m", "demo"]).expect_code(22);
    let failed = all_workers(&sandbox).into_iter().find(|worker| worker["state"] == "failed");
    let id = failed.as_ref().map(|worker| id_of(worker).to_owned()).expect("a failed worker");
    assert!(refused.stderr.contains("5 times"), "{}", refused.stderr);
    let hint = format!("rbee worker restart {id}");
    assert!(refused.stderr.contains(&hint), "{}", refused.stderr);
    replace_agent(&sandbox);
    let refused = sandbox.rbee(&["worker", "start", "-m", "demo"]).expect_code(22);
    assert!(refused.stderr.contains(&hint), "another agent knows it, too: {}", refused.stderr);
    let _ = sandbox.rbee(&["worker", "restart", &id]).expect_code(0);
    let _ = sandbox.rbee(&["run", "-m", "demo", QUESTION]).expect_code(0);
    ends_clean(&sandbox);
}

/// Kills the agent and starts another.
fn replace_agent(sandbox: &Sandbox) {
    let agent = sandbox.pid_of(Role::Agent);
    procs::signal(agent, Signal::KILL);
    wait_until("the agent is gone", PATIENCE, || (!procs::is_alive(agent)).then_some(()));
    let _ = sandbox.rbee(&["hive", "start", "local"]).expect_code(0);
    assert_ne!(sandbox.pid_of(Role::Agent), agent);
}

#[test]
fn a_worker_that_waits_for_its_next_process_when_the_agent_dies_gets_it_from_the_next_agent() {
    // Long enough for an agent to die within, with two fifths of chance in it.
    let sandbox = Sandbox::with_config("[timings]\nrestart_first_ms = 3000\n");
    let worker = start(&sandbox, &[]);
    let (id, engine) = (id_of(&worker), pid_of(&worker));
    procs::signal(engine, Signal::KILL);
    let killed = Instant::now();
    wait_until("its end is known", PATIENCE, || {
        let state = &all_workers(&sandbox)[0]["state"];
        (state == "restarting").then_some(())
    });
    replace_agent(&sandbox);
    let back = wait_for_another(&sandbox, id, engine);
    eprintln!("ready again {:.2} s after it was killed", seconds(killed));
    assert_eq!((&back["restarts"], &back["last_end"]["cause"]), (&1.into(), &"signal 9".into()));
    ends_clean(&sandbox);
}

#[test]
fn half_of_all_workers_killed_at_once_come_back_and_the_others_answer_meanwhile() {
    let sandbox = Sandbox::with_config(TIMES);
    let sizes = ["512", "448", "384", "320"];
    let workers: Vec<Value> = sizes.map(|size| start(&sandbox, &["--ctx-size", size])).into();
    let pids: BTreeSet<i32> = workers.iter().map(pid_of).collect();
    assert_eq!(pids.len(), 4);
    let (killed, spared) = workers.split_at(2);
    let began = Instant::now();
    for worker in killed {
        procs::signal(pid_of(worker), Signal::KILL);
    }
    for size in &sizes[2..] {
        let args = ["run", "-m", "demo", "--ctx-size", size, "--max-tokens", "4", QUESTION];
        let _ = sandbox.rbee(&args).expect_code(0);
    }
    for worker in killed {
        let back = wait_for_another(&sandbox, id_of(worker), pid_of(worker));
        assert_eq!(back["restarts"], 1);
    }
    eprintln!("two of four were back after {:.2} s", seconds(began));
    for worker in spared {
        assert!(procs::is_alive(pid_of(worker)));
    }
    assert_eq!(sandbox.processes().len(), 9, "an agent, and a guard and an engine for each");
    ends_clean(&sandbox);
}

#[test]
fn a_frozen_worker_gets_nothing_new_and_is_replaced_when_it_stays_frozen() {
    let sandbox = Sandbox::with_config(TIMES);
    let worker = start(&sandbox, &[]);
    let engine = pid_of(&worker);
    procs::signal(engine, Signal::STOP);
    let frozen = Instant::now();
    let _ = sandbox.wait_for_state("stale");
    let noticed = seconds(frozen);
    let back = wait_for_another(&sandbox, id_of(&worker), engine);
    eprintln!("stale after {noticed:.2} s, replaced after {:.2} s", seconds(frozen));
    assert!(!procs::is_alive(engine));
    assert_eq!(back["restarts"], 1);
    let cause = back["last_end"]["cause"].as_str().expect("a cause");
    assert!(cause.contains("said nothing"), "{cause}");
    ends_clean(&sandbox);
}

#[test]
fn a_worker_that_falls_silent_in_an_answer_gets_no_other_and_ends_it_when_it_is_heard_again() {
    // Silent for long enough to be stale, and for less than it takes to be given up.
    let sandbox = Sandbox::with_config("[timings]\nheartbeat_ms = 100\nstale_ms = 1500\n");
    let worker = start(&sandbox, &[]);
    let engine = pid_of(&worker);
    let child = asking(&sandbox);
    procs::signal(engine, Signal::STOP);
    let frozen = Instant::now();
    let silent = sandbox.wait_for_state("stale");
    let noticed = seconds(frozen);
    assert_eq!(silent["active"], 1, "its request stays its own: {silent}");
    let other = sandbox.rbee(&["run", "-m", "demo", "--json", "-n", "4", QUESTION]).expect_code(0);
    let placed = &other.json_lines()[0];
    assert_ne!(placed["worker"], worker["id"], "nothing new is sent there");
    assert_eq!(placed["reused"], false);
    procs::signal(engine, Signal::CONT);
    let finished = sandbox::finish(child).expect_code(0);
    eprintln!("stale after {noticed:.2} s, its answer was whole after {:.2} s", seconds(frozen));
    assert!(finished.stdout.len() > 1900, "{} bytes came", finished.stdout.len());
    wait_until("it is ready again", PATIENCE, || {
        let found = sandbox.workers().into_iter().find(|one| one["id"] == worker["id"])?;
        (found["state"] == "ready" && found["pid"] == worker["pid"]).then_some(())
    });
    ends_clean(&sandbox);
}

#[test]
fn a_worker_that_ignores_every_signal_it_can_is_killed_on_the_ladder() {
    let sandbox = Sandbox::with_config(TIMES);
    let worker = start(&sandbox, &[]);
    procs::signal(pid_of(&worker), Signal::STOP);
    let asked = Instant::now();
    let args = ["worker", "stop", "--now", "--json", id_of(&worker)];
    let stopped = sandbox.rbee(&args).expect_code(0).json_lines().remove(0);
    eprintln!("stopped after {:.2} s", seconds(asked));
    assert_eq!(stopped["stopped"][0]["killed"], true, "{stopped}");
    let took = stopped["stopped"][0]["took_ms"].as_u64().expect("a time");
    assert!((600..4000).contains(&took), "two steps of 300 ms, and a threefold slack: {took}");
    assert!(!procs::is_alive(pid_of(&worker)));
    ends_clean(&sandbox);
}

#[test]
fn a_restart_is_another_process_of_the_same_worker() {
    let sandbox = Sandbox::with_config(TIMES);
    let worker = start(&sandbox, &["--ctx-size", "256"]);
    let again = start(&sandbox, &["--ctx-size", "256"]);
    assert_eq!(worker["pid"], again["pid"], "it is used, not started twice");
    let began = Instant::now();
    let restarted = sandbox.rbee(&["worker", "restart", "--json", id_of(&worker)]).expect_code(0);
    eprintln!("restarted in {:.2} s", seconds(began));
    let restarted: Vec<Value> = serde_json::from_str(&restarted.stdout).expect("an array");
    assert_eq!(restarted[0]["id"], worker["id"]);
    assert_ne!(restarted[0]["pid"], worker["pid"]);
    assert_eq!((&restarted[0]["state"], &restarted[0]["restarts"]), (&"ready".into(), &1.into()));
    let unknown = sandbox.rbee(&["worker", "restart", "nobody-1"]);
    assert!(unknown.stderr.contains("no worker nobody-1"), "{}", unknown.stderr);
    ends_clean(&sandbox);
}

#[test]
fn a_restart_waits_for_the_answer_that_has_begun() {
    let sandbox = Sandbox::with_config(TIMES);
    let worker = start(&sandbox, &[]);
    let child = asking(&sandbox);
    let restarted = sandbox.rbee(&["worker", "restart", "--json", id_of(&worker)]).expect_code(0);
    let restarted: Vec<Value> = serde_json::from_str(&restarted.stdout).expect("an array");
    assert_ne!(restarted[0]["pid"], worker["pid"]);
    let answer = sandbox::finish(child).expect_code(0);
    assert!(answer.stdout.len() > 1900, "all of it: {}", answer.stdout);
    ends_clean(&sandbox);
}

/// What the agent's log says of a worker: each state, and the process it was in.
fn logged_states(sandbox: &Sandbox, id: &str) -> Vec<(String, Option<i64>)> {
    let log = sandbox.home().join(".local/state/rbee/log/agent.jsonl");
    let log = std::fs::read_to_string(log).expect("a log");
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let fields = lines.map(|line| line["fields"].clone());
    fields
        .filter(|it| it["message"] == "worker changed" && it["worker"] == id)
        .map(|it| (it["state"].as_str().expect("a state").to_owned(), it["pid"].as_i64()))
        .collect()
}

#[test]
fn workers_started_at_once_are_others_and_end_at_once_although_none_reacts() {
    let sandbox = Sandbox::with_config("[timings]\nstop_ask_ms = 1500\nstop_term_ms = 1500\n");
    let _ = sandbox.rbee(&["hive", "start", "local"]).expect_code(0);
    let workers: Vec<Value> = std::thread::scope(|scope| {
        let sandbox = &sandbox;
        let threads = ["512", "448", "384", "320"]
            .map(|size| scope.spawn(move || start(sandbox, &["--ctx-size", size])));
        threads.map(|thread| thread.join().expect("no panic")).into()
    });
    let ids: BTreeSet<&str> = workers.iter().map(id_of).collect();
    let pids: BTreeSet<i32> = workers.iter().map(pid_of).collect();
    assert_eq!((ids.len(), pids.len()), (4, 4));
    for worker in &workers {
        let (states, pids): (Vec<_>, Vec<_>) =
            logged_states(&sandbox, id_of(worker)).into_iter().unzip();
        assert!(["loading", "ready"].map(str::to_owned).iter().all(|it| states.contains(it)));
        let pids: BTreeSet<i64> = pids.into_iter().flatten().collect();
        assert_eq!(pids, [i64::from(pid_of(worker))].into(), "one process from its first state on");
        procs::signal(pid_of(worker), Signal::STOP);
    }
    let began = Instant::now();
    let down = sandbox.rbee(&["down"]).expect_code(0);
    let took = began.elapsed();
    eprintln!("four workers that ignore two steps of 1.5 s were ended in {took:?}");
    assert!(took < Duration::from_secs(9), "one after the other it is 12 s: {took:?}");
    let log = std::fs::read_to_string(sandbox.home().join(".local/state/rbee/log/agent.jsonl"));
    let log = log.expect("a log");
    for id in ids {
        assert!(down.stderr.lines().any(|line| line.contains(id)), "{id}: {}", down.stderr);
        let of_it = |line: &&str| line.contains("worker ended") && line.contains(id);
        let ended = log.lines().find(of_it).expect("its end is in the log");
        assert!(ended.contains("Signal(9)") && ended.contains("killed: true"), "{ended}");
    }
    assert_eq!(sandbox.processes(), Vec::new());
}

/// Numbers of the descriptors that a process has open.
fn descriptors(pid: i32) -> BTreeSet<u64> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

#[test]
fn an_agent_without_free_descriptors_says_so_and_recovers() {
    let sandbox = Sandbox::with_config(TIMES);
    let worker = start(&sandbox, &[]);
    let agent = sandbox.pid_of(Role::Agent);
    let process = Pid::from_raw(agent).expect("a pid");
    let room = descriptors(agent).last().expect("one") + 4;
    // The agent has its hard limit from whoever started it: from here.
    let maximum = getrlimit(Resource::Nofile).maximum;
    let tight = Rlimit { current: Some(room), maximum };
    let loose = prlimit(Some(process), Resource::Nofile, tight).expect("its limit is changed");
    // Readers of events hold what is left, each until it is dropped. What the agent itself has open
    // for a moment is free again later: then there is room for one more.
    let mut readers = Vec::new();
    let is_full = || u64::try_from(descriptors(agent).len()).expect("a number") >= room;
    let refused = wait_until("a command is refused", PATIENCE, || {
        while !is_full() {
            let mut reader = http::open(&sandbox.agent_socket(), "GET", "/v1/events", b"").ok()?;
            let first = reader.read_exact(&mut [0u8; 1]);
            readers.push(reader);
            first.ok()?;
        }
        let asked = sandbox.rbee(&["ps"]);
        (asked.code != Some(0)).then_some(asked)
    });
    let refused = refused.expect_code(1);
    assert!(refused.stderr.contains("no file descriptor left"), "{}", refused.stderr);
    drop(readers);
    prlimit(Some(process), Resource::Nofile, loose).expect("its limit is changed back");
    let began = Instant::now();
    wait_until("it answers again", PATIENCE, || {
        (sandbox.rbee(&["ps"]).code == Some(0)).then_some(())
    });
    eprintln!("answers again after {:.2} s", seconds(began));
    let _ = sandbox.rbee(&["run", "-m", "demo", "--max-tokens", "4", QUESTION]).expect_code(0);
    assert_eq!(sandbox.pid_of(Role::Agent), agent);
    assert_eq!(sandbox.pid_of(Role::Engine), pid_of(&worker), "no worker was lost");
    ends_clean(&sandbox);
}
