//! A recording as it is played: events in, a screen out. Pure.

use std::path::Path;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

use crate::fleet::Moment;
use crate::output::theme::Theme;
use crate::tui::board::Board;
use crate::tui::chat::{Chat, Partner};
use crate::tui::keys::KeyMap;
use crate::tui::look::Look;
use crate::tui::recorder::{Entry, Line, Recording, Start};
use crate::tui::state::{Extent, State};
use crate::tui::update::update;
use crate::tui::view;

/// A recording and how far it was played.
pub struct Player {
    recording: Recording,
    played: usize,
    state: State,
    board: Board,
}

fn begin(start: &Start) -> (State, Board) {
    let board = Board::new(start.hives.iter().cloned());
    let partner = start.partner.clone().map(|model| Partner { model, hive: None });
    // A theme of the person's own is not in a recording.
    let theme = Theme::built_in(&start.theme).unwrap_or_default();
    let mut state = State::new(start.size, board.clone(), Chat::with(partner), theme);
    state.themes = Theme::all_built_in();
    state.models.clone_from(&start.models);
    // What cannot be read changes no key, as when the program began.
    state.keys = KeyMap::parse(&start.keys, Path::new("keys.toml")).unwrap_or_default();
    if start.inline {
        state.extent = Extent::Inline;
    }
    state.archive.begin(start.ids);
    (state, board)
}

impl Player {
    /// Before the first event.
    pub fn new(recording: Recording) -> Self {
        let (state, board) = begin(&recording.start);
        Self { recording, played: 0, state, board }
    }

    /// Events that were played, and all.
    pub fn progress(&self) -> (usize, usize) {
        (self.played, self.recording.lines.len())
    }

    /// When the next event happened, and the one before it; none at the end.
    pub fn next(&self) -> Option<(Moment, Moment)> {
        let next = self.recording.lines.get(self.played)?.at();
        let before = self.played.checked_sub(1).and_then(|last| self.recording.lines.get(last));
        Some((next, before.map_or(next, Line::at)))
    }

    /// Plays one event. What it wants done is not done: nobody is reached by a replay.
    pub fn step(&mut self) {
        let Some(line) = self.recording.lines.get(self.played) else { return };
        self.played += 1;
        if let Entry::Operation(id, [title, command], _) = &line.event {
            self.state.records.know(*id, title, command);
        }
        if let Some(event) = line.event.clone().event(&mut self.board) {
            // Rows are known to keys from what was drawn. For anything else that would only take
            // its time: a step back plays all that was before.
            if line.event.is_typed() {
                view::layout::lay_out(&mut self.state);
            }
            let _undone = update(&mut self.state, event, line.at());
        }
    }

    /// Plays until so many events were played; from the beginning when more were.
    pub fn go_to(&mut self, count: usize) {
        if count < self.played {
            (self.state, self.board) = begin(&self.recording.start);
            self.played = 0;
        }
        while self.played < count.min(self.recording.lines.len()) {
            self.step();
        }
    }

    /// The screen now, as large as it was then.
    pub fn screen(&mut self, look: impl Fn(&State) -> Look) -> Buffer {
        view::layout::lay_out(&mut self.state);
        let (columns, rows) = self.state.size;
        let Ok(mut terminal) = Terminal::new(TestBackend::new(columns, rows));
        let (state, look) = (&self.state, look(&self.state));
        let Ok(_) = terminal.draw(|frame| view::view(state, &look, frame));
        terminal.backend().buffer().clone()
    }
}

/// The characters of a screen, line by line.
pub fn text(screen: &Buffer) -> String {
    let columns = usize::from(screen.area.width).max(1);
    let mut text = String::new();
    for row in screen.content.chunks(columns) {
        let mut line = String::new();
        let mut covered = 0;
        for cell in row {
            // A wide character covers the cell after it.
            if covered == 0 {
                line.push_str(cell.symbol());
                covered = unicode_width::UnicodeWidthStr::width(cell.symbol()).max(1);
            }
            covered -= 1;
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
