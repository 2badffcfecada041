//! What is kept, what is not, and that a file says what happened.

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use wire::worker::WorkerState;

use super::*;
use crate::conversations::desk::Reply;
use crate::conversations::{
    Conversation, ConversationId, End, Entry, Head, Said, Settings, TurnId,
};
use crate::fleet::tests::{snapshot, worker};
use crate::link::watch::{News as Told, Standing};
use crate::output::theme::Theme;
use crate::tui::chat::{Chat, Partner};
use crate::tui::desk::{Attachment, News as Own};
use crate::tui::event::{News, Piece, Question};
use crate::tui::records::Line;
use crate::tui::rows::Kind;
use crate::tui::update::{operate, update};

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn start() -> Start {
    let hives = vec!["pc".parse().unwrap()];
    let partner = Some(ModelRef::Demo);
    Start {
        size: (80, 24),
        theme: Theme::default().name().clone(),
        hives,
        models: Vec::new(),
        partner,
        keys: String::new(),
        inline: false,
        ids: 0,
    }
}

/// A state and its recorder, as the program has them.
struct Both {
    state: State,
    recorder: Recorder,
    ms: u64,
}

impl Both {
    fn new() -> Self {
        let partner = Partner { model: ModelRef::Demo, hive: None };
        let board = Board::new(start().hives);
        let state = State::new((80, 24), board, Chat::with(Some(partner)), Theme::default());
        Self { state, recorder: Recorder::new(start()), ms: 0 }
    }

    fn take(&mut self, event: Event) {
        self.ms += 10;
        self.recorder.take(&self.state, &event, at(self.ms));
        let _ = update(&mut self.state, event, at(self.ms));
    }

    fn key(&mut self, word: &str) {
        self.take(Event::Key(key::parse(word).unwrap()));
    }

    fn types(&mut self, text: &str) {
        text.chars().for_each(|c| self.key(&c.to_string()));
    }
}

fn online(revision: u64) -> Arc<Board> {
    let pc: HiveName = "pc".parse().unwrap();
    let mut board = Board::new([pc.clone()]);
    board.take(&pc, Told::Standing(Standing::Online), at(1));
    let said = snapshot(revision, vec![worker("demo-1", WorkerState::Ready)]);
    board.take(&pc, Told::Event(Box::new(said)), at(revision));
    Arc::new(board)
}

fn piece(text: &str) -> News {
    let (answer, reasoning) = (text.to_owned(), "because of tea".to_owned());
    News::Piece(Piece { answer, reasoning, tokens: 1 })
}

#[test]
fn what_was_written_and_answered_is_in_a_file_only_when_the_person_asks_for_it() {
    let mut both = Both::new();
    both.types("Where is the treasure?");
    both.take(Event::Paste("under the oak".to_owned()));
    both.key("enter");
    both.take(Event::Answer(1, piece("Behind **seven** hills")));
    let whole = both.recorder.text(true, "build");
    for words in ["under the oak", "Behind **seven** hills", "because of tea", "\"typed\":\"W\""] {
        assert!(whole.contains(words), "{words}: {whole}");
    }
    let masked = both.recorder.text(false, "build");
    for words in ["treasure", "oak", "seven", "tea", "\"typed\":\"W\""] {
        assert!(!masked.contains(words), "{words}: {masked}");
    }
    assert!(masked.contains("xxxxxx **xxxxx** xxxxx"), "Markdown keeps its shape: {masked}");
}

fn conversation(turns: usize, bytes: usize) -> Conversation {
    let said = |id: i64| Said {
        id: TurnId(id),
        parent: None,
        question: "a riddle".to_owned(),
        answer: "y".repeat(bytes),
        reasoning: "because of cake".to_owned(),
        model: ModelRef::Demo,
        place: None,
        end: End::Cancelled,
    };
    let settings = Settings { system: Some("be a pirate".to_owned()), ..Settings::default() };
    let head = Head {
        id: ConversationId(7),
        title: "of riddles".to_owned(),
        model: ModelRef::Demo,
        hive: None,
        settings,
        last: None,
    };
    let ids = 1..=i64::try_from(turns).unwrap();
    Conversation { head, turns: ids.map(said).collect(), is_cut: false }
}

#[test]
fn what_the_file_of_conversations_and_the_editor_said_is_masked_and_what_operations_said_is_not() {
    let mut both = Both::new();
    let found = Entry {
        id: ConversationId(7),
        title: "of riddles".to_owned(),
        model: "demo".to_owned(),
        turns: 2,
        changed_ms: 5,
        found: Some("with cake".to_owned()),
    };
    for reply in [
        Reply::Listed(1, vec![found], 6),
        Reply::Loaded(Box::new(conversation(1, 3))),
        Reply::Renamed(ConversationId(7), "cake".to_owned()),
        Reply::Exported("/home/ada/of-riddles.md".into()),
    ] {
        both.take(Event::Conversations(reply));
    }
    both.take(Event::Desk(Own::Edited(Ok("more riddles".to_owned()))));
    let file = Attachment::new("riddles.txt", "cake".to_owned());
    both.take(Event::Desk(Own::Attached(Ok(file))));
    let lines = vec![Line::new("ok    agent", Kind::Text)];
    both.take(Event::Operation(1, operate::News::Lines(lines)));
    let (whole, masked) = (both.recorder.text(true, "b"), both.recorder.text(false, "b"));
    for words in ["riddle", "cake", "pirate", "yyy"] {
        assert!(whole.contains(words), "{words}: {whole}");
        assert!(!masked.contains(words), "{words}: {masked}");
    }
    assert!(masked.contains("ok    agent") && masked.contains("xx xxxxxxx"), "{masked}");
    assert_eq!(Recording::parse(&masked).unwrap().lines.len(), 8);
}

