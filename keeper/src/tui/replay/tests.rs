//! A replay shows what the person saw.

use std::time::Duration;

use wire::ModelRef;

use super::player::{Player, text};
use crate::environment::Depth;
use crate::output::theme::Theme;
use crate::tui::board::Board;
use crate::tui::chat::{Chat, Partner};
use crate::tui::event::{Event, News, Piece};
use crate::tui::look::Look;
use crate::tui::recorder::{Recorder, Recording, Start};
use crate::tui::state::State;
use crate::tui::update::update;

fn look(state: &State) -> Look {
    Look::new(&state.theme, Depth::None, true)
}

#[test]
fn it_ends_on_the_same_screen_steps_back_and_masks_nothing_but_text() {
    let partner = ModelRef::Demo;
    let start = Start {
        size: (100, 30),
        theme: Theme::default().name().clone(),
        hives: vec!["pc".parse().unwrap()],
        models: Vec::new(),
        partner: Some(partner.clone()),
        keys: String::new(),
        inline: false,
        ids: 0,
    };
    let chat = Chat::with(Some(Partner { model: partner, hive: None }));
    let board = Board::new(start.hives.clone());
    let mut state = State::new(start.size, board, chat, Theme::default());
    let mut recorder = Recorder::new(start);
    let piece = |text: &str| {
        News::Piece(Piece { answer: text.to_owned(), reasoning: String::new(), tokens: 1 })
    };
    let enter = crossterm::event::KeyEvent::from(crossterm::event::KeyCode::Enter);
    let events = [
        Event::Paste("Where is the treasure?".to_owned()),
        Event::Key(enter),
        Event::Answer(1, piece("# Far\n\nBehind **seven** hills")),
        Event::Answer(1, News::Ended(Err(None))),
        Event::Resized(90, 28),
    ];
    for (second, event) in (1..).zip(events) {
        let now = Duration::from_secs(second);
        recorder.take(&state, &event, now);
        let _ = update(&mut state, event, now);
    }
    // What the program itself would show: the same core, the same look.
    let shown = |whole: bool| {
        let recording = Recording::parse(&recorder.text(whole, "build")).unwrap();
        let mut player = Player::new(recording);
        player.go_to(usize::MAX);
        let last = text(&player.screen(look));
        player.go_to(3);
        let sent = text(&player.screen(look));
        assert!(!sent.contains("hills"), "{sent}");
        player.go_to(usize::MAX);
        assert_eq!(text(&player.screen(look)), last, "forward again");
        last
    };
    let (whole, masked) = (shown(true), shown(false));
    assert!(whole.contains("Behind seven hills") && whole.contains("treasure"), "{whole}");
    assert!(masked.contains("xxxxxx xxxxx xxxxx") && !masked.contains("treasure"), "{masked}");
    let shape = |screen: &str| screen.lines().map(|line| line.chars().count()).collect::<Vec<_>>();
    assert_eq!(shape(&whole), shape(&masked));
    assert_eq!(whole.lines().count(), 28, "{whole}");
}
