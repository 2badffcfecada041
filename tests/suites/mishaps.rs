//! What goes wrong while a hive is added or used is named, and nothing half done is left.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what goes wrong here is a failed test"
)]

use std::io::Read;
use std::process::Child;
use std::time::Duration;

use rbee_tests::lab::Cable;
use rbee_tests::sandbox::finish;
use rbee_tests::{Fleet, wait_until};

const QUESTION: &str = "What is a hive?";
/// How the person's own `ssh` is chosen.
const SYSTEM: &str = "[ssh]\nclient = \"system\"\n";
/// How long what should take a moment may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// A line on which sending the program takes some seconds.
const SLOW: Cable = Cable { delay_ms: 1, jitter_ms: 0, loss_percent: 0, kbit: 30_000 };
/// Bytes of an upload that has begun in earnest.
const SOME: u64 = 2_000_000;

#[track_caller]
fn answers(fleet: &Fleet) {
    let asked = fleet.rbee(&["run", "-m", "demo", QUESTION]).expect_code(0);
    assert!(asked.stdout.contains("machine"), "{}", asked.stdout);
}

/// The bytes of the upload that is under way on a host.
fn arrived(fleet: &Fleet, host: &str) -> Option<u64> {
    let files = fleet.lab.files(host);
    let part = files.iter().find(|path| path.rsplit('.').next() == Some("part"))?;
    fleet.lab.exec(host, &["stat", "-c", "%s", part]).stdout.trim().parse().ok()
}

/// `hive add a a` in the middle of the upload.
fn adding(fleet: &Fleet) -> Child {
    fleet.lab.delay("a", SLOW);
    let child = fleet.spawn(&["hive", "add", "a", "a"]);
    wait_until("some of the program is there", PATIENCE, || {
        arrived(fleet, "a").filter(|bytes| *bytes > SOME)
    });
    child
}

fn reset_in_the_middle(config: &str) {
    let Some(fleet) = Fleet::up(&[("a", "")], config) else { return };
    let _ = fleet.add("a");
    answers(&fleet);
    let args = ["run", "-m", "demo", "--ignore-eos", "--max-tokens", "1900", "--temperature", "2"];
    let mut child = fleet.spawn(&[&args[..], &[QUESTION]].concat());
    let mut first = [0u8; 1];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut first).expect("a byte");
    fleet.lab.reject("a");
    let ended = finish(child).expect_code(10);
    assert!(!ended.stdout.is_empty() && ended.stderr.contains("partial"), "{}", ended.stderr);
    let refused = fleet.rbee(&["run", "-m", "demo", QUESTION]).expect_code(10);
    assert!(refused.stderr.contains("hint:"), "{}", refused.stderr);
    fleet.lab.allow("a");
    let again = fleet.rbee(&["run", "-m", "demo", "--json", QUESTION]).expect_code(0);
    assert_eq!(again.json_lines()[0]["reused"], true, "the worker was not touched");
}

#[test]
fn a_reset_connection_keeps_what_came_and_the_next_request_works() {
    reset_in_the_middle("");
}

#[test]
fn a_reset_connection_of_the_persons_own_ssh_keeps_what_came_too() {
    reset_in_the_middle(SYSTEM);
}

fn cut_in_the_upload(config: &str) {
    let Some(fleet) = Fleet::up(&[("a", "")], config) else { return };
    let before = fleet.lab.files("a");
    let child = adding(&fleet);
    fleet.lab.cut("a");
    let cut = finish(child).expect_code(10);
    assert!(cut.stderr.contains("hint:"), "{}", cut.stderr);
    assert_eq!(fleet.config(), config, "what did not answer is not written down");
    fleet.lab.heal("a");
    fleet.lab.delay("a", Cable::default());
    // What was under way may still arrive: until the other end is closed there, it counts as alive.
    fleet.lab.sshd("a", "cut");
    wait_until("the cut upload has ended", PATIENCE, || fleet.lab.ps("a").is_empty().then_some(()));
    fleet.lab.sshd("a", "start");
    let resumed = fleet.rbee(&["hive", "add", "a", "a"]).expect_code(0);
    assert!(resumed.stderr.contains("goes on behind its first"), "{}", resumed.stderr);
    answers(&fleet);
    let _ = fleet.rbee(&["hive", "remove", "a", "--purge"]).expect_code(0);
    assert_eq!(fleet.lab.files("a"), before);
    assert_eq!(fleet.processes("a"), Vec::<String>::new());
}

