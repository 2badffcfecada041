//! `rbee replay`: what a recorder of the TUI kept, played again.

use std::path::PathBuf;

use crate::context::Context;
use crate::failure::Failure;
use crate::tui::replay::{self, How};

/// Play what F9 in `rbee` recorded.
///
/// Nothing that was done is done again, and no hive is reached. Space pauses, the arrow keys step,
/// + and - change the speed, q ends.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The recording.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Play it so many times as fast as it happened.
    #[arg(long, value_name = "N", default_value = "1", value_parser = speed)]
    speed: f64,
    /// Stop after so many events.
    #[arg(long, value_name = "N")]
    to: Option<usize>,
    /// Print the last screen as text instead.
    #[arg(long)]
    print: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "a number, such as 4 or 0.5".to_owned())?;
    if replay::SPEEDS.contains(&speed) { Ok(speed) } else { Err("from 0.01 to 1000".to_owned()) }
}

/// Does it.
///
/// # Errors
/// `INVALID_ARGUMENT` for what is no recording, `VERSION_MISMATCH` for one of a newer program.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let how = How { speed: args.speed, to: args.to };
    if args.print {
        return context.print(&replay::last_screen(&args.file, how, context)?);
    }
    replay::play(&args.file, how, context)
}
