//! How the answers of this conversation are made: a form of text fields.

use crossterm::event::KeyCode;

use super::Overlay;
use crate::conversations::Settings;
use crate::conversations::field::{Field, Refused};
use crate::tui::editor::Editor;
use crate::tui::event::Effect;
use crate::tui::keys::Key;
use crate::tui::state::State;

/// The form.
#[derive(Debug, Clone)]
pub struct Form {
    /// Each setting and what is written.
    pub fields: Vec<(Field, Editor)>,
    /// The one that keys go to.
    pub at: usize,
    /// What was refused.
    pub refused: Option<Refused>,
}

impl From<&Settings> for Form {
    fn from(settings: &Settings) -> Self {
        let field = |field: Field| {
            let mut editor = Editor::default();
            editor.set(&field.text(settings));
            (field, editor)
        };
        Self { fields: Field::ALL.map(field).into(), at: 0, refused: None }
    }
}

impl Form {
    /// Takes a key: text changes a field, Enter takes all, Esc none.
    pub fn press(mut self, state: &mut State, key: Key) -> Vec<Effect> {
        let (code, control, alt) = key.parts();
        let last = self.fields.len().saturating_sub(1);
        match code {
            KeyCode::Esc | KeyCode::F(4) => return Vec::new(),
            KeyCode::Char('c') if control => return Vec::new(),
            KeyCode::Enter if alt => self.new_line(),
            KeyCode::Char('j') if control => self.new_line(),
            KeyCode::Enter => match self.settings() {
                Ok(settings) => {
                    take(state, settings);
                    return Vec::new();
                }
                Err(refused) => {
                    let is_it = |(field, _): &(Field, Editor)| *field == refused.field;
                    self.at = self.fields.iter().position(is_it).unwrap_or(self.at);
                    self.refused = Some(refused);
                }
            },
            KeyCode::Tab => self.at = if self.at == last { 0 } else { self.at + 1 },
            KeyCode::BackTab => self.at = self.at.checked_sub(1).unwrap_or(last),
            KeyCode::Up if self.editor().is_none_or(|it| it.is_at_the_top()) => {
                self.at = self.at.saturating_sub(1);
            }
            KeyCode::Down if self.editor().is_none_or(|it| it.is_at_the_end()) => {
                self.at = (self.at + 1).min(last);
            }
            _ => {
                self.refused = None;
                if let Some(editor) = self.editor() {
                    editor.press(key);
                }
            }
        }
        state.overlay = Some(Overlay::Settings(self));
        Vec::new()
    }

    /// Takes text that was pasted.
    pub fn paste(&mut self, text: &str) {
        if let Some(editor) = self.editor() {
            editor.insert(text);
        }
    }

    fn editor(&mut self) -> Option<&mut Editor> {
        self.fields.get_mut(self.at).map(|(_, editor)| editor)
    }

    /// Only instructions have lines.
    fn new_line(&mut self) {
        if let Some((Field::System, editor)) = self.fields.get_mut(self.at) {
            editor.insert("\n");
        }
    }

    fn settings(&self) -> Result<Settings, Refused> {
        let mut settings = Settings::default();
        for (field, editor) in &self.fields {
            field.set(&mut settings, editor.text())?;
        }
        Ok(settings)
    }
}

/// The form has no field for what an older or newer rbee saved besides: that stays as it is.
fn take(state: &mut State, new: Settings) {
    let record = &mut state.chat_mut().record;
    if record.settings == new {
        return;
    }
    let old = record.settings.sampling.clone();
    let mut settings = new;
    settings.sampling = wire::sampling::SamplingFields {
        temperature: settings.sampling.temperature,
        top_p: settings.sampling.top_p,
        min_p: settings.sampling.min_p,
        top_k: settings.sampling.top_k,
        max_tokens: settings.sampling.max_tokens,
        seed: settings.sampling.seed,
        ..old
    };
    record.settings = settings;
    record.changed = true;
    state.tell("the next answer of this conversation is made so");
}
