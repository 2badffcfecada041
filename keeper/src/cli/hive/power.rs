//! `rbee hive start` and `rbee hive stop`: a hive's agent, on one hive or on many at once.

use super::each::{Which, each, parted};
use crate::cli::down;
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::operations::end::{end, nothing_left};
use crate::operations::start;

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

/// Starts them.
///
/// # Errors
/// When one does not start, after the others.
pub fn start(args: &StartArgs, context: &Context) -> Result<(), Failure> {
    let hives = args.which.hives(context)?;
    let steps = super::steps(context, hives.len());
    let start = |hive| {
        let steps = steps.clone();
        async move {
            let way = context.way_seen_by(hive, steps.clone())?;
            start::start(&way, context, &*steps).await
        }
    };
    let outcomes = block_on(async { Ok(each(&hives, start).await) })?;
    let (running, failed) = parted(outcomes);
    if args.json {
        context.print_json(&running)?;
    }
    failed.told(context)
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
            end(&way, drain_ms, context).await
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
