//! Recordings of the TUI: what is in them, and what a replay shows.

#![allow(clippy::expect_used, reason = "what goes wrong here is a failed test")]

use std::os::unix::fs::PermissionsExt;

use rbee_tests::{Sandbox, Seat};

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
    // Ctrl-Q, and no worker stays.
    seat.types("\u{11}");
    seat.shows("keep them warm");
    seat.types("s");
    assert_eq!(seat.ends().0, Some(0));
    let dir = sandbox.home().join(".local/state/rbee/recordings");
    let file = std::fs::read_dir(dir).expect("recordings").flatten().next().expect("one").path();
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

/// A recording of version 1 that is kept in the tree: what was recorded once is read for ever.
#[test]
fn an_old_recording_is_still_read_and_a_newer_one_refused() {
    let sandbox = Sandbox::new();
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/first.jsonl");
    let shown = sandbox.rbee(&["replay", "--print", kept]).expect_code(0).stdout;
    for words in ["1 Hives", "xxxx xx x xxxx?", "first after"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let text = std::fs::read_to_string(kept).expect("readable");
    let newer = sandbox.home().join("newer.jsonl");
    let text = text.replacen("\"rbee_recording\":1", "\"rbee_recording\":2", 1);
    std::fs::write(&newer, text).expect("written");
    let refused = sandbox.rbee(&["replay", "--print", newer.to_str().expect("a path")]);
    assert!(refused.expect_code(12).stderr.contains("version 2"));
}
