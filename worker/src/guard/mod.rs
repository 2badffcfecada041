//! The guard: parent of one engine, keeper of the cause of its end, whoever else has died.
//!
//! It is a session leader, so that nothing that ends its agent ends it too. The decisions are
//! [`ladder`]'s, the engine's process is [`process`]'s; this file drives both. Nobody records the
//! end of a guard that was killed itself: its engine's standard input closes then, and its agent
//! sees the connection close.

mod ask;
pub mod bounds;
mod face;
mod files;
mod ladder;
mod process;
mod stderr;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use wire::guard::files::{ENGINE_SOCKET, EXIT, GUARD_SOCKET, RECORD};
use wire::guard::{
    ExitRecord, GuardRecord, GuardSpec, GuardStatus, ProcessIdentity, RECORD_VERSION,
};
use wire::memory::MemoryUse;
use wire::worker::Exit;
use wire::{BuildId, Code, Fault};

use crate::platform;
use crate::server::socket::{Line, Socket};
use crate::signals::Signals;
use bounds::{Bounds, Watch};
use face::Face;
use ladder::{Effect, Ending, Input, Ladder, Waits};
use process::{Outlets, Process};
use stderr::{Log, Pump};

/// How long a guard whose engine has ended waits for its readers to take the last line, and for a
/// first one to come.
const FAREWELL: Duration = Duration::from_secs(1);
/// What a shell answers for a program that is not there (POSIX.1-2024, 2.8.2 of the shell).
const EXIT_NO_PROGRAM: i32 = 127;
/// What a shell answers for a program that cannot be run.
const EXIT_NOT_RUNNABLE: i32 = 126;

/// Runs `rbee worker guard --dir DIR` until the engine has ended and its readers know.
///
/// # Errors
/// A spec that cannot be read, or a socket that cannot be bound: no engine was started then.
pub fn run(dir: &Path, build: BuildId) -> Result<ExitCode, Fault> {
    // Refused only to the leader of a process group, as a shell makes one: it leads already.
    let _ = rustix::process::setsid();
    let spec = files::read_spec(dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::new(Code::Io, "cannot start the guard").cause(error))?;
    let guard = Guard { dir: dir.to_owned(), spec, build };
    runtime.block_on(guard.watch_over_engine())
}

/// A guard before and after its engine's life.
struct Guard {
    dir: PathBuf,
    spec: GuardSpec,
    build: BuildId,
}

/// An engine that runs.
struct Engine {
    process: Process,
    ended: oneshot::Receiver<()>,
    stderr: Pump,
    bounds: Bounds,
}

/// An engine that does not run, and why.
struct NotStarted {
    exit: Exit,
    fault: Fault,
}

/// All that is known of an engine's end.
struct Ended {
    exit: Exit,
    ending: Ending,
    stderr_tail: String,
    fault: Option<Fault>,
    memory: Option<MemoryUse>,
}

impl Ended {
    fn by(ending: Ending) -> Self {
        Self { exit: Exit::Unseen, ending, stderr_tail: String::new(), fault: None, memory: None }
    }
}

impl Guard {
    async fn watch_over_engine(self) -> Result<ExitCode, Fault> {
        let socket = Socket::bind(&self.dir.join(GUARD_SOCKET))?;
        let signals = Signals::listen()?;
        let line = Line::new();
        let (stop, stops) = mpsc::channel(1);
        let (first, started) = match self.start() {
            Ok((engine, record)) => (GuardStatus::Running(record), Some(engine)),
            Err(NotStarted { exit, fault }) => {
                let ending = Ending { told: false, killed: false };
                let fault = Some(fault);
                let record = self.record_end(Ended { exit, fault, ..Ended::by(ending) });
                (GuardStatus::Ended(record), None)
            }
        };
        let code = if started.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        let (status, follow) = watch::channel(first);
        let heartbeat = self.spec.timings.heartbeat;
        let face = Face { build: self.build.clone(), status: follow, stop, heartbeat };
        tokio::spawn(socket.serve(face::router(face), line.clone()));
        if let Some(engine) = started {
            let record = self.drive(engine, line.connections(), stops, signals).await;
            status.send_replace(GuardStatus::Ended(record));
        }
        line.close(FAREWELL, true).await;
        // An engine that was killed could not remove its own.
        let _ = std::fs::remove_file(self.dir.join(ENGINE_SOCKET));
        Ok(code)
    }

