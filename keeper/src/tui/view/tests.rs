//! Whole flows of the pure core: events in, screen out.

mod compare;
mod conversations;
mod desk;
mod ops;

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::KeyEvent;
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use wire::device::DeviceInfo;
use wire::event::Event as Said;
use wire::generate::{FinishReason, GenerationTimings, Usage};
use wire::worker::WorkerState;
use wire::{Code, Device, Fault, HiveName, ModelRef};

use super::*;
use crate::ask::{Ending, Placed};
use crate::environment::Depth;
use crate::fleet::tests::{snapshot, worker};
use crate::link::watch::{News as Heard, Standing};
use crate::output::theme::Theme;
use crate::tui::board::Board;
use crate::tui::chat::{Chat, Partner};
use crate::tui::event::{Effect, Event, Form, Leave, News, Piece, Question};
use crate::tui::keys::Key;
use crate::tui::state::Focus;
use crate::tui::update::update;

mod mouse;
mod panels;
mod themes;

const MIB: u64 = 1 << 20;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn hive(name: &str) -> HiveName {
    name.parse().unwrap()
}

/// Three hives: one with a GPU and two workers, one without an agent, one that is not there.
fn board() -> Board {
    let mut board = Board::new(["local", "nas", "pc"].map(hive));
    let mut loads = worker("qwen-1", WorkerState::Loading { bytes_done: 43, bytes_total: 100 });
    loads.spec.model = "hf:Qwen/Qwen3-8B-GGUF:Q4_K_M".parse().unwrap();
    loads.spec.device = "cuda:0".parse().unwrap();
    let mut busy = worker("demo-1", WorkerState::Busy);
    (busy.active, busy.queued, busy.unload_in_s) = (1, 2, Some(1800));
    let Said::Snapshot(mut said) = snapshot(1, vec![loads, busy]) else { unreachable!() };
    let device = |device: &str, name: Option<&str>, memory: Option<(u64, u64)>| DeviceInfo {
        name: name.map(str::to_owned),
        memory_total_bytes: memory.map(|(_, total)| total * MIB),
        memory_used_bytes: memory.map(|(used, _)| used * MIB),
        ..DeviceInfo::new(device.parse::<Device>().unwrap())
    };
    said.devices = vec![
        device("cuda:0", Some("NVIDIA\u{1b}[2J RTX"), Some((12_288, 24_576))),
        device("cpu", None, None),
    ];
    board.take(&hive("pc"), Heard::Standing(Standing::Online), at(1));
    board.take(&hive("pc"), Heard::Event(Box::new(Said::Snapshot(said))), at(60));
    board.take(&hive("local"), Heard::Standing(Standing::Stopped), at(1));
    let why = Fault::new(Code::HiveUnreachable, "nothing answers at nas:22");
    let standing = Standing::Unreachable { why, pause: at(4) };
    board.take(&hive("nas"), Heard::Standing(standing), at(50));
    board
}

fn state(columns: u16, rows: u16) -> State {
    let partner = Partner { model: ModelRef::Demo, hive: None };
    let mut state =
        State::new((columns, rows), Board::default(), Chat::with(Some(partner)), Theme::default());
    let _ = update(&mut state, Event::Board(Arc::new(board())), at(62));
    state.notice = None;
    state
}

fn press(state: &mut State, words: &[&str]) -> Vec<Effect> {
    let mut effects = Vec::new();
    for word in words {
        let key: Key = word.parse().unwrap();
        let now = state.now;
        effects.extend(update(state, Event::Key(KeyEvent::new(key.code(), key.held())), now));
    }
    effects
}

fn write(state: &mut State, text: &str) {
    let now = state.now;
    let _ = update(state, Event::Paste(text.to_owned()), now);
}

fn screen_in(state: &mut State, unicode: bool) -> String {
    layout::lay_out(state);
    let look = Look::new(&state.theme, Depth::None, unicode);
    let mut terminal = Terminal::new(TestBackend::new(state.size.0, state.size.1)).unwrap();
    terminal.draw(|frame| view(state, &look, frame)).unwrap();
    let shown = terminal.backend().to_string();
    shown.lines().map(|line| line.trim_matches('"').trim_end()).collect::<Vec<_>>().join("\n")
}

fn screen(state: &mut State) -> String {
    screen_in(state, true)
}

/// Compares with the readable picture in the tree; a fresh one is left to be looked at and copied.
#[track_caller]
fn assert_picture(name: &str, shown: &str) {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tui/view/pictures");
    let path = dir.join(name).with_extension("txt");
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if kept.trim_end() != shown.trim_end() {
        let fresh = std::env::temp_dir().join(path.file_name().unwrap());
        std::fs::write(&fresh, format!("{shown}\n")).unwrap();
        panic!("it looks otherwise: cp {} {}\n{shown}", fresh.display(), path.display());
    }
}

