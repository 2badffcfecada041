//! Another program at the person's terminal, while this one waits for its end.

use std::ffi::OsString;

use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use wire::{Code, Fault};

/// Runs a program with this process's terminal, which was given back before, until it ends. A
/// signal that asks this program to end asks that one as well.
///
/// # Errors
/// `IO_ERROR` when it does not start or is not to be waited for.
pub async fn run(words: &[OsString]) -> Result<(), Fault> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let shown = program.to_string_lossy().into_owned();
    let refused = |error| Fault::new(Code::Io, format!("{shown} cannot be run")).cause(error);
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(refused)?;
    let mut child = Command::new(program).args(arguments).kill_on_drop(true).spawn();
    let child = child
        .as_mut()
        .map_err(|error| Fault::new(Code::Io, format!("{shown} cannot be run")).cause(&*error))?;
    tokio::select! {
        ended = child.wait() => ended.map(|_| ()).map_err(refused),
        _ = terminate.recv() => Err(Fault::new(Code::Cancelled, "interrupted")),
        _ = hang_up.recv() => Err(Fault::new(Code::Cancelled, "interrupted")),
    }
}
