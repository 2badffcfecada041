//! A hive is any machine with an SSH server: added, used, looked at and removed over real SSH.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what goes wrong here is a failed test"
)]

use rbee_tests::Fleet;
use rbee_tests::lab::Cable;
use rbee_tests::sandbox::finish;

const QUESTION: &str = "What is a hive?";

/// What a host's own SSH server listens on.
fn only_ssh(listeners: &[String]) -> bool {
    !listeners.is_empty()
        && listeners.iter().all(|line| line.contains(":22 ") && line.starts_with("tcp"))
}

#[track_caller]
fn answers(fleet: &Fleet, hive: &str) {
    let asked = fleet.rbee(&["run", "-m", "demo", "--temperature", "0", "--hive", hive, QUESTION]);
    assert!(asked.expect_code(0).stdout.contains("machine with an SSH server"));
}

#[test]
fn three_machines_with_nothing_but_sshd_become_one_place_and_are_left_as_they_were() {
    let hosts = ["a", "b", "c"];
    let Some(fleet) = Fleet::up(&hosts.map(|host| (host, "")), "# mine\n") else { return };
    let before = hosts.map(|host| (fleet.lab.files(host), fleet.processes(host)));
    for host in hosts {
        let added = fleet.add(host);
        assert!(added.stderr.contains("uploaded"), "each step is told: {}", added.stderr);
        answers(&fleet, host);
    }
    let config = fleet.config();
    assert!(config.starts_with("# mine\n") && config.contains("[hives.b]"), "{config}");
    let workers = fleet.workers();
    assert_eq!(workers.len(), 3, "one on each: {workers:?}");
    let checked = fleet.rbee(&["hive", "doctor", "--all"]).expect_code(0);
    assert!(checked.stdout.contains("0 network sockets"), "{}", checked.stdout);
    assert!(checked.stdout.contains("publickey SHA256:"), "by which key: {}", checked.stdout);
    for host in hosts {
        assert!(only_ssh(&fleet.lab.listeners(host)), "{:?}", fleet.lab.listeners(host));
    }
    let down = fleet.rbee(&["down"]).expect_code(0);
    for host in hosts {
        assert!(down.stderr.contains(&format!("of the hive {host} has ended")), "{}", down.stderr);
        assert_eq!(fleet.processes(host), Vec::<String>::new());
        let _ = fleet.rbee(&["hive", "remove", host, "--purge"]).expect_code(0);
    }
    let after = hosts.map(|host| (fleet.lab.files(host), fleet.processes(host)));
    assert_eq!(after, before, "files and processes are as they were");
    assert!(!fleet.config().contains("hives"), "{}", fleet.config());
}

#[test]
fn the_second_connection_sends_nothing_and_finds_the_model_warm() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let first = fleet.add("a");
    assert!(first.stderr.contains("uploaded"), "{}", first.stderr);
    answers(&fleet, "a");
    let again = fleet.rbee(&["run", "-m", "demo", "--json", QUESTION]).expect_code(0);
    assert!(!again.stderr.contains("upload"), "{}", again.stderr);
    let placed = &again.json_lines()[0];
    assert_eq!((placed["hive"].as_str(), placed["reused"].as_bool()), (Some("a"), Some(true)));
}

#[test]
fn an_unknown_host_key_is_refused_without_a_person_and_a_changed_one_always() {
    host_keys_are_checked("", "SHA256:");
}

#[test]
fn the_persons_own_ssh_refuses_the_same_host_keys() {
    host_keys_are_checked("[ssh]\nclient = \"system\"\n", "verification failed");
}