fn piece(text: &str) -> News {
    News::Piece(Piece { answer: text.to_owned(), reasoning: String::new(), tokens: 1 })
}

fn placed() -> News {
    News::Placed(Box::new(Placed {
        request: wire::RequestId::random(),
        hive: hive("pc"),
        worker: worker("demo-1", WorkerState::Ready),
        reused: true,
        why: "it is there".into(),
    }))
}

fn ending() -> Ending {
    let usage =
        Usage { prompt_tokens: 30, completion_tokens: 11, total_tokens: 41, cached_tokens: 0 };
    let timings = GenerationTimings { decode_ms: 50.0, ..GenerationTimings::default() };
    let first_token = Some(Duration::from_millis(120));
    Ending { finish_reason: Some(FinishReason::Stop), usage, timings, first_token }
}

fn asked(state: &mut State, question: &str) -> u64 {
    write(state, question);
    match press(state, &["enter"]).as_slice() {
        [Effect::Ask(wanted)] => wanted.id,
        other => panic!("one request, not {other:?}"),
    }
}

#[test]
fn the_main_screen_of_a_usual_terminal() {
    let mut state = state(80, 24);
    let id = asked(&mut state, "What is a hive?");
    let _ = update(&mut state, Event::Answer(id, placed()), at(62));
    let _ = update(&mut state, Event::Answer(id, piece("A hive is a machine.")), at(62));
    let _ = update(&mut state, Event::Answer(id, News::Ended(Ok(ending()))), at(63));
    assert_picture("main-80x24", &screen(&mut state));
}

#[test]
fn the_main_screen_of_a_wide_terminal() {
    let mut state = state(120, 30);
    press(&mut state, &["esc", "1", "down"]);
    assert_picture("main-120x30", &screen(&mut state));
}

#[test]
fn without_unicode_every_character_is_ascii() {
    let mut state = state(100, 24);
    let id = asked(&mut state, "…?");
    let _ = update(&mut state, Event::Answer(id, piece("“yes” — 日本")), at(62));
    let shown = screen_in(&mut state, false);
    assert!(shown.is_ascii(), "{shown}");
    assert!(shown.contains("+ 1 Hives") || shown.contains("+-"), "{shown}");
}

#[test]
fn the_smallest_terminal_shows_the_panel_that_keys_go_to() {
    let mut state = state(20, 5);
    let id = asked(&mut state, "What?");
    let _ = update(&mut state, Event::Answer(id, placed()), at(62));
    let _ = update(&mut state, Event::Answer(id, piece("That.")), at(62));
    assert!(screen(&mut state).contains("That."), "{}", screen(&mut state));
    press(&mut state, &["tab"]);
    assert!(screen(&mut state).contains("local"), "{}", screen(&mut state));
}

#[test]
fn the_help_names_every_key_and_any_other_key_closes_it() {
    let mut state = state(100, 160);
    press(&mut state, &["f1"]);
    let shown = screen(&mut state);
    for binding in crate::tui::keys::TABLE {
        assert!(shown.contains(binding.says), "{}: {shown}", binding.says);
    }
    assert!(shown.contains(":reload"), "what has no key is done by its name: {shown}");
    press(&mut state, &["x"]);
    assert!(state.overlay.is_none() && state.draft.editor.is_empty());
}

#[test]
fn the_last_line_has_whole_hints_of_where_keys_go_and_always_the_one_for_all_keys() {
    let last = |columns, keys: &[&str]| {
        let mut state = state(columns, 24);
        press(&mut state, keys);
        screen(&mut state).lines().last().unwrap_or_default().trim().to_owned()
    };
    let hives = "a add  s start  I install  d doctor  l log  t ssh  S stop  X remove  ? help";
    assert_eq!(last(80, &["alt-1"]), hives);
    let workers = "Enter talk  Space mark  L load  x stop  R restart  l log  w why  q quit  ? help";
    assert_eq!(last(80, &["alt-2"]), workers);
    let writing = "Enter send  Esc back  Ctrl-O model  Tab panel  Ctrl-Q quit  F5 compare  F1 help";
    assert_eq!(last(80, &[]), writing);
    assert_eq!(last(80, &["ctrl-p"]), "Enter do it  Tab complete  Esc close");
    for columns in 40..160 {
        for panel in ["alt-1", "alt-2", "alt-3", "alt-4"] {
            let shown = last(columns, &[panel]);
            assert!(shown.ends_with("? help") && !shown.contains('…'), "{columns}: {shown}");
        }
    }
}

