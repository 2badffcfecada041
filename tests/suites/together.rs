//! Several hives at once: what starts, fails or says nothing on one leaves the others to answer.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "what goes wrong here is a failed test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::process::Child;
use std::time::{Duration, Instant};

use rbee_tests::sandbox::{Finished, PATIENCE, finish};
use rbee_tests::{Fleet, wait_until};
use serde_json::Value;

const QUESTION: &str = "What is a hive?";
/// Bounds what a hive that says nothing may cost.
const HASTY: &str = "[timings]\nssh_connect_ms = 1500\n";

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// Whose process a worker is, and which.
fn place(worker: &Value) -> (String, String, i64) {
    let pid = worker["pid"].as_i64().expect("a pid");
    (text(&worker["hive"]).to_owned(), text(&worker["id"]).to_owned(), pid)
}

fn starting(fleet: &Fleet, hive: &str, ctx_size: usize) -> Child {
    let size = ctx_size.to_string();
    fleet.spawn(&["worker", "start", "-m", "demo", "--json", "--hive", hive, "--ctx-size", &size])
}

fn started(child: Child) -> Value {
    finish(child).expect_code(0).json_lines().remove(0)
}

/// What an answer's first line says of its place.
fn placed(answer: &Finished) -> Value {
    let placed = answer.json_lines().remove(0);
    assert_eq!(placed["event"], "placed", "{placed}");
    placed
}

/// The error that a command tells a script.
fn error(told: &Finished) -> Value {
    let error = told.json_lines().into_iter().find(|line| line["event"] == "error");
    error.expect("an error event")
}

fn ask(tokens: &str) -> [&str; 9] {
    let [run, flag, model] = ["run", "-m", "demo"];
    [run, flag, model, "--json", "--temperature", "0", "--max-tokens", tokens, QUESTION]
}

/// Hives of these names, each with a loaded model.
fn warm(names: &[&str]) -> Option<Fleet> {
    let hosts: Vec<_> = names.iter().map(|name| (*name, "")).collect();
    let fleet = Fleet::up(&hosts, "")?;
    for name in names {
        let _ = fleet.add(name);
        let _ = started(starting(&fleet, name, 2048));
    }
    Some(fleet)
}

#[test]
fn ten_workers_that_start_at_once_on_three_hives_are_ten_and_the_next_keeper_finds_them() {
    let hosts = ["a", "b", "c"];
    let Some(fleet) = Fleet::up(&hosts.map(|host| (host, "")), "") else { return };
    let began = Instant::now();
    let adding = hosts.map(|host| fleet.spawn(&["hive", "add", host, host]));
    for child in adding {
        let _ = finish(child).expect_code(0);
    }
    eprintln!("three hives added at once in {:?}", began.elapsed());
    let began = Instant::now();
    // No two have the same context, so that none is used for another.
    let starting: Vec<_> =
        (0..10).map(|n| starting(&fleet, hosts[n % hosts.len()], 256 + 16 * n)).collect();
    let workers: BTreeSet<_> = starting.into_iter().map(|one| place(&started(one))).collect();
    eprintln!("ten workers started at once in {:?}", began.elapsed());
    let ids: BTreeSet<_> = workers.iter().map(|(hive, id, _)| (hive, id)).collect();
    let pids: BTreeSet<_> = workers.iter().map(|(hive, _, pid)| (hive, pid)).collect();
    assert_eq!((ids.len(), pids.len()), (10, 10), "{workers:?}");
    for (host, count) in hosts.into_iter().zip([4, 3, 3]) {
        let engines = fleet.processes(host);
        let engines = engines.iter().filter(|line| line.contains("worker serve"));
        assert_eq!(engines.count(), count, "{host}");
    }
    // The keeper that watches them is killed; the next one finds the same processes, and uses them.
    let watcher = fleet.watch(PATIENCE);
    let _ = watcher.online("c", PATIENCE);
    let _ = fleet.signal("KILL", "keeper", "bin/rbee ps --watch");
    let found: BTreeSet<_> = fleet.workers().iter().map(place).collect();
    assert_eq!(found, workers);
    for host in hosts {
        let answer = fleet.rbee(&[&ask("4")[..], &["--hive", host]].concat()).expect_code(0);
        assert_eq!(placed(&answer)["reused"], true);
    }
    let began = Instant::now();
    let _ = fleet.rbee(&["down"]).expect_code(0);
    eprintln!("ten workers on three hives ended in {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    for host in hosts {
        assert_eq!(fleet.processes(host), Vec::<String>::new());
    }
}

#[test]
fn another_hives_worker_answers_what_a_killed_one_had_not_begun() {
    let Some(fleet) = warm(&["a", "b"]) else { return };
    let whole = fleet.rbee(&ask("16")).expect_code(0);
    let tokens = |answer: &Finished| -> Vec<Value> {
        let lines = answer.json_lines();
        lines.iter().filter(|line| line["event"] == "token").map(|t| t["id"].clone()).collect()
    };
    // Both stand still, so that it is known which of them has the question before it is begun.
    for host in ["a", "b"] {
        let _ = fleet.signal("STOP", host, "worker serve");
    }
    let asking = fleet.spawn(&ask("16"));
    let chosen = wait_until("one of them has the question", PATIENCE, || {
        let workers = fleet.workers();
        let has_it = workers.iter().find(|worker| worker["active"] == 1)?;
        Some(text(&has_it["hive"]).to_owned())
    });
    let other = if chosen == "a" { "b" } else { "a" };
    let _ = fleet.signal("CONT", other, "worker serve");
    let _ = fleet.signal("KILL", &chosen, "worker serve");
    let killed = Instant::now();
    let answer = finish(asking).expect_code(0);
    eprintln!("answered by the other worker {:?} after the first was killed", killed.elapsed());
    assert!(killed.elapsed() < Duration::from_secs(15), "{:?}", killed.elapsed());
    assert_eq!(placed(&answer)["hive"], other);
    assert_eq!(tokens(&answer), tokens(&whole), "all of it, once");
    let _ = fleet.rbee(&["down"]).expect_code(0);
}