fn host_keys_are_checked(config: &str, cause: &str) {
    let Some(fleet) = Fleet::up(&[("a", ""), ("b", "")], config) else { return };
    let known = fleet.lab.keeper(&["cat", ".ssh/known_hosts"]).expect_code(0).stdout;
    fleet.write(".ssh/known_hosts", b"");
    let refused = fleet.rbee(&["hive", "add", "a", "a"]).expect_code(11);
    assert!(refused.stderr.contains(cause), "{}", refused.stderr);
    assert!(refused.stderr.contains("--accept-new"), "{}", refused.stderr);
    assert_eq!(fleet.config(), config, "nothing is written");
    let _ = fleet.rbee(&["hive", "add", "a", "a", "--accept-new"]).expect_code(0);
    answers(&fleet, "a");
    // The key of one host under the name of the other.
    let key_of = |host: &str| {
        let line = known.lines().find(|line| line.starts_with(host)).expect("a line");
        line.split_once(' ').expect("a key").1.to_owned()
    };
    let names = known.lines().find(|line| line.starts_with('a')).expect("a line");
    let names = names.split(' ').next().expect("names");
    fleet.write(".ssh/known_hosts", format!("{names} {}\n", key_of("b")).as_bytes());
    for args in [&["run", "-m", "demo", "x"][..], &["hive", "show", "a"]] {
        let changed = fleet.rbee(args).expect_code(11);
        assert!(changed.stderr.contains("known_hosts"), "{}", changed.stderr);
    }
    let accepting = fleet.rbee(&["hive", "add", "again", "a", "--accept-new"]).expect_code(11);
    assert!(accepting.stderr.contains("known_hosts"), "{}", accepting.stderr);
    // The right key, and that it is not to be trusted any more.
    let lines = format!("{names} {key}\n@revoked {names} {key}\n", key = key_of("a"));
    fleet.write(".ssh/known_hosts", lines.as_bytes());
    let revoked = fleet.rbee(&["hive", "add", "again", "a", "--accept-new"]).expect_code(11);
    assert!(revoked.stderr.contains("revoked"), "{}", revoked.stderr);
}

#[test]
fn what_cannot_be_reached_is_named_with_its_exit_code_and_nothing_is_kept_of_it() {
    let Some(fleet) = Fleet::up(&[("a", "")], "[timings]\nssh_connect_ms = 1500\n") else { return };
    let before = fleet.config();
    let cases: [(&[&str], i32, &str); 6] = [
        (&["x", "nowhere.invalid"], 10, "nowhere.invalid"),
        (&["x", "a:2222"], 10, "refused"),
        (&["x", "nobody@a"], 11, "nobody"),
        (&["x", "a", "-i", "no-such-key"], 2, "no-such-key"),
        (&["x", "-oProxyCommand=id"], 2, ""),
        (&["local", "a"], 2, "local"),
    ];
    for (words, code, part) in cases {
        let failed = fleet.rbee(&[&["hive", "add"], words].concat()).expect_code(code);
        assert!(failed.stderr.contains(part), "{words:?}: {}", failed.stderr);
        assert!(failed.stderr.contains("hint:") || code == 2, "{words:?}: {}", failed.stderr);
    }
    fleet.lab.freeze("a");
    let silent = fleet.rbee(&["hive", "add", "x", "a"]).expect_code(10);
    assert!(silent.stderr.contains("hint:"), "{}", silent.stderr);
    fleet.lab.thaw("a");
    assert_eq!(fleet.config(), before);
    fleet.configure("[hives.a]\naddress = \"a\"\n");
    let mine = fleet.rbee(&["run", "-m", "bin/rbee", QUESTION]).expect_code(2);
    assert!(mine.stderr.contains("--hive local -m bin/rbee"), "{}", mine.stderr);
    let unknown = fleet.rbee(&["run", "-m", "demo", "--hive", "x", QUESTION]).expect_code(10);
    assert!(unknown.stderr.contains("rbee hive add x"), "{}", unknown.stderr);
    assert_eq!(fleet.processes("a"), Vec::<String>::new(), "nothing was left running");
}

