//! Choosing a model by a few of its letters: what runs on the hives, and what the configuration
//! names. Pure.

use crossterm::event::KeyCode;
use wire::ModelRef;
use wire::text::one_line;

use super::Overlay;
use crate::tui::chat::Partner;
use crate::tui::event::Effect;
use crate::tui::keys::Key;
use crate::tui::state::{Focus, State};

/// Bytes of a model's name.
const MAX_NAME_BYTES: usize = 128;

/// One model to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Its name, clean.
    pub name: String,
    /// What is known of it.
    pub note: String,
    /// What choosing it means.
    pub partner: Partner,
}

/// What is being chosen from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picker {
    /// Letters of the name.
    pub typed: String,
    /// The row that is chosen.
    pub at: usize,
}

impl Picker {
    /// Takes a key: letters narrow the choice, Enter makes it.
    pub fn press(mut self, state: &mut State, key: Key) -> Vec<Effect> {
        let (code, control, _) = key.parts();
        let found = choices(state, &self.typed);
        let last = found.len().saturating_sub(1);
        match code {
            KeyCode::Esc => return Vec::new(),
            KeyCode::Char('c' | 'o') if control => return Vec::new(),
            KeyCode::Enter => {
                if let Some(choice) = found.into_iter().nth(self.at) {
                    state.chat_mut().partner = Some(choice.partner);
                    state.focus = Focus::Writing;
                }
                return Vec::new();
            }
            KeyCode::Up => self.at = self.at.saturating_sub(1),
            KeyCode::Down | KeyCode::Tab => self.at = (self.at + 1).min(last),
            KeyCode::Backspace => {
                self.typed.pop();
                self.at = 0;
            }
            _ => {
                if let Some(c) = key.types() {
                    self.typed.push(c);
                    self.at = 0;
                }
            }
        }
        state.overlay = Some(Overlay::Picker(self));
        Vec::new()
    }
}

/// The models whose names have the letters, best first.
pub fn choices(state: &State, typed: &str) -> Vec<Choice> {
    let mut found: Vec<(i32, Choice)> = all(state)
        .into_iter()
        .filter_map(|choice| {
            let text = format!("{} {}", choice.name, choice.note);
            Some((score(&text, typed)?, choice))
        })
        .collect();
    // The order of those that are equally good stays.
    found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    found.into_iter().map(|(_, choice)| choice).collect()
}

fn all(state: &State) -> Vec<Choice> {
    let live = state.board.workers().filter(|(_, worker)| !worker.state.is_finished());
    let mut all: Vec<Choice> = live
        .map(|(hive, worker)| Choice {
            name: one_line(&worker.spec.model.to_string(), MAX_NAME_BYTES),
            note: format!("{} on {hive} {}", worker.state.name(), worker.spec.device),
            partner: Partner { model: worker.spec.model.clone(), hive: Some(hive.clone()) },
        })
        .collect();
    for (name, model) in &state.models {
        all.push(Choice {
            name: one_line(name, MAX_NAME_BYTES),
            note: note(name, model),
            partner: Partner { model: model.clone(), hive: None },
        });
    }
    all
}

fn note(name: &str, model: &ModelRef) -> String {
    let model = one_line(&model.to_string(), MAX_NAME_BYTES);
    if model == name { "wherever it fits".to_owned() } else { format!("{model}, wherever it fits") }
}

/// How well the letters of `typed` are found in `text`, in their order; none when they are not.
/// Letters that follow each other and those at the beginning of a word count more.
fn score(text: &str, typed: &str) -> Option<i32> {
    let mut score = 0;
    let mut rest = text.chars().flat_map(char::to_lowercase);
    let (mut before, mut follows) = (None, false);
    for wanted in typed.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase) {
        loop {
            let c = rest.next()?;
            let begins = before.is_none_or(|before: char| !before.is_alphanumeric());
            before = Some(c);
            if c == wanted {
                score += 1 + if follows { 3 } else { 0 } + if begins { 2 } else { 0 };
                follows = true;
                break;
            }
            follows = false;
        }
    }
    Some(score)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_in_their_order_find_and_better_ones_come_first() {
        assert!(score("hf:Qwen/Qwen3-8B-GGUF", "qw8b").is_some());
        assert!(score("demo", "dx").is_none());
        assert!(score("demo", "omed").is_none());
        assert!(score("hf:a/llama-3", "llama") > score("hf:a/l-long-amazing", "llama"));
        assert_eq!(score("anything", ""), Some(0));
    }
}
