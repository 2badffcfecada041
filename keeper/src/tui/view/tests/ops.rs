//! Operations, the viewer and the palette: keys in, screen and effects out.

use super::*;
use crate::operations::removal::How;
use crate::tui::operation::Operation;
use crate::tui::records::{Line, RecordId};
use crate::tui::rows::Kind;
use crate::tui::update::operate::News as Said;

/// The operations that effects begin, with their records.
fn begun(effects: Vec<Effect>) -> Vec<(RecordId, Operation)> {
    let operation = |effect| match effect {
        Effect::Operate(id, operation) => Some((id, *operation)),
        _ => None,
    };
    effects.into_iter().filter_map(operation).collect()
}

fn says(state: &mut State, id: RecordId, lines: impl IntoIterator<Item = Line>) {
    let now = state.now;
    let news = Said::Lines(lines.into_iter().collect());
    let _ = update(state, Event::Operation(id, news), now);
}

fn ends(state: &mut State, id: RecordId, outcome: Result<&str, Fault>) {
    let now = state.now;
    let news = Said::Ended(outcome.map(str::to_owned));
    let _ = update(state, Event::Operation(id, news), now);
}

/// A state that follows the log of `pc`.
fn following(columns: u16, rows: u16) -> (State, RecordId) {
    let mut state = state(columns, rows);
    press(&mut state, &["esc", "1", "G"]);
    let begun = begun(press(&mut state, &["l"]));
    assert_eq!(begun[0].1, Operation::HiveLog(hive("pc")));
    (state, begun[0].0)
}

#[test]
fn a_worker_is_stopped_only_after_a_yes_and_the_command_is_shown() {
    let mut state = state(120, 30);
    press(&mut state, &["tab", "2", "x"]);
    let shown = screen(&mut state);
    assert!(shown.contains("$ rbee worker stop --hive pc demo-1"), "{shown}");
    assert_eq!(press(&mut state, &["n"]), []);
    press(&mut state, &["x", "c"]);
    let notice = state.notice.clone().unwrap().text;
    assert_eq!(notice, "rbee worker stop --hive pc demo-1");
    let stop = Operation::StopWorker(hive("pc"), "demo-1".parse().unwrap());
    let begun = begun(press(&mut state, &["y"]));
    assert_eq!(begun[0].1, stop);
    let fault = Fault::new(Code::Io, "it did not end").hint("rbee worker list --hive pc");
    ends(&mut state, begun[0].0, Err(fault));
    let shown = screen(&mut state);
    assert!(shown.contains("warning: it did not end — rbee worker list --hive pc"), "{shown}");
    press(&mut state, &["v"]);
    let shown = screen(&mut state);
    assert!(shown.contains("hint: rbee worker list") && shown.contains("Stop demo-1"), "{shown}");
}

#[test]
fn what_is_marked_is_done_to_all_of_them_at_once() {
    let mut state = state(120, 40);
    press(&mut state, &["tab", "2", "g", "space", "down", "space", "x"]);
    let shown = screen(&mut state);
    assert!(shown.contains("Stop demo-1 on pc") && shown.contains("Stop qwen-1 on pc"), "{shown}");
    let begun = begun(press(&mut state, &["y"]));
    assert_eq!(begun.len(), 2);
}

#[test]
fn what_destroys_asks_and_what_looks_does_not() {
    for (key, asks) in [
        ("s", true),
        ("S", true),
        ("I", true),
        ("X", true),
        ("D", true),
        ("d", false),
        ("l", false),
    ] {
        let mut state = state(100, 30);
        press(&mut state, &["esc", "1", "g", "down"]);
        let begun = begun(press(&mut state, &[key]));
        assert_eq!(begun.is_empty(), asks, "{key}");
        let shown = screen(&mut state);
        assert_eq!(shown.contains("Sure?"), asks, "{key}: {shown}");
        assert!(shown.contains("$ rbee "), "{key}: {shown}");
    }
}

