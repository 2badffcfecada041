//! Any bytes as a model's tokenizer.json.
#![no_main]
#![feature(alloc_error_hook)]

#[path = "../src/process.rs"]
mod process;
#[path = "../src/tokenizers.rs"]
#[allow(dead_code, reason = "what another target calls")]
mod tokenizers;

libfuzzer_sys::fuzz_target!(init: process::begin(), |data: &[u8]| {
    process::run(tokenizers::tokenizer_json, data);
});
