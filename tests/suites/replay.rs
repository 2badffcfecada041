//! Recordings of the TUI: what is in them, and what a replay shows.

#![allow(clippy::expect_used, reason = "what goes wrong here is a failed test")]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rbee_tests::{Sandbox, Seat};

/// The one recording that there is.
fn recording(sandbox: &Sandbox) -> PathBuf {
    let dir = sandbox.home().join(".local/state/rbee/recordings");
    std::fs::read_dir(dir).expect("recordings").flatten().next().expect("one").path()
}

#[test]
fn what_happened_is_recorded_without_the_persons_text_and_shown_again_by_a_replay() {
    let sandbox = Sandbox::new();
    let mut seat = Seat::at(&sandbox, 100, 30);
    seat.shows("no agent runs there yet");
    seat.types("What is a hive?\r");
    seat.shows("first after");
    // F9.
    seat.types("\u{1b}[20~");
    seat.shows("events are recorded");
    let _ = seat.quits(false);
    let file = recording(&sandbox);
    let mode = std::fs::metadata(&file).expect("its mode").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).expect("readable");
    assert!(!text.contains("machine") && !text.contains("\"W\""), "{text}");
    let path = file.to_str().expect("a path");
    let shown = sandbox.rbee(&["replay", "--print", path]).expect_code(0).stdout;
    assert!(shown.contains("1 Hives") && shown.contains("xxxx xx x xxxx?"), "{shown}");
    let early = sandbox.rbee(&["replay", "--print", "--to", "3", path]).expect_code(0).stdout;
    assert!(!early.contains("first after"), "{early}");
    let refused = sandbox.rbee(&["replay", path]).expect_code(2);
    assert!(refused.stderr.contains("rbee replay --print"), "{}", refused.stderr);
}

/// Recordings of each version that are kept in the tree: what was recorded once is read for ever.
#[test]
fn an_old_recording_is_still_read_and_a_newer_one_refused() {
    let sandbox = Sandbox::new();
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/second.jsonl");
    let shown = sandbox.rbee(&["replay", "--print", kept]).expect_code(0).stdout;
    for words in ["Doctor: local", "$ rbee hive doctor local", "none failed"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/first.jsonl");
    let shown = sandbox.rbee(&["replay", "--print", kept]).expect_code(0).stdout;
    for words in ["1 Hives", "xxxx xx x xxxx?", "first after"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let text = std::fs::read_to_string(kept).expect("readable");
    let newer = sandbox.home().join("newer.jsonl");
    let text = text.replacen("\"rbee_recording\":1", "\"rbee_recording\":3", 1);
    std::fs::write(&newer, text).expect("written");
    let refused = sandbox.rbee(&["replay", "--print", newer.to_str().expect("a path")]);
    assert!(refused.expect_code(12).stderr.contains("version 3"));
}

/// What can be compared of a screen: all but the line at the bottom, which says where the recording
/// is, and what counts the seconds.
fn compared(screen: &str) -> Vec<String> {
    let mut lines: Vec<String> = screen.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.pop();
    lines.iter().map(|line| line.replace(|c: char| c.is_ascii_digit(), "0")).collect()
}

#[test]
fn operations_and_conversations_are_on_the_replayed_screens_as_they_were() {
    let sandbox = Sandbox::new();
    let mut seat = Seat::at(&sandbox, 110, 36);
    seat.shows("no agent runs there yet");
    seat.types("What is a hive?\r");
    seat.shows("first after");
    // A new conversation, and the one before found and opened again.
    seat.types("\u{1b}n");
    seat.until("a new one", |screen| (!screen.contains("A hive is")).then_some(()));
    seat.types("\u{1b}OR");
    seat.shows("1 found");
    seat.types("hive\r");
    seat.shows("A hive is a machine");
    seat.until("the list is gone", |screen| (!screen.contains("F2 rename")).then_some(()));
    // An operation, and the viewer with what it said.
    seat.types("\u{10}doctor local\r");
    seat.shows("all");
    seat.shows("none failed");
    let shown = seat.screen();
    seat.types("\u{1b}[20~");
    seat.until("the file", |_| {
        sandbox.home().join(".local/state/rbee/recordings").exists().then_some(())
    });
    let path = recording(&sandbox);
    let path = path.to_str().expect("a path");
    let replayed = sandbox.rbee(&["replay", "--print", path]).expect_code(0).stdout;
    assert_eq!(compared(&replayed), compared(&shown), "{replayed}\n{shown}");
    // Behind the viewer is the conversation, in text of the same shape.
    seat.types("q");
    seat.shows("A hive is a machine");
    let _ = seat.quits(false);
    let text = std::fs::read_to_string(path).expect("readable");
    for words in ["machine", "What is", "what-is"] {
        assert!(!text.contains(words), "{words}: {text}");
    }
}

#[test]
fn a_replay_is_paused_stepped_made_faster_and_left() {
    let sandbox = Sandbox::new();
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/first.jsonl");
    let mut seat = Seat::with(&sandbox, &["replay", "--speed", "0.01", kept], 120, 34);
    seat.shows("playing ×0.01");
    seat.types(" ");
    seat.shows("paused");
    // Home, right, right, left.
    seat.types("\u{1b}[H");
    seat.shows("replay 0/");
    seat.types("\u{1b}[C");
    seat.shows("replay 1/");
    seat.types("\u{1b}[C");
    seat.shows("replay 2/");
    seat.types("\u{1b}[D");
    seat.shows("replay 1/");
    seat.types("+");
    seat.shows("×0.02");
    seat.types("-");
    seat.shows("×0.01");
    // End.
    seat.types("\u{1b}[F");
    seat.shows("the end");
    seat.shows("first after");
    seat.types("q");
    let (code, screen) = seat.ends();
    assert_eq!(code, Some(0), "{screen}");
}
