//! Hives that go away and come back: cables, power, servers, slow lines.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "what goes wrong here is a failed test"
)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout};
use std::time::{Duration, Instant};

use rbee_tests::lab::Cable;
use rbee_tests::sandbox::finish;
use rbee_tests::{Fleet, wait_until};
use serde_json::Value;

const QUESTION: &str = "What is a hive?";
/// How the person's own `ssh` is chosen.
const SYSTEM: &str = "[ssh]\nclient = \"system\"\n";
/// By when a hive that says nothing is shown to be silent, and a little for a busy machine.
const NOTICED: Duration = Duration::from_secs(13);
/// By when it is given up, and what it was asked with it.
const GIVEN_UP: Duration = Duration::from_secs(36);
/// How long what should take a moment may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// One host that is a hive with the demo model loaded.
fn warm() -> Option<Fleet> {
    warm_by("")
}

fn warm_by(config: &str) -> Option<Fleet> {
    let fleet = Fleet::up(&[("a", "")], config)?;
    let _ = fleet.add("a");
    let _ = fleet.rbee(&["run", "-m", "demo", QUESTION]).expect_code(0);
    Some(fleet)
}

/// An endless answer of which the first byte has come.
fn streaming(fleet: &Fleet) -> Child {
    let args = ["run", "-m", "demo", "--ignore-eos", "--max-tokens", "1900", "--temperature", "2"];
    let mut child = fleet.spawn(&[&args[..], &[QUESTION]].concat());
    let mut first = [0u8; 1];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut first).expect("a byte");
    child
}

fn pid(fleet: &Fleet) -> Value {
    fleet.workers()[0]["pid"].clone()
}

/// What `rbee ps --watch --json` says, line by line.
struct Watch {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Watch {
    fn start(fleet: &Fleet) -> Self {
        let mut child = fleet.spawn(&["ps", "--watch", "--json"]);
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, lines }
    }

