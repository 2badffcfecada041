//! Text of the same shape that says nothing.

use unicode_width::UnicodeWidthChar;

/// Replaces letters and digits; what gives Markdown its shape stays.
pub fn masked(text: &str) -> String {
    text.chars().map(shape).collect()
}

/// A character that takes as much room. A number becomes one that is valid where it was.
pub fn shape(c: char) -> char {
    match c {
        _ if c.is_numeric() && c.width() == Some(1) => '1',
        c if c.is_ascii() && !c.is_ascii_alphabetic() => c,
        c if c.width() == Some(2) => '口',
        c if c.width() == Some(0) => c,
        _ => 'x',
    }
}
