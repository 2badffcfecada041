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

/// What the keeper's log has so far.
fn log(fleet: &Fleet) -> String {
    fleet.lab.keeper(&["cat", ".local/state/rbee/log/keeper.jsonl"]).expect_code(0).stdout
}

#[test]
fn a_passphrase_is_asked_for_at_the_terminal_and_not_shown() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let lock = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "open-sesame", "-f", ".ssh/id_ed25519"];
    let _ = fleet.lab.keeper(&lock).expect_code(0);
    let nobody = fleet.rbee(&["hive", "add", "a", "a"]).expect_code(11);
    assert!(nobody.stderr.contains("passphrase"), "{}", nobody.stderr);

    let mut typing = Terminal::start_logged(&fleet, &["hive", "add", "a", "a"]);
    for word in ["close-sesame\n", "open-sesame\n"] {
        typing.shows("id_ed25519");
        typing.types(word);
    }
    let (code, shown) = typing.ends();
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("sesame"), "{shown}");
    let log = log(&fleet);
    assert!(log.contains("accepted by the server") && !log.contains("sesame"), "{log}");

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

    let mut guessing = Terminal::start_logged(&fleet, &["hive", "add", "a", "a"]);
    for _ in 0..3 {
        guessing.shows("assword");
        guessing.types("barley\n");
    }
    let (code, shown) = guessing.ends();
    assert_eq!(code, Some(11), "{shown}");
    assert_eq!((fleet.lab.files("a"), fleet.config()), (before, String::new()));

    let mut typing = Terminal::start_logged(&fleet, &["hive", "add", "a", "a"]);
    typing.shows("assword");
    typing.types("sesame\n");
    let (code, shown) = typing.ends();
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("sesame") && !fleet.config().contains("sesame"), "{shown}");
    let log = log(&fleet);
    assert!(log.contains("not accepted") && log.contains("accepted by the server"), "{log}");
    assert!(!log.contains("barley") && !log.contains("sesame"), "{log}");
}

/// The fingerprint that `ssh-keygen` tells of a file.
fn fingerprint(fleet: &Fleet, file: &str) -> String {
    let told = fleet.lab.keeper(&["ssh-keygen", "-lf", file]).expect_code(0).stdout;
    told.split(' ').nth(1).expect("a fingerprint").to_owned()
}

/// The line of the keeper's log that says so.
fn line(fleet: &Fleet, message: &str) -> serde_json::Value {
    let log = log(fleet);
    let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
    let mut found = lines.filter(|line: &serde_json::Value| line["fields"]["message"] == message);
    found.next().expect(message)
}

#[test]
fn logs_name_the_keys_by_which_somebody_got_in_or_not_and_a_request_by_one_id_on_both_sides() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let _ = fleet.add("a");
    let (host, own) =
        (fingerprint(&fleet, ".ssh/known_hosts"), fingerprint(&fleet, ".ssh/id_ed25519"));
    let logged =
        |args: &[&str]| fleet.lab.keeper(&[&["env", "RBEE_LOG=info", "bin/rbee"], args].concat());
    let asked = logged(&["run", "-m", "demo", "--json", QUESTION]).expect_code(0);
    let id = asked.json_lines()[0]["request"].as_str().expect("an id").to_owned();
    assert_eq!(line(&fleet, "host key accepted")["fields"]["fingerprint"], host.as_str());
    let accepted = line(&fleet, "accepted by the server");
    assert!(accepted["fields"]["accepted"].to_string().contains(&own), "{accepted}");
    assert!(line(&fleet, "request placed").to_string().contains(&id));
    for (what, count) in [("log/agent.jsonl", 3), ("run/w/*/stderr.log", 2)] {
        let script = format!("grep -c {id} /home/rbee/.local/state/rbee/{what}");
        let found = fleet.lab.exec("a", &["sh", "-c", &script]).expect_code(0).stdout;
        assert!(found.trim().parse::<u32>().expect("a count") >= count, "{what}: {found}");
    }
    // Who is not let in, and a host that nobody knows.
    let _ = logged(&["hive", "add", "x", "nobody@a"]).expect_code(11);
    let refused = line(&fleet, "not accepted");
    assert_eq!(refused["level"], "WARN");
    assert!(refused["fields"]["tried"].to_string().contains(&own), "{refused}");
    fleet.write(".ssh/known_hosts", b"");
    let _ = logged(&["hive", "add", "x", "a"]).expect_code(11);
    let unknown = line(&fleet, "host key refused");
    assert_eq!(unknown["fields"]["fingerprint"], host.as_str());
    assert_eq!(unknown["fields"]["code"], "HOST_KEY_UNKNOWN");
}
