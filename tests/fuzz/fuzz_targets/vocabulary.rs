//! Any bytes as a GGUF file's vocabulary.
#![no_main]

#[path = "../src/tokenizers.rs"]
mod tokenizers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| tokenizers::vocabulary(data));