    /// Reads until the hive stands so.
    #[track_caller]
    fn until(&mut self, standing: &str) -> Value {
        for line in self.lines.by_ref() {
            let line: Value = serde_json::from_str(&line.expect("readable")).expect("JSON");
            if line["standing"] == standing {
                return line;
            }
        }
        panic!("it ended before the hive was {standing}");
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The lab passes no signal on; its end ends what runs in it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn a_cut_cable_heals(config: &str) {
    let Some(fleet) = warm_by(config) else { return };
    let worker = pid(&fleet);
    let mut child = streaming(&fleet);
    let mut said = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    fleet.lab.cut("a");
    let cut = Instant::now();
    let told = said.by_ref().map_while(Result::ok).find(|line| line.contains("silent"));
    let noticed = cut.elapsed();
    println!("a cut cable was told after {noticed:?}: {told:?}");
    assert!(told.is_some() && noticed < NOTICED, "{noticed:?}");
    let mut ended = finish(child).expect_code(10);
    ended.stderr = said.map_while(Result::ok).collect::<Vec<_>>().join("\n");
    let given_up = cut.elapsed();
    println!("what was asked was given up after {given_up:?}");
    assert!(given_up < GIVEN_UP, "{given_up:?}");
    assert!(!ended.stdout.is_empty() && ended.stderr.contains("partial"), "{}", ended.stderr);
    fleet.lab.heal("a");
    let again = fleet.rbee(&["run", "-m", "demo", "--json", QUESTION]).expect_code(0);
    assert_eq!(again.json_lines()[0]["reused"], true);
    assert_eq!(pid(&fleet), worker, "the worker was not touched");
}

#[test]
fn a_cut_cable_ends_the_answer_in_time_and_after_it_is_healed_everything_is_as_before() {
    a_cut_cable_heals("");
}

#[test]
fn a_cut_cable_ends_the_answer_by_the_persons_own_ssh_and_heals_too() {
    a_cut_cable_heals(SYSTEM);
}

#[test]
fn a_watched_hive_is_seen_to_go_and_comes_back_by_itself() {
    let Some(fleet) = warm() else { return };
    let mut watch = Watch::start(&fleet);
    let _ = watch.until("online");
    fleet.lab.cut("a");
    let cut = Instant::now();
    let lost = watch.until("unreachable");
    println!("seen as unreachable after {:?}", cut.elapsed());
    assert!(cut.elapsed() < NOTICED, "{:?}", cut.elapsed());
    assert!(lost["next_try_ms"].is_u64() && lost["why"]["code"] == "HIVE_UNREACHABLE", "{lost}");
    fleet.lab.heal("a");
    let _ = watch.until("online");
    // Restarting the server is a loss as well.
    fleet.lab.sshd("a", "cut");
    let _ = watch.until("unreachable");
    fleet.lab.sshd("a", "start");
    let _ = watch.until("online");
}

fn a_boot_brings_it_back(config: &str) {
    let Some(fleet) = warm_by(config) else { return };
    let child = streaming(&fleet);
    fleet.lab.power_off("a");
    let _ = finish(child).expect_code(10);
    let gone = fleet.rbee(&["run", "-m", "demo", QUESTION]).expect_code(10);
    assert!(gone.stderr.contains("hint:"), "{}", gone.stderr);
    fleet.lab.boot("a");
    let again = fleet.rbee(&["run", "-m", "demo", "--json", QUESTION]).expect_code(0);
    assert_eq!(again.json_lines()[0]["reused"], false, "its worker did not survive");
}

#[test]
fn a_machine_that_lost_its_power_is_a_hive_again_after_it_booted() {
    a_boot_brings_it_back("");
}

#[test]
fn a_machine_that_lost_its_power_is_a_hive_of_the_persons_own_ssh_again() {
    a_boot_brings_it_back(SYSTEM);
}

#[test]
fn a_killed_keeper_frees_the_slot_on_the_hive() {
    let Some(fleet) = warm() else { return };
    let child = streaming(&fleet);
    fleet.signal("KILL", "keeper", "bin/rbee run");
    let _ = finish(child);
    let is_busy = || fleet.workers()[0]["state"] == "busy";
    wait_until("the slot is free", PATIENCE, || (!is_busy()).then_some(()));
}

#[test]
fn slow_and_lossy_lines_are_slower_and_complete() {
    let Some(fleet) = warm() else { return };
    let cables = [
        ("500 ms, give or take 100", Cable { delay_ms: 500, jitter_ms: 100, ..Cable::default() }),
        ("three of ten packets lost", Cable { delay_ms: 5, loss_percent: 30, ..Cable::default() }),
        ("10 KB/s", Cable { delay_ms: 20, kbit: 80, ..Cable::default() }),
    ];
    for (what, cable) in cables {
        fleet.lab.delay("a", cable);
        let began = Instant::now();
        // Of ten repeats in a row all may be lost: then the hive takes its keeper for gone. It does
        // not happen twice.
        let mut tries = (0..if cable.loss_percent > 0 { 2 } else { 1 }).map(|_| {
            let asked = fleet.rbee(&["run", "-m", "demo", QUESTION]);
            println!("{what}: {:?}, exit code {:?}", began.elapsed(), asked.code);
            assert!(matches!(asked.code, Some(0 | 10)), "{what}: {}", asked.stderr);
            asked
        });
        let asked = tries.find(|asked| asked.code == Some(0)).expect(what);
        assert!(asked.stdout.contains("machine"), "{what}: {}", asked.stdout);
    }
    fleet.lab.delay("a", Cable::default());
}

#[test]
fn a_hive_that_is_far_away_is_said_to_be_and_works_all_the_same() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let _ = fleet.add("a");
    let trip = || {
        let shown = fleet.rbee(&["hive", "show", "a", "--json"]).expect_code(0);
        let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
        shown["agent"]["latency_ms"].as_f64().expect("a time")
    };
    let (near, asked) = (trip(), fleet.rbee(&["hive", "doctor", "a"]).expect_code(0));
    assert!(!asked.stdout.contains("warn  round trip"), "{}", asked.stdout);
    fleet.lab.delay("a", Cable { delay_ms: 80, ..Cable::default() });
    let far = trip();
    println!("a round trip took {near} ms, and {far} ms over a cable of 80 ms each way");
    assert!(near < 50.0 && far > 100.0, "{near} and {far}");
    let warned = fleet.rbee(&["hive", "doctor", "a"]).expect_code(0);
    assert!(warned.stdout.contains("warn  round trip"), "{}", warned.stdout);
    let _ = fleet.rbee(&["hive", "remove", "a"]).expect_code(0);
    let added = fleet.rbee(&["hive", "add", "a", "a"]).expect_code(0);
    assert!(added.stderr.contains("a round trip takes"), "{}", added.stderr);
    let _ = fleet.rbee(&["run", "-m", "demo", QUESTION]).expect_code(0);
}
