//! A machine that has only a shell becomes a hive: by real processes of several shells.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "what goes wrong here is a failed test, and what is skipped says so"
)]

/// The SHA-256 of some bytes, in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(bytes);
    digest.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

mod hive;
mod install;
mod machine;
mod probe;
