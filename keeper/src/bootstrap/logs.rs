//! The logs of a machine's agent, as they come.

use wire::{Code, Fault};

use super::Host;
use super::script::{Running, Script};

/// Which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What the agent records: one JSON object a line.
    Agent,
    /// What an agent that did not start said.
    Stderr,
}

/// Lines of a log.
pub struct Logs {
    running: Running,
    follows: bool,
}

/// Opens a log at its last `lines`; with `follow` it goes on until it is dropped.
///
/// # Errors
/// `NOT_FOUND` when there is no log yet, `HIVE_UNREACHABLE` when the connection ends.
pub async fn open(host: &Host, kind: Kind, lines: u32, follow: bool) -> Result<Logs, Fault> {
    let script = Script::new("logs", &[include_str!("scripts/logs.sh")])
        .given("kind", if kind == Kind::Agent { "agent" } else { "stderr" })
        .given("lines", lines)
        .given("follow", if follow { "yes" } else { "no" });
    let mut running = script.run(host).await?;
    let (name, value) = running.answer().await?;
    if name == "file" {
        return Ok(Logs { running, follows: follow });
    }
    let fault = host.fault(Code::NotFound, format!("there is no log in {value}"));
    Err(fault.hint(format!("rbee hive start {}", host.hive)))
}

impl Logs {
    /// The next line, as untrusted as everything from another machine; none at the end.
    ///
    /// # Errors
    /// `HIVE_UNREACHABLE` when the connection ends.
    pub async fn next(&mut self) -> Result<Option<String>, Fault> {
        match self.running.lines.raw().await {
            Ok(Some(line)) => Ok(Some(line)),
            Ok(None) if self.follows => Err(self.running.broken().await),
            Ok(None) => Ok(None),
            Err(error) => Err(self.running.unreadable(&error)),
        }
    }
}
