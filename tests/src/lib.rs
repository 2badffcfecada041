//! What the suites share: a sandbox with a home of its own, a lab of hosts, a terminal, honest
//! waits, a plain HTTP client and synthetic models.

#![expect(clippy::expect_used, reason = "what goes wrong here is a failed test")]

pub mod bench;
pub mod fleet;
pub mod http;
pub mod lab;
pub mod procs;
pub mod sandbox;
pub mod seat;
pub mod synthetic;
pub mod terminal;
pub mod wait;

pub use fleet::Fleet;
pub use sandbox::{Finished, Sandbox};
pub use seat::Seat;
pub use terminal::Terminal;
pub use wait::wait_until;
