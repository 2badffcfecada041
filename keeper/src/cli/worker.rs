//! `rbee worker …`: the workers by their ids.

mod logs;
mod start;

use futures_util::future::join_all;
use serde::Serialize;
use wire::worker::{StopReply, StopRequest, WorkerInfo};
use wire::{Code, Fault, HiveName, WorkerId};

use super::ps::{self, Seen, Show};
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::link::way::Way;
use crate::link::{self, Transport};
use crate::operations::end::{Stopped, nothing_left};
use start::{RestartArgs, StartArgs};

/// Look at workers, start and stop them.
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(ListArgs),
    Start(StartArgs),
    Stop(StopArgs),
    Restart(RestartArgs),
    Logs(logs::Args),
}

/// List the workers.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only those of this hive.
    #[arg(long, value_name = "NAME")]
    hive: Option<HiveName>,
    /// Those that crashed or failed lately, too, and why. A stopped worker is not remembered.
    #[arg(short, long)]
    all: bool,
    /// Write a JSON array.
    #[arg(long)]
    json: bool,
}

/// Stop workers and unload their models.
///
/// Active requests may finish first, for the time of `drain_ms` in the configuration.
#[derive(Debug, clap::Args)]
struct StopArgs {
    /// Ids as `rbee ps` shows them.
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<WorkerId>,
    /// Only on this hive.
    #[arg(long, value_name = "NAME")]
    hive: Option<HiveName>,
    /// All of them.
    #[arg(short, long)]
    all: bool,
    /// Cancel active requests.
    #[arg(long)]
    now: bool,
    /// Write what ended as JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Whether a script reads the output.
    pub fn json(&self) -> bool {
        match &self.command {
            Command::List(args) => args.json,
            Command::Start(args) => args.json,
            Command::Restart(args) => args.json,
            Command::Stop(args) => args.json,
            Command::Logs(_) => false,
        }
    }
}

/// Does it.
///
/// # Errors
/// The failure that ended it.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    match &args.command {
        Command::List(args) => {
            let show = if args.all { Show::All } else { Show::Live };
            ps::list(context, args.hive.as_ref(), args.json, show)
        }
        Command::Start(args) => start::start(args, context),
        Command::Stop(args) => stop(args, context),
        Command::Restart(args) => start::restart(args, context),
        Command::Logs(args) => logs::run(args, context),
    }
}

/// What `worker stop` did, for scripts.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    stopped: Vec<Stopped<'a>>,
    left: Vec<&'a WorkerId>,
}

fn stop(args: &StopArgs, context: &Context) -> Result<(), Failure> {
    let ways = context.ways(args.hive.as_ref())?;
    let (replies, failure) = block_on(stop_each(args, &ways, context))?;
    let stopped: Vec<Stopped<'_>> = replies
        .iter()
        .flat_map(|(hive, reply)| reply.stopped.iter().map(|worker| Stopped::of(hive, worker)))
        .collect();
    if args.json {
        let left = replies.iter().flat_map(|(_, reply)| &reply.left).collect();
        context.print_json(&Outcome { stopped, left })?;
    } else {
        for line in stopped.iter().flat_map(Stopped::sentences) {
            context.note(&line);
        }
    }
    if let Some(fault) = failure {
        return Err(fault.into());
    }
    Ok(replies.iter().try_for_each(|(hive, reply)| nothing_left(hive, reply))?)
}

/// Replies by hive, and the first of the faults.
type Replies = (Vec<(HiveName, StopReply)>, Option<Fault>);

async fn stop_each(args: &StopArgs, ways: &[Way], context: &Context) -> Result<Replies, Failure> {
    let seen = ps::look(ways, context).await?;
    let ids: Vec<WorkerId> = if args.all {
        let workers = seen.iter().flat_map(|seen| seen.workers.iter().flatten());
        workers.filter(|worker| !worker.state.is_finished()).map(|w| w.id.clone()).collect()
    } else {
        args.ids.clone()
    };
    if ids.is_empty() {
        context.note("no model is loaded");
        return Ok((Vec::new(), None));
    }
    let live = |worker: &WorkerInfo| !worker.state.is_finished();
    let (targets, missing) = targets("stop", &ids, ways, &seen, live)?;
    let request = StopRequest { drain_ms: args.now.then_some(0) };
    let timings = &context.config.timings;
    let stopping = targets.into_iter().map(|(way, id)| async move {
        let client = link::connect(way, timings).await?;
        let client = client.ok_or_else(|| link::no_agent(way.hive()))?;
        Ok((way.hive().clone(), client.stop(id, request).await?))
    });
    let (mut replies, mut failure) = (Vec::new(), None);
    for outcome in join_all(stopping).await {
        match outcome {
            Ok(reply) => replies.push(reply),
            Err(fault) => failure = failure.or(Some(fault)),
        }
    }
    Ok((replies, failure.or_else(|| (!missing.is_empty()).then(|| unknown(&missing)))))
}

/// Workers with the way to each, and ids that are nowhere.
type Targets<'a> = (Vec<(&'a Way, &'a WorkerId)>, Vec<&'a WorkerId>);

/// Where each of `ids` is, among the workers that `counts` lets count; `verb` is for the hint.
fn targets<'a>(
    verb: &str,
    ids: &'a [WorkerId],
    ways: &'a [Way],
    seen: &[Seen],
    counts: impl Fn(&WorkerInfo) -> bool,
) -> Result<Targets<'a>, Fault> {
    let has = |seen: &Seen, id: &WorkerId| {
        let mut workers = seen.workers.iter().flatten();
        workers.any(|worker| worker.id == *id && counts(worker))
    };
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for id in ids {
        let hives: Vec<&Seen> = seen.iter().filter(|seen| has(seen, id)).collect();
        let mut there = ways.iter().filter(|way| hives.iter().any(|seen| seen.hive == *way.hive()));
        match (hives.len(), there.next()) {
            (1, Some(way)) => found.push((way, id)),
            (0, _) | (_, None) => missing.push(id),
            (..) => return Err(ambiguous(verb, id, &hives)),
        }
    }
    Ok((found, missing))
}

fn ambiguous(verb: &str, id: &WorkerId, hives: &[&Seen]) -> Fault {
    let names: Vec<&str> = hives.iter().map(|seen| seen.hive.as_str()).collect();
    let message = format!("there is a worker {id} on {}", names.join(" and on "));
    let first = names.first().copied().unwrap_or_default();
    let hint = format!("rbee worker {verb} --hive {first} {id}");
    Fault::new(Code::InvalidArgument, message).hint(hint)
}

fn unknown(ids: &[&WorkerId]) -> Fault {
    let names: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
    let message = format!("there is no worker {}", names.join(" or "));
    Fault::new(Code::WorkerNotFound, message).hint("rbee ps")
}