#[test]
fn of_a_long_conversation_the_newest_turns_are_kept() {
    let mut both = Both::new();
    let long = conversation(30, 100_000);
    both.take(Event::Conversations(Reply::Loaded(Box::new(long))));
    assert!(both.recorder.bytes < 2 * 1024 * 1024, "{}", both.recorder.bytes);
    let read = Recording::parse(&both.recorder.text(true, "b")).unwrap();
    let Some(form::Entry::Filed(Reply::Loaded(kept))) = read.lines.last().map(|it| &it.event)
    else {
        panic!("a conversation")
    };
    assert!(kept.is_cut && kept.turns.len() == 10, "{}", kept.turns.len());
    assert_eq!(kept.turns.last().map(|said| said.id), Some(TurnId(30)));
}

#[test]
fn a_secret_that_is_typed_into_a_question_is_nowhere_not_even_its_length() {
    let mut both = Both::new();
    let form = Form::Line { shown: false };
    let question = Question { id: 1, lines: vec!["password:".to_owned()], form };
    both.take(Event::Question(question));
    both.types("sesame");
    both.take(Event::Paste("open".to_owned()));
    let before = both.recorder.count();
    assert_eq!(before, 1, "the question alone");
    both.key("enter");
    let text = both.recorder.text(true, "build");
    assert!(text.contains("password:") && !text.contains("open"), "{text}");
    assert!(!text.contains("typed"), "{text}");
}

#[test]
fn it_keeps_ten_thousand_events_and_the_hives_before_them() {
    let mut both = Both::new();
    both.take(Event::Board(online(1)));
    for _ in 0..MAX_EVENTS + 100 {
        both.take(Event::Answer(7, News::Queued(1)));
    }
    assert_eq!(both.recorder.count(), MAX_EVENTS);
    let text = both.recorder.text(false, "build");
    let read = Recording::parse(&text).unwrap();
    assert_eq!(read.lines.len(), MAX_EVENTS + 1);
    assert!(text.lines().next().unwrap().contains("\"dropped\":101"));
    let form::Entry::Hives(seen) = &read.lines[0].event else {
        panic!("hives, not {:?}", read.lines[0])
    };
    let mut board = Board::new(start().hives);
    for it in seen {
        it.clone().put_on(&mut board);
    }
    assert_eq!(board, *online(1));
}

#[test]
fn it_is_bounded_in_bytes_too() {
    let mut both = Both::new();
    for revision in 1..40_000 {
        both.take(Event::Board(online(revision)));
    }
    assert!(both.recorder.bytes <= MAX_BYTES);
    let long = "x".repeat(MAX_BYTES / 4);
    for _ in 0..8 {
        both.take(Event::Answer(7, piece(&long)));
    }
    assert!(both.recorder.bytes <= MAX_BYTES);
    assert!(both.recorder.count() < 10);
}

#[test]
fn time_that_passes_is_one_event() {
    let mut both = Both::new();
    for _ in 0..1000 {
        both.take(Event::Tick);
    }
    assert_eq!(both.recorder.count(), 1);
}

#[test]
fn a_newer_one_and_what_is_none_are_refused_by_name_and_line() {
    let text = Both::new().recorder.text(false, "build");
    assert!(Recording::parse(&text).is_ok());
    let newer = text.replacen("\"rbee_recording\":2", "\"rbee_recording\":3", 1);
    let refused = Recording::parse(&newer).unwrap_err();
    assert_eq!(refused.code, wire::Code::VersionMismatch);
    for (other, says) in [
        (String::new(), "begin"),
        ("{}".to_owned(), "begin"),
        (format!("{text}nonsense\n"), "line 3"),
        (format!("{text}{{\"at\":1,\"event\":{{\"key\":7}}}}\n"), "line 3"),
        (
            format!("{text}{}", "{\"at\":1,\"event\":\"tick\"}\n".repeat(MAX_EVENTS + 1)),
            "more than",
        ),
    ] {
        let refused = Recording::parse(&other).unwrap_err();
        assert_eq!(refused.code, wire::Code::InvalidArgument);
        assert!(refused.message.contains(says), "{refused}");
    }
    let huge = text.replacen("[80,24]", "[65535,65535]", 1);
    assert_eq!(Recording::parse(&huge).unwrap().start.size, (1000, 1000));
}

#[test]
fn every_key_has_a_word_of_its_own() {
    let held = [KeyModifiers::NONE, KeyModifiers::CONTROL, KeyModifiers::ALT, KeyModifiers::SHIFT];
    let codes = [KeyCode::Char('-'), KeyCode::Char('f'), KeyCode::F(12), KeyCode::Up, KeyCode::Esc];
    for code in codes {
        for held in held {
            let event = KeyEvent::new(code, held);
            let word = key::word(event).unwrap();
            assert_eq!(key::parse(&word), Some(event), "{word}");
        }
    }
}
