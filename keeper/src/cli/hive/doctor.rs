//! `rbee hive doctor`: every step of the way to a hive, checked and told.

use serde::Serialize;
use wire::HiveName;
use wire::doctor::Check;

use super::each::{Which, each, parted};
use crate::cli::doctor as here;
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::operations::examination;

/// Check every step of the way to hives.
///
/// The name, the connection, the host key, the identity, the shell, the machine, its directories,
/// the installed build, the agent, and what the agent says of itself: that nothing of rbee listens
/// on a port is one of its checks. Nothing is installed or started.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Write a JSON array.
    #[arg(long)]
    pub json: bool,
}

/// What was seen of one hive.
#[derive(Debug, Serialize)]
struct Examined {
    hive: HiveName,
    checks: Vec<Check>,
}

/// Does it.
///
/// # Errors
/// When a check failed.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let hives = args.which.hives(context)?;
    let count = hives.len();
    let outcomes = block_on(async {
        Ok(each(&hives, |hive| async move {
            let checks = examination::of(hive, context, super::passing(context, count)).await;
            Ok(Examined { hive: hive.clone(), checks })
        })
        .await)
    })?;
    let (examined, _) = parted(outcomes);
    if args.json {
        context.print_json(&examined)?;
    } else {
        for one in &examined {
            let name = if examined.len() > 1 { format!("{}\n", one.hive) } else { String::new() };
            let text = here::shown(&one.checks, &context.stdout_style());
            context.print(&format!("{name}{text}"))?;
        }
    }
    here::all_well(examined.iter().flat_map(|one| &one.checks))
}
