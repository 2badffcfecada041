//! Memory, disk and processors have bounds: who exceeds them is ended alone, and named.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what goes wrong here is a failed test"
)]

use std::path::{Path, PathBuf};

use rbee_tests::enclosure::{self, Enclosure, MemoryGroup};
use rbee_tests::procs::{self, Role};
use rbee_tests::sandbox::{Finished, PATIENCE};
use rbee_tests::{Sandbox, synthetic, wait_until};
use rustix::process::Signal;
use serde_json::Value;

const QUESTION: &str = "What is a hive?";

/// Doubles a text until nothing more is given.
const GREEDY: &str = "{% set ns = namespace(s='a') %}{% for i in range(60) %}\
                      {% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s|length }}";

/// Little enough for a test machine, and more than a small worker takes.
const SMALL_MARGIN: &str = "[agent]\nworker_margin_bytes = 134217728\n";

fn greedy_model(sandbox: &Sandbox) {
    let model = sandbox.home().join("greedy.gguf");
    synthetic::write_with_template(&model, &synthetic::TINY, GREEDY).expect("a model");
}

const ASK_GREEDY: [&str; 6] = ["run", "--json", "-m", "./greedy.gguf", "-n", "2"];

fn ask_greedy(sandbox: &Sandbox) -> Vec<String> {
    let path = sandbox.home().join("greedy.gguf").to_string_lossy().into_owned();
    let mut args: Vec<String> = ASK_GREEDY.map(str::to_owned).into();
    args[3] = path;
    args.push("hi".to_owned());
    args
}

fn words(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// The error event of a run that ended out of memory.
#[track_caller]
fn out_of_memory(finished: Finished) -> Value {
    let finished = finished.expect_code(21);
    let error = finished.json_lines().into_iter().find(|line| line["event"] == "error");
    let error = error.expect("an error event");
    assert_eq!(error["code"], "OUT_OF_MEMORY", "{error}");
    error
}

/// What bounds the workers here, by the hive's own word.
fn bounds(sandbox: &Sandbox) -> String {
    let checks = sandbox.rbee(&["doctor", "--json"]).expect_code(0);
    let checks: Vec<Value> = serde_json::from_str(&checks.stdout).expect("a JSON array");
    let check = checks.iter().find(|check| check["name"] == "workers' bounds").expect("a check");
    check["seen"].as_str().expect("a text").to_owned()
}

/// Directories of control groups, anywhere, that are named for a worker of this sandbox.
fn groups_of(workers: &[&str]) -> Vec<PathBuf> {
    let named = |name: &str| workers.iter().any(|id| name.starts_with(&format!("rbee-{id}-")));
    let mut found = Vec::new();
    let mut dirs = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
            if path.file_name().and_then(|name| name.to_str()).is_some_and(named) {
                found.push(path.clone());
            }
            dirs.push(path);
        }
    }
    found
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

#[test]
fn a_worker_that_takes_too_much_is_ended_by_the_kernel_alone_and_named() {
    let sandbox = Sandbox::with_config(SMALL_MARGIN);
    let by = bounds(&sandbox);
    if !by.starts_with("cgroup") {
        println!("skipped, no control group can be made here: {by}");
        return;
    }
    greedy_model(&sandbox);
    let args = ask_greedy(&sandbox);
    let _ = sandbox.rbee(&["run", "-m", "demo", QUESTION]).expect_code(0);
    let (agent, demo) = (sandbox.pid_of(Role::Agent), sandbox.pid_of(Role::Engine));
    let error = out_of_memory(sandbox.rbee(&words(&args)));
    let (limit, peak) = (error["details"]["limit_bytes"].as_u64(), &error["details"]["peak_bytes"]);
    let (limit, peak) = (limit.expect("a limit"), peak.as_u64().expect("a peak"));
    assert!(peak <= limit && peak > limit / 2, "{peak} of {limit}");
    assert!(text(&error["details"]["limit_by"]).starts_with("cgroup"), "{error}");
    assert!(text(&error["hints"][0]).contains("--ctx-size"), "{error}");
    assert!(procs::is_alive(agent) && procs::is_alive(demo), "nobody else was ended");
    let all = sandbox.rbee(&["worker", "list", "--all", "--json"]).expect_code(0);
    let all: Vec<Value> = serde_json::from_str(&all.stdout).expect("a JSON array");
    let failed = all.iter().find(|worker| worker["state"] == "failed").expect("it is remembered");
    assert!(text(&failed["cause"]).contains("out of memory"), "{failed}");
    let id = text(&failed["id"]).to_owned();
    wait_until("its group is gone", PATIENCE, || groups_of(&[&id]).is_empty().then_some(()));

    // What it took is known now: the next one is admitted with more, and so has a higher limit.
    let again = out_of_memory(sandbox.rbee(&words(&args)));
    assert!(again["details"]["limit_bytes"].as_u64().expect("a limit") > limit, "{again}");
    let peaks = sandbox.home().join(".local/state/rbee/peaks.json");
    wait_until("it is written down", PATIENCE, || peaks.exists().then_some(()));
    let _ = sandbox.rbee(&["run", "-m", "demo", QUESTION]).expect_code(0);
    assert_eq!(sandbox.pid_of(Role::Agent), agent);
}

