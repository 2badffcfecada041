//! Which file goes with the message: a path, with completion.

use crossterm::event::KeyCode;

use super::Overlay;
use crate::tui::desk::Work;
use crate::tui::event::Effect;
use crate::tui::keys::Key;
use crate::tui::state::State;

/// A path that is typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attach {
    /// The path.
    pub typed: String,
    /// Paths that begin so, once they were asked for.
    pub found: Vec<String>,
}

impl Attach {
    /// Takes a key: Tab completes, Enter attaches.
    pub fn press(mut self, state: &mut State, key: Key) -> Vec<Effect> {
        let (code, control, _) = key.parts();
        let mut effects = Vec::new();
        match code {
            KeyCode::Esc => return Vec::new(),
            KeyCode::Char('c') if control => return Vec::new(),
            KeyCode::Enter if self.typed.trim().is_empty() => {}
            KeyCode::Enter => return vec![Effect::Desk(Work::Attach(self.typed))],
            KeyCode::Tab => effects.push(Effect::Desk(Work::Complete(self.typed.clone()))),
            KeyCode::Backspace => {
                self.typed.pop();
                self.found.clear();
            }
            KeyCode::Char('u') if control => {
                self.typed.clear();
                self.found.clear();
            }
            _ => {
                if let Some(c) = key.types() {
                    self.typed.push(c);
                    self.found.clear();
                }
            }
        }
        state.overlay = Some(Overlay::Attach(self));
        effects
    }

    /// Takes the paths that begin as it was typed, and types what they have in common.
    pub fn take(&mut self, typed: &str, found: Vec<String>) {
        // Something else was typed meanwhile.
        if typed != self.typed {
            return;
        }
        let shared = found.iter().skip(1).fold(found.first().cloned(), |shared, path| {
            let shared = shared?;
            let same = shared.chars().zip(path.chars()).take_while(|(a, b)| a == b);
            Some(same.map(|(a, _)| a).collect())
        });
        if let Some(shared) = shared.filter(|shared| shared.len() > self.typed.len()) {
            self.typed = shared;
        }
        self.found = if found.len() > 1 { found } else { Vec::new() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_paths_have_in_common_is_typed() {
        let mut attach = Attach { typed: "/e".to_owned(), found: Vec::new() };
        attach.take("/e", vec!["/etc/".to_owned()]);
        assert_eq!((attach.typed.as_str(), attach.found.len()), ("/etc/", 0));
        attach.take("/etc/", vec!["/etc/host.conf".to_owned(), "/etc/hosts".to_owned()]);
        assert_eq!((attach.typed.as_str(), attach.found.len()), ("/etc/host", 2));
        attach.take("/old", vec!["/older".to_owned()]);
        assert_eq!(attach.typed, "/etc/host");
    }
}
