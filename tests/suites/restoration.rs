//! The terminal after the TUI: as it was, however the program was left.

#![allow(clippy::expect_used, reason = "what goes wrong here is a failed test")]

use rbee_tests::procs::{self, Role};
use rbee_tests::sandbox::PATIENCE;
use rbee_tests::{Sandbox, Seat, wait_until};
use rustix::process::Signal;

const CTRL_Q: &str = "\u{11}";
const CTRL_Z: &str = "\u{1a}";

#[test]
fn ctrl_z_gives_the_terminal_to_the_shell_and_fg_takes_it_back() {
    let sandbox = Sandbox::new();
    let mut seat = Seat::with_shell(&sandbox, 90, 30);
    seat.shows("ready>");
    for _ in 0..2 {
        seat.types("rbee\r");
        seat.shows("no agent runs there yet");
        seat.types("half a message");
        seat.shows("half a message");
        seat.types(CTRL_Z);
        seat.shows("Stopped");
        seat.until("a prompt", |screen| screen.trim_end().ends_with("ready>").then_some(()));
        seat.assert_restored();
        // The shell has its keys, its echo and its lines.
        seat.types("echo $((40 + 2)) seen\r");
        seat.shows("42 seen");
        seat.resize(100, 32);
        seat.types("fg\r");
        seat.shows("half a message");
        seat.shows("1 Hives");
        seat.types(CTRL_Q);
        seat.until("the shell", |screen| {
            let is_back = screen.contains("42 seen") && screen.trim_end().ends_with("ready>");
            is_back.then_some(())
        });
        seat.types("echo code $?; clear\r");
        seat.until("a clear screen", |screen| (screen.trim() == "ready>").then_some(()));
    }
    seat.types("exit 7\r");
    let (code, screen) = seat.ends();
    assert_eq!(code, Some(7), "{screen}");
}

#[test]
fn what_is_typed_behind_the_key_that_leaves_is_the_shells() {
    for _ in 0..5 {
        let sandbox = Sandbox::new();
        let mut seat = Seat::at(&sandbox, 100, 30);
        seat.shows("no agent runs there yet");
        // Stopped until the key is there, so that it is read alone: what comes in one piece with
        // it cannot be given back.
        seat.signal(Signal::STOP);
        wait_until("it stops", PATIENCE, || procs::is_stopped(seat.pid()).then_some(()));
        seat.types(CTRL_Q);
        seat.has_unread(1);
        seat.signal(Signal::CONT);
        seat.has_unread(0);
        seat.types("echo all of it\n");
        assert_eq!(seat.ends_with_unread(), "echo all of it\n");
    }
}

#[test]
fn an_agent_that_is_killed_is_seen_to_go_and_changes_nothing_of_the_terminal() {
    let sandbox = Sandbox::new();
    let mut seat = Seat::at(&sandbox, 100, 30);
    seat.shows("no agent runs there yet");
    seat.types("What is a hive?\r");
    seat.shows("A hive is a machine");
    seat.shows("1 of 1 online");
    procs::signal(sandbox.pid_of(Role::Agent), Signal::KILL);
    seat.shows("0 of 1 online");
    seat.types(CTRL_Q);
    let (code, screen) = seat.ends();
    assert_eq!(code, Some(0), "{screen}");
}

#[test]
fn a_terminal_that_is_gone_ends_the_program_at_any_moment() {
    let sandbox = Sandbox::new();
    // What is being done at that moment differs.
    for words in ["1 Hives", "1 Hives", "1 Hives", "1 Hives", "no agent runs there yet"] {
        let mut seat = Seat::at(&sandbox, 80, 24);
        seat.shows(words);
        let code = seat.hangs_up();
        assert!(code.is_some_and(|code| code != 0), "{code:?}");
        assert!(sandbox.processes().is_empty());
    }
}
