//! Which key does what: one table, from which keys are looked up and the help is made.

use std::fmt;
use std::str::FromStr;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// A key with what is held with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    code: KeyCode,
    held: KeyModifiers,
}

/// Where a key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere.
    Everywhere,
    /// While a message is written.
    Writing,
    /// In every panel, while nothing is written.
    Panels,
    /// Among the hives.
    Hives,
    /// Among the workers.
    Workers,
    /// In the conversation.
    Chat,
}

impl Scope {
    /// Its heading in the help.
    pub fn title(self) -> &'static str {
        match self {
            Self::Everywhere => "Everywhere",
            Self::Writing => "Writing a message",
            Self::Panels => "In a panel",
            Self::Hives => "Hives",
            Self::Workers => "Workers",
            Self::Chat => "Conversation",
        }
    }

    /// All of them, in the order of the help.
    pub const ALL: [Self; 6] =
        [Self::Everywhere, Self::Writing, Self::Chat, Self::Panels, Self::Hives, Self::Workers];
}

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ends the program, or asks how.
    Quit,
    /// Cancels what runs, clears what is written, or asks whether to leave.
    Interrupt,
    /// Shows the keys.
    Help,
    /// Goes to the next panel.
    NextPanel,
    /// Goes to the panel before.
    PreviousPanel,
    /// Goes to a panel by its number.
    Panel(u8),
    /// Lets the panel fill the screen, or takes it back.
    Zoom,
    /// Goes back: cancels an answer, leaves writing.
    Back,
    /// Sends the message.
    Send,
    /// Begins a new line in the message.
    NewLine,
    /// Begins to write.
    Write,
    /// Forgets the conversation.
    Forget,
    /// Shows or folds the model's reasoning.
    Reasoning,
    /// A row up.
    Up,
    /// A row down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the first row.
    Top,
    /// To the last row.
    Bottom,
    /// Talks with the chosen worker.
    Choose,
    /// Tries the hives again that are not there.
    LookAgain,
    /// Chooses a model.
    Pick,
    /// Stops the chosen worker.
    StopWorker,
    /// Starts the agent of the chosen hive.
    StartAgent,
    /// Another theme.
    Theme,
    /// Stops the program until the shell continues it.
    Suspend,
    /// Draws everything anew.
    Redraw,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    /// Where it counts.
    pub scope: Scope,
    /// The keys, as words.
    pub keys: &'static [&'static str],
    /// What it does.
    pub action: Action,
    /// What it does, for the help.
    pub says: &'static str,
    /// What it does, in the line at the bottom; empty: it is not shown there.
    pub short: &'static str,
}

const fn bind(
    scope: Scope,
    keys: &'static [&'static str],
    action: Action,
    says: &'static str,
    short: &'static str,
) -> Binding {
    Binding { scope, keys, action, says, short }
}

