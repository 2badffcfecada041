//! `rbee down`: ends everything that rbee started, on all hives.

use futures_util::future::join_all;
use wire::HiveName;

use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::link::Transport;
use crate::operations::end::{self, Ended, end_in_time, nothing_left};

/// Stop all workers and the agents, on all hives.
///
/// Active requests may finish first, for the time of `down_drain_ms` in the configuration.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Only on this hive.
    #[arg(long, value_name = "NAME")]
    hive: Option<HiveName>,
    /// Cancel active requests.
    #[arg(long)]
    now: bool,
    /// Write what ended as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Does it.
///
/// # Errors
/// When something did not end, or a hive could not be asked.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let ways = context.ways_to_end(args.hive.as_ref())?;
    let drain_ms = args.now.then_some(0);
    let ending = join_all(ways.iter().map(|way| end_in_time(way, drain_ms, context)));
    let outcomes = block_on(async { Ok(ending.await) })?;
    let mut failure = None;
    let mut ended = Vec::new();
    for (way, outcome) in ways.iter().zip(outcomes) {
        match outcome {
            Ok(one) => ended.push(one),
            Err(fault) => {
                if ways.len() > 1 {
                    context.warn_of(way.hive(), &fault);
                }
                failure = failure.or(Some(fault));
            }
        }
    }
    if args.json {
        context.print_json(&ended)?;
    } else {
        tell(context, &ended);
    }
    ended.iter().try_for_each(|one| nothing_left(&one.hive, &one.workers))?;
    failure.map_or(Ok(()), |fault| Err(fault.into()))
}

/// Says what ended and how.
pub fn tell(context: &Context, ended: &[Ended]) {
    for sentence in end::sentences(ended) {
        context.note(&sentence);
    }
}
