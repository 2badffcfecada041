//! The TUI on a real terminal: what a person sees, and what is left of it.

#![allow(clippy::expect_used, reason = "what goes wrong here is a failed test")]

use std::fmt::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rbee_tests::{Sandbox, Seat};
use rustix::process::Signal;

/// Escape and Ctrl-Q.
const ESC: &str = "\u{1b}";
const CTRL_Q: &str = "\u{11}";
/// F3, as xterm sends it.
const F3: &str = "\u{1b}OR";

#[test]
fn it_opens_on_a_bare_machine_answers_and_leaves_the_terminal_as_it_was() {
    let sandbox = Sandbox::new();
    let mut seat = Seat::at(&sandbox, 80, 24);
    seat.shows("no agent runs there yet");
    seat.types("What is a hive?\r");
    seat.shows("A hive is a machine");
    seat.shows("tokens/s");
    seat.shows("1 of 1 online");
    seat.resize(120, 40);
    seat.shows("3 Chat");
    // What nobody knows to be loaded is not asked about.
    seat.shows("ready");
    let _ = seat.quits(true);
    assert_eq!(sandbox.workers().len(), 1, "what is loaded stays loaded");
    let mut seat = Seat::at(&sandbox, 100, 30);
    seat.shows("ready");
    let screen = seat.quits(false);
    assert!(screen.contains("the agent of this machine has ended"), "{screen}");
    assert!(sandbox.processes().is_empty());
}

#[test]
fn two_models_answer_side_by_side_and_one_goes_on_alone() {
    let sandbox = Sandbox::new();
    let mut seat = Seat::at(&sandbox, 120, 40);
    seat.shows("no agent runs there yet");
    // F5, the only model marked twice, Enter.
    seat.types("\u{1b}[15~");
    seat.shows("0 marked of 2 to 4");
    seat.types(" \u{1b}[C");
    seat.shows("2 marked of 2 to 4");
    seat.types("\r");
    seat.shows("comparing 2");
    seat.types("What is a hive?\r");
    let both = |screen: &str| (screen.matches("A hive is a machine").count() == 2).then_some(());
    seat.until("both answers", both);
    let ended = |screen: &str| (screen.matches("first after").count() == 2).then_some(());
    seat.until("the end of both", ended);
    assert!(seat.screen().matches("tokens/s").count() >= 2, "{}", seat.screen());
    // To the conversations, to the right one, and on with it.
    seat.types(ESC);
    seat.shows("go on with it");
    seat.types("l\r");
    seat.shows("1 Hives");
    let one = |screen: &str| (screen.matches("A hive is a machine").count() == 1).then_some(());
    seat.until("one answer alone", one);
    seat.types("And a worker?\r");
    seat.until("its next answer", |screen| {
        (screen.matches("And a worker?").count() == 1 && screen.matches("first after").count() == 2)
            .then_some(())
    });
    let _ = seat.quits(false);
}

#[test]
fn every_signal_that_asks_to_end_leaves_the_terminal_as_it_was() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let sandbox = Sandbox::new();
        let mut seat = Seat::at(&sandbox, 80, 24);
        seat.shows("1 Hives");
        seat.signal(signal);
        let (code, screen) = seat.ends();
        assert_eq!(code, Some(130), "{signal:?}: {screen}");
    }
}

#[test]
fn a_cancelled_answer_keeps_what_came() {
    let sandbox = Sandbox::new();
    let mut seat = Seat::at(&sandbox, 100, 40);
    seat.shows("1 Hives");
    // An answer may be faster than the key.
    for _ in 0..20 {
        seat.types("What is a hive?\r");
        seat.until("an answer", |screen| screen.contains("A hive").then_some(()));
        seat.types(ESC);
        let ends = ["cancelled", "first after"];
        let cancelled = seat.until("its end", |screen| {
            ends.iter().find(|end| screen.contains(**end)).map(|end| *end == "cancelled")
        });
        if cancelled {
            assert!(seat.screen().contains("A hive"), "{}", seat.screen());
            let _ = seat.quits(false);
            return;
        }
        // Escape left writing, unless it was an answer's that ended meanwhile: Alt-3 does.
        seat.types("\u{1b}3");
        seat.shows("n new");
        seat.types("ni");
        seat.until("a new conversation", |screen| (!screen.contains("A hive")).then_some(()));
    }
    panic!("no answer was slow enough to be cancelled: {}", seat.screen());
}

#[test]
fn hives_that_never_answer_do_not_hold_up_the_first_frame() {
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("its address");
    let config = (0..10).fold(String::new(), |mut config, number| {
        let line = format!("[hives.h{number}]\naddress = \"ada@{address}\"\n");
        config.write_str(&line).expect("a String takes it");
        config
    });
    let sandbox = Sandbox::with_config(&config);
    let mut seat = Seat::at(&sandbox, 80, 30);
    seat.shows("0 of 10 online");
    let took = seat.elapsed();
    println!("first frame with 10 hives that do not answer: {took:?}");
    // An attempt to connect may take ten seconds.
    assert!(took < Duration::from_secs(1), "{took:?}");
    // What they have loaded is not known.
    seat.types(CTRL_Q);
    seat.shows("Nobody knows yet");
    seat.types("k");
    assert_eq!(seat.ends().0, Some(0));
}

#[test]
fn without_a_terminal_the_help_is_shown_as_before() {
    let sandbox = Sandbox::new();
    let refused = sandbox.rbee(&[]).expect_code(2);
    assert!(refused.stderr.contains("Usage: rbee"), "{}", refused.stderr);
}

#[test]
fn a_conversation_is_found_again_after_the_program_was_left_and_goes_on() {
    let sandbox = Sandbox::new();
    let mut seat = Seat::at(&sandbox, 100, 30);
    seat.shows("no agent runs there yet");
    seat.types("What is a hive?\r");
    seat.shows("first after");
    let _ = seat.quits(true);
    let file = sandbox.home().join(".local/share/rbee/conversations.db");
    let mode = std::fs::metadata(file).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut seat = Seat::at(&sandbox, 100, 30);
    seat.shows("ready");
    assert!(!seat.screen().contains("A hive is a machine"), "{}", seat.screen());
    seat.types(F3);
    seat.shows("What is a hive?");
    seat.types("zebra");
    seat.shows("no conversation has these words");
    seat.types("\u{15}machin");
    seat.shows("1 found");
    seat.types("\r");
    let is_open =
        |screen: &str| screen.contains("A hive is a machine") && !screen.contains("found");
    seat.until("the conversation", |screen| is_open(screen).then_some(()));
    // The terminal is left in the middle of an answer.
    seat.types("What is a worker?\r");
    seat.shows("What is a worker?");
    seat.until("an answer", |screen| (screen.matches("demo on").count() > 1).then_some(()));
    seat.signal(Signal::HUP);
    assert_eq!(seat.ends().0, Some(130));
    let mut seat = Seat::at(&sandbox, 100, 30);
    seat.shows("ready");
    seat.types(F3);
    seat.shows("2 turns");
    seat.types("\u{18}m");
    seat.shows("written: ./what-is-a-hive.md");
    let text = std::fs::read_to_string(sandbox.home().join("what-is-a-hive.md")).expect("it");
    assert!(text.contains("## You\n\nWhat is a worker?"), "{text}");
    // Right behind it, the next key would be one with Alt.
    seat.types(ESC);
    seat.until("the list is gone", |screen| (!screen.contains("F2 rename")).then_some(()));
    let _ = seat.quits(false);
}
