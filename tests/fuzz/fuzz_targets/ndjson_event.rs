//! Any bytes as a hive's event stream.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::ndjson_event(data));
