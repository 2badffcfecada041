//! The program that a person sits at: command line, placement, and the link to each hive.

pub mod ask;
pub mod backup;
pub mod bootstrap;
pub mod cli;
pub mod config;
pub mod context;
pub mod conversations;
pub mod dial;
pub mod environment;
pub mod exit;
pub mod failure;
pub mod fleet;
pub mod habits;
pub mod hives;
pub mod hub;
pub mod install;
pub mod interrupt;
pub mod last_words;
pub mod link;
pub mod log;
pub mod model;
pub mod operations;
pub mod output;
pub mod partial;
pub mod platform;
pub mod prompt;
pub mod role;
pub mod ssh;
pub mod tui;

use std::ffi::OsString;
use std::process::ExitCode;

use wire::BuildId;

/// What this program was built from.
#[expect(clippy::expect_used, reason = "build.rs wrote it; a test reads it")]
pub fn build_id() -> BuildId {
    env!("RBEE_BUILD_ID").parse().expect("build.rs writes 16 hexadecimal digits")
}

/// Runs the keeper with its arguments, the program's name not among them.
pub fn main(args: &[OsString]) -> ExitCode {
    // What cannot be broken is as if it went to /dev/null.
    let _ = platform::break_a_closed_stdout();
    cli::main(args).into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_build_has_an_id() {
        assert_eq!(super::build_id().as_str().len(), 16);
    }
}
