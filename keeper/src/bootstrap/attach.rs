//! The bridge to an agent that runs, and what else is asked of it past its protocol.

use wire::hello::{Attached, Bridge};
use wire::{BuildId, Code, Fault};

use super::Host;
use super::script::{Running, Script, last_lines};
use crate::ssh::Stream;

/// How an installed program is found.
const FIND: &str = include_str!("scripts/find.sh");

/// Which program is looked for first.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Of this build, else the newest.
    pub build: &'a BuildId,
    /// Of the target that was used last time, else the machine's.
    pub target: Option<&'a str>,
}

fn script(step: &'static str, body: &'static str, wanted: Wanted<'_>) -> Script {
    Script::new(step, &[FIND, body])
        .given("build", wanted.build)
        .given("target", wanted.target.unwrap_or_default())
}

/// Opens a stream to the agent that runs; none when nothing is installed or no agent runs.
///
/// # Errors
/// `HIVE_UNREACHABLE` when the connection ends, `IO_ERROR` when the agent's socket is not this
/// user's.
pub async fn attach(host: &Host, wanted: Wanted<'_>) -> Result<Option<(Stream, Attached)>, Fault> {
    let script = script("attach", include_str!("scripts/attach.sh"), wanted).stays();
    let mut running = script.run(host).await?;
    let Some(line) = running.next().await? else {
        // A program that does not run here is no agent; starting one says why.
        let fault = running.broken().await;
        return if fault.code == Code::HiveUnreachable { Err(fault) } else { Ok(None) };
    };
    if line == "none=1" {
        running.rest();
        return Ok(None);
    }
    match serde_json::from_str(&line) {
        Ok(Bridge::Attached(attached)) => Ok(Some((running.into_stream(), attached))),
        Ok(Bridge::Fault(fault)) => {
            running.end().await;
            match fault.code {
                Code::HiveUnreachable => Ok(None),
                _ => Err(fault.hint(host.doctor())),
            }
        }
        Err(error) => {
            let fault = host.fault(Code::ProtocolError, "attach: its answer cannot be read");
            Err(fault.cause(error).hint(host.doctor()))
        }
    }
}

/// Kills an agent that does not react.
///
/// # Errors
/// `IO_ERROR` when it is something else or does not end.
pub async fn kill(host: &Host, wanted: Wanted<'_>, pid: i32) -> Result<(), Fault> {
    let script = script("kill", include_str!("scripts/kill.sh"), wanted).given("pid", pid);
    let mut running = script.run(host).await?;
    let (name, status) = running.answer().await?;
    if name == "killed" && status == "0" {
        return Ok(());
    }
    let (_, words) = running.end().await;
    let fault = host.fault(Code::Io, format!("the agent {pid} was not killed"));
    let fault = last_lines(&words, 2).fold(fault, Fault::cause);
    Err(fault.hint(host.there(&format!("kill -KILL {pid}"))))
}

/// Waits until the agent `pid` has ended; at once when there is none.
///
/// # Errors
/// `HIVE_UNREACHABLE` when the connection ends.
pub async fn ended(host: &Host, pid: u32) -> Result<(), Fault> {
    let script = Script::new("wait", &[include_str!("scripts/ended.sh")]).given("pid", pid);
    let mut running = script.run(host).await?;
    running.answer().await?;
    // For as long as whoever asks has patience.
    loop {
        match running.lines.next().await {
            Ok(Some(line)) if line == "ended=1" => return Ok(()),
            Ok(Some(_)) => {}
            Ok(None) => return Err(running.broken().await),
            Err(error) => return Err(running.unreadable(&error)),
        }
    }
}

/// Whether workers may run there without an agent.
///
/// # Errors
/// `HIVE_UNREACHABLE` when the connection ends.
pub async fn has_orphans(host: &Host) -> Result<bool, Fault> {
    let script = Script::new("look", &[include_str!("scripts/orphans.sh")]);
    let mut running: Running = script.run(host).await?;
    let (name, _) = running.answer().await?;
    Ok(name == "orphan")
}