#[test]
fn a_hive_is_removed_with_what_is_there_only_by_choice() {
    let mut state = state(100, 30);
    press(&mut state, &["esc", "1", "g", "X"]);
    assert!(state.overlay.is_none(), "this machine is always there");
    press(&mut state, &["G", "X"]);
    let shown = screen(&mut state);
    assert!(shown.contains("y yes   n no   c the command   p purge   f force"), "{shown}");
    press(&mut state, &["p"]);
    let shown = screen(&mut state);
    assert!(shown.contains("$ rbee hive remove pc --purge"), "{shown}");
    let begun = begun(press(&mut state, &["f", "f", "y"]));
    let how = How { purge: true, force: false };
    assert_eq!(begun[0].1, Operation::Remove(hive("pc"), how));
}

#[test]
fn a_log_is_followed_until_somebody_scrolls_and_left_for_good() {
    let (mut state, id) = following(80, 24);
    let line = |n: u32| Line::new(&format!("2026-11-30 12:00:01Z INFO  line {n}"), Kind::Text);
    says(&mut state, id, (0..100).map(line));
    let shown = screen(&mut state);
    assert!(shown.contains("line 99") && shown.contains("follows"), "{shown}");
    assert_picture("ops-log", &shown);
    press(&mut state, &["pageup"]);
    says(&mut state, id, (100..200).map(line));
    let shown = screen(&mut state);
    assert!(shown.contains("line 70") && !shown.contains("line 199"), "{shown}");
    press(&mut state, &["f"]);
    assert!(screen(&mut state).contains("line 199"));
    assert_eq!(press(&mut state, &["esc"]), [Effect::Abandon(id)]);
    assert!(state.overlay.is_none());
}

#[test]
fn words_are_found_in_a_log_one_after_the_other() {
    let (mut state, id) = following(80, 24);
    let line = |n: u32| {
        Line::new(&format!("line {n} {}", if n % 40 == 7 { "Bad" } else { "" }), Kind::Text)
    };
    says(&mut state, id, (0..120).map(line));
    press(&mut state, &["/", "b", "a", "d"]);
    assert!(screen(&mut state).contains("/bad"));
    press(&mut state, &["enter"]);
    assert!(screen(&mut state).contains("line 87 Bad"));
    press(&mut state, &["N"]);
    assert!(screen(&mut state).contains("line 47 Bad"));
    press(&mut state, &["n", "n"]);
    assert!(screen(&mut state).contains("line 7 Bad"), "round the end");
    press(&mut state, &["/", "z", "enter"]);
    assert!(screen(&mut state).contains("nothing has \"z\""));
}

#[test]
fn what_a_log_has_in_it_cannot_move_the_cursor_and_long_lines_are_read_to_their_end() {
    let (mut state, id) = following(60, 12);
    let hostile = format!("a\u{1b}[2J\u{9b}\u{202e}\r\tb {}END", "word ".repeat(200_000));
    says(&mut state, id, [Line::new(&hostile, Kind::Text)]);
    let ends_here = format!("{}END", "word ".repeat(100));
    says(&mut state, id, [Line::new(&ends_here, Kind::Text)]);
    let shown = screen(&mut state);
    assert!(shown.contains("END"), "{shown}");
    let is_dangerous = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!shown.contains(is_dangerous), "{shown:?}");
    press(&mut state, &["w"]);
    assert!(!screen(&mut state).contains("END"), "it is cut");
    press(&mut state, &["w", "pageup", "pageup", "pagedown", "G"]);
    assert!(screen(&mut state).contains("END"));
}

#[test]
fn a_question_stands_over_what_is_looked_at_and_gives_it_back() {
    let (mut state, id) = following(80, 24);
    says(&mut state, id, [Line::new("connecting", Kind::Text)]);
    let lines = vec!["The host key is not known".to_owned()];
    let now = state.now;
    let question = Question { id: 7, lines, form: Form::YesNo };
    let _ = update(&mut state, Event::Question(question), now);
    let shown = screen(&mut state);
    assert!(shown.contains("host key") && shown.contains("connecting"), "{shown}");
    says(&mut state, id, [Line::new("still there", Kind::Text)]);
    assert!(matches!(press(&mut state, &["y"])[..], [Effect::Reply(7, Some(_))]));
    assert!(screen(&mut state).contains("still there"));
}

