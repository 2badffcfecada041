//! Another role of this program, started for one answer: it ends with the answer.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use wire::tokens::Located;
use wire::{Code, Fault, ModelRef, limits};

use crate::last_words;

/// Bytes of what a failing role says on standard error that are kept: its last line is a fault.
const MAX_COMPLAINT_BYTES: usize = limits::MAX_MESSAGE_BYTES;

/// Starts `rbee WORDS…`, gives it `input`, and returns what it answers, at most `max_bytes`.
///
/// # Errors
/// The fault that it ended with; `TOO_LARGE` for a longer answer, `OUT_OF_MEMORY` when it met the
/// bound of its memory, `INTERNAL` when it could not be started or ended without a word.
pub fn ask<W: AsRef<OsStr>>(words: &[W], input: &[u8], max_bytes: usize) -> Result<Vec<u8>, Fault> {
    let child = Command::new(own_program())
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.map_err(|error| failed("rbee cannot start itself").cause(error))?;
    let outcome = converse(&mut child, input, max_bytes);
    if outcome.is_err() {
        // It may have ended already; then there is nothing to kill.
        let _ = child.kill();
    }
    let status = child.wait();
    let (answer, complaint) = outcome?;
    let status = status.map_err(|error| failed("rbee lost its own part").cause(error))?;
    if status.success() { Ok(answer) } else { Err(explained(status, &complaint)) }
}

/// The file of a model on this machine.
///
/// # Errors
/// `MODEL_NOT_FOUND`, and those of [`ask`].
pub fn locate(model: &ModelRef) -> Result<PathBuf, Fault> {
    let model = model.to_string();
    let line = ask(&["agent", "locate", "--model", &model], b"", limits::MAX_MESSAGE_BYTES)?;
    Ok(decode::<Located>(&line)?.path.into())
}

/// Reads an answer of [`ask`].
///
/// # Errors
/// `INTERNAL` for one that is none.
pub fn decode<T: serde::de::DeserializeOwned>(answer: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(answer)
        .map_err(|error| failed("a part of rbee gave no answer that can be read").cause(error))
}

/// The program that runs, also when its file was replaced since it was started.
pub fn own_program() -> PathBuf {
    let link = Path::new("/proc/self/exe");
    let path = if link.exists() { Ok(link.to_owned()) } else { std::env::current_exe() };
    path.unwrap_or_else(|_| "rbee".into())
}

/// Writes, and reads both streams, at the same time: a pipe that is full holds nobody up.
fn converse(child: &mut Child, input: &[u8], max_bytes: usize) -> Result<(Vec<u8>, String), Fault> {
    let lost = |error: io::Error| failed("a part of rbee cannot be heard").cause(error);
    let no_pipe = || failed("a part of rbee has no pipes");
    let mut stdin = child.stdin.take().ok_or_else(no_pipe)?;
    let stdout = child.stdout.take().ok_or_else(no_pipe)?;
    let stderr = child.stderr.take().ok_or_else(no_pipe)?;
    thread::scope(|scope| {
        scope.spawn(move || {
            // One that refuses its input says why on standard error.
            let _ = stdin.write_all(input);
        });
        let complaint = scope.spawn(move || bounded(stderr, MAX_COMPLAINT_BYTES));
        let answer = bounded(stdout, max_bytes);
        if !matches!(&answer, Ok((_, true))) {
            // It is waited for until it has said why, and not while nobody reads what it says.
            let _ = child.kill();
        }
        let complaint = complaint.join().map_err(|_| failed("a thread of rbee broke"))?;
        let (answer, is_whole) = answer.map_err(lost)?;
        if !is_whole {
            let message = format!("the answer is longer than its limit of {max_bytes} bytes");
            return Err(Fault::new(Code::TooLarge, message));
        }
        let (complaint, _) = complaint.map_err(lost)?;
        Ok((answer, String::from_utf8_lossy(&complaint).into_owned()))
    })
}

/// Reads to the end, or a byte further than `max_bytes`; whether that was all.
fn bounded(from: impl Read, max_bytes: usize) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX);
    from.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    let is_whole = bytes.len() <= max_bytes;
    Ok((bytes, is_whole))
}

fn failed(message: &str) -> Fault {
    Fault::new(Code::Internal, message).hint("rbee doctor")
}

/// The fault that it wrote as its last line, or its last words.
fn explained(status: ExitStatus, complaint: &str) -> Fault {
    /// What Rust's allocator says before it aborts: a part of rbee has a bound for its memory.
    const NO_MEMORY: &str = "memory allocation of ";
    last_words::fault(complaint).unwrap_or_else(|| {
        if !status.success() && complaint.lines().any(|line| line.starts_with(NO_MEMORY)) {
            let message = "a part of rbee took all the memory that it may have";
            return Fault::new(Code::OutOfMemory, message).hint("rbee doctor");
        }
        let fault = failed(&format!("a part of rbee ended with {status}"));
        last_words::of(complaint).into_iter().fold(fault, Fault::cause)
    })
}
