//! Any bytes as a model's tokenizer.json.
#![no_main]

#[path = "../src/tokenizers.rs"]
mod tokenizers;

libfuzzer_sys::fuzz_target!(|data: &[u8]| tokenizers::tokenizer_json(data));
