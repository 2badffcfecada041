//! The lists: order, filter, marks, and what happened.

use super::*;
use crate::tui::diary::Weight;

/// A hive with so many workers.
fn crowded(count: usize) -> Board {
    let mut board = Board::new([hive("pc")]);
    let workers = (0..count).map(|n| worker(&format!("demo-{n:02}"), WorkerState::Ready)).collect();
    board.take(&hive("pc"), Heard::Standing(Standing::Online), at(1));
    board.take(&hive("pc"), Heard::Event(Box::new(snapshot(1, workers))), at(1));
    board
}

/// Two machines with GPUs that were busy for some minutes, one of them with one that was lost.
fn busy() -> Board {
    let mut board = board();
    let gpu = |device: &str, second: u64| DeviceInfo {
        name: Some("NVIDIA GeForce RTX 4090".to_owned()),
        memory_total_bytes: Some(24_576 * MIB),
        memory_used_bytes: Some(14_400 * MIB),
        memory_ours_bytes: Some(10_240 * MIB),
        memory_reserved_bytes: Some(4_096 * MIB),
        utilisation_percent: u32::try_from(second / 3 % 101).ok(),
        temperature_celsius: Some(71),
        power_milliwatts: Some(312_400),
        ..DeviceInfo::new(device.parse::<Device>().unwrap())
    };
    for second in (62..302).step_by(2) {
        let mut hot = gpu("cuda:1", second * 7);
        hot.temperature_celsius = Some(86);
        let mut lost = gpu("cuda:2", 0);
        lost.lost_since_unix_s = Some(1);
        let devices = vec![gpu("cuda:0", second), hot, lost];
        let telemetry = Said::Telemetry { devices, workers: Vec::new() };
        board.take(&hive("pc"), Heard::Event(Box::new(telemetry)), at(second));
    }
    board
}