/// Every key of the program.
pub const TABLE: &[Binding] = &[
    bind(Scope::Writing, &["enter"], Action::Send, "send the message", "send"),
    bind(Scope::Writing, &["alt-enter", "ctrl-j"], Action::NewLine, "begin a new line", "line"),
    bind(Scope::Writing, &["esc"], Action::Back, "cancel the answer, else leave writing", "back"),
    bind(Scope::Writing, &["pageup"], Action::PageUp, "scroll the conversation up", ""),
    bind(Scope::Writing, &["pagedown"], Action::PageDown, "scroll the conversation down", ""),
    bind(Scope::Chat, &["i", "enter"], Action::Write, "write a message", "write"),
    bind(Scope::Chat, &["esc"], Action::Back, "cancel the answer", ""),
    bind(Scope::Chat, &["n"], Action::Forget, "forget the conversation, begin a new one", "new"),
    bind(Scope::Panels, &["q"], Action::Quit, "quit; asks what becomes of the workers", "quit"),
    bind(Scope::Panels, &["?"], Action::Help, "show the keys", "help"),
    bind(Scope::Panels, &["1"], Action::Panel(1), "go to the hives", ""),
    bind(Scope::Panels, &["2"], Action::Panel(2), "go to the workers", ""),
    bind(Scope::Panels, &["3"], Action::Panel(3), "go to the conversation", ""),
    bind(Scope::Panels, &["+", "z"], Action::Zoom, "fill the screen with the panel", "zoom"),
    bind(Scope::Panels, &["up", "k"], Action::Up, "up", ""),
    bind(Scope::Panels, &["down", "j"], Action::Down, "down", ""),
    bind(Scope::Panels, &["pageup", "ctrl-b"], Action::PageUp, "a page up", ""),
    bind(Scope::Panels, &["pagedown", "ctrl-f", "space"], Action::PageDown, "a page down", ""),
    bind(Scope::Panels, &["home", "g"], Action::Top, "to the top", ""),
    bind(Scope::Panels, &["end", "G"], Action::Bottom, "to the end", ""),
    bind(Scope::Panels, &["r"], Action::LookAgain, "try the hives that are not there now", "retry"),
    bind(Scope::Panels, &["i"], Action::Write, "write a message", ""),
    bind(Scope::Workers, &["enter"], Action::Choose, "talk with this worker", "talk"),
    bind(Scope::Workers, &["x"], Action::StopWorker, "stop this worker; asks before", "stop"),
    bind(Scope::Hives, &["s"], Action::StartAgent, "start the agent there; asks before", "start"),
    bind(Scope::Everywhere, &["ctrl-o"], Action::Pick, "choose a model by some letters", "model"),
    bind(Scope::Everywhere, &["f1"], Action::Help, "show the keys", "help"),
    bind(Scope::Everywhere, &["tab"], Action::NextPanel, "go to the next panel", "panel"),
    bind(Scope::Everywhere, &["backtab"], Action::PreviousPanel, "go to the panel before", ""),
    bind(Scope::Everywhere, &["alt-1"], Action::Panel(1), "go to the hives", ""),
    bind(Scope::Everywhere, &["alt-2"], Action::Panel(2), "go to the workers", ""),
    bind(Scope::Everywhere, &["alt-3"], Action::Panel(3), "go to the conversation", ""),
    bind(Scope::Everywhere, &["ctrl-t"], Action::Reasoning, "show or fold the reasoning", ""),
    bind(Scope::Everywhere, &["f2"], Action::Theme, "another theme", ""),
    bind(
        Scope::Everywhere,
        &["ctrl-c"],
        Action::Interrupt,
        "cancel the answer, clear the message, or quit",
        "",
    ),
    bind(Scope::Everywhere, &["ctrl-q"], Action::Quit, "quit", "quit"),
    bind(Scope::Everywhere, &["ctrl-z"], Action::Suspend, "stop until `fg`", ""),
    bind(Scope::Everywhere, &["ctrl-l"], Action::Redraw, "draw everything anew", ""),
];

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

/// A key as the help shows it.
#[derive(Debug, Clone, Copy)]
pub struct Shown(pub &'static str);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = match self.0 {
            "backtab" => "Shift-Tab",
            "pageup" => "PgUp",
            "pagedown" => "PgDn",
            one if one.chars().count() == 1 => one,
            words => {
                for (index, word) in words.split('-').enumerate() {
                    let dash = if index > 0 { "-" } else { "" };
                    let mut characters = word.chars();
                    let first = characters.next().map(|c| c.to_ascii_uppercase());
                    write!(f, "{dash}{}{}", first.unwrap_or('-'), characters.as_str())?;
                }
                return Ok(());
            }
        };
        f.write_str(shown)
    }
}

/// What a key does in the first of `scopes` that knows it.
pub fn action(key: Key, scopes: &[Scope]) -> Option<Action> {
    let in_scope = |scope: &Scope| {
        let mut bindings = TABLE.iter().filter(|binding| binding.scope == *scope);
        bindings.find(|binding| binding.keys.iter().any(|word| word.parse() == Ok(key)))
    };
    scopes.iter().find_map(in_scope).map(|binding| binding.action)
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
        let found = |word: &str, scopes: &[Scope]| action(word.parse().unwrap(), scopes);
        assert_eq!(found("enter", &scopes), Some(Action::Choose));
        assert_eq!(found("enter", &[Scope::Writing]), Some(Action::Send));
        assert_eq!(found("q", &[Scope::Writing, Scope::Everywhere]), None);
        let shifted = KeyEvent::new(KeyCode::Char('G'), KeyModifiers::SHIFT);
        assert_eq!(action(Key::of(shifted), &scopes), Some(Action::Bottom));
    }

    #[test]
    fn keys_are_shown_as_they_are_written_on_keyboards() {
        let shown: Vec<String> =
            ["ctrl-c", "alt-enter", "f1", "G", "pageup"].map(|word| Shown(word).to_string()).into();
        assert_eq!(shown, ["Ctrl-C", "Alt-Enter", "F1", "G", "PgUp"]);
    }
}
