//! The clipboard of the terminal that shows this program, wherever that runs (OSC 52).

use base64ct::{Base64, Encoding};

/// Bytes of a text that terminals take: with base64 a hundred thousand, as xterm and most others.
pub const MAX_BYTES: usize = 74_994;

/// What a terminal is sent to put a text into its clipboard; none for a text that is too long. tmux
/// gets it twice: for itself, where `set-clipboard` is on, and to be passed on, where
/// `allow-passthrough` is.
pub fn clipboard(text: &str, tmux: bool) -> Option<String> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let plain = format!("\x1b]52;c;{}\x07", Base64::encode_string(text.as_bytes()));
    if !tmux {
        return Some(plain);
    }
    let passed = plain.replace('\x1b', "\x1b\x1b");
    Some(format!("{plain}\x1bPtmux;{passed}\x1b\\"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_sent_as_the_terminal_and_tmux_want_it() {
        assert_eq!(clipboard("hé", false).unwrap(), "\x1b]52;c;aMOp\x07");
        assert_eq!(
            clipboard("hi", true).unwrap(),
            "\x1b]52;c;aGk=\x07\x1bPtmux;\x1b\x1b]52;c;aGk=\x07\x1b\\"
        );
        assert!(clipboard(&"x".repeat(MAX_BYTES + 1), false).is_none());
    }
}
