//! How many threads the engine computes with: decided before its pools exist.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use wire::{Code, Fault};

use crate::cli::ServeArgs;

/// What candle's thread pools are sized by, once a process.
const POOL_SIZE: &str = "RAYON_NUM_THREADS";

/// Bytes of a model's files below which one thread is faster than several: each of its products is
/// done before a second thread has taken its part, and on a busy machine the first one then spins
/// for as long as the second is not scheduled.
const SMALL_MODEL_BYTES: u64 = 64 * 1024 * 1024;

/// The threads to compute with; absent: as many as the pools choose. A file that cannot be looked
/// at is no reason to fail here: loading it says more.
fn wanted(args: &ServeArgs) -> Option<u32> {
    let is_small = || bytes_of(&args.model).is_ok_and(|bytes| bytes < SMALL_MODEL_BYTES);
    args.threads.or_else(|| is_small().then_some(1))
}

/// Bytes of a model's file, or of all files of its directory.
fn bytes_of(path: &Path) -> std::io::Result<u64> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    std::fs::read_dir(path)?.try_fold(0u64, |bytes, entry| {
        // What an entry links to, as the store of Hugging Face's own tools has them.
        let file = std::fs::metadata(entry?.path())?;
        Ok(bytes.saturating_add(file.len()))
    })
}

/// Makes this process compute with the threads that it was asked for, or that its model is worth.
/// The pools read their size from the environment, and a process cannot safely change its own: it
/// replaces itself, with the same pid and arguments, and one more that says so.
///
/// # Errors
/// `IO_ERROR` when it cannot replace itself.
pub fn settle(args: &ServeArgs) -> Result<(), Fault> {
    let Some(threads) = wanted(args).filter(|_| !args.pools_are_sized) else {
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
