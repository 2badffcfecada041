//! Guard and worker as real processes: this program is both, and the tests that start them.
//!
//! A guard leads a session and takes signals, so it cannot live inside a test runner. Called with
//! `worker …`, this program is the worker role; called in any other way, it runs its tests.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test program: a failed step is a failed test"
)]

mod bounds;
mod client;
mod fixture;
mod guard;
mod runner;
mod serve;

use std::process::ExitCode;

use clap::Parser;

/// What an agent calls its own program with.
#[derive(Parser)]
enum Role {
    /// The role under test.
    Worker(worker::cli::Args),
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("worker") {
        let Role::Worker(args) = Role::parse();
        return worker::main(args, fixture::build());
    }
    runner::run(&[bounds::TESTS, guard::TESTS, serve::TESTS].concat())
}
