//! `rbee worker logs`: what a worker's engine wrote, made readable.

use futures_util::future::join_all;
use wire::{Code, Fault, HiveName, WorkerId, limits};

use crate::cli::hive::logs::tell;
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::link::Transport;
use crate::operations::logs::{self, Extent};

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
        let extent = Extent { lines: args.lines, follow: args.follow };
        let asked = ways.iter().map(|way| logs::of_worker(way, &args.id, extent, context));
        let asked = join_all(asked).await;
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
            (None, None) => Err(logs::no_log(&args.id).into()),
        }
    })
}
