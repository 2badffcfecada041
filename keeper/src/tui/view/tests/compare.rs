//! Comparing: one message to several models, side by side.

use super::*;

/// Two workers are compared: the demo twice, and the one that loads.
fn comparing(columns: u16, rows: u16) -> State {
    let mut state = state(columns, rows);
    press(&mut state, &["f5", "space", "right", "down", "space", "enter"]);
    assert!(state.lanes.is_comparing());
    state
}

fn all_asked(state: &mut State, question: &str) -> Vec<u64> {
    write(state, question);
    let effects = press(state, &["enter"]);
    let id = |effect| match effect {
        Effect::Ask(wanted) => wanted.id,
        other => panic!("a request, not {other:?}"),
    };
    effects.into_iter().map(id).collect()
}

fn answered(state: &mut State, id: u64, text: &str) {
    let now = state.now;
    let _ = update(state, Event::Answer(id, placed()), now);
    let _ = update(state, Event::Answer(id, piece(text)), now);
}

/// Three answers: one that is over, one that comes, one that waits.
fn three_answers(columns: u16, rows: u16) -> State {
    let mut state = comparing(columns, rows);
    let ids = all_asked(&mut state, "What is a hive?");
    assert_eq!(ids.len(), 3);
    answered(&mut state, ids[0], "A hive is a machine with an SSH server.\n\n- no root\n- no port");
    let _ = update(&mut state, Event::Answer(ids[0], News::Ended(Ok(ending()))), at(63));
    answered(&mut state, ids[1], "A hive is **where bees live**, and here a computer that");
    let waits = worker("qwen-1", WorkerState::Loading { bytes_done: 43, bytes_total: 100 });
    let _ = update(&mut state, Event::Answer(ids[2], News::Waits(Box::new(waits))), at(63));
    state
}

#[test]
fn three_lanes_on_a_usual_terminal() {
    assert_picture("compare-80x24", &screen(&mut three_answers(80, 24)));
}

#[test]
fn three_lanes_on_a_wide_terminal() {
    let mut state = three_answers(120, 40);
    press(&mut state, &["alt-3"]);
    assert_picture("compare-120x40", &screen(&mut state));
}

#[test]
fn three_lanes_on_a_very_wide_terminal() {
    assert_picture("compare-200x60", &screen(&mut three_answers(200, 60)));
}

#[test]
fn two_to_four_are_marked_before_they_are_compared() {
    let mut state = state(100, 30);
    press(&mut state, &["f5", "space", "enter"]);
    let shown = screen(&mut state);
    assert!(shown.contains("1 marked of 2 to 4") && shown.contains("[x] demo"), "{shown}");
    assert!(shown.contains("mark two to four with Space"), "{shown}");
    press(&mut state, &["right", "right", "right", "right", "right"]);
    assert!(screen(&mut state).contains("4 marked"), "no more than four");
    press(&mut state, &["left", "left", "enter"]);
    assert_eq!((state.lanes.count(), state.focus), (2, Focus::Writing));
    press(&mut state, &["f5"]);
    assert!(screen(&mut state).contains("2 marked"), "what is compared now is marked");
}

#[test]
fn one_lane_is_cancelled_by_itself_and_escape_cancels_all_that_run() {
    let mut state = comparing(120, 40);
    let ids = all_asked(&mut state, "x");
    // Writing is left without cancelling: by the number of the panel.
    press(&mut state, &["alt-3"]);
    assert_eq!(press(&mut state, &["right", "c"]), [Effect::Cancel(ids[1])]);
    let _ = update(&mut state, Event::Answer(ids[1], News::Ended(Err(None))), at(63));
    let others = [Effect::Cancel(ids[0]), Effect::Cancel(ids[2])];
    assert_eq!(press(&mut state, &["esc"]), others);
    assert!(screen(&mut state).contains("cancelled"), "{}", screen(&mut state));
}

