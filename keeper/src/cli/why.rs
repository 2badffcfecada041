//! `rbee why`: where a request went, where it waited, and who ended it.

use wire::HiveName;
use wire::journal::RequestPrefix;

use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::operations::why;

/// Show where a request went, where it waited and how it ended.
///
/// All hives are asked. Each remembers its last 1000 requests: when they came, waited, began and
/// ended, and never a word of what was asked or answered.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The id of a request, or its beginning; without it, the last one of this machine's user.
    #[arg(value_name = "REQUEST")]
    request: Option<RequestPrefix>,
    /// Ask only this hive.
    #[arg(long, value_name = "NAME")]
    hive: Option<HiveName>,
    /// Write a JSON array.
    #[arg(long)]
    pub json: bool,
}

/// Does it.
///
/// # Errors
/// `NOT_FOUND` when no hive knows the request, `INVALID_ARGUMENT` for a beginning of several.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let wanted = match &args.request {
        Some(prefix) => prefix.clone(),
        None => why::last(context)?,
    };
    let ways = context.ways(args.hive.as_ref())?;
    let absent = |hive: &HiveName, fault: &_| context.warn_of(hive, fault);
    let seen = block_on(async { Ok(why::ask(&ways, &wanted, context, absent).await?) })?;
    if args.json { context.print_json(&seen) } else { context.print(&why::told(&seen)) }
}
