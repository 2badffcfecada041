//! What tokens stand for: the text in a vocabulary is written in one of several codings.

use std::borrow::Cow;

use super::bytes;

/// What stands for a blank in the pieces of `SentencePiece` and its kin.
pub(super) const BLANK: char = '\u{2581}';
/// What a piece inside of a word begins with in BERT's own files.
const INSIDE: &str = "##";

/// What a token is (ggml's `llama_token_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text.
    Normal,
    /// What stands for text that has no token.
    Unknown,
    /// A mark of the model's own, never text.
    Control,
    /// Text that is always this one token.
    UserDefined,
    /// A byte of what has no other token.
    Byte(u8),
}

impl Kind {
    /// Whether the token is found in a text before anything else is.
    pub(super) fn is_special(self) -> bool {
        matches!(self, Self::Unknown | Self::Control | Self::UserDefined)
    }
}

/// How the text of an ordinary token is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// Each byte is a character of GPT-2's alphabet.
    ByteLevel,
    /// A blank is `▁`.
    Spaced,
    /// A piece follows a blank unless it begins with `##`.
    Words,
}

/// The tokens of a vocabulary by their numbers.
#[derive(Debug)]
pub(super) struct Pieces {
    /// Each token's text.
    pub tokens: Vec<String>,
    /// Each token's kind.
    pub kinds: Vec<Kind>,
    /// How ordinary tokens are written.
    pub coding: Coding,
    /// Whether a blank before a text is the tokenizer's own, and not a part of it.
    pub is_prefixed: bool,
}

impl Pieces {
    /// The text and the kind of a token.
    pub(super) fn get(&self, id: u32) -> Option<(&str, Kind)> {
        let at = usize::try_from(id).ok()?;
        Some((self.tokens.get(at)?.as_str(), self.kinds.get(at).copied()?))
    }

    /// The bytes that a token stands for; those of a control token are how it is written.
    pub(super) fn bytes(&self, id: u32) -> Option<Cow<'_, [u8]>> {
        let (text, kind) = self.get(id)?;
        Some(match (kind, self.coding) {
            (Kind::Byte(byte), _) => Cow::Owned(vec![byte]),
            (Kind::Normal, Coding::ByteLevel) => Cow::Owned(byte_level(text)),
            (Kind::Normal | Kind::UserDefined, Coding::Spaced) if text.contains(BLANK) => {
                Cow::Owned(text.replace(BLANK, " ").into_bytes())
            }
            (Kind::Normal, Coding::Words) => match text.strip_prefix(INSIDE) {
                Some(inside) => Cow::Borrowed(inside.as_bytes()),
                None => Cow::Owned(format!(" {text}").into_bytes()),
            },
            _ => Cow::Borrowed(text.as_bytes()),
        })
    }

    /// Most bytes that a token stands for; at least one.
    pub(super) fn longest(&self) -> usize {
        let bytes = |(token, kind): (&String, &Kind)| match (kind, self.coding) {
            (Kind::Normal, Coding::ByteLevel) => token.chars().count(),
            _ => token.len(),
        };
        self.tokens.iter().zip(&self.kinds).map(bytes).max().unwrap_or(1).max(1)
    }

    /// Texts and numbers of the tokens of some kinds.
    pub(super) fn of_kind(&self, wanted: impl Fn(Kind) -> bool) -> Vec<(String, u32)> {
        let all = self.tokens.iter().zip(&self.kinds).zip(0u32..);
        let these = all.filter(|((_, kind), _)| wanted(**kind));
        these.map(|((text, _), id)| (text.clone(), id)).collect()
    }
}

/// The byte that a token like `<0x0A>` is written for.
pub(super) fn byte_token(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_hex = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_hex { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// The bytes that byte-level characters stand for; any other character stands for itself.
fn byte_level(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for c in text.chars() {
        match bytes::byte_of(c) {
            Some(byte) => out.push(byte),
            None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str, kind: Kind, coding: Coding) -> Vec<u8> {
        let (tokens, kinds) = (vec![text.to_owned()], vec![kind]);
        let pieces = Pieces { tokens, kinds, coding, is_prefixed: false };
        pieces.bytes(0).unwrap().into_owned()
    }

    #[test]
    fn each_coding_says_what_its_tokens_stand_for() {
        assert_eq!(bytes("Ġa", Kind::Normal, Coding::ByteLevel), b" a");
        assert_eq!(bytes("Ġa", Kind::UserDefined, Coding::ByteLevel), "Ġa".as_bytes());
        assert_eq!(bytes("▁a▁b", Kind::Normal, Coding::Spaced), b" a b");
        assert_eq!(bytes("<0xF0>", Kind::Byte(0xf0), Coding::Spaced), b"\xf0");
        assert_eq!(bytes("▁", Kind::Control, Coding::Spaced), "▁".as_bytes());
        assert_eq!(bytes("##ing", Kind::Normal, Coding::Words), b"ing");
        assert_eq!(bytes("go", Kind::Normal, Coding::Words), b" go");
    }

    #[test]
    fn only_two_digits_between_brackets_are_a_byte() {
        assert_eq!(byte_token("<0x0A>"), Some(10));
        assert_eq!(byte_token("<0xff>"), Some(255));
        for text in ["<0xA>", "<0x0AB>", "<0x+1>", "0x0A", "<0x0A", "", "<0x>"] {
            assert_eq!(byte_token(text), None, "{text:?}");
        }
    }
}
