//! A machine that has only a shell becomes a hive: by real processes of several shells.

#![allow(clippy::unwrap_used, reason = "what goes wrong here is a failed test")]

mod hive;
mod install;
mod machine;
mod probe;