#[test]
fn an_upload_whose_cable_was_cut_goes_on_where_it_was() {
    cut_in_the_upload("[timings]\nssh_connect_ms = 1500\n");
}

#[test]
fn an_upload_by_the_persons_own_ssh_goes_on_where_it_was() {
    cut_in_the_upload(&format!("{SYSTEM}[timings]\nssh_connect_ms = 1500\n"));
}

#[test]
fn what_somebody_writes_into_the_configuration_meanwhile_stays() {
    let Some(fleet) = Fleet::up(&[("a", "")], "# first\n") else { return };
    let child = adding(&fleet);
    fleet.configure("# second\n[aliases]\nmine = \"demo\"\n");
    fleet.lab.delay("a", Cable::default());
    let _ = finish(child).expect_code(0);
    let config = fleet.config();
    assert!(config.starts_with("# second\n[aliases]\nmine = \"demo\"\n"), "{config}");
    assert!(config.contains("[hives.a]") && !config.contains("first"), "{config}");
    let asked = fleet.rbee(&["run", "-m", "mine", "--json", QUESTION]).expect_code(0);
    assert_eq!(asked.json_lines()[0]["hive"], "a");
}

#[test]
fn a_configuration_that_is_broken_meanwhile_is_named_and_left_alone() {
    const BROKEN: &str = "# second\n[hives\n";
    let Some(fleet) = Fleet::up(&[("a", "")], "# first\n") else { return };
    let child = adding(&fleet);
    fleet.configure(BROKEN);
    fleet.lab.delay("a", Cable::default());
    let refused = finish(child).expect_code(3);
    assert!(refused.stderr.contains("config.toml, line 2"), "{}", refused.stderr);
    assert_eq!(fleet.config(), BROKEN);
    assert_eq!(fleet.processes("a"), Vec::<String>::new(), "what was started has ended");
}

#[test]
fn one_machine_added_twice_at_once_is_one_hive_or_two_names_of_one_agent() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let both = ["x", "x"].map(|name| fleet.spawn(&["hive", "add", name, "a"]));
    let mut codes = both.map(|child| finish(child).code);
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(2)], "a name is given once");
    answers(&fleet);
    let _ = fleet.rbee(&["hive", "remove", "x", "--purge"]).expect_code(0);
    let both = ["y", "z"].map(|name| fleet.spawn(&["hive", "add", name, "a"]));
    for child in both {
        let _ = finish(child).expect_code(0);
    }
    let _ = fleet.pid("a", "agent serve");
    let config = fleet.config();
    assert!(config.contains("[hives.y]") && config.contains("[hives.z]"), "{config}");
}

#[test]
fn a_home_that_moved_is_named_while_its_agent_runs_and_found_again_after_it() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let _ = fleet.add("a");
    answers(&fleet);
    let moves = |from: &str, to: &str| {
        let line = format!(
            "mv {from} {to} && sed 's,{from},{to},' /etc/passwd >/p && cat /p >/etc/passwd && rm /p"
        );
        let _ = fleet.lab.exec("a", &["sh", "-c", &line]).expect_code(0);
    };
    // Under a running agent: the worker's socket is not where it was.
    moves("/home/rbee", "/home/moved");
    let lost = fleet.rbee(&["run", "-m", "demo", QUESTION]).expect_code(22);
    assert!(lost.stderr.contains("/home/rbee/.local"), "{}", lost.stderr);
    assert!(lost.stderr.contains("hint:"), "{}", lost.stderr);
    // Its agent does not find the worker's socket any more, and ends it all the same.
    let _ = fleet.rbee(&["down"]).expect_code(0);
    assert_eq!(fleet.processes("a"), Vec::<String>::new());
    answers(&fleet);
    // While nothing runs.
    let _ = fleet.rbee(&["down"]).expect_code(0);
    moves("/home/moved", "/home/rbee");
    answers(&fleet);
    let _ = fleet.rbee(&["hive", "doctor", "a"]).expect_code(0);
}