#[test]
fn a_worker_lives_in_a_group_of_its_own_that_goes_with_it_however_it_ends() {
    let sandbox = Sandbox::with_config("[agent]\nworker_cpu_percent = 150\n");
    let by = bounds(&sandbox);
    if !by.starts_with("cgroup") {
        println!("skipped, no control group can be made here: {by}");
        return;
    }
    for ends in ["stopped", "engine killed", "guard killed"] {
        let _ = sandbox.rbee(&["run", "-m", "demo", QUESTION]).expect_code(0);
        let worker = sandbox.wait_for_state("ready");
        let limit = &worker["limit"];
        assert!(by.starts_with(text(&limit["by"])), "{limit} and {by}");
        assert_eq!(limit["cpu_percent"], 150);
        let memory = worker["memory_bytes"].as_u64().expect("its memory");
        assert!(limit["bytes"].as_u64().expect("bytes") > memory, "{worker}");
        let id = text(&worker["id"]).to_owned();
        let groups = groups_of(&[&id]);
        assert!(!groups.is_empty(), "{id}");
        let (engine, guard) = (sandbox.pid_of(Role::Engine), sandbox.pid_of(Role::Guard));
        for group in &groups {
            let inside = std::fs::read_to_string(group.join("cgroup.procs")).expect("its list");
            assert_eq!(inside.trim(), engine.to_string(), "{}", group.display());
        }
        assert!(oom_score(engine) > oom_score(guard));
        assert!(oom_score(engine) > oom_score(sandbox.pid_of(Role::Agent)));
        match ends {
            "stopped" => {
                let said = sandbox.rbee(&["worker", "stop", "--json", &id]).expect_code(0);
                let said: Value = serde_json::from_str(&said.stdout).expect("JSON");
                let back = &said["stopped"][0]["memory"];
                let expected = back["expected_bytes"].as_u64().expect("what it had");
                assert!(expected > 1 << 20 && expected <= memory, "{said} of {memory}");
                assert!(back["freed_bytes"].as_u64().expect("bytes") <= expected, "{said}");
            }
            "engine killed" => procs::signal(engine, Signal::KILL),
            _ => procs::signal(guard, Signal::KILL),
        }
        let gone = |group: &PathBuf| !group.exists();
        wait_until(ends, PATIENCE, || groups.iter().all(gone).then_some(()));
        if ends != "stopped" {
            // It is started again, in a group of its new process.
            wait_until("its next group", PATIENCE, || groups_of(&[&id]).pop());
            sandbox.wait_for_state("ready");
            assert!(!groups_of(&[&id]).iter().any(|group| groups.contains(group)));
            let _ = sandbox.rbee(&["worker", "stop", &id]).expect_code(0);
            assert_eq!(groups_of(&[&id]), Vec::<PathBuf>::new());
        }
    }
    sandbox.down();
}

fn oom_score(pid: i32) -> i32 {
    let score = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("a score");
    score.trim().parse().expect("a number")
}

/// Makes every hierarchy of control groups one that nobody can write to.
const READ_ONLY_GROUPS: &str = "grep -E ' cgroup2? ' /proc/self/mounts | cut -d' ' -f2 | \
    while read -r dir; do \
    mount --bind \"$dir\" \"$dir\" && mount -o remount,bind,ro \"$dir\"; done";