#[test]
fn a_lane_scrolls_by_itself_and_while_writing_all_do() {
    let mut state = comparing(120, 20);
    let ids = all_asked(&mut state, "x");
    let lines: Vec<String> = (0..50).map(|n| format!("- line {n}\n")).collect();
    for id in ids {
        answered(&mut state, id, &lines.concat());
    }
    screen(&mut state);
    let below = |state: &State| -> Vec<bool> {
        state.lanes.iter().map(|lane| lane.transcript.below() > 0).collect()
    };
    press(&mut state, &["alt-3", "right", "pageup"]);
    assert_eq!(below(&state), [false, true, false]);
    press(&mut state, &["G", "i", "pageup"]);
    assert_eq!(below(&state), [true, true, true]);
}

#[test]
fn enter_goes_on_with_the_focused_lane_alone() {
    let mut state = three_answers(120, 40);
    let left = press(&mut state, &["alt-3", "enter"]);
    assert_eq!(left.len(), 2, "the two that go on are cancelled: {left:?}");
    assert!(!state.lanes.is_comparing() && !state.zoomed);
    assert!(screen(&mut state).contains("no root"), "{}", screen(&mut state));
    let sent = asked(&mut state, "and then?");
    assert!(sent > 3, "an id of its own");
}

#[test]
fn ending_takes_back_the_conversation_of_before() {
    let mut state = state(100, 40);
    let id = asked(&mut state, "before");
    answered(&mut state, id, "it was");
    let _ = update(&mut state, Event::Answer(id, News::Ended(Ok(ending()))), at(63));
    press(&mut state, &["f5", "space", "right", "enter"]);
    assert!(!screen(&mut state).contains("it was"));
    let ids = all_asked(&mut state, "x");
    let cancels: Vec<Effect> = ids.into_iter().map(Effect::Cancel).collect();
    assert_eq!(press(&mut state, &["alt-3", "backspace"]), cancels);
    assert!(screen(&mut state).contains("it was"), "{}", screen(&mut state));
}

#[test]
fn a_model_reference_is_taken_as_it_is_typed() {
    let mut state = state(100, 30);
    press(&mut state, &["ctrl-o"]);
    let now = state.now;
    let _ = update(&mut state, Event::Paste("hf:Qwen/Qwen3-0.6B-GGUF:Q8_0".to_owned()), now);
    assert!(screen(&mut state).contains("not loaded"), "{}", screen(&mut state));
    press(&mut state, &["enter"]);
    let partner = state.chat().partner.clone().unwrap();
    assert_eq!(
        (partner.model.to_string().as_str(), partner.hive),
        ("hf:Qwen/Qwen3-0.6B-GGUF:Q8_0", None)
    );
}

/// An answer of so many lines, as models write: lists, code, tables, text.
fn long_answer(lines: usize) -> String {
    let line = |number: usize| match number % 40 {
        0 => format!("\n## Part {number}\n\n"),
        1..14 => format!("- item {number} with *some* words and `code` in them\n"),
        14 => "\n```rust\n".to_owned(),
        15..30 => format!("    let value_{number} = \"text {number}\"; // why\n"),
        30 => "```\n\n| a | b |\n|---|---|\n".to_owned(),
        31..36 => format!("| {number} | cell |\n"),
        36 => "\n".to_owned(),
        _ => format!("A sentence of line {number} that goes on for some more words. "),
    };
    (0..lines).map(line).collect()
}

#[test]
fn a_token_in_four_long_answers_is_drawn_within_a_frame() {
    let mut state = state(200, 60);
    press(&mut state, &["f5", "space", "right", "right", "right", "enter"]);
    let ids = all_asked(&mut state, "x");
    assert_eq!(ids.len(), 4);
    for id in &ids {
        answered(&mut state, *id, &long_answer(2_000));
    }
    screen(&mut state);
    let mut took: Vec<Duration> = (0..60)
        .map(|number| {
            for id in &ids {
                let _ = update(&mut state, Event::Answer(*id, piece("word ")), at(62));
            }
            if number % 3 == 0 {
                press(&mut state, &["a"]);
            }
            let began = std::time::Instant::now();
            screen(&mut state);
            began.elapsed()
        })
        .collect();
    took.sort();
    let (median, most) = (took[took.len() / 2], took[took.len() - 1]);
    println!("a frame with four answers of 2,000 lines: {median:?}, at most {most:?}");
    // A frame of 34 ms with threefold slack, for a build without optimisation as well.
    assert!(median < Duration::from_millis(100), "{took:?}");
}