#[test]
fn megabytes_of_greeting_are_read_over_or_refused_and_never_repeated() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let greets = |bytes: u32| {
        let greeting = format!(
            "yes Welcome | head -c {bytes} >/home/rbee/motd && \
             echo cat /home/rbee/motd >/home/rbee/.bashrc && \
             yes Welcome | head -c 200000 >/etc/ssh/banner && \
             grep -q Banner /etc/ssh/lab_config || \
             sed -i '1i Banner /etc/ssh/banner' /etc/ssh/lab_config"
        );
        let _ = fleet.lab.exec("a", &["sh", "-c", &greeting]).expect_code(0);
    };
    greets(10_000_000);
    fleet.lab.sshd("a", "cut");
    fleet.lab.sshd("a", "start");
    let added = fleet.add("a");
    assert!(added.stderr.len() < 2000, "{} bytes", added.stderr.len());
    answers(&fleet);
    fleet.configure(SYSTEM);
    let refused = fleet.rbee(&["hive", "add", "a", "a"]).expect_code(10);
    assert!(refused.stderr.contains("hint:"), "{}", refused.stderr);
    assert!(refused.stderr.len() < 2000, "{} bytes", refused.stderr.len());
    greets(40_000);
    let added = fleet.add("a");
    assert!(added.stderr.len() < 2000, "{} bytes", added.stderr.len());
    answers(&fleet);
}

/// Puts what it is told to put, and a line behind it when that is the program.
const MEDDLING: &str = r#"#!/bin/sh
/bin/TOOL "$@" || exit
for last; do :; done
case $last in */rbee) echo meddled >>"$last" ;; esac
"#;

#[test]
fn a_program_that_is_changed_before_it_is_started_is_not_started() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let tools = "for tool in ln mv; do printf %s \"$0\" | sed s/TOOL/$tool/ \
                 >/usr/local/bin/$tool; chmod 755 /usr/local/bin/$tool; done";
    let _ = fleet.lab.exec("a", &["sh", "-c", tools, MEDDLING]).expect_code(0);
    let refused = fleet.rbee(&["hive", "add", "a", "a"]).expect_code(20);
    assert!(refused.stderr.contains("hint:"), "{}", refused.stderr);
    assert_eq!(fleet.config(), "");
    assert_eq!(fleet.processes("a"), Vec::<String>::new());
    let _ = fleet.lab.exec("a", &["rm", "/usr/local/bin/ln", "/usr/local/bin/mv"]).expect_code(0);
    let _ = fleet.add("a");
    answers(&fleet);
}

#[test]
fn a_processor_that_no_bundle_is_for_is_named() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let before = fleet.lab.files("a");
    let uname = "printf '#!/bin/sh\\n/bin/uname \"$@\" | sed s/x86_64/riscv64/\\n' \
                 >/usr/local/bin/uname && chmod 755 /usr/local/bin/uname";
    let _ = fleet.lab.exec("a", &["sh", "-c", uname]).expect_code(0);
    let refused = fleet.rbee(&["hive", "add", "a", "a"]).expect_code(12);
    assert!(refused.stderr.contains("riscv64"), "{}", refused.stderr);
    let _ = fleet.lab.exec("a", &["rm", "/usr/local/bin/uname"]).expect_code(0);
    assert_eq!(fleet.lab.files("a"), before);
    assert_eq!(fleet.config(), "");
}