#[test]
fn without_control_groups_a_worker_is_bound_by_its_own_data_and_still_named() {
    if !enclosure::is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let enclosure = Enclosure::after(READ_ONLY_GROUPS);
    greedy_model(&sandbox);
    let doctor = enclosure.rbee(&sandbox, &["doctor", "--json"]).expect_code(0);
    assert!(doctor.stdout.contains("rlimit: a worker's own allocations fail"), "{}", doctor.stdout);
    assert!(doctor.stdout.contains("Read-only file system"), "it says why: {}", doctor.stdout);
    let _ = enclosure.rbee(&sandbox, &["run", "-m", "demo", QUESTION]).expect_code(0);
    let listed = enclosure.rbee(&sandbox, &["worker", "list", "--json"]).expect_code(0);
    let workers: Vec<Value> = serde_json::from_str(&listed.stdout).expect("a JSON array");
    assert_eq!(workers[0]["limit"]["by"], "rlimit", "{}", listed.stdout);
    assert!(workers[0]["limit"]["bytes"].as_u64().is_some(), "{}", listed.stdout);
    let args = ask_greedy(&sandbox);
    let error = out_of_memory(enclosure.rbee(&sandbox, &words(&args)));
    assert_eq!(error["details"]["limit_by"], "rlimit", "{error}");
    assert!(text(&error["causes"][0]).contains("memory allocation of"), "{error}");
    enclosure.down(&sandbox);
}

#[test]
fn a_machine_whose_memory_is_full_ends_the_worker_and_never_the_agent() {
    const BYTES: u64 = 400 << 20;
    let Some(group) = enclosure::is_root().then(|| MemoryGroup::of(BYTES)).flatten() else {
        println!("skipped, a machine of its own memory needs control groups of version 1");
        return;
    };
    let sandbox = Sandbox::with_config("[agent]\nreserve_ram_bytes = 1048576\n");
    greedy_model(&sandbox);
    let args = ask_greedy(&sandbox);
    // What shall stay free is more than what the group has: refused, by the group's figures.
    let careful = Sandbox::with_config("[agent]\nreserve_ram_bytes = 418381824\n");
    let refused = group.rbee(&careful, &words(&args)).expect_code(21);
    let error = refused.json_lines().into_iter().find(|line| line["event"] == "error");
    let error = error.expect("an error event");
    assert_eq!(error["code"], "INSUFFICIENT_RAM", "{error}");
    assert!(error["details"]["available_bytes"].as_u64().expect("bytes") <= BYTES, "{error}");
    careful.down();

    let _ = group.rbee(&sandbox, &["run", "-m", "demo", QUESTION]).expect_code(0);
    let agent = sandbox.pid_of(Role::Agent);
    let error = out_of_memory(group.rbee(&sandbox, &words(&args)));
    assert!(text(&error["message"]).contains("the machine ran out of memory"), "{error}");
    assert!(text(&error["hints"][0]).contains("rbee ps"), "{error}");
    let peak = error["details"]["peak_bytes"].as_u64().expect("a peak");
    assert!(peak < BYTES, "{peak}");
    assert_eq!(sandbox.pid_of(Role::Agent), agent);
    let _ = group.rbee(&sandbox, &["run", "-m", "demo", QUESTION]).expect_code(0);
    sandbox.down();
}

#[test]
fn what_runs_short_is_told_before_it_is_gone() {
    let huge = "[agent]\nreserve_ram_bytes = 1152921504606846976\n\
                reserve_disk_bytes = 1152921504606846976\n[timings]\nheartbeat_ms = 100\n";
    let sandbox = Sandbox::with_config(huge);
    let _ = sandbox.rbee(&["run", "-m", "demo", QUESTION]).expect_code(0);
    let warned = wait_until("ps warns", PATIENCE, || {
        let said = sandbox.rbee(&["ps", "--json"]).expect_code(0).stderr;
        (said.matches("runs short").count() == 2).then_some(said)
    });
    assert!(warned.contains("memory runs short") && warned.contains("disk space at /"), "{warned}");
    let shown = sandbox.rbee(&["hive", "show", "local", "--json"]).expect_code(0);
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!(shown["warnings"][0]["resource"], "memory", "{shown}");
    assert_eq!(shown["warnings"][1]["resource"], "disk", "{shown}");
    let doctor = sandbox.rbee(&["doctor"]).expect_code(0).stdout;
    assert!(doctor.contains("warn  free memory") && doctor.contains("warn  free disk"), "{doctor}");
    // The demo may use the reserve; another model is refused, with the figures.
    let model = sandbox.home().join("tiny.gguf");
    synthetic::write(&model, &synthetic::TINY).expect("a model");
    let refused = sandbox.rbee(&["run", "-m", "./tiny.gguf", "-n", "2", "hi"]).expect_code(21);
    assert!(refused.stderr.contains("0 MiB are free for workers"), "{}", refused.stderr);
}