#[test]
fn the_viewer_fits_the_smallest_screen() {
    let (mut state, id) = following(20, 5);
    says(&mut state, id, (0..9).map(|n| Line::new(&format!("line {n}"), Kind::Text)));
    let shown = screen(&mut state);
    assert!(shown.contains("line 8"), "{shown}");
}

#[test]
fn words_are_completed_done_and_remembered() {
    let mut state = state(100, 30);
    press(&mut state, &["esc", ":", "d", "o", "c"]);
    let shown = screen(&mut state);
    assert!(shown.contains("doctor") && shown.contains("check the way to a hive"), "{shown}");
    press(&mut state, &["tab", "n", "a"]);
    assert!(screen(&mut state).contains(":doctor na"), "{}", screen(&mut state));
    let begun = begun(press(&mut state, &["tab", "enter"]));
    assert_eq!(begun[0].1, Operation::Doctor(hive("nas")));
    press(&mut state, &["esc", "ctrl-p", "up"]);
    assert!(screen(&mut state).contains(":doctor nas"), "{}", screen(&mut state));
}

#[test]
fn an_unknown_word_is_answered_with_the_nearest() {
    let mut state = state(80, 16);
    press(&mut state, &["esc", ":"]);
    write(&mut state, "dcotor");
    press(&mut state, &["enter"]);
    let shown = screen(&mut state);
    assert!(shown.contains("there is no \"dcotor\"; nearest: doctor"), "{shown}");
    assert_picture("ops-palette", &shown);
}

#[test]
fn words_with_arguments_mean_what_they_say() {
    let operation = |line: &str| {
        let mut state = state(100, 30);
        press(&mut state, &["esc", ":"]);
        write(&mut state, line);
        let effects = press(&mut state, &["enter"]);
        if effects.is_empty() { begun(press(&mut state, &["y"])) } else { begun(effects) }
    };
    let of = |line: &str| operation(line).pop().map(|(_, operation)| operation);
    let pc = || hive("pc");
    assert_eq!(of("logs pc"), Some(Operation::HiveLog(pc())));
    assert_eq!(of("logs demo-1"), Some(Operation::WorkerLog(pc(), "demo-1".parse().unwrap())));
    assert_eq!(of("stop demo-1"), Some(Operation::StopWorker(pc(), "demo-1".parse().unwrap())));
    assert_eq!(of("stop pc"), Some(Operation::StopAgent(pc())));
    assert_eq!(of("load demo pc"), Some(Operation::Load(ModelRef::Demo, Some(pc()))));
    assert_eq!(of("down"), Some(Operation::Down));
    let hub = || "hf:org/repo:Q8_0".parse::<ModelRef>().unwrap();
    assert_eq!(of("pull hf:org/repo:Q8_0 pc"), Some(Operation::Pull(hub(), pc())));
    assert_eq!(of("models pc"), Some(Operation::Models(pc())));
    assert_eq!(of("forget hf:org/repo:Q8_0 pc"), Some(Operation::Forget(hub(), pc())));
    assert_eq!(of("pull"), None);
    let words = ["model", "show", "demo"].map(str::to_owned).to_vec();
    assert_eq!(of("rbee model show demo"), Some(Operation::Command(words)));
    assert_eq!(of("rbee"), None);
    let how = How { purge: true, force: false };
    assert_eq!(of("remove pc --purge"), Some(Operation::Remove(pc(), how)));
    assert_eq!(of("remove pc --perge"), None);
    assert_eq!(of("doctor nowhere"), None);
    assert_eq!(of("logs"), None);
}

