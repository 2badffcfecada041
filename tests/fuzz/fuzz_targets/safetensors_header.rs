//! Any bytes as the header of a file of safetensors.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::safetensors_header(data));
