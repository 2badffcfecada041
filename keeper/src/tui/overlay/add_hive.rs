//! A form for a machine that shall become a hive: checked while it is typed, told step by step
//! while it is done, open to be corrected when it failed. Pure.

use std::path::PathBuf;

use crossterm::event::KeyCode;
use wire::HiveName;
use wire::settings::Lifetime;
use wire::text::one_line;

use super::Overlay;
use crate::config::HiveSettings;
use crate::ssh::address::Address;
use crate::tui::event::Effect;
use crate::tui::keys::Key;
use crate::tui::operation::Operation;
use crate::tui::records::RecordId;
use crate::tui::state::State;
use crate::tui::update::operate::record;

/// Bytes of one field; a path may be long.
const MAX_FIELD_BYTES: usize = 1024;

/// The fields: what they are called, and what they are for.
pub const FIELDS: [(&str, &str); 4] = [
    ("Name", "what it shall be called here"),
    ("Address", "[user@]host[:port]; a name of your ssh configuration works, too"),
    ("Key", "a private key file, beside those of the ssh configuration; may be empty"),
    ("Jump", "go through these machines, with commas between them; may be empty"),
];

/// What was typed, and what is done with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddHive {
    /// The fields, in the order of [`FIELDS`].
    pub fields: [String; 4],
    /// The one that is typed in.
    pub at: usize,
    /// What was said when it was tried last.
    pub record: Option<RecordId>,
    /// Whether Enter was pressed although something is missing.
    pub pressed: bool,
}

impl AddHive {
    /// A form with what is known already.
    pub fn with(fields: [String; 4]) -> Self {
        let at = fields.iter().position(String::is_empty).unwrap_or(0);
        Self { fields, at, ..Self::default() }
    }

    /// Whether it is being done.
    pub fn runs(&self, state: &State) -> bool {
        let record = self.record.and_then(|id| state.records.get(id));
        record.is_some_and(|record| record.goes_on)
    }

    /// What is wrong with a field.
    pub fn problem(&self, state: &State, field: usize) -> Option<String> {
        let text = self.fields.get(field)?.trim();
        match field {
            0 => match text.parse::<HiveName>() {
                Err(error) => Some(error.to_string()),
                Ok(name) if name == HiveName::local() => {
                    Some("`local` is always this machine".to_owned())
                }
                Ok(name) if state.board.stand(&name).is_some() => {
                    Some(format!("there is a hive named {name} already"))
                }
                Ok(_) => None,
            },
            1 => text.parse::<Address>().err().map(|error| error.to_string()),
            3 => jumps(text).err(),
            _ => None,
        }
    }

    /// The hive that it describes; none while something is wrong.
    pub fn hive(&self, state: &State) -> Option<(HiveName, HiveSettings)> {
        if (0..FIELDS.len()).any(|field| self.problem(state, field).is_some()) {
            return None;
        }
        let [name, address, identity, jump] = &self.fields;
        let identity = identity.trim();
        let settings = HiveSettings {
            address: address.trim().parse().ok()?,
            identity: (!identity.is_empty()).then(|| PathBuf::from(identity)),
            jump: jumps(jump.trim()).ok()?,
            lifetime: Lifetime::Persistent,
        };
        Some((name.trim().parse().ok()?, settings))
    }

    /// Takes a key.
    pub fn press(mut self, state: &mut State, key: Key) -> Vec<Effect> {
        let (code, control, _) = key.parts();
        let leaves = code == KeyCode::Esc || (control && code == KeyCode::Char('c'));
        if self.runs(state) {
            let given_up = self.record.filter(|_| leaves).map(Effect::Abandon);
            state.overlay = Some(Overlay::AddHive(self));
            return given_up.into_iter().collect();
        }
        if leaves {
            return Vec::new();
        }
        let mut effects = Vec::new();
        match code {
            KeyCode::Enter => effects = self.enter(state),
            KeyCode::Tab | KeyCode::Down => self.at = (self.at + 1) % FIELDS.len(),
            KeyCode::BackTab | KeyCode::Up => {
                self.at = (self.at + FIELDS.len() - 1) % FIELDS.len();
            }
            _ => {
                if let Some(text) = self.fields.get_mut(self.at) {
                    match key.types() {
                        _ if code == KeyCode::Backspace => drop(text.pop()),
                        _ if control && code == KeyCode::Char('u') => text.clear(),
                        Some(c) if text.len() < MAX_FIELD_BYTES => text.push(c),
                        _ => {}
                    }
                }
            }
        }
        state.overlay = Some(Overlay::AddHive(self));
        effects
    }

    /// Begins when everything is right, else goes to what is not.
    pub fn enter(&mut self, state: &mut State) -> Vec<Effect> {
        let Some((name, settings)) = self.hive(state) else {
            let wrong = (0..FIELDS.len()).find(|field| self.problem(state, *field).is_some());
            self.pressed = true;
            self.at = wrong.unwrap_or(self.at);
            return Vec::new();
        };
        let operation = Operation::Add(name, Box::new(settings));
        let id = record(state, &operation);
        self.record = Some(id);
        vec![Effect::Operate(id, Box::new(operation))]
    }

    /// Takes text that was pasted.
    pub fn paste(&mut self, text: &str) {
        if let Some(field) = self.fields.get_mut(self.at) {
            let room = MAX_FIELD_BYTES.saturating_sub(field.len());
            field.push_str(one_line(text, room).trim());
        }
    }
}

fn jumps(text: &str) -> Result<Vec<Address>, String> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| word.parse::<Address>().map_err(|error| error.to_string())).collect()
}
