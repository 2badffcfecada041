//! How many threads the engine computes with: decided before its pools exist.

use std::os::unix::process::CommandExt;
use std::process::Command;

use wire::{Code, Fault};

use crate::cli::ServeArgs;

/// What candle's thread pools are sized by, once a process.
const POOL_SIZE: &str = "RAYON_NUM_THREADS";

/// Makes this process compute with the threads that it was asked for. The pools read their size
/// from the environment, and a process cannot safely change its own: it replaces itself, with the
/// same pid and arguments, and one more that says so.
///
/// # Errors
/// `IO_ERROR` when it cannot replace itself.
pub fn settle(args: &ServeArgs) -> Result<(), Fault> {
    let Some(threads) = args.threads.filter(|_| !args.pools_are_sized) else {
        return Ok(());
    };
    let failed = |error: std::io::Error| {
        Fault::new(Code::Io, format!("cannot start again with {threads} threads")).cause(error)
    };
    let program = std::env::current_exe().map_err(failed)?;
    let mut again = Command::new(program);
    again.args(std::env::args_os().skip(1)).arg("--pools-are-sized");
    Err(failed(again.env(POOL_SIZE, threads.to_string()).exec()))
}