#[test]
fn two_hives_may_be_added_at_once_beside_one_that_refuses_and_a_name_only_once() {
    let Some(fleet) = Fleet::up(&[("a", ""), ("b", "")], "# mine\n") else { return };
    let refused = fleet.spawn(&["hive", "add", "x", "nobody@a"]);
    let both = ["a", "b"].map(|host| fleet.spawn(&["hive", "add", host, host]));
    let _ = finish(refused).expect_code(11);
    for child in both {
        let _ = finish(child).expect_code(0);
    }
    let config = fleet.config();
    assert!(config.contains("[hives.a]") && config.contains("[hives.b]"), "{config}");
    let twice = fleet.rbee(&["hive", "add", "a", "b"]).expect_code(2);
    assert!(twice.stderr.contains("rbee hive remove a"), "{}", twice.stderr);
    assert_eq!(fleet.config(), config);
}

#[test]
fn a_long_round_trip_is_told_when_a_machine_becomes_a_hive() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    fleet.lab.delay("a", Cable { delay_ms: 80, ..Cable::default() });
    let added = fleet.add("a").stderr;
    assert!(added.contains("a round trip takes 1"), "160 ms, and a little: {added}");
    assert!(added.contains("each command waits longer"), "{added}");
}

#[test]
fn a_disk_that_fills_up_in_the_upload_is_named_and_nothing_half_written_stays() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let before = fleet.lab.files("a");
    fleet.lab.fill_disk("a");
    let full = fleet.rbee(&["hive", "add", "a", "a"]).expect_code(1);
    assert!(full.stderr.contains("space") || full.stderr.contains("full"), "{}", full.stderr);
    fleet.lab.free_disk("a");
    let left: Vec<String> =
        fleet.lab.files("a").into_iter().filter(|f| f.contains("part")).collect();
    assert_eq!(left, Vec::<String>::new());
    let _ = fleet.add("a");
    answers(&fleet, "a");
    let _ = fleet.rbee(&["hive", "remove", "a", "--purge"]).expect_code(0);
    assert_eq!(fleet.lab.files("a"), before);
}

#[test]
fn a_program_that_was_changed_on_the_hives_disk_is_not_started() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let _ = fleet.add("a");
    let _ = fleet.rbee(&["down"]).expect_code(0);
    let files = fleet.lab.files("a");
    let program = files.iter().find(|path| path.ends_with("/rbee") && path.contains("linux"));
    let program = program.expect("the installed program");
    let _ = fleet.lab.exec("a", &["sh", "-c", "echo x >> \"$0\"", program]).expect_code(0);
    let mended = fleet.rbee(&["run", "-m", "demo", QUESTION]).expect_code(0);
    assert!(mended.stderr.contains("upload"), "it is sent again: {}", mended.stderr);
    let _ = fleet.rbee(&["down"]).expect_code(0);
    let _ = fleet.lab.exec("a", &["rm", program]).expect_code(0);
    let again = fleet.rbee(&["hive", "start", "a"]).expect_code(0);
    assert!(again.stderr.contains("upload"), "one that is not there, too: {}", again.stderr);
}

#[test]
fn requests_spread_over_the_hives_and_a_hive_that_was_asked_for_is_the_one() {
    let Some(fleet) = Fleet::up(&[("a", ""), ("b", "")], "") else { return };
    for host in ["a", "b"] {
        let _ = fleet.add(host);
        answers(&fleet, host);
    }
    // Long answers at the same time: each hive has one slot.
    let long = ["run", "-m", "demo", "--json", "--ignore-eos", "--max-tokens", "1500", QUESTION];
    let placed = |finished: rbee_tests::sandbox::Finished| {
        finished.expect_code(0).json_lines()[0]["hive"].as_str().expect("a hive").to_owned()
    };
    let first = fleet.spawn(&long);
    rbee_tests::wait_until("one is busy", std::time::Duration::from_secs(20), || {
        fleet.workers().iter().any(|worker| worker["state"] == "busy").then_some(())
    });
    let second =
        placed(fleet.rbee(&["run", "-m", "demo", "--json", "--max-tokens", "4", QUESTION]));
    assert_ne!(placed(finish(first)), second, "the free slot is used");
}
