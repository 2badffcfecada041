//! A chat below what the terminal shows already: `rbee chat --inline`, and going on with it.

#![allow(clippy::expect_used, reason = "what goes wrong here is a failed test")]

use rbee_tests::{Sandbox, Seat};
use rustix::process::Signal;

/// Ctrl-D, on an empty line.
const CTRL_D: &str = "\u{4}";
/// Ctrl-O: a model is chosen.
const CTRL_O: &str = "\u{f}";

#[test]
fn what_was_said_stays_on_the_usual_screen_and_goes_on_another_time() {
    let sandbox = Sandbox::new();
    let mut seat = Seat::with(&sandbox, &["chat", "--inline", "-m", "demo"], 80, 40);
    seat.shows("Enter send");
    seat.types("What is a hive?\r");
    seat.shows("first after");
    seat.types("**half** a thought");
    seat.shows("half** a thought");
    seat.resize(60, 30);
    seat.types("\u{3}What is a worker?\r");
    seat.until("both", |screen| (screen.matches("first after").count() == 2).then_some(()));
    seat.types(CTRL_D);
    let (code, screen) = seat.ends();
    assert_eq!(code, Some(0), "{screen}");
    // Each once, in their order, and nothing that was drawn at the end.
    for words in ["What is a hive?", "A hive is a machine", "What is a worker?"] {
        assert_eq!(screen.matches(words).count(), 1, "{words}: {screen}");
    }
    assert!(!screen.contains("Enter send") && !screen.contains("thought"), "{screen}");
    let listed = sandbox.rbee(&["chat", "--list"]).expect_code(0).stdout;
    assert!(listed.contains("What is a hive?  demo   2 "), "{listed}");
    let mut seat = Seat::with(&sandbox, &["chat", "--continue", "worker"], 80, 40);
    seat.shows("A hive is a machine");
    seat.types("What is rbee?\r");
    seat.until("three", |screen| (screen.matches("first after").count() == 3).then_some(()));
    seat.signal(Signal::TERM);
    assert_eq!(seat.ends().0, Some(130));
    let listed = sandbox.rbee(&["chat", "--list"]).expect_code(0).stdout;
    assert!(listed.contains("What is a hive?  demo   3 "), "{listed}");
    let nothing = sandbox.rbee(&["chat", "--inline"]).expect_code(2);
    assert!(nothing.stderr.contains("needs a terminal"), "{}", nothing.stderr);
}

#[test]
fn a_list_over_the_chat_leaves_the_usual_screen_as_it_was() {
    let sandbox = Sandbox::new();
    let mut seat = Seat::with(&sandbox, &["chat", "--inline", "-m", "demo"], 80, 24);
    seat.shows("Enter send");
    seat.types("What is a hive?\r");
    seat.shows("first after");
    // Memory that is free is another one from second to second.
    let still = |screen: &str| {
        let rows = screen.lines().filter(|row| !row.contains("hive online"));
        rows.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = still(&seat.screen());
    seat.types(CTRL_O);
    seat.shows("Talk with");
    seat.types("\u{1b}");
    seat.until("the chat as it was", |screen| (still(screen) == before).then_some(()));
    // What is answered meanwhile is there afterwards.
    seat.types("What is a worker?\r");
    seat.types(CTRL_O);
    seat.shows("Talk with");
    seat.types("\u{1b}");
    seat.until("both answers", |screen| (screen.matches("first after").count() == 2).then_some(()));
    // From the list the program ends on the usual screen, too.
    seat.types(CTRL_O);
    seat.shows("Talk with");
    seat.signal(Signal::TERM);
    let (_, screen) = seat.ends();
    assert!(screen.contains("What is a worker?") && !screen.contains("Talk with"), "{screen}");
    assert!(!screen.contains("Enter send"), "{screen}");
}
