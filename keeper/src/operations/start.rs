//! Starts a hive's agent.

use serde::Serialize;
use wire::{BuildId, Fault, HiveName};

use super::Account;
use crate::context::Context;
use crate::hives::seen;
use crate::link::way::Way;
use crate::link::{self, Transport};

/// An agent that runs.
#[derive(Debug, Serialize)]
pub struct Running {
    /// Which hive.
    pub hive: HiveName,
    /// What its agent was built from.
    pub build: BuildId,
    /// The agent's process id on its machine.
    pub pid: u32,
    /// Whether it was started just now.
    pub started: bool,
}

/// Starts the agent of a hive, and installs this build where it is missing.
///
/// # Errors
/// As [`link::reach`].
pub async fn start(way: &Way, context: &Context, account: &dyn Account) -> Result<Running, Fault> {
    let hive = way.hive();
    let started = way.open().await?.is_none();
    let (_client, mut events) = link::reach(way, &context.config.timings).await?;
    let hello = events.snapshot().await?.hello;
    seen::note(&context.environment.dirs.state, hive);
    let how = if started { "started" } else { "runs already" };
    account
        .tells(hive, &format!("the agent of {} {how}, process {}", link::named(hive), hello.pid));
    Ok(Running { hive: hive.clone(), build: hello.build, pid: hello.pid, started })
}
