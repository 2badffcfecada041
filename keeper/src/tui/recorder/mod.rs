//! The last events of the TUI, so that a bug report is a file that can be replayed. Pure.
//!
//! What a person writes and what a model answers is kept in memory, where the screen has it anyway,
//! and leaves it only as text of the same shape unless the person asks for the whole. What is typed
//! into a question that hides it is not even in memory.

mod form;
pub mod keep;
mod key;
mod mask;
mod shown;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

use wire::{HiveName, ModelRef};

use super::board::Board;
use super::event::{Event, Form};
use super::overlay::Overlay;
use super::state::{Focus, State};
use crate::fleet::Moment;
use crate::output::theme::ThemeName;
pub use form::{Entry, Line, MAX_BYTES, MAX_EVENTS, Recording};
use form::{Header, Seen};

/// What the TUI began with.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Start {
    /// Columns and rows.
    pub size: (u16, u16),
    /// The colours.
    pub theme: ThemeName,
    /// The hives that take part.
    pub hives: Vec<HiveName>,
    /// Models that the configuration names.
    pub models: Vec<(String, ModelRef)>,
    /// With whom the person talked.
    pub partner: Option<ModelRef>,
    /// The person's own keys, as a file of keys has them; none where they are the usual ones.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub keys: String,
    /// Whether only the last rows of the terminal are drawn.
    #[serde(default)]
    pub inline: bool,
    /// Where the ids of conversations and turns begin.
    #[serde(default)]
    pub ids: u64,
}

/// Keeps the last [`MAX_EVENTS`] events, or fewer when they are large.
#[derive(Debug)]
pub struct Recorder {
    start: Start,
    /// The hives before the oldest event that is kept.
    before: Board,
    /// The hives as they were seen last.
    seen: Arc<Board>,
    events: VecDeque<(Moment, Entry)>,
    bytes: usize,
    dropped: u64,
}

/// What becomes of a key's character.
enum Typing {
    /// It is a command.
    Command,
    /// It is the person's own text.
    Text,
    /// It is a secret.
    Secret,
}

impl Recorder {
    /// Begins.
    pub fn new(start: Start) -> Self {
        let before = Board::new(start.hives.iter().cloned());
        let seen = Arc::new(before.clone());
        Self { start, before, seen, events: VecDeque::new(), bytes: 0, dropped: 0 }
    }

    /// Takes an event before the state does.
    pub fn take(&mut self, state: &State, event: &Event, now: Moment) {
        let Some(entry) = self.entry(state, event) else { return };
        // Time that passes is worth one event.
        if entry == Entry::Tick
            && let Some((at, Entry::Tick)) = self.events.back_mut()
        {
            *at = now;
            return;
        }
        self.bytes += entry.bytes();
        self.events.push_back((now, entry));
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            let Some((_, old)) = self.events.pop_front() else { return };
            self.bytes -= old.bytes();
            self.dropped += 1;
            match old {
                Entry::Hives(seen) => {
                    for it in seen {
                        it.put_on(&mut self.before);
                    }
                }
                Entry::Resized(columns, rows) => self.start.size = (columns, rows),
                Entry::Configured(models) => self.start.models = models,
                _ => {}
            }
        }
    }

    fn entry(&mut self, state: &State, event: &Event) -> Option<Entry> {
        let typing = typing(state);
        match event {
            Event::Key(event) => {
                let types = key::types(*event);
                match typing {
                    Typing::Secret if types.is_some() => None,
                    Typing::Text if types.is_some() => types.map(Entry::Typed),
                    _ => key::word(*event).map(Entry::Key),
                }
            }
            Event::Paste(text) => match typing {
                Typing::Secret => None,
                _ => Some(Entry::Paste(text.clone())),
            },
            Event::Board(board) => {
                let seen = Seen::between(&self.seen, board);
                self.seen = board.clone();
                (!seen.is_empty()).then_some(Entry::Hives(seen))
            }
            Event::Operation(id, news) => {
                let words =
                    state.records.get(*id).map(|it| [&it.title, &it.command].map(String::clone));
                Some(Entry::Operation(*id, words.unwrap_or_default(), news.clone()))
            }
            other => Some(Entry::of(other)),
        }
    }

    /// The file: a line that says what it is, and a line for each event. With `whole` it has what
    /// was written and answered, too.
    pub fn text(&self, whole: bool, build: &str) -> String {
        let header = Header::new(build, self.dropped, whole, self.start.clone());
        let first = self.events.front().map_or(Moment::ZERO, |(at, _)| *at);
        let hives = Seen::between(&Board::default(), &self.before);
        let before = Line::new(first, Entry::Hives(hives));
        let mut text = serde_json::to_string(&header).unwrap_or_default();
        let lines = self.events.iter().map(|(at, entry)| Line::new(*at, entry.clone()));
        for mut line in std::iter::once(before).chain(lines) {
            if !whole {
                line.event.mask();
            }
            // What has no JSON is missed rather than everything.
            if let Ok(json) = serde_json::to_string(&line) {
                let _ = write!(text, "\n{json}");
            }
        }
        text.push('\n');
        text
    }

    /// How many events it has.
    pub fn count(&self) -> usize {
        self.events.len()
    }
}

/// What a character is that is typed now.
fn typing(state: &State) -> Typing {
    match &state.overlay {
        Some(Overlay::Question(asked)) => match asked.question.form {
            Form::YesNo => Typing::Command,
            Form::Line { shown: true } => Typing::Text,
            Form::Line { shown: false } => Typing::Secret,
        },
        Some(Overlay::Conversations(it)) if !it.mode.is_typed_in() => Typing::Command,
        Some(overlay) if takes_commands(overlay) => Typing::Command,
        Some(_) => Typing::Text,
        None if state.focus == Focus::Writing => Typing::Text,
        None => Typing::Command,
    }
}

/// Whether what is typed there is no text of the person's: a system prompt is typed into another.
fn takes_commands(overlay: &Overlay) -> bool {
    matches!(
        overlay,
        Overlay::Help(_)
            | Overlay::Quit(_)
            | Overlay::Confirm(_)
            | Overlay::Picker(_)
            | Overlay::Filter(_)
            | Overlay::Theme(_)
            | Overlay::Viewer(_)
            | Overlay::Blocks(_)
            | Overlay::Palette(_)
    )
}
