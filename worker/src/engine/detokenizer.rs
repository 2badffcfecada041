//! Makes text of tokens as they come: only whole characters leave.

/// Bytes of an answer that are not yet a whole character.
#[derive(Debug, Default)]
pub(super) struct Detokenizer {
    held: Vec<u8>,
}

impl Detokenizer {
    /// Appends a token's bytes; returns the characters that are complete. Bytes that can never
    /// become a character are `�` (one for each maximal part, Unicode 16, section 3.9).
    pub(super) fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let mut text = String::new();
        let mut done = 0;
        for chunk in self.held.utf8_chunks() {
            text.push_str(chunk.valid());
            done += chunk.valid().len();
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            let is_last = done + invalid.len() == self.held.len();
            if is_last && may_go_on(invalid) {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            done += invalid.len();
        }
        self.held.drain(..done);
        text
    }

    /// What was held back, when the answer has ended: half a character is `�`.
    pub(super) fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.held).into_owned();
        self.held.clear();
        text
    }
}

/// Whether more bytes could make `start` a character.
fn may_go_on(start: &[u8]) -> bool {
    std::str::from_utf8(start).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn half_a_character_waits_for_the_other_half() {
        let mut detokenizer = Detokenizer::default();
        let bee = "🐝".as_bytes();
        assert_eq!(detokenizer.push(&bee[..1]), "");
        assert_eq!(detokenizer.push(&bee[1..3]), "");
        assert_eq!(detokenizer.push(&bee[3..]), "🐝");
        assert_eq!(detokenizer.finish(), "");
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_such() {
        let mut detokenizer = Detokenizer::default();
        assert_eq!(detokenizer.push(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(detokenizer.push(b"\xf0\x9f"), "");
        assert_eq!(detokenizer.push(b"x"), "\u{fffd}x");
        assert_eq!(detokenizer.push(b"\xe2\x82"), "");
        assert_eq!(detokenizer.finish(), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_what_the_whole_gives(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5), 0..9),
        ) {
            let mut detokenizer = Detokenizer::default();
            let mut text: String = parts.iter().map(|part| detokenizer.push(part)).collect();
            text.push_str(&detokenizer.finish());
            prop_assert_eq!(text, String::from_utf8_lossy(&parts.concat()).into_owned());
        }
    }
}
