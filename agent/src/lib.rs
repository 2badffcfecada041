//! The daemon on a hive: it supervises workers and talks to keepers over its unix socket.

pub mod cli;

mod admission;
mod attach;
mod carried;
mod client;
mod daemon;
mod dirs;
mod executor;
mod inventory;
mod journal;
mod kept;
mod kill;
mod peaks;
mod platform;
mod pulls;
mod rotating;
mod scope;
mod session;
mod settings;
mod shortage;
mod start;
mod store;
mod supervisor;
mod tail;

use std::io::Write;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use wire::hello::{Bridge, Started};
use wire::inspection::Weight;
use wire::marker::Marker;
use wire::tokens::Located;
use wire::{BuildId, Code, Device, Fault, ModelRef, layout, ndjson};

use crate::admission::Memory;
use crate::cli::{Args, Command, ServeArgs, StartArgs, WeighArgs};
use crate::dirs::Dirs;
use crate::peaks::Peaks;
use crate::store::Store;

/// Detail of the fault of a daemon that found another one running.
const ANOTHER_RUNS: &str = "another_agent_runs";

/// A fault as the last line that a part of the agent writes to its standard error.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    fault: Fault,
}

/// Runs a part of the agent role. `build` is what this program was built from.
pub fn main(args: Args, build: BuildId) -> ExitCode {
    let outcome = match args.command {
        Command::Start(args) => start(args),
        Command::Serve(args) => serve(args, build),
        Command::Attach(args) => return attach(&args.marker, build),
        Command::Kill(args) => kill(args.pid),
        Command::Locate(args) => locate(&args.model),
        Command::Weigh(args) => weigh(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            let line = ndjson::encode(&Report { fault }).unwrap_or_default();
            // Without a standard error there is nobody left to tell.
            let _unheard = std::io::stderr().write_all(&line);
            ExitCode::FAILURE
        }
    }
}

fn start(args: StartArgs) -> Result<(), Fault> {
    let dirs = Dirs::find()?;
    dirs.prepare()?;
    let settings = settings::load(&dirs.config)?.living(args.lifetime);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let hello = runtime.map_err(no_runtime)?.block_on(start::start(&dirs, &settings))?;
    let line = ndjson::encode(&Started { hello, socket: layout::agent_socket(&dirs.runtime) })?;
    std::io::stdout().write_all(&line).map_err(|error| {
        Fault::new(Code::Io, "the greeting could not be written").caused_by(&error)
    })?;
    Ok(())
}

fn serve(args: ServeArgs, build: BuildId) -> Result<(), Fault> {
    if args.detach {
        rustix::process::setsid().map_err(|error| {
            Fault::new(Code::AgentFailed, "the agent cannot leave its session").cause(error)
        })?;
    }
    let dirs = Dirs::find()?;
    let settings = settings::load(&dirs.config)?.living(args.lifetime);
    // It moves small messages. A second thread would be woken for each token only to watch the
    // sockets meanwhile, on a processor that an engine wants.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(no_runtime)?;
    let outcome = runtime.block_on(daemon::serve(build, dirs, settings));
    // A read of a hanging file system must not keep the daemon from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome
}

/// A fault is told behind the marker: the other end of the bridge reads nothing else.
fn attach(marker: &Marker, build: BuildId) -> ExitCode {
    let connected = Dirs::find().and_then(|dirs| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(no_runtime)?.block_on(attach::connect(&dirs, build))
    });
    let attached = match connected {
        Ok((socket, attached)) => attach::attach(marker, &socket, attached),
        Err(fault) => attach::tell(marker, &Bridge::Fault(fault))
            .and(Err(std::io::ErrorKind::NotConnected.into())),
    };
    // What went wrong was told, or there is nobody left to tell.
    if attached.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn kill(pid: i32) -> Result<(), Fault> {
    let dirs = Dirs::find()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(no_runtime)?.block_on(kill::kill(&dirs, pid))
}

/// Needs no daemon: looking at a file of this machine starts nothing.
fn locate(model: &ModelRef) -> Result<(), Fault> {
    let dirs = Dirs::find()?;
    dirs.prepare()?;
    let settings = settings::load(&dirs.config)?;
    let path = Store::new(dirs.models(), &settings.agent.model_roots).locate(model)?;
    let path = store::utf8(&path)?.to_owned();
    let line = ndjson::encode(&Located { path })?;
    std::io::stdout().write_all(&line).map_err(|error| {
        Fault::new(Code::Io, "the model's place could not be written").caused_by(&error)
    })
}

/// Decides as the daemon does, but for what other workers were promised and have not taken yet.
fn weigh(args: &WeighArgs) -> Result<(), Fault> {
    let dirs = Dirs::find()?;
    dirs.prepare()?;
    let settings = settings::load(&dirs.config)?;
    let model = Store::new(dirs.models(), &settings.agent.model_roots).resolve(&args.model)?;
    let memory = Memory {
        available_bytes: inventory::available_bytes().unwrap_or(u64::MAX),
        promised_bytes: 0,
        reserve_bytes: settings.agent.reserve_for(&args.model),
        overrun_bytes: Peaks::open(dirs.peaks()).overrun_bytes(&args.model, Device::CPU),
    };
    let admitted = admission::decide(&model.shape, args.ctx_size, supervisor::SLOTS, memory)?;
    let line = ndjson::encode(&Weight {
        ctx_size: admitted.ctx_size,
        need_bytes: admitted.need_bytes,
        free_bytes: memory.free_bytes(),
    })?;
    std::io::stdout().write_all(&line).map_err(|error| {
        Fault::new(Code::Io, "the model's weight could not be written").caused_by(&error)
    })
}

fn no_runtime(error: std::io::Error) -> Fault {
    Fault::new(Code::AgentFailed, "the agent cannot start its threads").cause(error)
}
