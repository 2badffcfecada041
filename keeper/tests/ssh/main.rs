//! The client against real SSH servers on loopback, each with its own keys and configuration.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "what goes wrong here is a failed test"
)]

mod host_keys;
mod identities;
mod server;
mod silence;
mod streams;
mod unread;
mod ways;
