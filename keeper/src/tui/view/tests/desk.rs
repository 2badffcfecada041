//! Copying, choosing a turn, files that go with a message, the person's editor.

use super::*;
use crate::tui::desk::{Attachment, News as Got, Work};

fn answered(state: &mut State, question: &str, answer: &str) {
    let id = asked(state, question);
    let _ = update(state, Event::Answer(id, placed()), at(62));
    let _ = update(state, Event::Answer(id, piece(answer)), at(62));
    let _ = update(state, Event::Answer(id, News::Ended(Ok(ending()))), at(63));
}

fn copies(text: &str) -> Vec<Effect> {
    vec![Effect::Desk(Work::Copy(text.to_owned()))]
}

fn got(state: &mut State, news: Got) {
    let now = state.now;
    let _ = update(state, Event::Desk(news), now);
}

#[test]
fn the_answer_that_is_chosen_is_copied_else_the_last_one() {
    let mut state = state(80, 40);
    answered(&mut state, "one", "first");
    answered(&mut state, "two", "second");
    press(&mut state, &["esc"]);
    assert_eq!(press(&mut state, &["y"]), copies("second"));
    press(&mut state, &["[", "["]);
    assert_eq!(state.chat().chosen_turn().unwrap().question, "one");
    assert_eq!(press(&mut state, &["y"]), copies("first"));
    assert_eq!(press(&mut state, &["]", "y"]), copies("second"));
    press(&mut state, &["[", "i"]);
    answered(&mut state, "three", "third");
    assert_eq!(press(&mut state, &["esc", "y"]), copies("third"), "a new turn is meant");
}

#[test]
fn one_block_of_code_is_copied_at_once_and_of_several_one_is_chosen() {
    let mut state = state(80, 40);
    answered(&mut state, "code?", "so:\n```rust\nfn x() {}\n```\n");
    press(&mut state, &["esc"]);
    assert_eq!(press(&mut state, &["Y"]), copies("fn x() {}"));
    press(&mut state, &["i"]);
    answered(&mut state, "more?", "```sh\nls\n```\nor\n```python\nprint(1)\nprint(2)\n```");
    press(&mut state, &["esc", "Y"]);
    let shown = screen(&mut state);
    assert!(shown.contains("Copy which block?") && shown.contains("2 lines"), "{shown}");
    assert_eq!(press(&mut state, &["down", "enter"]), copies("print(1)\nprint(2)"));
    press(&mut state, &["i"]);
    answered(&mut state, "none?", "no");
    press(&mut state, &["esc", "Y"]);
    assert!(screen(&mut state).contains("no block of code"), "{}", screen(&mut state));
}

#[test]
fn a_file_goes_with_the_message_and_is_sent_in_a_fence() {
    let mut state = state(100, 40);
    press(&mut state, &["alt-a"]);
    write(&mut state, "/tmp/no");
    let complete = Effect::Desk(Work::Complete("/tmp/no".to_owned()));
    assert_eq!(press(&mut state, &["tab"]), [complete]);
    got(&mut state, Got::Completed("/tmp/no".into(), vec!["/tmp/note.txt".into()]));
    assert_eq!(press(&mut state, &["enter"]), [Effect::Desk(Work::Attach("/tmp/note.txt".into()))]);
    got(&mut state, Got::Attached(Ok(Attachment::new("note.txt", "remember".into()))));
    assert!(screen(&mut state).contains("[note.txt 8 B]"), "{}", screen(&mut state));
    write(&mut state, "what is it?");
    let sent = press(&mut state, &["enter"]);
    let [Effect::Ask(wanted)] = sent.as_slice() else { panic!("one request, not {sent:?}") };
    assert_eq!(wanted.messages[0].content, "what is it?\n\nnote.txt:\n```\nremember\n```");
    assert!(!screen(&mut state).contains("[note.txt"));
}

#[test]
fn a_file_is_taken_away_refused_with_numbers_and_cleared_with_the_message() {
    let mut state = state(100, 40);
    let file = |bytes: usize| Got::Attached(Ok(Attachment::new("a", "x".repeat(bytes))));
    got(&mut state, file(8));
    press(&mut state, &["backspace"]);
    assert!(state.draft.attachments.is_empty());
    got(&mut state, file(600_000));
    got(&mut state, file(600_000));
    assert!(screen(&mut state).contains("the message has room for"), "{}", screen(&mut state));
    assert_eq!(state.draft.attachments.len(), 1);
    assert_eq!(press(&mut state, &["ctrl-c"]), []);
    assert!(state.draft.is_empty());
}

#[test]
fn a_path_that_is_dropped_stays_text_unless_the_person_attaches_it() {
    let mut state = state(100, 40);
    write(&mut state, "/home/ada/notes.txt");
    assert_eq!(state.draft.editor.text(), "/home/ada/notes.txt");
    assert!(screen(&mut state).contains("Alt-A attaches"), "{}", screen(&mut state));
    let attach = Effect::Desk(Work::Attach("/home/ada/notes.txt".into()));
    assert_eq!(press(&mut state, &["alt-a", "enter"]), [attach]);
    got(&mut state, Got::Attached(Ok(Attachment::new("notes.txt", "x".into()))));
    assert_eq!(state.draft.editor.text(), "", "the file stands in its place");
}

#[test]
fn the_person_s_editor_gets_the_message_and_gives_it_back() {
    let mut state = state(100, 40);
    write(&mut state, "half");
    assert_eq!(press(&mut state, &["ctrl-g"]), [Effect::Desk(Work::Edit("half".into()))]);
    got(&mut state, Got::Edited(Ok("half and\nhalf".into())));
    assert_eq!(state.draft.editor.text(), "half and\nhalf");
    let fault = Fault::new(Code::Io, "there is no editor `x`").hint("export EDITOR=nano");
    got(&mut state, Got::Edited(Err(fault)));
    assert!(screen(&mut state).contains("export EDITOR=nano"), "{}", screen(&mut state));
    assert_eq!(state.draft.editor.text(), "half and\nhalf");
}