#[test]
fn a_form_says_what_is_wrong_while_it_is_typed_and_stays_open_after_a_failure() {
    let mut state = state(80, 24);
    press(&mut state, &["esc", "1", "a"]);
    write(&mut state, "Attic!");
    let shown = screen(&mut state);
    assert!(shown.contains("Add a hive") && shown.contains("Name     Attic!"), "{shown}");
    assert_eq!(press(&mut state, &["tab", "enter"]), [], "nothing is begun with a wrong name");
    press(&mut state, &["ctrl-u"]);
    write(&mut state, "pc");
    assert!(screen(&mut state).contains("there is a hive named pc already"));
    press(&mut state, &["ctrl-u"]);
    write(&mut state, "attic");
    press(&mut state, &["tab"]);
    write(&mut state, "ada@attic.lan");
    let begun = begun(press(&mut state, &["enter"]));
    let (id, Operation::Add(name, settings)) = begun[0].clone() else { panic!("{begun:?}") };
    assert_eq!((name, settings.address.to_string().as_str()), (hive("attic"), "ada@attic.lan"));
    assert_eq!(press(&mut state, &["x", "enter"]), [], "it is being done");
    says(&mut state, id, [Line::new("attic: connecting", Kind::Text)]);
    let fault =
        Fault::new(Code::HiveUnreachable, "no answer").cause("timed out").hint("ping attic");
    ends(&mut state, id, Err(fault));
    state.size = (78, 19);
    assert_picture("ops-add", &screen(&mut state));
    state.size = (20, 5);
    let shown = screen(&mut state);
    assert!(shown.contains("Address  ic.lan") && shown.contains("Enter add it"), "{shown}");
    let again = self::begun(press(&mut state, &["enter"]));
    ends(&mut state, again[0].0, Ok("attic is a hive now"));
    assert!(state.overlay.is_none());
    assert_eq!(state.hive, Some(hive("attic")));
}

#[test]
fn what_is_being_added_is_given_up_by_escape() {
    let mut state = state(80, 24);
    press(&mut state, &["esc", ":"]);
    write(&mut state, "add attic ada@attic");
    let begun = begun(press(&mut state, &["enter"]));
    assert_eq!(press(&mut state, &["esc"]), [Effect::Abandon(begun[0].0)]);
}

#[test]
fn what_is_done_to_marked_hives_is_done_to_all_of_them_and_the_question_names_them() {
    for (key, count, words) in [
        ("S", 3, "Stop the workers and the agent of nas?"),
        ("I", 3, "Install this build on pc? Loaded models stay."),
        // One that runs is not started, and this machine is always there.
        ("s", 2, "Start the agent of nas?"),
        ("X", 2, "Stop what runs on pc and forget it?"),
    ] {
        let mut state = state(120, 40);
        press(&mut state, &["esc", "1", "g", "space", "space", "space"]);
        let shown = screen(&mut state);
        assert!(shown.contains("1 Hives · 1 of 3 online, 3 marked"), "{shown}");
        assert_eq!(press(&mut state, &[key]), []);
        let shown = screen(&mut state);
        assert!(shown.contains("Sure?") && shown.contains(words), "{key}: {shown}");
        assert_eq!(begun(press(&mut state, &["y"])).len(), count, "{key}");
    }
    let mut state = state(120, 40);
    press(&mut state, &["esc", "1", "g", "space", "down", "space"]);
    // What only looks begins at once; what each says is beside that of the others.
    let begun = begun(press(&mut state, &["d"]));
    assert_eq!(begun.iter().map(|(_, it)| it.target()).collect::<Vec<_>>(), ["local", "pc"]);
    assert!(screen(&mut state).contains("Doctor: pc"), "{}", screen(&mut state));
    press(&mut state, &["["]);
    assert!(screen(&mut state).contains("Doctor: local"), "{}", screen(&mut state));
    // A log is looked at alone. Esc takes the marks away.
    press(&mut state, &["esc", "g"]);
    let log = self::begun(press(&mut state, &["l"]));
    assert_eq!(
        log.iter().map(|it| &it.1).collect::<Vec<_>>(),
        [&Operation::HiveLog(hive("local"))]
    );
    press(&mut state, &["esc", "esc"]);
    assert!(!screen(&mut state).contains("marked"), "{}", screen(&mut state));
}

#[test]
fn a_question_about_many_names_each_of_them() {
    let mut state = state(120, 40);
    let names: Vec<_> = (0..20).map(|number| hive(&format!("pi-{number}"))).collect();
    let now = state.now;
    let board = Arc::new(Board::new(names.clone()));
    let _ = update(&mut state, Event::Board(board), now);
    state.panels.marked_hives = names.iter().cloned().collect();
    press(&mut state, &["esc", "1", "I"]);
    let shown = screen(&mut state);
    for name in names {
        let is_named = |end: &str| shown.contains(&format!("{name}{end}"));
        assert!(is_named("?") || is_named(",") || is_named(" "), "{name}: {shown}");
    }
}