#[test]
fn figures_of_an_answer_are_live_while_it_comes_and_then_stand_below_it_once() {
    let mut state = state(160, 30);
    let id = asked(&mut state, "x");
    let _ = update(&mut state, Event::Answer(id, placed()), at(62));
    let _ = update(&mut state, Event::Answer(id, News::Prompt(30)), at(62));
    for second in 62..65 {
        let _ = update(&mut state, Event::Answer(id, piece("word ")), at(second));
    }
    let shown = screen(&mut state);
    assert!(shown.contains("1.0 tokens/s") && shown.contains("context 33 of 2048"), "{shown}");
    let _ = update(&mut state, Event::Answer(id, News::Ended(Ok(ending()))), at(65));
    let shown = screen(&mut state);
    let counts = ["200.0", "120 ms", "11 tok", "context 41 of 2048"];
    let counts = counts.map(|words| shown.matches(words).count());
    assert_eq!(counts, [1, 1, 1, 1], "{shown}");
}

#[test]
fn escape_cancels_on_the_hive_and_keeps_what_came() {
    let mut state = state(80, 24);
    let id = asked(&mut state, "Tell a story");
    let _ = update(&mut state, Event::Answer(id, piece("Once upon")), at(62));
    assert_eq!(press(&mut state, &["esc"]), [Effect::Cancel(id)]);
    let _ = update(&mut state, Event::Answer(id, News::Ended(Err(None))), at(63));
    let shown = screen(&mut state);
    assert!(shown.contains("Once upon") && shown.contains("cancelled"), "{shown}");
}

#[test]
fn ctrl_c_cancels_then_clears_then_asks_and_then_leaves() {
    let mut state = state(80, 24);
    let id = asked(&mut state, "x");
    assert_eq!(press(&mut state, &["ctrl-c"]), [Effect::Cancel(id)]);
    let _ = update(&mut state, Event::Answer(id, News::Ended(Err(None))), at(63));
    write(&mut state, "half a thought");
    assert_eq!(press(&mut state, &["ctrl-c"]), []);
    assert!(state.draft.editor.is_empty());
    assert_eq!(press(&mut state, &["ctrl-c"]), []);
    assert!(screen(&mut state).contains("keep them warm"), "{}", screen(&mut state));
    assert_eq!(press(&mut state, &["ctrl-c"]), [Effect::Leave(Leave::Keep)]);
}

#[test]
fn quitting_asks_only_when_something_is_loaded() {
    let mut loaded = state(80, 24);
    assert_eq!(press(&mut loaded, &["esc", "q", "s"]), [Effect::Leave(Leave::Stop)]);
    let mut empty = state(80, 24);
    let mut board = Board::new([hive("pc")]);
    let _ = update(&mut empty, Event::Board(Arc::new(board.clone())), at(70));
    assert_eq!(press(&mut empty, &["esc", "q"]), [], "what is loaded there is not known yet");
    assert!(screen(&mut empty).contains("Nobody knows yet"), "{}", screen(&mut empty));
    press(&mut empty, &["esc"]);
    board.take(&hive("pc"), Heard::Standing(Standing::Stopped), at(71));
    let _ = update(&mut empty, Event::Board(Arc::new(board)), at(71));
    assert_eq!(press(&mut empty, &["q"]), [Effect::Leave(Leave::Keep)]);
}

#[test]
fn a_reader_who_scrolled_up_stays_there_while_more_comes() {
    let mut state = state(80, 24);
    let id = asked(&mut state, "count");
    let count = |range: std::ops::Range<u32>| {
        let lines: Vec<String> = range.map(|n| format!("- line {n}\n")).collect();
        lines.concat()
    };
    let _ = update(&mut state, Event::Answer(id, piece(&count(0..60))), at(62));
    assert!(screen(&mut state).contains("line 59"));
    press(&mut state, &["pageup"]);
    let before: Vec<String> =
        screen(&mut state).lines().filter(|l| l.contains("line ")).map(str::to_owned).collect();
    let _ = update(&mut state, Event::Answer(id, piece(&count(60..90))), at(62));
    let shown = screen(&mut state);
    for line in &before {
        assert!(shown.contains(line.as_str()), "{line} in {shown}");
    }
    assert!(shown.contains("more rows"), "{shown}");
    press(&mut state, &["esc"]);
    let _ = update(&mut state, Event::Answer(id, News::Ended(Err(None))), at(63));
    press(&mut state, &["esc", "G"]);
    assert!(screen(&mut state).contains("line 89"), "{}", screen(&mut state));
}

