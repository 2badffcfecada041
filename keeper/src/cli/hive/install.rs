//! `rbee hive install`: puts this build on hives and hands over to it without losing a model.

use super::each::{Which, each, parted};
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::operations::install;

/// Put this build on hives.
///
/// An agent of another build hands over to this one: its requests end first, loaded models stay.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Also where a newer version runs.
    #[arg(long)]
    force: bool,
    /// Write a JSON array.
    #[arg(long)]
    pub json: bool,
}

/// Does it.
///
/// # Errors
/// When it failed on a hive, after the others.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let hives = args.which.hives(context)?;
    let steps = super::steps(context, hives.len());
    let outcomes = block_on(async {
        let install = |hive| {
            let steps = steps.clone();
            async move {
                let way = context.way_seen_by(hive, steps.clone())?;
                install::install(&way, args.force, context, &*steps).await
            }
        };
        Ok(each(&hives, install).await)
    })?;
    let (installed, failed) = parted(outcomes);
    if args.json {
        context.print_json(&installed)?;
    }
    failed.told(context)
}
