//! Choosing a model by a few of its letters, or several to compare: what runs on the hives,
//! what the configuration names, and any model reference. Pure.

use crossterm::event::KeyCode;
use wire::ModelRef;
use wire::text::one_line;
use wire::worker::WorkerState;

use super::Overlay;
use crate::tui::chat::Partner;
use crate::tui::event::Effect;
use crate::tui::keys::Key;
use crate::tui::lanes;
use crate::tui::state::{Focus, State};
use crate::tui::update::lanes::compare;

/// Bytes of a model's name.
const MAX_NAME_BYTES: usize = 128;

/// One model to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Its name, clean.
    pub name: String,
    /// What is known of it: its state, and where.
    pub note: String,
    /// What choosing it means.
    pub partner: Partner,
}

/// What a choice is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Purpose {
    /// Talking with one.
    #[default]
    Talk,
    /// Comparing these; one that stands here twice answers twice.
    Compare(Vec<Partner>),
}

/// What is being chosen from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picker {
    /// Letters of the name.
    pub typed: String,
    /// The row that is chosen.
    pub at: usize,
    /// What for.
    pub purpose: Purpose,
}

impl Picker {
    /// Takes a key: letters narrow the choice, Enter makes it.
    pub fn press(mut self, state: &mut State, key: Key) -> Vec<Effect> {
        let (code, control, _) = key.parts();
        let found = choices(state, &self.typed);
        let last = found.len().saturating_sub(1);
        match (code, &mut self.purpose) {
            (KeyCode::Esc, _) => return Vec::new(),
            (KeyCode::Char('c' | 'o'), _) if control => return Vec::new(),
            (KeyCode::Enter, Purpose::Talk) => {
                if let Some(choice) = found.into_iter().nth(self.at) {
                    state.chat_mut().partner = Some(choice.partner);
                    state.focus = Focus::Writing;
                }
                return Vec::new();
            }
            (KeyCode::Enter, Purpose::Compare(marked)) => {
                if lanes::COMPARED.contains(&marked.len()) {
                    return compare(state, std::mem::take(marked));
                }
                state.caution("mark two to four with Space, then press Enter");
            }
            (KeyCode::Char(' ') | KeyCode::Right | KeyCode::Left, Purpose::Compare(marked)) => {
                if let Some(choice) = found.get(self.at) {
                    mark(marked, &choice.partner, code);
                }
            }
            (KeyCode::Up, _) => self.at = self.at.saturating_sub(1),
            (KeyCode::Down | KeyCode::Tab, _) => self.at = (self.at + 1).min(last),
            (KeyCode::Backspace, _) => {
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

    /// How often a partner is marked; none where nothing is.
    pub fn marks(&self, partner: &Partner) -> Option<usize> {
        let Purpose::Compare(marked) = &self.purpose else { return None };
        Some(marked.iter().filter(|it| *it == partner).count())
    }
}

/// Space marks or takes the mark away, Right marks once more, Left takes one mark away.
fn mark(marked: &mut Vec<Partner>, partner: &Partner, code: KeyCode) {
    let at = marked.iter().rposition(|it| it == partner);
    match (code, at) {
        (KeyCode::Char(' '), Some(_)) => marked.retain(|it| it != partner),
        (KeyCode::Left, Some(at)) => drop(marked.remove(at)),
        (KeyCode::Left, None) => {}
        _ if marked.len() < *lanes::COMPARED.end() => marked.push(partner.clone()),
        _ => {}
    }
}

/// The models whose names have the letters, best first; last what was typed, where it is a model
/// reference.
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
    let mut found: Vec<Choice> = found.into_iter().map(|(_, choice)| choice).collect();
    found.extend(as_typed(state, typed).filter(|typed| {
        let partners = found.iter().map(|choice| &choice.partner);
        !partners.into_iter().any(|partner| *partner == typed.partner)
    }));
    found
}

fn as_typed(state: &State, typed: &str) -> Option<Choice> {
    let model: ModelRef = typed.trim().parse().ok()?;
    Some(anywhere(state, &model.to_string(), &model))
}

fn all(state: &State) -> Vec<Choice> {
    let live = state.board.workers().filter(|(_, worker)| !worker.state.is_finished());
    let mut all: Vec<Choice> = live
        .map(|(hive, worker)| Choice {
            name: one_line(&worker.spec.model.to_string(), MAX_NAME_BYTES),
            note: format!("{} on {hive} {}", stage(&worker.state), worker.spec.device),
            partner: Partner { model: worker.spec.model.clone(), hive: Some(hive.clone()) },
        })
        .collect();
    all.extend(state.models.iter().map(|(name, model)| anywhere(state, name, model)));
    all
}

/// How far a worker is, in a word or two.
fn stage(state: &WorkerState) -> String {
    match state {
        WorkerState::Loading { bytes_done, bytes_total } => {
            let done = bytes_done.min(bytes_total).saturating_mul(100);
            done.checked_div(*bytes_total)
                .map_or("loading".to_owned(), |it| format!("loading {it} %"))
        }
        other => other.name().to_owned(),
    }
}

/// A model wherever it fits: where it is loaded, else where there is room.
fn anywhere(state: &State, name: &str, model: &ModelRef) -> Choice {
    let text = one_line(&model.to_string(), MAX_NAME_BYTES);
    let live = state.board.workers().filter(|(_, worker)| !worker.state.is_finished());
    let mut hives: Vec<&str> =
        live.filter(|(_, worker)| worker.spec.model == *model).map(|it| it.0.as_str()).collect();
    hives.dedup();
    let place = match hives.as_slice() {
        [] => "not loaded; wherever it fits".to_owned(),
        hives => format!("loaded on {}; wherever it fits", hives.join(", ")),
    };
    Choice {
        name: one_line(name, MAX_NAME_BYTES),
        note: if text == name { place } else { format!("{text}, {place}") },
        partner: Partner { model: model.clone(), hive: None },
    }
}

/// How well the letters of `typed` are found in `text`, in their order; none when they are not.
/// Letters that follow each other and those at the beginning of a word count more.
pub fn score(text: &str, typed: &str) -> Option<i32> {
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