#[test]
fn what_hives_and_models_say_cannot_move_the_cursor() {
    let mut state = state(200, 40);
    let id = asked(&mut state, "x");
    let _ = update(&mut state, Event::Answer(id, piece("a\u{1b}[2Jb\u{202e}c\u{9b}d")), at(62));
    let fault = Fault::new(Code::Io, "bad\u{1b}]0;title\u{7}").hint("ls\u{1b}[31m");
    let _ = update(&mut state, Event::Answer(id, News::Ended(Err(Some(fault)))), at(63));
    let shown = screen(&mut state);
    let is_dangerous = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!shown.contains(is_dangerous), "{shown:?}");
    assert!(shown.contains("RTX") && shown.contains("bad"), "{shown}");
}

#[test]
fn a_server_s_question_waits_for_its_turn_and_a_password_is_not_shown() {
    let mut state = state(80, 24);
    press(&mut state, &["f1"]);
    let question = |id, words: &str| {
        let lines = vec![words.to_owned()];
        Event::Question(Question { id, lines, form: Form::Line { shown: false } })
    };
    let _ = update(&mut state, question(1, "password of ada@pc"), at(63));
    let _ = update(&mut state, question(2, "password of ada@nas"), at(63));
    press(&mut state, &["x"]);
    assert!(screen(&mut state).contains("password of ada@pc"), "{}", screen(&mut state));
    press(&mut state, &["s", "3", "c"]);
    let shown = screen(&mut state);
    assert!(shown.contains("***") && !shown.contains("s3c"), "{shown}");
    let answered = press(&mut state, &["enter"]);
    assert_eq!(answered, [Effect::Reply(1, Some("s3c".to_owned().into()))]);
    assert!(screen(&mut state).contains("password of ada@nas"));
    assert_eq!(press(&mut state, &["esc"]), [Effect::Reply(2, None)]);
}

#[test]
fn a_worker_is_chosen_to_talk_with() {
    let mut state = state(120, 30);
    press(&mut state, &["tab", "2", "down", "enter"]);
    let partner = state.chat().partner.clone().unwrap();
    assert_eq!(
        (partner.model.to_string().as_str(), partner.hive),
        ("hf:Qwen/Qwen3-8B-GGUF:Q4_K_M", Some(hive("pc")))
    );
    assert_eq!(state.focus, Focus::Writing);
}

#[test]
fn a_model_is_found_by_some_of_its_letters() {
    let mut state = state(100, 30);
    state.models = vec![("tiny".to_owned(), ModelRef::Demo), ("demo".to_owned(), ModelRef::Demo)];
    press(&mut state, &["ctrl-o", "q", "w", "8", "b"]);
    let shown = screen(&mut state);
    assert!(shown.contains("hf:Qwen/Qwen3-8B-GGUF:Q4_K_M") && !shown.contains("tiny"), "{shown}");
    press(&mut state, &["enter"]);
    assert_eq!(state.chat().partner.clone().unwrap().hive, Some(hive("pc")));
}

#[test]
fn a_hive_that_is_lost_is_told_once() {
    let mut state = state(80, 24);
    let mut later = board();
    let why = || Fault::new(Code::HiveUnreachable, "the cable is out").hint("rbee hive doctor pc");
    let standing = |pause| Heard::Standing(Standing::Unreachable { why: why(), pause: at(pause) });
    later.take(&hive("pc"), standing(1), at(70));
    let _ = update(&mut state, Event::Board(Arc::new(later.clone())), at(70));
    let shown = screen(&mut state);
    assert!(shown.contains("warning: hive pc: the cable is out"), "{shown}");
    assert!(!shown.contains("qwen"), "its workers are not known any more: {shown}");
    state.notice = None;
    later.take(&hive("pc"), standing(2), at(72));
    let _ = update(&mut state, Event::Board(Arc::new(later)), at(72));
    assert_eq!(state.notice, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_keys_on_any_terminal_draw_something(
        columns in 1..140_u16, rows in 1..50_u16,
        keys in prop::collection::vec(0..22_usize, 0..24),
    ) {
        let words = ["tab", "enter", "esc", "a", "?", "q", "1", "2", "3", "+", "j", "k", "pageup",
            "f1", "ctrl-c", "alt-enter", "up", "ctrl-t", "4", "/", "o", "space"];
        let mut state = state(columns, rows);
        for key in keys {
            press(&mut state, &[words[key]]);
            let shown = screen(&mut state);
            prop_assert_eq!(shown.split('\n').count(), usize::from(rows));
        }
    }
}
