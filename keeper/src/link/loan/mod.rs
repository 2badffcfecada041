//! Loans: a program that stays open, the TUI, lets short commands of the same user use its
//! connections, so that a password or second factor is asked for once.
//!
//! ```text
//! borrower ── one line: which hive, on which terms, what to do ──▶ lender
//!          ◀── `taken`, again and again while it is done ──────────
//!          ◀── one line: what came of it ──────────────────────────
//!          ◀═══ after `opened`: the bytes of a stream to the agent ═══▶
//! ```
//! Who gets no answer, or one that is not understood, connects by itself.

pub mod borrower;
pub mod lender;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use wire::{BuildId, Fault, HiveName};

/// Version of the lines. Another one is not understood.
const VERSION: u32 = 1;
/// Bytes of a line. The longest is a fault with all that it may have.
const MAX_LINE_BYTES: u64 = 256 * 1024;
/// How often a lender says that it is at work.
const PULSE: Duration = Duration::from_millis(500);
/// How long a lender may say nothing: it may have been stopped, as Ctrl-Z does.
const PATIENCE: Duration = Duration::from_secs(2);

/// The lender's socket.
pub fn socket(runtime: &Path) -> PathBuf {
    runtime.join("lend.sock")
}

/// The lock that the one who lends holds for life.
fn lock(runtime: &Path) -> PathBuf {
    runtime.join("lend.lock")
}

/// How a hive is reached: its settings and the client. Both sides must have the same, else the
/// same name may stand for two machines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms(String);

impl Terms {
    /// Those of a configuration.
    pub fn of(settings: &impl Serialize) -> Self {
        // What cannot be written is never the same.
        Self(serde_json::to_string(settings).unwrap_or_default())
    }

    fn allow(&self, wanted: &Self) -> bool {
        !self.0.is_empty() && self == wanted
    }
}

/// What a borrower wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Request {
    version: u32,
    hive: HiveName,
    terms: Terms,
    /// The borrower's build: only the same one starts an agent for it.
    build: BuildId,
    call: Call,
}

/// What is done with a connection: what a [`super::Transport`] can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Call {
    Open,
    Start,
    HasOrphans,
    Holder,
    KillAgent(i32),
    Ended(u32),
}

/// What a lender answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    /// It is being done.
    Taken,
    /// The bytes of a stream follow.
    Opened { agent_pid: Option<i32> },
    /// No agent runs there.
    Absent,
    /// It is done.
    Done,
    /// Yes or no.
    Has(bool),
    /// A process, if there is one.
    Process(Option<i32>),
    /// It was tried and failed.
    Failed(Box<Fault>),
    /// It was not tried.
    Refused,
}

/// Writes one line.
async fn say(to: &mut (impl AsyncWrite + Unpin), line: &impl Serialize) -> Option<()> {
    let mut bytes = serde_json::to_vec(line).ok()?;
    bytes.push(b'\n');
    to.write_all(&bytes).await.ok()
}

/// Reads one line; none when there is none, or one that is too long or not understood.
async fn hear<T: DeserializeOwned>(from: &mut (impl AsyncBufRead + Unpin)) -> Option<T> {
    let mut line = Vec::new();
    from.take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await.ok()?;
    if line.pop() != Some(b'\n') {
        return None;
    }
    serde_json::from_slice(&line).ok()
}

/// Whether whoever is at the other end of a socket is this user.
fn is_own(stream: &tokio::net::UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::getuid().as_raw())
}

#[cfg(test)]
mod tests;
