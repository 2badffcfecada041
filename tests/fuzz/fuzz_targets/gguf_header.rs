//! Any bytes as the header of a model file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::gguf_header(data));
