//! Any bytes as the config, the index and the table of a model in a directory.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::model_directory(data));
