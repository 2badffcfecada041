//! Any text as a name that a person or a peer gives.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::model_ref(data));
