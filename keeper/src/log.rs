//! The keeper's own log: off, unless `RBEE_LOG` says what to write. Never on the terminal, and
//! never with prompts or answers in it.

use tracing_appender::non_blocking::WorkerGuard;
use tracing_appender::rolling::{Builder, Rotation};
use tracing_subscriber::EnvFilter;
use wire::{Code, Fault};

use crate::environment::Environment;

/// Days of logs that are kept.
const KEPT_FILES: usize = 7;

/// Starts the log in `<state>/log` when `RBEE_LOG` is set. What it returns writes the rest out
/// when it is dropped.
///
/// # Errors
/// `INVALID_ARGUMENT` for a filter that cannot be read, `IO_ERROR` when the directory cannot be
/// written.
pub fn start(environment: &Environment) -> Result<Option<WorkerGuard>, Fault> {
    let Some(filter) = &environment.log else { return Ok(None) };
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Fault::new(Code::InvalidArgument, "RBEE_LOG is no filter of log lines")
            .cause(error)
            .hint("RBEE_LOG=info rbee ps")
    })?;
    let dir = environment.dirs.state.join("log");
    let files = Builder::new()
        .rotation(Rotation::DAILY)
        .filename_prefix("keeper")
        .filename_suffix("log")
        .max_log_files(KEPT_FILES)
        .build(&dir)
        .map_err(|error| {
            Fault::new(Code::Io, format!("{} cannot be written", dir.display())).caused_by(&error)
        })?;
    let (writer, guard) = tracing_appender::non_blocking(files);
    let started = tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(writer)
        .try_init()
        .map_err(|error| Fault::new(Code::Internal, "the log was started twice").cause(error));
    started.map(|()| Some(guard))
}
