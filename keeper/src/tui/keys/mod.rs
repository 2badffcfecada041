//! Keys: how they are written, and what they do.

mod action;
mod map;
mod scope;
mod table;

use std::fmt;
use std::str::FromStr;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

pub use action::Action;
pub use map::KeyMap;
pub use scope::Scope;
pub use table::TABLE;

/// A key with what is held with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    code: KeyCode,
    held: KeyModifiers,
}

impl Key {
    /// The key of an event of the terminal.
    pub fn of(event: KeyEvent) -> Self {
        Self::new(event.code, event.modifiers)
    }

    fn new(code: KeyCode, held: KeyModifiers) -> Self {
        let mut held = held & (KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SHIFT);
        // A capital is the character; whether Shift is told differs between terminals.
        if matches!(code, KeyCode::Char(_) | KeyCode::BackTab) {
            held -= KeyModifiers::SHIFT;
        }
        Self { code, held }
    }

    /// The character that it types, when it types one.
    pub fn types(self) -> Option<char> {
        match self.code {
            KeyCode::Char(c) if self.held.is_empty() => Some(c),
            _ => None,
        }
    }

    #[cfg(test)]
    pub fn code(self) -> KeyCode {
        self.code
    }

    #[cfg(test)]
    pub fn held(self) -> KeyModifiers {
        self.held
    }

    /// Its code and whether Control and Alt are held.
    pub fn parts(self) -> (KeyCode, bool, bool) {
        let held = |what| self.held.contains(what);
        (self.code, held(KeyModifiers::CONTROL), held(KeyModifiers::ALT))
    }
}

impl FromStr for Key {
    type Err = ();

    fn from_str(words: &str) -> Result<Self, ()> {
        let mut held = KeyModifiers::NONE;
        let mut rest = words;
        for (word, modifier) in [
            ("ctrl-", KeyModifiers::CONTROL),
            ("alt-", KeyModifiers::ALT),
            ("shift-", KeyModifiers::SHIFT),
        ] {
            if let Some(after) = rest.strip_prefix(word) {
                held |= modifier;
                rest = after;
            }
        }
        let mut characters = rest.chars();
        let code = match (characters.next(), characters.next()) {
            (Some(c), None) => KeyCode::Char(c),
            _ => named(rest).ok_or(())?,
        };
        Ok(Self::new(code, held))
    }
}

fn named(word: &str) -> Option<KeyCode> {
    Some(match word {
        "enter" => KeyCode::Enter,
        "esc" => KeyCode::Esc,
        "tab" => KeyCode::Tab,
        "backtab" => KeyCode::BackTab,
        "space" => KeyCode::Char(' '),
        "up" => KeyCode::Up,
        "down" => KeyCode::Down,
        "left" => KeyCode::Left,
        "right" => KeyCode::Right,
        "pageup" => KeyCode::PageUp,
        "pagedown" => KeyCode::PageDown,
        "home" => KeyCode::Home,
        "end" => KeyCode::End,
        "delete" => KeyCode::Delete,
        "backspace" => KeyCode::Backspace,
        _ => KeyCode::F(word.strip_prefix('f')?.parse().ok().filter(|n| (1..=12).contains(n))?),
    })
}

/// A key as it is written on keyboards.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (modifier, word) in [
            (KeyModifiers::CONTROL, "Ctrl-"),
            (KeyModifiers::ALT, "Alt-"),
            (KeyModifiers::SHIFT, "Shift-"),
        ] {
            if self.held.contains(modifier) {
                f.write_str(word)?;
            }
        }
        match self.code {
            KeyCode::Char(' ') => f.write_str("Space"),
            // With Control the letter of the key cap is shown.
            KeyCode::Char(c) if !self.held.is_empty() => write!(f, "{}", c.to_ascii_uppercase()),
            KeyCode::Char(c) => write!(f, "{c}"),
            KeyCode::F(number) => write!(f, "F{number}"),
            KeyCode::BackTab => f.write_str("Shift-Tab"),
            KeyCode::PageUp => f.write_str("PgUp"),
            KeyCode::PageDown => f.write_str("PgDn"),
            other => write!(f, "{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_table_is_one_and_none_stands_twice_in_its_scope() {
        let mut seen: Vec<(Scope, Key)> = Vec::new();
        for binding in TABLE {
            for word in binding.keys {
                let key: Key = word.parse().unwrap_or_else(|()| panic!("{word} is no key"));
                assert!(!seen.contains(&(binding.scope, key)), "{word} twice in {binding:?}");
                seen.push((binding.scope, key));
            }
        }
    }

    #[test]
    fn a_key_is_found_in_the_nearest_scope() {
        let scopes = [Scope::Workers, Scope::Panels, Scope::Everywhere];
        let map = KeyMap::default();
        let found = |word: &str, scopes: &[Scope]| map.action(word.parse().unwrap(), scopes);
        assert_eq!(found("enter", &scopes), Some(Action::Choose));
        assert_eq!(found("enter", &[Scope::Writing]), Some(Action::Send));
        assert_eq!(found("q", &[Scope::Writing, Scope::Everywhere]), None);
        let shifted = KeyEvent::new(KeyCode::Char('G'), KeyModifiers::SHIFT);
        assert_eq!(map.action(Key::of(shifted), &scopes), Some(Action::Bottom));
    }

    #[test]
    fn keys_are_shown_as_they_are_written_on_keyboards() {
        let shown: Vec<String> = ["ctrl-c", "alt-enter", "f1", "G", "pageup"]
            .map(|word| word.parse::<Key>().unwrap().to_string())
            .into();
        assert_eq!(shown, ["Ctrl-C", "Alt-Enter", "F1", "G", "PgUp"]);
    }
}
