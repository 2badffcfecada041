//! `rbee worker start` and `rbee worker restart`: a model is loaded before anybody needs it, or
//! loaded anew.

use futures_util::future::join_all;
use wire::worker::{StopRequest, WorkerInfo};
use wire::{Fault, HiveName, WorkerId};

use super::{targets, unknown};
use crate::ask;
use crate::cli::options::ModelArgs;
use crate::cli::ps::{self, Row, Show};
use crate::cli::teller::{Form, Teller};
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::link;
use crate::link::way::Way;

/// Load a model before it is needed.
///
/// A worker that has it loaded already is used; its place is chosen as `rbee run` chooses one.
#[derive(Debug, clap::Args)]
pub struct StartArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Write the worker as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Load the models of workers anew, with what they were started with.
///
/// Active requests may finish first, for the time of `drain_ms` in the configuration. A worker
/// that crashed or was given up is started again, too, and its model may fail anew.
#[derive(Debug, clap::Args)]
pub struct RestartArgs {
    /// Ids as `rbee worker list --all` shows them.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<WorkerId>,
    /// Only on this hive.
    #[arg(long, value_name = "NAME")]
    hive: Option<HiveName>,
    /// Cancel active requests.
    #[arg(long)]
    now: bool,
    /// Write the workers as a JSON array.
    #[arg(long)]
    pub json: bool,
}

/// Starts one, or finds it, and waits until it takes requests.
///
/// # Errors
/// Those of placement and of the load.
pub fn start(args: &StartArgs, context: &Context) -> Result<(), Failure> {
    let want = args.model.want(context)?;
    let ways = args.model.ways(context)?;
    args.model.explain_the_default(context);
    let mut teller = Teller::new(context, Form::default())?;
    let keep_alive_s = args.model.keep_alive;
    let timings = &context.config.timings;
    let placed = block_on(ask::worker(&ways, timings, &want, keep_alive_s, &mut teller));
    teller.clear_progress();
    let placed = placed?;
    if args.json {
        return context.print_json(&ps::row(&placed.hive, &placed.worker, Show::All));
    }
    let what = if placed.reused { "runs already" } else { "started" };
    say(context, what, &placed.hive, &placed.worker);
    Ok(())
}

/// Ends the processes of workers and waits until their next ones take requests.
///
/// # Errors
/// `WORKER_NOT_FOUND`, `INSUFFICIENT_RAM` when it does not fit any more, and those of the load.
pub fn restart(args: &RestartArgs, context: &Context) -> Result<(), Failure> {
    let ways = context.ways(args.hive.as_ref())?;
    let (workers, failure) = block_on(restart_each(args, &ways, context))?;
    if args.json {
        let rows: Vec<Row<'_>> =
            workers.iter().map(|(hive, worker)| ps::row(hive, worker, Show::All)).collect();
        context.print_json(&rows)?;
    } else {
        for (hive, worker) in &workers {
            say(context, "restarted", hive, worker);
        }
    }
    failure.map_or(Ok(()), |fault| Err(fault.into()))
}

/// Workers that take requests again, and the first of the faults.
type Restarted = (Vec<(HiveName, WorkerInfo)>, Option<Fault>);

async fn restart_each(
    args: &RestartArgs,
    ways: &[Way],
    context: &Context,
) -> Result<Restarted, Failure> {
    let seen = ps::look(ways, context).await?;
    let (found, missing) = targets("restart", &args.ids, ways, &seen, |_| true)?;
    let request = StopRequest { drain_ms: args.now.then_some(0) };
    let timings = &context.config.timings;
    let restarting = found.into_iter().map(|(way, id)| async move {
        let client = link::connect(way, timings).await?;
        let client = client.ok_or_else(|| link::no_agent(link::Transport::hive(way)))?;
        let reply = client.restart(id, request).await?;
        let mut teller = Teller::new(context, Form::default()).map_err(|failure| failure.fault)?;
        let worker = ask::ready(client, &reply.worker.id, timings, &mut teller).await;
        teller.clear_progress();
        Ok((link::Transport::hive(way).clone(), worker?))
    });
    let (mut workers, mut failure) = (Vec::new(), None);
    for outcome in join_all(restarting).await {
        match outcome {
            Ok(worker) => workers.push(worker),
            Err(fault) => failure = failure.or(Some(fault)),
        }
    }
    Ok((workers, failure.or_else(|| (!missing.is_empty()).then(|| unknown(&missing)))))
}

fn say(context: &Context, what: &str, hive: &HiveName, worker: &WorkerInfo) {
    let place = if *hive == HiveName::local() { String::new() } else { format!(" on {hive}") };
    context.note(&format!("{what}: {}{place} ({})", worker.id, worker.state.name()));
}
