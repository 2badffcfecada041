//! Getting in: over another machine, by IPv6, and with what a person types.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what goes wrong here is a failed test"
)]

use rbee_tests::{Fleet, Terminal};

const QUESTION: &str = "What is a hive?";
/// How the person's own `ssh` is chosen.
const SYSTEM: &str = "[ssh]\nclient = \"system\"\n";

#[track_caller]
fn answers(fleet: &Fleet, hive: &str) {
    let asked = fleet.rbee(&["run", "-m", "demo", "--json", "--hive", hive, QUESTION]);
    assert_eq!(asked.expect_code(0).json_lines()[0]["hive"], hive);
}

/// A second host that the keeper reaches over the first one only.
fn behind_another(config: &str) {
    let Some(fleet) = Fleet::up(&[("a", ""), ("b", "")], config) else { return };
    fleet.lab.hide("b");
    let _ = fleet.rbee(&["hive", "add", "b", "b"]).expect_code(10);
    assert_eq!(fleet.processes("b"), Vec::<String>::new());
    let _ = fleet.rbee(&["hive", "add", "b", "b", "-J", "a"]).expect_code(0);
    answers(&fleet, "b");
    let _ = fleet.rbee(&["hive", "doctor", "b"]).expect_code(0);
    assert_eq!(fleet.processes("a"), Vec::<String>::new(), "the one in between is no hive");
    // It is the way of every command from now on, and a gate that is shut shuts all.
    fleet.lab.sshd("a", "cut");
    let shut = fleet.rbee(&["run", "-m", "demo", "--hive", "b", QUESTION]).expect_code(10);
    assert!(shut.stderr.contains("hint:"), "{}", shut.stderr);
    fleet.lab.sshd("a", "start");
    answers(&fleet, "b");
    let _ = fleet.rbee(&["down"]).expect_code(0);
    assert_eq!(fleet.processes("b"), Vec::<String>::new());
}

#[test]
fn a_machine_behind_another_is_reached_through_it() {
    behind_another("[timings]\nssh_connect_ms = 1500\n");
}

#[test]
fn a_machine_behind_another_is_reached_through_it_by_the_persons_own_ssh() {
    behind_another(&format!("{SYSTEM}[timings]\nssh_connect_ms = 1500\n"));
}

#[test]
fn an_address_of_ipv6_is_as_good_as_any() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let hosts = fleet.lab.keeper(&["grep", "a.v6", "/etc/hosts"]).expect_code(0).stdout;
    let number = hosts.split(' ').next().expect("an address");
    for (hive, address, client) in [
        ("number", format!("rbee@[{number}]:22"), ""),
        ("name", "a.v6".to_owned(), ""),
        ("system", format!("rbee@[{number}]"), SYSTEM),
    ] {
        fleet.configure(client);
        let _ = fleet.rbee(&["hive", "add", hive, &address]).expect_code(0);
        answers(&fleet, hive);
    }
    let _ = fleet.rbee(&["hive", "doctor", "system"]).expect_code(0);
}

#[test]
fn an_unknown_host_key_is_asked_for_at_the_terminal_and_recorded_once() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let mut known = fleet.lab.keeper(&["cat", ".ssh/known_hosts"]).expect_code(0).stdout;
    known.retain(|c| c != '\n');
    let key = known.split(' ').nth(2).expect("a key").to_owned();
    let shown = fleet.lab.keeper(&["ssh-keygen", "-lf", ".ssh/known_hosts"]).expect_code(0).stdout;
    let fingerprint = shown.split(' ').nth(1).expect("a fingerprint").to_owned();
    fleet.write(".ssh/known_hosts", b"");

    let mut refusing = Terminal::start(&fleet, &["hive", "add", "a", "a"]);
    refusing.shows(&fingerprint);
    refusing.shows("(yes/no)?");
    refusing.types("perhaps\n");
    refusing.shows("yes or no:");
    refusing.types("no\n");
    let (code, shown) = refusing.ends();
    assert_eq!(code, Some(11), "{shown}");
    assert_eq!(fleet.lab.keeper(&["cat", ".ssh/known_hosts"]).stdout, "", "nothing is recorded");
    assert_eq!(fleet.config(), "");

    let mut trusting = Terminal::start(&fleet, &["hive", "add", "a", "a"]);
    trusting.shows(&fingerprint);
    trusting.types("yes\n");
    let (code, shown) = trusting.ends();
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(shown.matches("(yes/no)?").count(), 1, "{shown}");
    let recorded = fleet.lab.keeper(&["cat", ".ssh/known_hosts"]).stdout;
    assert_eq!(recorded.matches(&key).count(), 1, "{recorded}");
    answers(&fleet, "a");
}

#[test]
fn a_passphrase_is_asked_for_at_the_terminal_and_not_shown() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let lock = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "open-sesame", "-f", ".ssh/id_ed25519"];
    let _ = fleet.lab.keeper(&lock).expect_code(0);
    let nobody = fleet.rbee(&["hive", "add", "a", "a"]).expect_code(11);
    assert!(nobody.stderr.contains("passphrase"), "{}", nobody.stderr);

    let mut typing = Terminal::start(&fleet, &["hive", "add", "a", "a"]);
    for word in ["close-sesame\n", "open-sesame\n"] {
        typing.shows("id_ed25519");
        typing.types(word);
    }
    let (code, shown) = typing.ends();
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("sesame"), "{shown}");

    // An agent is asked before anybody is.
    let unlocked = "eval $(ssh-agent) >/dev/null && printf '#!/bin/sh\\necho open-sesame\\n' >say \
                    && chmod 700 say && SSH_ASKPASS=./say SSH_ASKPASS_REQUIRE=force \
                    ssh-add -q .ssh/id_ed25519 && bin/rbee hive show a";
    let _ = fleet.lab.keeper(&["sh", "-c", unlocked]).expect_code(0);
}

#[test]
fn a_password_is_asked_for_at_the_terminal_and_not_shown() {
    let Some(fleet) = Fleet::up(&[("a", "password")], "") else { return };
    let nobody = fleet.rbee(&["hive", "add", "a", "a"]).expect_code(11);
    assert!(nobody.stderr.contains("hint:"), "{}", nobody.stderr);
    let before = fleet.lab.files("a");

    let mut guessing = Terminal::start(&fleet, &["hive", "add", "a", "a"]);
    for _ in 0..3 {
        guessing.shows("assword");
        guessing.types("barley\n");
    }
    let (code, shown) = guessing.ends();
    assert_eq!(code, Some(11), "{shown}");
    assert_eq!((fleet.lab.files("a"), fleet.config()), (before, String::new()));

    let mut typing = Terminal::start(&fleet, &["hive", "add", "a", "a"]);
    typing.shows("assword");
    typing.types("sesame\n");
    let (code, shown) = typing.ends();
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("sesame") && !fleet.config().contains("sesame"), "{shown}");
}
