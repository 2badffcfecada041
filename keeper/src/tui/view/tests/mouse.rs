//! The mouse, and the choice when quitting.

use super::*;
use crate::tui::event::Pointer;

fn point(state: &mut State, pointer: Pointer) {
    let now = state.now;
    let _ = screen(state);
    let _ = update(state, Event::Pointer(pointer), now);
}

#[test]
fn a_click_goes_to_a_panel_and_chooses_the_row() {
    let mut state = state(120, 30);
    let shown = screen(&mut state);
    let row = |words: &str| {
        let at = shown.lines().position(|line| line.contains(words)).unwrap();
        u16::try_from(at).unwrap()
    };
    point(&mut state, Pointer::Click(5, row("cuda:0")));
    assert_eq!((state.focus, state.hive.clone()), (Focus::Hives, Some(hive("pc"))));
    point(&mut state, Pointer::Click(5, row("hf:Qwen")));
    assert_eq!(state.focus, Focus::Workers);
    assert_eq!(state.worker.clone().unwrap().1.as_str(), "qwen-1");
    point(&mut state, Pointer::Click(80, 10));
    assert_eq!(state.focus, Focus::Chat);
    point(&mut state, Pointer::Click(80, 26));
    assert_eq!(state.focus, Focus::Writing);
    // On a frame, a head or the bottom line nothing is chosen.
    point(&mut state, Pointer::Click(5, 29));
    assert_eq!(state.focus, Focus::Writing);
    for (column, row) in [(0, 0), (119, 29), (500, 500)] {
        point(&mut state, Pointer::Click(column, row));
        point(&mut state, Pointer::Wheel(column, row, true));
    }
}

#[test]
fn the_wheel_scrolls_what_is_under_it_and_keys_go_on_where_they_go() {
    let mut state = state(120, 30);
    let id = asked(&mut state, "count");
    let lines: Vec<String> = (0..90).map(|n| format!("- line {n}\n")).collect();
    let _ = update(&mut state, Event::Answer(id, piece(&lines.concat())), at(62));
    assert!(screen(&mut state).contains("line 89"));
    point(&mut state, Pointer::Wheel(80, 10, false));
    let shown = screen(&mut state);
    assert!(!shown.contains("line 89") && shown.contains("line 86"), "{shown}");
    assert_eq!(state.focus, Focus::Writing);
    point(&mut state, Pointer::Wheel(5, 3, true));
    assert_eq!((state.focus, state.hive.clone()), (Focus::Writing, Some(hive("nas"))));
}

#[test]
fn the_mouse_is_taken_and_given_back_by_a_key() {
    let mut state = state(80, 24);
    assert_eq!(press(&mut state, &["f6"]), [Effect::Mouse(true)]);
    assert_eq!(press(&mut state, &["f6"]), [Effect::Mouse(false)]);
}

#[test]
fn the_choice_when_quitting_is_the_one_that_the_next_question_begins_with() {
    let mut state = state(80, 24);
    state.stops = true;
    press(&mut state, &["ctrl-q"]);
    assert_eq!(press(&mut state, &["enter"]), [Effect::Leave(Leave::Stop)]);
    press(&mut state, &["esc", "ctrl-q"]);
    assert_eq!(press(&mut state, &["ctrl-q"]), [Effect::Leave(Leave::Keep)]);
    assert!(state.stops, "who only wants out has chosen nothing");
    press(&mut state, &["esc", "ctrl-q"]);
    assert_eq!(press(&mut state, &["k"]), [Effect::Leave(Leave::Keep)]);
    assert!(!state.stops);
}
