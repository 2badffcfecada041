//! Loans: what the TUI has open, a command of the same user uses, and nobody is asked again.

#![allow(clippy::expect_used, reason = "what goes wrong here is a failed test")]

use std::time::{Duration, Instant};

use rbee_tests::{Fleet, Terminal};

const QUESTION: &str = "What is a hive?";
const CONFIG: &str = "default_model = \"demo\"\n";
/// How long something that is under way may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ctrl-Q, and the answer that keeps the workers.
const QUIT: [&str; 2] = ["\u{11}", "k"];

/// SSH connections of the keeper that are established, as its kernel lists them.
fn connections(fleet: &Fleet) -> usize {
    let table = fleet.lab.keeper(&["cat", "/proc/net/tcp", "/proc/net/tcp6"]).stdout;
    // Remote port 22 in hexadecimal, state 1 (`proc_pid_net(5)`).
    let is_one = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(2).is_some_and(|remote| remote.ends_with(":0016"))
            && fields.get(3).is_some_and(|state| *state == "01")
    };
    table.lines().filter(is_one).count()
}

/// Sends the TUI of the keeper's user a signal, such as `KILL`.
fn signal_tui(fleet: &Fleet, signal: &str) {
    let is_tui = |line: &String| line.split(' ').skip(3).collect::<String>() == "bin/rbee";
    let all = fleet.lab.ps("keeper");
    let tui = all.iter().find(|line| is_tui(line)).expect("the TUI runs");
    let pid = tui.split(' ').next().expect("its number");
    let _ = fleet.lab.exec("keeper", &["kill", "-s", signal, pid]).expect_code(0);
}

/// The TUI at a terminal, whose person has typed the password and got an answer.
fn opened(fleet: &Fleet) -> Terminal {
    let mut tui = Terminal::start(fleet, &[]);
    tui.shows("assword");
    tui.types("sesame\r");
    tui.types("What is a hive?\r");
    tui.shows("machine");
    tui
}

#[test]
fn a_password_that_was_typed_for_the_tui_is_not_asked_for_by_a_run() {
    let Some(fleet) = Fleet::up(&[("a", "password")], CONFIG) else { return };
    let mut adding = Terminal::start(&fleet, &["hive", "add", "a", "a"]);
    adding.shows("assword");
    adding.types("sesame\n");
    assert_eq!(adding.ends().0, Some(0));
    // Nobody lends, and nobody can type.
    let _ = fleet.rbee(&["run", "--hive", "a", QUESTION]).expect_code(11);

    let mut tui = opened(&fleet);
    assert_eq!(connections(&fleet), 1);
    let answer = fleet.rbee(&["run", "--hive", "a", QUESTION]).expect_code(0);
    assert!(answer.stdout.contains("machine"), "{}", answer.stdout);
    let _ = fleet.rbee(&["worker", "list", "--hive", "a"]).expect_code(0);
    let long = fleet.watch(PATIENCE);
    long.online("a", PATIENCE);
    assert_eq!(connections(&fleet), 1, "nobody made another one");
    drop(long);

    // The same name on other terms may be another machine.
    fleet.configure(&fleet.config().replace("\"a\"", "\"rbee@a\""));
    let _ = fleet.rbee(&["run", "--hive", "a", QUESTION]).expect_code(11);
    fleet.configure(&fleet.config().replace("\"rbee@a\"", "\"a\""));
    let _ = fleet.rbee(&["run", "--hive", "a", QUESTION]).expect_code(0);

    for keys in QUIT {
        tui.types(keys);
    }
    let (code, shown) = tui.ends();
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("sesame"), "{shown}");
    let _ = fleet.rbee(&["run", "--hive", "a", QUESTION]).expect_code(11);
}

