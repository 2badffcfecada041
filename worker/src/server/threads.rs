//! How many threads the engine computes with: decided before its pools exist.

use std::os::unix::process::CommandExt;
use std::process::Command;

use wire::{Code, Fault};

/// What candle's thread pools are sized by, once a process.
const POOL_SIZE: &str = "RAYON_NUM_THREADS";

/// Makes this process compute with `threads`. The pools read their size from the environment, and
/// a process cannot safely change its own: it replaces itself, with the same pid and arguments.
///
/// # Errors
/// `IO_ERROR` when it cannot replace itself.
pub fn settle(threads: u32) -> Result<(), Fault> {
    let wanted = threads.to_string();
    if std::env::var_os(POOL_SIZE).is_some_and(|size| size == *wanted) {
        return Ok(());
    }
    let failed = |error: std::io::Error| {
        Fault::new(Code::Io, format!("cannot start again with {threads} threads")).cause(error)
    };
    let program = std::env::current_exe().map_err(failed)?;
    let arguments = std::env::args_os().skip(1);
    Err(failed(Command::new(program).args(arguments).env(POOL_SIZE, wanted).exec()))
}
