//! What a tokenizer says of a text: its tokens, and the text of tokens.

use serde::{Deserialize, Serialize};

/// One token of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its number in the vocabulary.
    pub id: u32,
    /// What it stands for; bytes that are no whole character are `�`.
    pub piece: String,
    /// What it stands for, byte by byte, where `piece` cannot say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Vec<u8>>,
}

impl Token {
    /// A token and the bytes that it stands for.
    pub fn new(id: u32, bytes: &[u8]) -> Self {
        let piece = String::from_utf8_lossy(bytes).into_owned();
        let is_text = piece.as_bytes() == bytes;
        Self { id, piece, bytes: (!is_text).then(|| bytes.to_vec()) }
    }
}

/// The answer of `rbee worker tokenize`: one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The tokens of a text.
    Tokens(Vec<Token>),
    /// The text of tokens.
    Text(String),
}

/// The answer of `rbee agent locate`: one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// The model's file on this machine, absolute.
    pub path: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_that_is_no_text_has_its_bytes() {
        let token = Token::new(7, b"\xf0\x9f");
        assert_eq!((token.piece.as_str(), token.bytes), ("\u{fffd}", Some(vec![0xf0, 0x9f])));
        assert_eq!(Token::new(7, " a".as_bytes()).bytes, None);
    }

    #[test]
    fn answers_are_told_apart_and_come_back() {
        let tokens = Answer::Tokens(vec![Token::new(1, b"a"), Token::new(2, b"\xff")]);
        let line = r#"{"tokens":[{"id":1,"piece":"a"},{"id":2,"piece":"�","bytes":[255]}]}"#;
        assert_eq!(serde_json::to_string(&tokens).unwrap(), line);
        for answer in [tokens, Answer::Text("\n".to_owned())] {
            let line = serde_json::to_string(&answer).unwrap();
            assert_eq!(serde_json::from_str::<Answer>(&line).unwrap(), answer);
        }
    }
}
