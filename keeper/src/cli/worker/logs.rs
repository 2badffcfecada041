//! `rbee worker logs`: what a worker's engine wrote, made readable.

use futures_util::future::join_all;
use wire::{Code, Fault, HiveName, WorkerId, limits, routes};

use crate::cli::hive::logs::tell;
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::link::streams::Lines;
use crate::link::way::Way;
use crate::link::{self, Transport};

/// Show what a worker wrote on its standard error.
///
/// Also that of a worker that has ended lately.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its id, as `rbee ps` shows it.
    #[arg(value_name = "ID")]
    id: WorkerId,
    /// Only on this hive.
    #[arg(long, value_name = "NAME")]
    hive: Option<HiveName>,
    /// How many of the last lines.
    #[arg(short = 'n', long, value_name = "LINES", default_value_t = 50,
          allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(0..=i64::from(limits::MAX_LOG_LINES)))]
    lines: u32,
    /// Go on with what is written from now on, until the worker ends.
    #[arg(short, long)]
    follow: bool,
    /// Write the lines as they are: JSON objects, unless the engine is somebody else's.
    #[arg(long)]
    json: bool,
}

/// Does it.
///
/// # Errors
/// `WORKER_NOT_FOUND` when no hive has such a log; whatever keeps a hive from being asked.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let ways = context.ways(args.hive.as_ref())?;
    block_on(async {
        let asked = join_all(ways.iter().map(|way| ask(way, args, context))).await;
        let (mut found, mut faults) = (Vec::new(), Vec::new());
        for (way, outcome) in ways.iter().zip(asked) {
            match outcome {
                Ok(Some(lines)) => found.push((way.hive(), lines)),
                Ok(None) => {}
                Err(fault) => faults.push((way.hive(), fault)),
            }
        }
        for (hive, fault) in &faults {
            if ways.len() > 1 {
                context.warn_of(hive, fault);
            }
        }
        if let [(one, _), (other, _), ..] = found.as_slice() {
            let message = format!("there is a worker {} on {one} and on {other}", args.id);
            let fault = Fault::new(Code::InvalidArgument, message);
            return Err(fault.hint(format!("rbee worker logs --hive {one} {}", args.id)).into());
        }
        match (found.pop(), faults.into_iter().next()) {
            (Some((_, lines)), _) => tell(lines, args.json, context).await,
            (None, Some((_, fault))) => Err(fault.into()),
            (None, None) => Err(no_log(&args.id).into()),
        }
    })
}

/// The log on one hive; nothing when it has none.
async fn ask(way: &Way, args: &Args, context: &Context) -> Result<Option<Lines>, Fault> {
    let timings = &context.config.timings;
    let asking = async {
        let Some(client) = link::connect(way, timings).await? else { return Ok(None) };
        let route = routes::with_id(routes::WORKER_LOGS, &args.id);
        match client.logs(&route, args.lines, args.follow).await {
            Ok(lines) => Ok(Some(lines)),
            Err(fault) if fault.code == Code::WorkerNotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    };
    let bound = timings.ssh_connect;
    context.dialer.deadline(bound).within(asking).await.unwrap_or_else(|| {
        let message = format!("no answer within {} s", bound.as_secs_f32());
        Err(Fault::new(Code::HiveUnreachable, message).hint(link::doctor(way.hive())))
    })
}

fn no_log(id: &WorkerId) -> Fault {
    Fault::new(Code::WorkerNotFound, format!("no hive has a log of a worker {id}"))
        .hint("rbee worker list --all")
}
