//! Keys as words of a recording.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Keys that are no characters.
const NAMED: [(&str, KeyCode); 15] = [
    ("enter", KeyCode::Enter),
    ("esc", KeyCode::Esc),
    ("tab", KeyCode::Tab),
    ("backtab", KeyCode::BackTab),
    ("up", KeyCode::Up),
    ("down", KeyCode::Down),
    ("left", KeyCode::Left),
    ("right", KeyCode::Right),
    ("pageup", KeyCode::PageUp),
    ("pagedown", KeyCode::PageDown),
    ("home", KeyCode::Home),
    ("end", KeyCode::End),
    ("delete", KeyCode::Delete),
    ("insert", KeyCode::Insert),
    ("backspace", KeyCode::Backspace),
];

const HELD: [(&str, KeyModifiers); 3] = [
    ("ctrl-", KeyModifiers::CONTROL),
    ("alt-", KeyModifiers::ALT),
    ("shift-", KeyModifiers::SHIFT),
];

/// The character that a key types, when it types one.
pub fn types(event: KeyEvent) -> Option<char> {
    match event.code {
        KeyCode::Char(c) if (event.modifiers - KeyModifiers::SHIFT).is_empty() => Some(c),
        _ => None,
    }
}

/// The word of a key; none for one that means nothing here.
pub fn word(event: KeyEvent) -> Option<String> {
    let held = HELD.iter().filter(|(_, held)| event.modifiers.contains(*held));
    let mut word: String = held.map(|(word, _)| *word).collect();
    match event.code {
        KeyCode::Char(c) => word.push(c),
        KeyCode::F(number) => word = format!("{word}f{number}"),
        code => word.push_str(NAMED.iter().find(|(_, known)| *known == code)?.0),
    }
    Some(word)
}

/// The key of a word.
pub fn parse(word: &str) -> Option<KeyEvent> {
    let (mut held, mut rest) = (KeyModifiers::NONE, word);
    for (prefix, modifier) in HELD {
        if let Some(after) = rest.strip_prefix(prefix).filter(|after| !after.is_empty()) {
            (held, rest) = (held | modifier, after);
        }
    }
    let mut characters = rest.chars();
    let code = match (characters.next()?, characters.next()) {
        (c, None) => KeyCode::Char(c),
        ('f', Some(_)) if rest.get(1..)?.parse::<u8>().is_ok() => {
            KeyCode::F(rest.get(1..)?.parse().ok()?)
        }
        _ => NAMED.iter().find(|(name, _)| *name == rest)?.1,
    };
    Some(KeyEvent::new(code, held))
}