/// Fills the disk that `path` would be on; whoever removes the file has room again.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).expect("a file");
    let block = [0u8; 4096];
    while std::io::Write::write_all(&mut file, &block).is_ok() {}
}

#[test]
fn with_a_full_disk_workers_answer_ends_are_known_and_new_ones_are_refused_with_figures() {
    if !enclosure::is_root() {
        return;
    }
    let sandbox = Sandbox::with_config("[timings]\nrestart_first_ms = 20\n");
    let state = sandbox.home().join(".local/state");
    std::fs::create_dir_all(&state).expect("a directory");
    let mount = format!("mount -t tmpfs -o size=4m,mode=700 tmpfs '{}'", state.display());
    let enclosure = Enclosure::after(&mount);
    let run = |args: &[&str]| enclosure.rbee(&sandbox, args);
    let _ = run(&["run", "-m", "demo", QUESTION]).expect_code(0);
    let agent = sandbox.pid_of(Role::Agent);
    let filler = enclosure.inside(&state.join("filler"));
    fill(&filler);
    // What runs goes on.
    let _ = run(&["run", "-m", "demo", QUESTION]).expect_code(0);
    // Its end cannot be written down, and is known all the same: another follows if it still fits.
    let engine = sandbox.pid_of(Role::Engine);
    procs::signal(engine, Signal::KILL);
    wait_until("its end is known", PATIENCE, || {
        let listed = run(&["worker", "list", "--all", "--json"]).expect_code(0).stdout;
        (!listed.contains(&format!("\"pid\":{engine},"))).then_some(())
    });
    let _ = run(&["worker", "stop", "--all"]).expect_code(0);
    wait_until("no worker is left", PATIENCE, || {
        let listed = run(&["worker", "list", "--json"]).expect_code(0).stdout;
        (listed.trim() == "[]").then_some(())
    });
    let refused = run(&["run", "--json", "-m", "demo", QUESTION]).expect_code(1);
    let error = refused.json_lines().into_iter().find(|line| line["event"] == "error");
    let error = error.expect("an error event");
    assert_eq!(error["code"], "DISK_FULL", "{error}");
    assert_eq!(error["details"]["required_bytes"], 1024 * 1024, "{error}");
    assert!(error["details"]["available_bytes"].as_u64().expect("bytes") < 1 << 18, "{error}");
    assert!(text(&error["hints"][0]).starts_with("df -h /"), "{error}");
    wait_until("ps warns", PATIENCE, || {
        run(&["ps"]).expect_code(0).stderr.contains("disk space at").then_some(())
    });
    std::fs::remove_file(&filler).expect("it was there");
    let _ = run(&["run", "-m", "demo", QUESTION]).expect_code(0);
    assert_eq!(sandbox.pid_of(Role::Agent), agent, "the agent has lived through it");
    enclosure.down(&sandbox);
}

#[test]
fn an_agent_starts_with_a_full_disk_and_ends_what_is_there() {
    if !enclosure::is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let state = sandbox.home().join(".local/state");
    std::fs::create_dir_all(&state).expect("a directory");
    let mount = format!("mount -t tmpfs -o size=4m,mode=700 tmpfs '{}'", state.display());
    let enclosure = Enclosure::after(&mount);
    let run = |args: &[&str]| enclosure.rbee(&sandbox, args);
    let _ = run(&["run", "-m", "demo", QUESTION]).expect_code(0);
    fill(&enclosure.inside(&state.join("filler")));
    let (agent, engine) = (sandbox.pid_of(Role::Agent), sandbox.pid_of(Role::Engine));
    procs::signal(agent, Signal::KILL);
    wait_until("the agent is dead", PATIENCE, || (!procs::is_alive(agent)).then_some(()));
    let _ = run(&["run", "-m", "demo", QUESTION]).expect_code(0);
    assert_eq!(sandbox.pid_of(Role::Engine), engine, "adopted");
    enclosure.down(&sandbox);
}
