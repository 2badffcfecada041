//! What must hold for any bytes as a model's tokenizer. The fuzzer calls these with what it makes
//! up, `worker/tests/corpus.rs` with the committed corpora.

use wire::gguf::Header;
use worker::engine::words::{Reading, Words};

/// Texts that reach every part of a tokenizer.
const TEXTS: [&str; 6] = [
    "",
    "a",
    " it's  42\n\n\tÉé 日本 🐝e\u{301}\0",
    "<|im_end|><s>[CLS]",
    "<0x0A>▁ab ",
    "\u{fffd}",
];

/// A `tokenizer.json` is refused, or makes tokens that it can name.
pub fn tokenizer_json(data: &[u8]) {
    if let Ok(words) = Words::from_json(data) {
        check(&words);
    }
}

/// A GGUF vocabulary is refused, or makes tokens that it can name.
pub fn vocabulary(data: &[u8]) {
    let Ok(header) = Header::parse(data, data.len() as u64) else { return };
    if let Ok(words) = Words::from_header(&header) {
        check(&words);
    }
}

fn check(words: &Words) {
    for (ends, control) in [(false, false), (true, true)] {
        for text in TEXTS {
            let Ok(tokens) = words.tokens(text, Reading { ends, control }) else { continue };
            let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
            assert!(words.text(&ids).is_ok(), "{ids:?} of {text:?}");
        }
    }
}
