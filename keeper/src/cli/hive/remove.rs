//! `rbee hive remove`: stops what runs on a hive, then forgets it.

use wire::HiveName;

use super::each::known;
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::operations::removal::{How, refuse_this_machine, remove};

/// Stop what runs on a hive and take it out of the configuration.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which hive.
    #[arg(value_name = "NAME")]
    hive: HiveName,
    /// Remove everything there that rbee put there: builds, models, logs.
    #[arg(long)]
    purge: bool,
    /// Forget it although it does not answer; what runs there goes on.
    #[arg(long)]
    force: bool,
    /// Write what was done as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Does it.
///
/// # Errors
/// As [`remove`].
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    refuse_this_machine(&args.hive)?;
    known(&args.hive, context)?;
    let how = How { purge: args.purge, force: args.force };
    let steps = if args.purge { super::steps(context, 1) } else { super::passing(context, 1) };
    let way = context.way_seen_by(&args.hive, steps.clone())?;
    let (removed, _) = block_on(async { Ok(remove(&way, how, context, &*steps).await?) })?;
    if args.json { context.print_json(&removed) } else { Ok(()) }
}
