//! Any text as a model's chat template.
#![no_main]
#![feature(alloc_error_hook)]

#[path = "../src/process.rs"]
mod process;
#[path = "../src/template.rs"]
mod template;

libfuzzer_sys::fuzz_target!(init: process::begin(), |data: &[u8]| {
    process::run(template::chat_template, data);
});
