//! What the suites share: a sandbox with a home of its own, mounts and groups of a test's own, a
//! lab of hosts, a terminal, honest waits, a plain HTTP client and synthetic models.

#![expect(clippy::expect_used, reason = "what goes wrong here is a failed test")]

pub mod bench;
pub mod enclosure;
pub mod fleet;
pub mod http;
pub mod hub;
pub mod lab;
pub mod procs;
pub mod sandbox;
pub mod seat;
pub mod synthetic;
pub mod terminal;
pub mod wait;
pub mod watcher;

pub use fleet::Fleet;
pub use sandbox::{Finished, Sandbox};
pub use seat::Seat;
pub use terminal::Terminal;
pub use wait::wait_until;