#[test]
fn a_lender_that_is_killed_ends_what_it_lent_and_the_next_takes_its_place() {
    let Some(fleet) = Fleet::up(&[("a", "")], CONFIG) else { return };
    let _ = fleet.add("a");
    let mut tui = Terminal::start(&fleet, &[]);
    tui.types("What is a hive?\r");
    tui.shows("machine");
    let borrower = fleet.watch(PATIENCE);
    borrower.online("a", PATIENCE);
    assert_eq!(connections(&fleet), 1);
    let cut = Instant::now();
    signal_tui(&fleet, "KILL");
    borrower.until("a", "unreachable", cut, PATIENCE);
    borrower.until("a", "online", cut, PATIENCE);
    assert_eq!(connections(&fleet), 1, "it goes on over one of its own");
    // What the killed one left is in nobody's way.
    let _ = fleet.rbee(&["run", "--hive", "a", QUESTION]).expect_code(0);
    let mut next = Terminal::start(&fleet, &[]);
    next.types("What is a hive?\r");
    next.shows("machine");
    assert_eq!(connections(&fleet), 2);
    let another = fleet.watch(PATIENCE);
    another.online("a", PATIENCE);
    assert_eq!(connections(&fleet), 2, "the next one lends");
    drop((tui, borrower, another));
    for keys in QUIT {
        next.types(keys);
    }
    assert_eq!(next.ends().0, Some(0));
}

#[test]
fn a_lender_that_is_stopped_holds_nobody_up() {
    let Some(fleet) = Fleet::up(&[("a", "")], CONFIG) else { return };
    let _ = fleet.add("a");
    let mut tui = Terminal::start(&fleet, &[]);
    tui.types("What is a hive?\r");
    tui.shows("machine");
    signal_tui(&fleet, "STOP");
    let begun = Instant::now();
    let _ = fleet.rbee(&["run", "--hive", "a", QUESTION]).expect_code(0);
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    signal_tui(&fleet, "CONT");
    for keys in QUIT {
        tui.types(keys);
    }
    assert_eq!(tui.ends().0, Some(0));
}

/// A host of that flavour: its one connection serves the TUI and whoever borrows it.
fn lends_over_one_connection(flavour: &str) {
    let Some(fleet) = Fleet::up(&[("a", flavour)], CONFIG) else { return };
    let _ = fleet.add("a");
    let mut tui = Terminal::start(&fleet, &[]);
    tui.types("What is a hive?\r");
    tui.shows("machine");
    assert_eq!(connections(&fleet), 1, "{flavour}");
    let long = fleet.watch(PATIENCE);
    long.online("a", PATIENCE);
    for _ in 0..3 {
        let answer = fleet.rbee(&["run", "--hive", "a", QUESTION]).expect_code(0);
        assert!(answer.stdout.contains("machine"), "{}", answer.stdout);
    }
    assert_eq!(connections(&fleet), 1, "{flavour}: nobody made another one");
    drop(long);
    for keys in QUIT {
        tui.types(keys);
    }
    assert_eq!(tui.ends().0, Some(0));
}

#[test]
fn a_server_that_allows_one_session_serves_borrowers_over_the_one_connection() {
    lends_over_one_connection("maxsessions1");
}

#[test]
fn a_server_that_forwards_nothing_serves_borrowers_over_the_one_connection() {
    lends_over_one_connection("noforward");
}

#[test]
fn a_second_factor_is_asked_for_once_and_not_by_those_who_borrow() {
    let Some(fleet) = Fleet::up(&[("a", "code")], CONFIG) else { return };
    let mut adding = Terminal::start(&fleet, &["hive", "add", "a", "a"]);
    adding.shows("assword");
    adding.types("sesame\n");
    assert_eq!(adding.ends().0, Some(0));
    let refused = fleet.rbee(&["run", "--hive", "a", QUESTION]).expect_code(11);
    assert!(refused.stderr.contains("hint:"), "{}", refused.stderr);
    let mut tui = opened(&fleet);
    for _ in 0..3 {
        let _ = fleet.rbee(&["run", "--hive", "a", QUESTION]).expect_code(0);
    }
    assert_eq!(connections(&fleet), 1, "nobody made another one");
    for keys in QUIT {
        tui.types(keys);
    }
    let (code, shown) = tui.ends();
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("sesame"), "{shown}");
}
