//! What is done to hives and workers from inside the TUI: whole flows on a real terminal, on this
//! machine and over real SSH.

#![allow(clippy::expect_used, reason = "what goes wrong here is a failed test")]

use rbee_tests::{Fleet, Sandbox, Seat};

/// Escape, and Ctrl-Q.
const ESC: &str = "\u{1b}";
const CTRL_Q: &str = "\u{11}";

/// Goes from writing to the hives.
fn to_the_hives(seat: &mut Seat) {
    seat.shows("1 Hives");
    seat.types("\u{1b}1");
}

#[test]
fn this_machine_is_checked_followed_and_brought_down_by_keys_and_words() {
    let sandbox = Sandbox::new();
    let mut seat = Seat::at(&sandbox, 100, 30);
    seat.shows("no agent runs there yet");
    seat.types("What is a hive?\r");
    seat.shows("tokens/s");
    seat.types("\u{10}doctor local\r");
    seat.shows("ok    agent");
    seat.shows("none failed");
    seat.types(ESC);
    seat.shows("1 Hives");
    // Alt-2 goes to the workers from wherever one is.
    seat.types("\u{1b}2");
    seat.types("l");
    seat.shows("Log of demo-");
    seat.shows("INFO");
    seat.types("/loa");
    seat.shows("/loa");
    seat.types("\r");
    seat.types(ESC);
    seat.shows("2 Workers");
    seat.types("\u{10}why\r");
    seat.shows("first token");
    seat.types("q");
    seat.shows("2 Workers");
    seat.types("x");
    seat.shows("$ rbee worker stop --hive local demo-");
    seat.types("y");
    seat.shows("stopped demo-");
    assert_eq!(sandbox.workers().len(), 0, "its process is gone");
    seat.types("\u{10}load demo\r");
    seat.shows("is loaded on local");
    seat.types("\u{10}down\r");
    seat.shows("Stop all workers and all agents");
    seat.types("y");
    seat.shows("the agent of this machine has ended");
    seat.shows("nothing of rbee runs any more");
    seat.types(ESC);
    seat.shows("1 Hives");
    seat.types(CTRL_Q);
    assert_eq!(seat.ends().0, Some(0));
    assert!(sandbox.processes().is_empty());
}

#[test]
fn workers_are_filtered_by_what_they_compute_on() {
    let sandbox = Sandbox::new();
    let _ = sandbox.rbee(&["worker", "start", "-m", "demo"]).expect_code(0);
    let row = "cpu    ready";
    let mut seat = Seat::at(&sandbox, 140, 30);
    seat.shows("1 Hives");
    seat.types("\u{1b}2");
    seat.shows(row);
    seat.types("/cuda\r");
    seat.until("none computes on a GPU", |screen| (!screen.contains(row)).then_some(()));
    seat.types(ESC);
    seat.shows(row);
    seat.types("/cpu\r");
    seat.shows("/cpu");
    seat.shows(row);
    let _ = seat.quits(false);
}

#[test]
fn any_other_command_is_typed_inside_and_what_it_says_is_shown() {
    let sandbox = Sandbox::new();
    let mut seat = Seat::at(&sandbox, 100, 40);
    seat.shows("1 Hives");
    seat.types("\u{1b}1:rbee model show demo\r");
    seat.shows("$ rbee model show demo");
    seat.shows("architecture");
    seat.types(ESC);
    seat.shows("1 Hives");
    seat.types(":rbee rm hf:org/none\r");
    seat.shows("hint: rbee ls");
    seat.shows("it ended with exit status: 20");
    seat.types(ESC);
    seat.shows("1 Hives");
    // Nothing was loaded from here, so nothing is asked.
    seat.types("\u{11}");
    assert_eq!(seat.ends().0, Some(0));
}

#[test]
fn a_machine_becomes_a_hive_from_inside_is_used_and_removed_without_losing_a_comment() {
    let Some(fleet) = Fleet::up(&[("a", "")], "# mine\n") else { return };
    let _ = fleet.lab.keeper(&["sh", "-c", ": > .ssh/known_hosts"]).expect_code(0);
    let mut seat = Seat::in_lab(&fleet, 100, 30);
    to_the_hives(&mut seat);
    seat.types("a");
    seat.shows("Add a hive");
    seat.types("A B");
    seat.shows("Name     A B");
    // Enter does not begin with a name that cannot be.
    seat.types("\r\u{15}a\tnowhere.invalid\r");
    seat.shows("error:");
    seat.shows("Enter add it");
    // Corrected where it stands.
    seat.types("\u{15}a\r");
    seat.shows("The host key of");
    seat.shows("SHA256:");
    seat.types("y");
    seat.shows("a is a hive now");
    let config = fleet.config();
    assert!(config.starts_with("# mine\n") && config.contains("[hives.a]"), "{config}");
    seat.shows("online");
    seat.types("d");
    seat.shows("0 network sockets");
    seat.shows("none failed");
    seat.types("q");
    seat.shows("1 Hives");
    seat.types("l");
    seat.shows("Log of a");
    seat.shows("INFO");
    seat.types("q");
    seat.shows("1 Hives");
    seat.types("X");
    seat.shows("$ rbee hive remove a");
    seat.types("py");
    seat.shows("a is removed");
    assert_eq!(fleet.processes("a"), Vec::<String>::new());
    assert!(!fleet.config().contains("hives"), "{}", fleet.config());
    seat.types("q");
    seat.shows("1 Hives");
    seat.types(CTRL_Q);
    seat.until("its end", |screen| (!screen.contains("1 Hives")).then_some(()));
}

#[test]
fn a_machine_that_dies_in_the_middle_of_the_form_leaves_it_open_and_nothing_written() {
    let Some(fleet) = Fleet::up(&[("a", "")], "# mine\n") else { return };
    let _ = fleet.lab.keeper(&["sh", "-c", ": > .ssh/known_hosts"]).expect_code(0);
    let mut seat = Seat::in_lab(&fleet, 80, 24);
    to_the_hives(&mut seat);
    seat.types("a");
    seat.shows("Add a hive");
    seat.types("a\ta\r");
    seat.shows("SHA256:");
    let _ = fleet.lab.run(&["cut", "a"]).expect_code(0);
    seat.types("y");
    seat.shows("error:");
    seat.shows("Enter add it");
    assert_eq!(fleet.config(), "# mine\n");
    seat.types(ESC);
    seat.until("the form's end", |screen| (!screen.contains("Add a hive")).then_some(()));
    seat.types(CTRL_Q);
    seat.until("its end", |screen| (!screen.contains("Hives")).then_some(()));
}
