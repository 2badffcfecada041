//! `rbee hive remove`: stops what runs on a hive, then forgets it.

use serde::Serialize;
use wire::{Code, Fault, HiveName, text};

use super::dial;
use super::each::known;
use crate::bootstrap::purge::Purged;
use crate::cli::down::{self, Ended};
use crate::cli::worker::nothing_left;
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::hives::{Registry, seen};

/// Bytes of a path that are shown.
const MAX_PATH_BYTES: usize = 1024;

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

/// What was done.
#[derive(Debug, Serialize)]
struct Removed {
    name: HiveName,
    /// What ended there; none when the hive did not answer.
    ended: Option<Ended>,
    /// What was removed there, when that was asked for.
    purged: Option<Removal>,
}

/// What was taken away there.
#[derive(Debug, Serialize)]
struct Removal {
    removed: Vec<String>,
    /// What somebody else has files in, or what could not be removed.
    left: Vec<String>,
}

/// Does it.
///
/// # Errors
/// When it is unknown; when it does not answer, without `--force`; when something does not end. It
/// stays in the configuration then.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let hive = &args.hive;
    if *hive == HiveName::local() {
        let message = "`local` is always this machine and cannot be removed";
        return Err(Failure::usage(message).hint("rbee down"));
    }
    known(hive, context)?;
    let removed = block_on(async { clear(args, context).await })?;
    let path = block_on(async { Ok(Registry::of(&context.environment).remove(hive).await?) })?;
    seen::forget(&context.environment.dirs.state, hive);
    if let Some(remote) = dial::remote(context, hive, &super::passing(context, 1)) {
        remote.forget();
    }
    if args.json {
        return context.print_json(&removed);
    }
    if let Some(purged) = &removed.purged {
        context.note(&format!("what rbee put on {hive} is removed"));
        for path in &purged.left {
            context.note(&format!("left on {hive}: {}", text::one_line(path, MAX_PATH_BYTES)));
        }
    }
    context.note(&format!("{hive} is taken out of {}", path.display()));
    Ok(())
}

/// Ends what runs there, and removes what lies there when that is asked for.
async fn clear(args: &Args, context: &Context) -> Result<Removed, Failure> {
    let forgotten = |ended| Removed { name: args.hive.clone(), ended, purged: None };
    if let Some(other) = same_machine(&args.hive, context) {
        let what = if args.purge { "nothing is stopped or removed" } else { "nothing is stopped" };
        context.note(&format!("{other} is the same machine, {what} there"));
        return Ok(forgotten(None));
    }
    let way = context.way(&args.hive)?;
    let ended = match down::end(&way, None, context).await {
        Ok(ended) => ended,
        Err(fault) if args.force => {
            context.warn_of(&args.hive, &fault);
            context.warn("what runs there goes on, and nothing is removed there");
            return Ok(forgotten(None));
        }
        Err(fault) => return Err(stays(args, fault).into()),
    };
    let ended = [ended];
    if !args.json {
        down::tell(context, &ended);
    }
    let [ended] = ended;
    nothing_left(&ended.hive, &ended.workers)?;
    let mut removed = forgotten(Some(ended));
    let steps = super::steps(context, 1);
    if args.purge
        && let Some(remote) = dial::remote(context, &args.hive, &steps)
    {
        let Purged { removed: gone, left } =
            remote.purge().await.map_err(|fault| stays(args, fault))?;
        removed.purged = Some(Removal { removed: gone, left });
    }
    Ok(removed)
}

/// Another name for the same place: its agent is needed.
fn same_machine<'a>(hive: &HiveName, context: &'a Context) -> Option<&'a HiveName> {
    let hives = &context.config.hives;
    let settings = hives.get(hive)?;
    hives.iter().find(|(name, other)| *name != hive && settings.leads_where(other)).map(|(n, _)| n)
}

/// A hive that cannot be cleared stays in the configuration, so that it can be tried again.
fn stays(args: &Args, mut fault: Fault) -> Fault {
    let away = matches!(
        fault.code,
        Code::HiveUnreachable | Code::AuthFailed | Code::HostKeyChanged | Code::HostKeyUnknown
    );
    fault = fault.cause(format!("{} stays in the configuration", args.hive));
    if !away {
        return fault;
    }
    fault.hint(format!("rbee hive remove {} --force  # what runs there goes on", args.hive))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hive_that_does_not_answer_is_only_forgotten_by_force() {
        let args = Args { hive: "pc".parse().unwrap(), purge: false, force: false, json: false };
        let away = stays(&args, Fault::new(Code::HiveUnreachable, "no route"));
        assert!(away.hints[0].starts_with("rbee hive remove pc --force"), "{away:?}");
        let busy = stays(&args, Fault::new(Code::Io, "it does not end"));
        assert!(busy.hints.is_empty() && busy.causes[0].contains("stays"));
    }
}
