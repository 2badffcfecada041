//! One model on one device: the engine, its HTTP face, and the guard that outlives it.

pub mod cli;
pub mod engine;
mod fetch;
mod guard;
mod input;
mod log;
mod platform;
mod server;
mod signals;
mod template;
mod tokenize;

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;
use wire::{BuildId, Code, Fault, ndjson};

/// Runs `rbee worker …`. `build` is what this program was built from.
///
/// A failure is one line of JSON, `{"fault":{…}}`, the last on standard error.
pub fn main(args: cli::Args, build: BuildId) -> ExitCode {
    let outcome = match args.command {
        cli::Command::Serve(args) => server::run(&args, build),
        cli::Command::Guard(args) => guard::run(&args.dir, build),
        cli::Command::Tokenize(args) => tokenize::run(&args),
        cli::Command::Template(args) => template::run(&args),
        cli::Command::Inspect(args) => tell(&engine::inspection::inspect(&args.model)),
        cli::Command::Limits => tell(&Ok(guard::bounds::containment())),
        cli::Command::Fetch => fetch::run(),
    };
    match outcome {
        Ok(code) => code,
        Err(fault) => {
            // Standard error is the only place left; when it is gone, the exit code tells.
            let _ = log::write_fault(&mut std::io::stderr().lock(), &fault);
            ExitCode::FAILURE
        }
    }
}

/// Writes an answer as one line.
fn tell<T: Serialize>(answer: &Result<T, Fault>) -> Result<ExitCode, Fault> {
    let line = ndjson::encode(answer.as_ref().map_err(Fault::clone)?)?;
    std::io::stdout()
        .write_all(&line)
        .map_err(|error| Fault::new(Code::Io, "the answer cannot be written").cause(error))?;
    Ok(ExitCode::SUCCESS)
}