    /// Starts the engine and leaves the record of it.
    fn start(&self) -> Result<(Engine, GuardRecord), NotStarted> {
        let program = &self.spec.engine.program;
        let refused = |exit| {
            move |error: io::Error| {
                let code = match error.kind() {
                    io::ErrorKind::StorageFull => Code::DiskFull,
                    _ => Code::WorkerCrashed,
                };
                let fault = Fault::new(code, format!("the engine {program} could not be started"));
                NotStarted { exit, fault: fault.cause(error) }
            }
        };
        let log = Log::create(&self.dir).map_err(refused(Exit::Code(EXIT_NOT_RUNNABLE)))?;
        let (bounds, started) = self.start_within_bounds();
        let (process, outlets) = started.map_err(|error| {
            bounds.remove_now();
            let missing = error.kind() == io::ErrorKind::NotFound;
            let code = if missing { EXIT_NO_PROGRAM } else { EXIT_NOT_RUNNABLE };
            refused(Exit::Code(code))(error)
        })?;
        let record = self.record(process.identity(), &bounds);
        match record.and_then(|r| files::write(&self.dir, RECORD, &r).map(|()| r)) {
            Ok(record) => {
                let stderr = Pump::start(outlets.stderr, log);
                Ok((Engine { process, ended: outlets.ended, stderr, bounds }, record))
            }
            // Without a record no later agent could find this engine.
            Err(error) => {
                let exit = process.reap();
                bounds.remove_now();
                Err(refused(exit)(error))
            }
        }
    }

    /// Starts the engine in a control group where there can be one, else without.
    fn start_within_bounds(&self) -> (Bounds, io::Result<(Process, Outlets)>) {
        let bounds = Bounds::around(&self.spec);
        let start = |bounds: &Bounds| Process::start(&self.spec.engine, bounds.doors()?);
        match start(&bounds) {
            Err(_) if bounds.has_group() => {
                let bounds = bounds.leave_group(&self.spec);
                let started = start(&bounds);
                (bounds, started)
            }
            started => (bounds, started),
        }
    }

    fn record(&self, engine: ProcessIdentity, bounds: &Bounds) -> io::Result<GuardRecord> {
        let pid = std::process::id();
        Ok(GuardRecord {
            version: RECORD_VERSION,
            id: self.spec.id.clone(),
            nonce: self.spec.nonce.clone(),
            build: self.build.clone(),
            guard: ProcessIdentity { pid, start_time: platform::start_time(pid)? },
            engine,
            boot: platform::boot_id(),
            limit: Some(bounds.limit()),
            groups: bounds.dirs(),
        })
    }

    /// Walks the ladder when it has to, until the engine has ended; then records its end.
    async fn drive(
        &self,
        engine: Engine,
        mut connections: watch::Receiver<usize>,
        mut stops: mpsc::Receiver<()>,
        mut signals: Signals,
    ) -> ExitRecord {
        let Engine { process, mut ended, stderr, bounds } = engine;
        let mut watch = Watch::over(process.identity().pid);
        let mut looks = tokio::time::interval(bounds::LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let waits = Waits::new(&self.spec.timings, self.spec.engine.can_be_asked);
        let mut ladder = Ladder::new(waits, Instant::now());
        let (refuse, mut refusals) = mpsc::channel(1);
        let ending = loop {
            let input = tokio::select! {
                _ = &mut ended => Input::EngineExited,
                Some(()) = stops.recv() => Input::StopAsked,
                () = signals.next() => Input::StopAsked,
                Some(()) = refusals.recv() => Input::AskFailed,
                Ok(()) = connections.changed() => {
                    Input::Connections(*connections.borrow_and_update())
                }
                () = sleep_until(ladder.wakes_at()) => Input::Tick,
                _ = looks.tick() => {
                    watch.look();
                    continue;
                }
            };
            match ladder.on(input, Instant::now()) {
                Some(Effect::Ask) => {
                    tokio::spawn(ask_engine(self.dir.join(ENGINE_SOCKET), refuse.clone()));
                }
                Some(Effect::Terminate) => process.terminate(),
                Some(Effect::Kill) => process.kill(),
                None => {}
            }
            if let Some(ending) = ladder.ending() {
                break ending;
            }
        };
        let exit = process.reap();
        let mut stderr = stderr.finish().await;
        let stderr_tail = stderr.tail();
        let memory = watch.conclude(&bounds, exit, &stderr_tail);
        let limit = bounds.limit();
        bounds.remove().await;
        let fault = if memory.out_of_memory && !ending.told {
            Some(bounds::fault(&self.spec, limit, memory, &stderr_tail))
        } else {
            stderr.fault()
        };
        self.record_end(Ended { exit, ending, stderr_tail, fault, memory: Some(memory) })
    }

    fn record_end(&self, ended: Ended) -> ExitRecord {
        let Ended { exit, ending, stderr_tail, fault, memory } = ended;
        let record = ExitRecord {
            version: RECORD_VERSION,
            id: self.spec.id.clone(),
            exit,
            told: ending.told,
            killed: ending.killed,
            stderr_tail,
            fault,
            memory,
        };
        // A full disk must not keep the news from whoever is connected.
        let _ = files::write(&self.dir, EXIT, &record);
        record
    }
}

/// Asks the engine; tells the ladder only of a failure, for a success is seen by the engine's end.
async fn ask_engine(socket: PathBuf, refuse: mpsc::Sender<()>) {
    if ask::ask(&socket).await.is_err() {
        // Nobody waits for it when the engine has ended meanwhile.
        let _ = refuse.send(()).await;
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