#[test]
fn an_answer_that_a_killed_worker_had_begun_is_named_and_the_next_one_is_another_workers() {
    let Some(fleet) = warm(&["a", "b"]) else { return };
    let args = [&ask("1900")[..], &["--ignore-eos"]].concat();
    let mut child = fleet.spawn(&args);
    child.stdout.as_mut().expect("a pipe").read_exact(&mut [0; 1]).expect("a byte");
    let chosen = wait_until("it is known whose answer it is", PATIENCE, || {
        let workers = fleet.workers();
        let busy = workers.iter().find(|worker| worker["state"] == "busy")?;
        Some(text(&busy["hive"]).to_owned())
    });
    let _ = fleet.signal("KILL", &chosen, "worker serve");
    let killed = Instant::now();
    let ended = finish(child).expect_code(22);
    let told = killed.elapsed();
    let ended = error(&ended);
    assert_eq!(ended["code"], "WORKER_CRASHED", "{ended}");
    let id = text(&ended["correlation_id"]);
    assert!(ended["hints"].to_string().contains(&format!("rbee why {}", &id[..8])), "{ended}");
    let next = fleet.rbee(&ask("4")).expect_code(0);
    eprintln!("told after {told:?}, another answered after {:?}", killed.elapsed());
    assert!(told < Duration::from_secs(5), "{told:?}");
    assert_ne!(placed(&next)["hive"], chosen.as_str());
    assert_eq!(placed(&next)["reused"], true);
    let _ = fleet.rbee(&["down"]).expect_code(0);
}

#[test]
fn ten_questions_at_once_are_spread_over_four_workers_of_two_hives_and_none_is_lost() {
    let Some(fleet) = warm(&["a", "b"]) else { return };
    for host in ["a", "b"] {
        let _ = started(starting(&fleet, host, 2047));
    }
    let args = [&ask("1000")[..], &["--ignore-eos"]].concat();
    let began = Instant::now();
    let asking: Vec<_> = (0..10).map(|_| fleet.spawn(&args)).collect();
    let mut served: BTreeMap<(String, String), usize> = BTreeMap::new();
    for child in asking {
        let answer = finish(child).expect_code(0);
        let done = answer.json_lines().pop().expect("lines");
        assert_eq!(done["usage"]["completion_tokens"], 1000, "{done}");
        let at = placed(&answer);
        *served.entry((text(&at["hive"]).into(), text(&at["worker"]).into())).or_default() += 1;
    }
    eprintln!("ten answers in {:?}: {served:?}", began.elapsed());
    // They ask at the same time, so that each places itself by a picture without the others.
    assert!(served.len() >= 3, "no hive does it alone: {served:?}");
    let _ = fleet.rbee(&["down"]).expect_code(0);
}

#[test]
fn hives_that_refuse_or_say_nothing_hold_up_none_that_answers_and_are_told_in_one_form() {
    let names = ["a", "b", "c", "d"];
    let addresses = ["a", "b", "nobody@a", "a:2222"];
    let hives = names.iter().zip(addresses);
    let hives = hives.map(|(name, at)| format!("[hives.{name}]\naddress = \"{at}\"\n"));
    let config = format!("{}{HASTY}", hives.collect::<String>());
    let Some(fleet) = Fleet::up(&[("a", ""), ("b", "")], &config) else { return };
    let _ = fleet.rbee(&["run", "-m", "demo", "--hive", "a", QUESTION]).expect_code(0);
    fleet.lab.freeze("b");
    let began = Instant::now();
    let asking = [0; 4].map(|_| fleet.spawn(&ask("4")));
    for child in asking {
        let answer = finish(child).expect_code(0);
        let at = placed(&answer);
        assert_eq!((&at["hive"], &at["reused"]), (&"a".into(), &true.into()));
    }
    eprintln!("four answers beside three hives that do not: {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    for (hive, code, exit) in
        [("b", "HIVE_UNREACHABLE", 10), ("c", "AUTH_FAILED", 11), ("d", "HIVE_UNREACHABLE", 10)]
    {
        let args = [&ask("4")[..], &["--hive", hive]].concat();
        let refused = error(&fleet.rbee(&args).expect_code(exit));
        assert_eq!(refused["code"], code, "{refused}");
        assert!(refused["message"].is_string() && refused["details"].is_object(), "{refused}");
        assert!(refused["hints"].as_array().is_some_and(|all| !all.is_empty()), "{refused}");
    }
    fleet.lab.thaw("b");
    let _ = fleet.rbee(&["down", "--hive", "a"]).expect_code(0);
}
