//! A line for words: all that can be done, with completion and what was typed before. Pure.

use crossterm::event::KeyCode;
use wire::text::one_line;

use super::Overlay;
use crate::tui::commands::{candidates, run};
use crate::tui::event::Effect;
use crate::tui::keys::Key;
use crate::tui::state::State;

/// Bytes of a line.
const MAX_LINE_BYTES: usize = 1024;
/// Lines that are remembered.
const MAX_HISTORY: usize = 100;

/// What is typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Palette {
    /// The line.
    pub typed: String,
    /// The candidate that is chosen; none while only what is typed counts.
    pub at: Option<usize>,
    /// How many lines back in what was typed before.
    pub back: usize,
    /// Why the last line was not done.
    pub problem: Option<String>,
}

impl Palette {
    /// A palette that begins with a line.
    pub fn with(line: &str) -> Self {
        Self { typed: line.to_owned(), ..Self::default() }
    }

    /// Takes a key: Tab completes, Enter does it.
    pub fn press(mut self, state: &mut State, key: Key) -> Vec<Effect> {
        let (code, control, _) = key.parts();
        let found = candidates(state, &self.typed);
        match code {
            KeyCode::Esc => return Vec::new(),
            KeyCode::Char('c') if control => return Vec::new(),
            KeyCode::Backspace if self.typed.is_empty() => return Vec::new(),
            KeyCode::Enter => return self.enter(state),
            KeyCode::Tab => {
                if let Some(chosen) = found.get(self.at.unwrap_or(0)) {
                    self.typed = format!("{} ", chosen.line);
                    self.at = None;
                }
            }
            KeyCode::Up if self.typed.is_empty() || self.back > 0 => self.recall(state, true),
            KeyCode::Down if self.back > 0 => self.recall(state, false),
            KeyCode::Up => self.at = self.at.and_then(|at| at.checked_sub(1)),
            KeyCode::Down => {
                let next = self.at.map_or(0, |at| at + 1);
                self.at = Some(next.min(found.len().saturating_sub(1)));
            }
            KeyCode::Backspace => {
                self.typed.pop();
                self.changed();
            }
            KeyCode::Char('u') if control => {
                self.typed.clear();
                self.changed();
            }
            _ => {
                if let Some(c) = key.types().filter(|_| self.typed.len() < MAX_LINE_BYTES) {
                    self.typed.push(c);
                    self.changed();
                }
            }
        }
        state.overlay = Some(Overlay::Palette(self));
        Vec::new()
    }

    fn changed(&mut self) {
        (self.at, self.back, self.problem) = (None, 0, None);
    }

    fn enter(mut self, state: &mut State) -> Vec<Effect> {
        if let Some(chosen) =
            self.at.and_then(|at| candidates(state, &self.typed).into_iter().nth(at))
        {
            self.typed = chosen.line;
        }
        let line = self.typed.trim().to_owned();
        if line.is_empty() {
            return Vec::new();
        }
        match run(state, &line) {
            Ok(effects) => {
                state.commands.retain(|old| *old != line);
                state.commands.push(line);
                if state.commands.len() > MAX_HISTORY {
                    state.commands.remove(0);
                }
                effects
            }
            Err(problem) => {
                self.changed();
                self.problem = Some(problem);
                state.overlay = Some(Overlay::Palette(self));
                Vec::new()
            }
        }
    }

    /// Goes to an older line, or to a newer one.
    fn recall(&mut self, state: &State, older: bool) {
        let count = state.commands.len();
        let back = if older { (self.back + 1).min(count) } else { self.back - 1 };
        self.back = back;
        let line = count.checked_sub(back).and_then(|at| state.commands.get(at));
        self.typed = line.cloned().unwrap_or_default();
        self.at = None;
    }

    /// Takes text that was pasted.
    pub fn paste(&mut self, text: &str) {
        let room = MAX_LINE_BYTES.saturating_sub(self.typed.len());
        self.typed.push_str(&one_line(text, room));
        self.changed();
    }
}
