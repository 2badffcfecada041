//! The file of conversations under the TUI: two programs at once, a locked, a newer and a broken
//! one, and what is answered again.

#![allow(clippy::expect_used, reason = "what goes wrong here is a failed test")]

use std::fs;
use std::path::PathBuf;

use rbee_tests::{Sandbox, Seat};
use rusqlite::Connection;

/// Escape, Ctrl-Q, Ctrl-X, Ctrl-R, and F3 as xterm sends it.
const ESC: &str = "\u{1b}";
const CTRL_Q: &str = "\u{11}";
const CTRL_X: &str = "\u{18}";
const CTRL_R: &str = "\u{12}";
const F3: &str = "\u{1b}OR";

fn file(sandbox: &Sandbox) -> PathBuf {
    sandbox.home().join(".local/share/rbee/conversations.db")
}

/// Asks, and waits for the end of the answer: so many answers are complete then.
fn ask(seat: &mut Seat, question: &str, complete: usize) {
    seat.types(question);
    seat.types("\r");
    seat.until("a complete answer", |screen| {
        (screen.matches("first after").count() == complete).then_some(())
    });
}

/// Leaves the list: right behind Escape, the next key would be one with Alt.
fn close(seat: &mut Seat) {
    seat.types(ESC);
    seat.until("the list is gone", |screen| (!screen.contains("F2 rename")).then_some(()));
}

/// Opens the conversation with these words.
fn open(seat: &mut Seat, words: &str) {
    seat.types(F3);
    seat.shows("F2 rename");
    seat.types(words);
    seat.shows("1 found");
    seat.types("\r");
    seat.until("it", |screen| (!screen.contains("F2 rename")).then_some(()));
}

/// Another program finds the answer in the file.
fn is_kept(sandbox: &Sandbox) {
    let mut seat = Seat::at(sandbox, 160, 40);
    open(&mut seat, "hive");
    seat.shows("A hive is a machine");
    seat.types(CTRL_Q);
    assert_eq!(seat.ends().0, Some(0));
}

#[test]
fn two_programs_go_on_with_one_conversation_and_no_turn_is_lost() {
    let sandbox = Sandbox::new();
    let (mut one, mut other) = (Seat::at(&sandbox, 120, 60), Seat::at(&sandbox, 120, 60));
    one.shows("no agent runs there yet");
    other.shows("no agent runs there yet");
    ask(&mut one, "What is a hive?", 1);
    ask(&mut other, "What is a worker?", 1);
    open(&mut other, "machine");
    other.shows("What is a hive?");
    // Both go on from the same turn: each has a branch of its own, which the other does not see.
    ask(&mut one, "What is an agent?", 2);
    ask(&mut other, "What is a model?", 2);
    assert!(!one.screen().contains("What is a model?"), "{}", one.screen());
    one.types(F3);
    one.shows("3 turns");
    one.until("both conversations", |screen| {
        (screen.contains("What is a hive?") && screen.contains("What is a worker?")).then_some(())
    });
    // The branch that went on last is the one that goes on.
    one.types("machine");
    one.shows("1 found");
    one.types(CTRL_X);
    one.types("j");
    one.shows("written: ./what-is-a-hive.json");
    let text = fs::read_to_string(sandbox.home().join("what-is-a-hive.json")).expect("it");
    assert!(text.contains("What is a model?") && !text.contains("What is an agent?"), "{text}");
    // What one deletes, the other says no more, and goes on.
    one.types("\u{4}");
    one.shows("delete");
    one.types("y");
    one.shows("no conversation has these words");
    other.types(F3);
    other.shows("What is a worker?");
    other.until("one alone", |screen| (!screen.contains("3 turns")).then_some(()));
    close(&mut other);
    // Whoever has it open still goes on with it, and then it is kept as a whole.
    ask(&mut other, "What is a token?", 3);
    one.types("x\u{7f}");
    one.shows("3 turns");
    close(&mut one);
    open(&mut one, "token");
    for question in ["What is a hive?", "What is a model?", "What is a token?"] {
        one.shows(question);
    }
    let _ = other.quits(true);
    let _ = one.quits(false);
}

#[test]
fn a_locked_file_holds_up_no_answer_and_what_could_not_be_saved_is_saved_when_one_leaves() {
    let sandbox = Sandbox::new();
    let mut seat = Seat::at(&sandbox, 160, 40);
    seat.shows("no agent runs there yet");
    let lock = Connection::open(file(&sandbox)).expect("the file");
    lock.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    ask(&mut seat, "What is a hive?", 1);
    seat.shows("is locked");
    lock.execute_batch("COMMIT").expect("no lock");
    let _ = seat.quits(false);
    is_kept(&sandbox);
}

#[test]
fn a_file_of_a_newer_program_is_named_and_left_as_it_was() {
    let sandbox = Sandbox::new();
    let mut seat = Seat::at(&sandbox, 160, 40);
    seat.shows("no agent runs there yet");
    ask(&mut seat, "What is a hive?", 1);
    let _ = seat.quits(false);
    let newer = Connection::open(file(&sandbox)).expect("the file");
    newer.pragma_update(None, "user_version", 99).expect("a version");
    drop(newer);
    let before = fs::read(file(&sandbox)).expect("the file");
    let mut seat = Seat::at(&sandbox, 160, 40);
    seat.shows("is of a newer rbee (version 99");
    ask(&mut seat, "What is a worker?", 1);
    seat.types(F3);
    seat.shows("F2 rename");
    close(&mut seat);
    let _ = seat.quits(false);
    assert_eq!(fs::read(file(&sandbox)).expect("the file"), before);
}

#[test]
fn a_broken_file_is_set_aside_and_a_new_one_begins() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(file(&sandbox).parent().expect("a directory")).expect("made");
    fs::write(file(&sandbox), "no database\n".repeat(999)).expect("a file");
    let mut seat = Seat::at(&sandbox, 200, 30);
    seat.shows("conversations was broken");
    // What is not known yet is asked about when one quits.
    seat.shows("no agent runs there yet");
    ask(&mut seat, "What is a hive?", 1);
    let _ = seat.quits(false);
    let aside = fs::read_to_string(file(&sandbox).with_extension("db.broken-1")).expect("it");
    assert!(aside.starts_with("no database"));
    is_kept(&sandbox);
}

#[test]
fn the_turn_that_is_chosen_is_edited_or_answered_again_and_not_the_last_one() {
    let sandbox = Sandbox::new();
    let mut seat = Seat::at(&sandbox, 120, 60);
    seat.shows("no agent runs there yet");
    for (complete, question) in (1..).zip(["What is a hive?", "What is a worker?", "And rbee?"]) {
        ask(&mut seat, question, complete);
    }
    // The first one is chosen: twice the one before the last.
    seat.types(ESC);
    seat.shows("e edit");
    seat.types("[[[");
    seat.types("e");
    seat.shows("question 1 of 3");
    // Ctrl-C leaves it as it was.
    seat.types("\u{3}");
    seat.types(ESC);
    seat.shows("e edit");
    seat.types(CTRL_R);
    seat.shows("what followed stays in the file of conversations");
    seat.until("its answer alone", |screen| {
        let alone = screen.contains("What is a hive?") && !screen.contains("And rbee?");
        (alone && screen.matches("first after").count() == 1).then_some(())
    });
    assert!(!seat.screen().contains("What is a worker?"), "{}", seat.screen());
    // All of it is in the file: three turns, and the new answer.
    seat.types(F3);
    seat.shows("4 turns");
    close(&mut seat);
    let _ = seat.quits(false);
}
