//! `rbee hive start` and `rbee hive stop`: a hive's agent, on one hive or on many at once.

use std::sync::Arc;

use serde::Serialize;
use wire::{BuildId, Fault, HiveName};

use super::dial;
use super::each::{Which, each, parted};
use super::steps::Steps;
use crate::cli::down;
use crate::cli::worker::nothing_left;
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::hives::seen;
use crate::link::{self, Transport};

/// Start the agents of hives.
///
/// What is missing there is installed first. Commands that need an agent start it by themselves.
#[derive(Debug, clap::Args)]
pub struct StartArgs {
    #[command(flatten)]
    which: Which,
    /// Write a JSON array.
    #[arg(long)]
    pub json: bool,
}

/// Stop the workers and the agents of hives.
///
/// Active requests may finish first, for the time of `down_drain_ms` in the configuration.
#[derive(Debug, clap::Args)]
pub struct StopArgs {
    #[command(flatten)]
    which: Which,
    /// Cancel active requests.
    #[arg(long)]
    now: bool,
    /// Write a JSON array.
    #[arg(long)]
    pub json: bool,
}

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

/// Starts them.
///
/// # Errors
/// When one does not start, after the others.
pub fn start(args: &StartArgs, context: &Context) -> Result<(), Failure> {
    let hives = args.which.hives(context)?;
    let steps = super::steps(context, hives.len());
    let outcomes =
        block_on(async { Ok(each(&hives, |hive| start_one(hive, context, &steps)).await) })?;
    let (running, failed) = parted(outcomes);
    if args.json {
        context.print_json(&running)?;
    }
    failed.told(context)
}

async fn start_one(
    hive: &HiveName,
    context: &Context,
    steps: &Arc<Steps>,
) -> Result<Running, Fault> {
    match dial::remote(context, hive, steps) {
        Some(remote) => start_over(&remote, context, steps).await,
        None => start_over(&context.local(), context, steps).await,
    }
}

async fn start_over<T: Transport>(
    way: &T,
    context: &Context,
    steps: &Steps,
) -> Result<Running, Fault> {
    let hive = way.hive();
    let started = way.open().await?.is_none();
    let (_client, mut events) = link::reach(way, &context.config.timings).await?;
    let hello = events.snapshot().await?.hello;
    seen::note(&context.environment.dirs.state, hive);
    let how = if started { "started" } else { "runs already" };
    steps.tell(hive, &format!("the agent of {} {how}, process {}", link::named(hive), hello.pid));
    Ok(Running { hive: hive.clone(), build: hello.build, pid: hello.pid, started })
}

/// Stops them.
///
/// # Errors
/// When something did not end, after the others.
pub fn stop(args: &StopArgs, context: &Context) -> Result<(), Failure> {
    let hives = args.which.hives(context)?;
    let drain_ms = args.now.then_some(0);
    let outcomes = block_on(async {
        Ok(each(&hives, |hive| async move {
            let way = context.way(hive)?;
            down::end(&way, drain_ms, context).await
        })
        .await)
    })?;
    let (ended, failed) = parted(outcomes);
    if args.json {
        context.print_json(&ended)?;
    } else {
        down::tell(context, &ended);
    }
    ended.iter().try_for_each(|one| nothing_left(&one.hive, &one.workers))?;
    failed.told(context)
}
