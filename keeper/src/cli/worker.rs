//! `rbee worker …`: the workers by their ids.

use futures_util::future::join_all;
use wire::worker::{StopReply, StopRequest, StoppedWorker};
use wire::{Code, Fault, HiveName, WorkerId};

use super::ps::{self, Show};
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::link;

/// Look at workers and stop them.
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
    Stop(StopArgs),
}

/// List the workers.
#[derive(Debug, clap::Args)]
struct ListArgs {
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
            Command::Stop(args) => args.json,
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
            ps::list(context, args.json, if args.all { Show::All } else { Show::Live })
        }
        Command::Stop(args) => stop(args, context),
    }
}

fn stop(args: &StopArgs, context: &Context) -> Result<(), Failure> {
    let reply = block_on(stop_each(args, context))?;
    if args.json {
        context.print_json(&reply)?;
    } else {
        report(context, &reply);
    }
    nothing_left(&reply)
}

async fn stop_each(args: &StopArgs, context: &Context) -> Result<StopReply, Failure> {
    let way = context.local();
    let mut reply = StopReply { stopped: Vec::new(), left: Vec::new() };
    let ids: Vec<WorkerId> = if args.all {
        let workers = ps::workers(&way, context).await?;
        workers.into_iter().filter(|w| !w.state.is_finished()).map(|w| w.id).collect()
    } else {
        args.ids.clone()
    };
    if ids.is_empty() {
        context.note("no model is loaded");
        return Ok(reply);
    }
    let (client, _events) =
        link::reach_running(&way, &context.config.timings).await.map_err(|fault| {
            if fault.code == Code::HiveUnreachable { unknown(&ids, fault) } else { fault }
        })?;
    let request = StopRequest { drain_ms: args.now.then_some(0) };
    let outcomes = join_all(ids.iter().map(|id| client.stop(id, request))).await;
    let mut failure = None;
    for outcome in outcomes {
        match outcome {
            Ok(one) => {
                reply.stopped.extend(one.stopped);
                reply.left.extend(one.left);
            }
            Err(fault) => failure = failure.or(Some(fault)),
        }
    }
    match failure {
        None => Ok(reply),
        Some(fault) => {
            report(context, &reply);
            Err(fault.into())
        }
    }
}

/// Without an agent there is no worker of any id.
fn unknown(ids: &[WorkerId], why: Fault) -> Fault {
    let names: Vec<&str> = ids.iter().map(WorkerId::as_str).collect();
    let message = format!("there is no worker {}", names.join(" or "));
    let fault = Fault::new(Code::WorkerNotFound, message).cause(why.message);
    fault.hint("rbee ps")
}

/// Says what ended and how.
pub fn report(context: &Context, reply: &StopReply) {
    for worker in &reply.stopped {
        context.note(&sentence(worker));
    }
}

fn sentence(worker: &StoppedWorker) -> String {
    let seconds = std::time::Duration::from_millis(worker.took_ms).as_secs_f64();
    let killed = if worker.killed { ", it had to be killed" } else { "" };
    format!("stopped {} ({} after {seconds:.1} s{killed})", worker.id, worker.exit)
}

/// Fails when something did not end.
///
/// # Errors
/// With the ids of what is left.
pub fn nothing_left(reply: &StopReply) -> Result<(), Failure> {
    if reply.left.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = reply.left.iter().map(WorkerId::as_str).collect();
    let message = format!("{} did not end on {}", names.join(", "), HiveName::local());
    Err(Fault::new(Code::Io, message).hint("rbee worker list").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::worker::Exit;

    #[test]
    fn what_is_left_is_a_failure_that_names_it() {
        let mut reply = StopReply { stopped: Vec::new(), left: Vec::new() };
        assert!(nothing_left(&reply).is_ok());
        reply.left.push("demo-1".parse().unwrap());
        let failure = nothing_left(&reply).unwrap_err();
        assert_eq!(failure.exit.number(), 1);
        assert!(failure.fault.message.contains("demo-1"));
    }

    #[test]
    fn a_worker_that_had_to_be_killed_is_told_apart() {
        let worker = StoppedWorker {
            id: "demo-1".parse().unwrap(),
            exit: Exit::Signal(9),
            killed: true,
            took_ms: 10_250,
        };
        let told = "stopped demo-1 (signal 9 after 10.2 s, it had to be killed)";
        assert_eq!(sentence(&worker), told);
    }
}