#[test]
fn figures_that_are_known_are_shown_and_others_are_not_invented() {
    let mut state = state(200, 60);
    assert!(!screen(&mut state).contains('%') || !screen(&mut state).contains("°C"));
    show(&mut state, busy(), 302);
    press(&mut state, &["esc", "1", "end"]);
    let shown = screen(&mut state);
    for words in ["14.1 of 24.0 GiB", "71°C", "86°C!", "312W", "lost:"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(shown.contains("█ ours 10.0 GiB  ▓ others 4.1 GiB  ▒ reserved 4.0 GiB"), "{shown}");
    assert!(shown.contains("of 48.0 GiB VRAM free"), "{shown}");
    press(&mut state, &["2"]);
    assert!(!screen(&mut state).contains("ours 10.0"), "only the chosen hive is open");
}

#[test]
fn countdowns_go_on_between_two_words_of_a_hive_and_late_hives_are_named() {
    let mut state = state(160, 30);
    let mut board = board();
    let mut idle = worker("demo-1", WorkerState::Ready);
    idle.unload_in_s = Some(100);
    let mut crashed = worker("demo-2", WorkerState::Restarting { attempt: 1 });
    crashed.supervision.restart_in_ms = Some(4000);
    board.take(&hive("pc"), Heard::Event(Box::new(snapshot(1, vec![idle, crashed]))), at(70));
    show(&mut state, board, 70);
    assert!(screen(&mut state).contains("1m40s"), "{}", screen(&mut state));
    assert!(screen(&mut state).contains("restart in 4s"), "{}", screen(&mut state));
    let _ = update(&mut state, Event::Tick, at(73));
    let shown = screen(&mut state);
    assert!(shown.contains("1m37s") && shown.contains("restart in 1s"), "{shown}");
    let _ = update(&mut state, Event::Tick, at(79));
    assert!(screen(&mut state).contains("not heard for: pc 9s"), "{}", screen(&mut state));
}

fn show(state: &mut State, board: Board, second: u64) {
    let _ = update(state, Event::Board(Arc::new(board)), at(second));
}

#[test]
fn only_rows_with_all_the_words_are_seen_and_escape_shows_all_again() {
    let mut state = state(120, 30);
    press(&mut state, &["esc", "2", "/", "Q", "w", "e", "n"]);
    let shown = screen(&mut state);
    assert!(shown.contains("2 Workers · 1 of 2 · /Qwen_"), "{shown}");
    assert!(!shown.contains("busy") && shown.contains("43%"), "{shown}");
    press(&mut state, &["enter", "enter"]);
    let partner = state.chat().partner.clone().unwrap();
    assert!(partner.model.to_string().contains("Qwen"), "what is hidden is not chosen");
    press(&mut state, &["esc", "2", "esc"]);
    assert!(screen(&mut state).contains("2 Workers · 2"), "{}", screen(&mut state));
    press(&mut state, &["1", "/", "x", "x"]);
    assert!(screen(&mut state).contains("no hive has that"), "{}", screen(&mut state));
    press(&mut state, &["esc"]);
    assert!(screen(&mut state).contains("nas"), "{}", screen(&mut state));
}

#[test]
fn the_column_that_workers_are_sorted_by_is_marked() {
    let mut state = state(120, 30);
    press(&mut state, &["esc", "2"]);
    assert!(screen(&mut state).contains("HIVE▾"));
    let first = |state: &State| state.workers()[0].1.id.to_string();
    assert_eq!(first(&state), "demo-1");
    for (head, id) in [("MODEL▾", "demo-1"), ("STATE▾", "demo-1"), ("BUSY▾", "demo-1")] {
        press(&mut state, &["o"]);
        assert!(screen(&mut state).contains(head), "{}", screen(&mut state));
        assert_eq!(first(&state), id, "{head}");
    }
}

#[test]
fn a_chosen_worker_stays_chosen_and_seen_when_rows_move() {
    let mut state = state(120, 30);
    show(&mut state, crowded(40), 70);
    press(&mut state, &["esc", "2", "end", "up"]);
    assert!(screen(&mut state).contains("2 Workers · 40"));
    let chosen = state.worker.clone().unwrap();
    assert_eq!(chosen.1.as_str(), "demo-38");
    let top = state.panels.workers_top;
    show(&mut state, crowded(60), 71);
    let _ = screen(&mut state);
    assert_eq!(state.worker, Some(chosen));
    assert_eq!(state.panels.workers_top, top, "what is seen does not jump");
}

#[test]
fn marks_are_seen_and_go_with_their_workers() {
    let mut state = state(120, 30);
    press(&mut state, &["esc", "2", "space", "space"]);
    let shown = screen(&mut state);
    assert!(shown.contains("2 Workers · 2 · 2 marked") && shown.contains("▌"), "{shown}");
    press(&mut state, &["space"]);
    assert_eq!(state.panels.marked.len(), 1);
    show(&mut state, crowded(1), 71);
    assert!(state.panels.marked.is_empty());
}

#[test]
fn what_happens_is_written_down_with_its_time_of_day() {
    let mut state = state(120, 40);
    let _ = update(&mut state, Event::Clock(14 * 3600), at(70));
    let mut later = board();
    let crashed =
        WorkerState::Crashed { exit: wire::worker::Exit::Signal(9), stderr_tail: String::new() };
    let mut demo = worker("demo-1", crashed);
    demo.spec.model = ModelRef::Demo;
    later.take(
        &hive("pc"),
        Heard::Event(Box::new(Said::Worker { revision: 2, worker: demo })),
        at(75),
    );
    show(&mut state, later, 75);
    let _ = update(&mut state, Event::Done(Ok("stopped demo-2 on pc".to_owned())), at(76));
    let shown = screen(&mut state);
    assert!(shown.contains("4 Events"), "{shown}");
    assert!(shown.contains("14:00:05 ✗ pc         demo-1 crashed: signal 9"), "{shown}");
    assert!(shown.contains("14:00:06 ●            stopped demo-2 on pc"), "{shown}");
}

#[test]
fn events_are_shown_on_a_small_screen_while_keys_go_to_them() {
    let mut state = state(80, 24);
    assert!(!screen(&mut state).contains("4 Events"));
    press(&mut state, &["esc", "4"]);
    let shown = screen(&mut state);
    assert!(
        shown.contains("4 Events") && shown.contains("unreachable: nothing answers"),
        "{shown}"
    );
    press(&mut state, &["tab"]);
    assert!(!screen(&mut state).contains("4 Events"));
}

#[test]
fn a_reader_of_events_stays_where_she_is_while_more_happens() {
    let mut state = state(120, 40);
    for number in 0..100 {
        state.diary.write(at(62), None, Weight::Plain, &format!("event {number}"));
    }
    press(&mut state, &["esc", "4", "home"]);
    assert!(screen(&mut state).contains("newer"), "{}", screen(&mut state));
    let first = screen(&mut state);
    state.diary.write(at(63), None, Weight::Plain, "one more");
    let lines = |shown: &str| {
        shown.lines().filter(|line| line.contains(" event ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines(&screen(&mut state)), lines(&first));
    press(&mut state, &["G"]);
    assert!(screen(&mut state).contains("one more"));
    press(&mut state, &["up"]);
    assert!(!screen(&mut state).contains("one more"), "{}", screen(&mut state));
    press(&mut state, &["down"]);
    assert!(screen(&mut state).contains("one more"));
    assert_eq!(state.panels.event, None, "at the end it follows again");
}

#[test]
fn the_main_screens_of_large_terminals() {
    for (columns, rows) in [(120, 40), (200, 60)] {
        let mut state = state(columns, rows);
        show(&mut state, busy(), 302);
        state.notice = None;
        press(&mut state, &["esc", "1", "down", "down"]);
        assert_picture(&format!("main-{columns}x{rows}"), &screen(&mut state));
    }
    let mut state = state(20, 5);
    press(&mut state, &["esc", "2"]);
    assert_picture("workers-20x5", &screen(&mut state));
}

#[test]
fn a_worker_shows_how_fast_its_hive_says_that_it_is_and_the_line_below_how_fast_it_answers_here() {
    let mut state = state(200, 60);
    let id = asked(&mut state, "x");
    let _ = update(&mut state, Event::Answer(id, placed()), at(62));
    for second in 62..66 {
        let _ = update(&mut state, Event::Answer(id, piece("a")), at(second));
    }
    let row = |shown: &str| shown.lines().find(|it| it.contains("1/1 +2")).unwrap().to_owned();
    let shown = screen(&mut state);
    assert!(shown.contains("TOK/S") && !row(&shown).contains("1.0"), "{shown}");
    let mut board = (*state.board).clone();
    let mut worker = board.worker(&hive("pc"), &"demo-1".parse().unwrap()).unwrap().clone();
    worker.millitokens_per_s = Some(43_210);
    let (devices, workers) = (Vec::new(), vec![worker]);
    let telemetry = Said::Telemetry { devices, workers };
    board.take(&hive("pc"), Heard::Event(Box::new(telemetry)), at(65));
    show(&mut state, board, 65);
    let shown = screen(&mut state);
    assert!(row(&shown).contains("43.2"), "what all get: {shown}");
    assert!(shown.lines().nth_back(1).unwrap().contains("1.0 tokens/s"), "{shown}");
    let _ = update(&mut state, Event::Answer(id, News::Ended(Ok(ending()))), at(67));
    let shown = screen(&mut state);
    assert!(!shown.lines().nth_back(1).unwrap().contains("tokens/s"), "{shown}");
    // A hive that is not heard any more does not say how fast it is now.
    let _ = update(&mut state, Event::Tick, at(71));
    assert!(!screen(&mut state).contains("43.2"), "{}", screen(&mut state));
}
