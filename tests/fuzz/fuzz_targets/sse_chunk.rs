//! Any bytes as a worker's answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::sse_chunk(data));
