//! How bytes that are ours are told from those of a noisy login: a random word in front of each.

use std::fmt;
use std::str::FromStr;

use crate::ids::InvalidName;

/// What every marker begins with.
const PREFIX: &str = "rbee-";
/// Hexadecimal digits behind it: 122 random bits.
const DIGITS: usize = 32;

/// A word that nobody else writes, because nobody else knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker(String);

impl Marker {
    /// A random marker.
    pub fn random() -> Self {
        Self(format!("{PREFIX}{}", uuid::Uuid::new_v4().simple()))
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `text` as a line of ours. It begins with a newline: what was written before may have ended
    /// in the middle of a line.
    pub fn line(&self, text: &str) -> String {
        format!("\n{} {text}\n", self.0)
    }

    /// The text of a line, when that is one of ours.
    pub fn text<'a>(&self, line: &'a str) -> Option<&'a str> {
        let line = line.trim_end_matches(['\r', '\n']);
        line.strip_prefix(self.0.as_str())?.strip_prefix(' ')
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Marker {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        match text.strip_prefix(PREFIX) {
            Some(digits) if digits.len() == DIGITS && digits.bytes().all(is_hex) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(InvalidName {
                what: "a marker",
                problem: "is `rbee-` and 32 hexadecimal digits",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_ours_is_known_behind_half_a_line_of_others() {
        let marker = Marker::random();
        assert_eq!(marker.as_str().parse::<Marker>().unwrap(), marker);
        let output = format!("Welcome to{}", marker.line("free=7"));
        let found: Vec<_> = output.lines().filter_map(|line| marker.text(line)).collect();
        assert_eq!(found, ["free=7"]);
        assert_eq!(Marker::random().text(output.lines().last().unwrap()), None);
        for text in ["", "rbee-", "rbee-x';id;'", &"a".repeat(37)] {
            assert!(text.parse::<Marker>().is_err(), "{text}");
        }
    }
}
