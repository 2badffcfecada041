//! The conversations of the file: found by words, opened, renamed, deleted, exported.

use std::path::PathBuf;

use crossterm::event::KeyCode;

use super::Overlay;
use crate::conversations::desk::Job;
use crate::conversations::export::Format;
use crate::conversations::{Entry, MAX_SEARCH_BYTES, MAX_TITLE_BYTES};
use crate::tui::event::Effect;
use crate::tui::keys::Key;
use crate::tui::state::State;
use crate::tui::update::conversations::job;

/// Rows of a page.
const PAGE: usize = 10;

/// The list and what is done with it.
#[derive(Debug, Clone, Default)]
pub struct Conversations {
    /// Words that are looked for.
    pub typed: String,
    /// What was found; none before the file has answered.
    pub entries: Option<Vec<Entry>>,
    /// When that was, in milliseconds since 1970.
    pub now_ms: u64,
    /// The row that is chosen.
    pub at: usize,
    /// What keys mean.
    pub mode: Mode,
    /// Which list is waited for.
    number: u64,
}

/// What keys mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Mode {
    /// They are looked for.
    #[default]
    Search,
    /// They are a title.
    Rename(String),
    /// They say whether the chosen one is deleted.
    Delete,
    /// They say how it is exported.
    Export,
    /// Nothing: the chosen one is read. What is typed now is meant for it.
    Opening,
}

impl Mode {
    /// Whether what is typed is a text, and no command.
    pub fn is_typed_in(&self) -> bool {
        !matches!(self, Self::Delete | Self::Export)
    }
}

impl Conversations {
    /// Asks for the conversations with these words.
    pub fn ask(&mut self, state: &mut State) -> Vec<Effect> {
        state.archive.listed += 1;
        self.number = state.archive.listed;
        job(Job::List(self.typed.clone(), self.number))
    }

    /// Takes what was found, unless something else is looked for by now.
    pub fn take(&mut self, number: u64, entries: Vec<Entry>, now_ms: u64) {
        if number == self.number {
            self.at = self.at.min(entries.len().saturating_sub(1));
            (self.entries, self.now_ms) = (Some(entries), now_ms);
        }
    }

    /// The chosen one.
    pub fn chosen(&self) -> Option<&Entry> {
        self.entries.as_ref()?.get(self.at)
    }

    /// Takes text that was pasted.
    pub fn paste(&mut self, line: &str) {
        for c in line.chars().filter(|c| !c.is_control()) {
            self.types(c);
        }
    }

    fn types(&mut self, c: char) {
        let (text, most) = match &mut self.mode {
            Mode::Rename(title) => (title, MAX_TITLE_BYTES),
            _ => (&mut self.typed, MAX_SEARCH_BYTES),
        };
        if text.len() + c.len_utf8() <= most {
            text.push(c);
        }
    }

    /// Takes a key.
    pub fn press(mut self, state: &mut State, key: Key) -> Vec<Effect> {
        let (code, control, _) = key.parts();
        let gives_up = code == KeyCode::Esc || (control && code == KeyCode::Char('c'));
        if gives_up && self.mode == Mode::Search {
            return Vec::new();
        }
        let effects = match (self.mode.clone(), code) {
            _ if gives_up => self.back(),
            (Mode::Search, KeyCode::Enter) => {
                let effects = self.done(|it| Job::Load(it.id));
                if !effects.is_empty() {
                    self.mode = Mode::Opening;
                }
                effects
            }
            (Mode::Search, _) => self.search(state, key),
            (Mode::Rename(title), KeyCode::Enter) => {
                let wanted = (!title.trim().is_empty()).then(|| self.chosen()).flatten();
                let effects = wanted.map(|it| job(Job::Rename(it.id, title.trim().to_owned())));
                self.mode = Mode::Search;
                effects.unwrap_or_default()
            }
            (Mode::Rename(_), _) => self.rename(key),
            (Mode::Delete, KeyCode::Char('y')) => self.done(|it| Job::Delete(it.id)),
            (Mode::Export, KeyCode::Char('m')) => self.export(Format::Markdown),
            (Mode::Export, KeyCode::Char('j')) => self.export(Format::Json),
            (Mode::Delete, KeyCode::Char('n')) => self.back(),
            (Mode::Delete | Mode::Export | Mode::Opening, _) => Vec::new(),
        };
        state.overlay = Some(Overlay::Conversations(self));
        effects
    }

    fn back(&mut self) -> Vec<Effect> {
        self.mode = Mode::Search;
        Vec::new()
    }

    fn done(&mut self, of: impl Fn(&Entry) -> Job) -> Vec<Effect> {
        self.mode = Mode::Search;
        self.chosen().map(|it| job(of(it))).unwrap_or_default()
    }

    /// Into the current directory.
    fn export(&mut self, format: Format) -> Vec<Effect> {
        self.done(|it| Job::Export(it.id, format, PathBuf::from(".")))
    }

    fn search(&mut self, state: &mut State, key: Key) -> Vec<Effect> {
        let last = self.entries.as_ref().map_or(0, |it| it.len().saturating_sub(1));
        let (code, control, _) = key.parts();
        match code {
            KeyCode::Up => self.at = self.at.saturating_sub(1),
            KeyCode::Down | KeyCode::Tab => self.at = (self.at + 1).min(last),
            KeyCode::PageUp => self.at = self.at.saturating_sub(PAGE),
            KeyCode::PageDown => self.at = self.at.saturating_add(PAGE).min(last),
            KeyCode::F(2) => {
                if let Some(title) = self.chosen().map(|it| it.title.clone()) {
                    self.mode = Mode::Rename(title);
                }
            }
            KeyCode::Delete if self.chosen().is_some() => self.mode = Mode::Delete,
            KeyCode::Char('d') if control && self.chosen().is_some() => self.mode = Mode::Delete,
            KeyCode::Char('x') if control && self.chosen().is_some() => self.mode = Mode::Export,
            KeyCode::Char('u') if control => return self.look_for(state, String::new()),
            KeyCode::Backspace => {
                let mut typed = self.typed.clone();
                typed.pop();
                return self.look_for(state, typed);
            }
            _ => {
                if let Some(c) = key.types() {
                    self.types(c);
                    return self.look_for(state, self.typed.clone());
                }
            }
        }
        Vec::new()
    }

    fn look_for(&mut self, state: &mut State, typed: String) -> Vec<Effect> {
        (self.typed, self.at) = (typed, 0);
        self.ask(state)
    }

    fn rename(&mut self, key: Key) -> Vec<Effect> {
        let (code, control, _) = key.parts();
        if let Mode::Rename(title) = &mut self.mode {
            match code {
                KeyCode::Backspace => drop(title.pop()),
                KeyCode::Char('u') if control => title.clear(),
                _ => {}
            }
        }
        if let Some(c) = key.types() {
            self.types(c);
        }
        Vec::new()
    }
}
