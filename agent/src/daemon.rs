//! `rbee agent serve`: the daemon from its lock to its end.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Mode;
use tokio::signal::unix::{SignalKind, signal};
use wire::hello::{Hello, Role, agent_protocol};
use wire::settings::Lifetime;
use wire::{BuildId, Code, Fault, RequestId, layout, limits};

use crate::carried::Carried;
use crate::dirs::{self, Dirs};
use crate::executor::process::Setup;
use crate::executor::{Executor, Handle, adopt};
use crate::inventory::{Gpus, Inventory, Sources};
use crate::peaks::Peaks;
use crate::platform;
use crate::pulls::Pulls;
use crate::rotating::Rotating;
use crate::scope::Scopes;
use crate::session::{self, Hive, server};
use crate::settings::Settings;
use crate::shortage;
use crate::store::Store;
use crate::supervisor::input::BEGINNING;
use crate::supervisor::{Ask, Input, Supervisor};

/// Runs until it is told to end or nobody needs it.
///
/// # Errors
/// `AGENT_FAILED` when it cannot run here.
pub async fn serve(build: BuildId, dirs: Dirs, settings: Settings) -> Result<(), Fault> {
    // Everything that this process and its children make is private.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    dirs.prepare()?;
    platform::be_spared();
    let _lock = lock(Path::new(&layout::agent_lock(&dirs.runtime)))?;
    let _log = open_log(&dirs.agent_log())?;
    let timings = settings.timings.clone();
    let supervisor = Supervisor::new(timings.clone(), settings.agent.clone(), seed(), BEGINNING);
    let (carried, before) = Carried::open(dirs.carryover());
    let gpus = Gpus::follow(Sources::new(dirs::nvml_library()));
    let scopes = Scopes::look().await;
    tracing::info!(systemd = scopes.is_there(), "scopes of the user's own manager");
    let (executor, handle) =
        Executor::new(supervisor, setup(&dirs, &settings, scopes, gpus.clone(), carried)?);
    let executing = tokio::spawn(executor.run());
    let workers = PathBuf::from(layout::workers_dir(&dirs.runtime));
    adopt::adopt_all(&workers, &handle)
        .await
        .map_err(|error| cannot(&format!("look for workers in {}", workers.display()), &error))?;
    handle.tell(Input::CarriedOver(Box::new(before))).await;

    let socket = PathBuf::from(layout::agent_socket(&dirs.runtime));
    let listener = server::bind(&socket)
        .map_err(|error| cannot(&format!("listen on {}", socket.display()), &error))?;
    let store = Arc::new(Store::new(dirs.models(), &settings.agent.model_roots));
    let sweeping = Arc::clone(&store);
    tokio::task::spawn_blocking(move || sweeping.sweep());
    let pulls = pulls(&store, &settings)?;
    let drain = timings.down_drain;
    let inventory = Inventory::look(gpus);
    let shortages = Arc::clone(&inventory.shortages);
    let watched = (dirs.clone(), settings.agent.clone());
    tokio::spawn(shortage::follow(shortages, watched.0, watched.1, timings.heartbeat));
    let hello = hello(build, &settings);
    let hive = Hive::new(handle.clone(), hello, (dirs, store, pulls), inventory, settings);
    let router = session::router(hive.into());
    spawn_signals(&handle, drain).map_err(|error| cannot("listen to signals", &error))?;
    tracing::info!(socket = %socket.display(), pid = std::process::id(), "agent runs");
    server::serve(listener, router, handle, &timings).await;
    let _panicked = executing.await;
    // Still under the lock: nobody else's socket can be there.
    let _gone = std::fs::remove_file(&socket);
    tracing::info!("agent ends");
    Ok(())
}

/// A random number, out of a random UUID.
fn seed() -> u64 {
    let id = RequestId::random().to_string().replace('-', "");
    id.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default()
}

fn cannot(what: &str, error: &std::io::Error) -> Fault {
    Fault::new(Code::AgentFailed, format!("the agent cannot {what}")).caused_by(error)
}

fn hello(build: BuildId, settings: &Settings) -> Hello {
    let lifetime = settings.agent.lifetime;
    let is_ephemeral = lifetime == Lifetime::Ephemeral;
    Hello {
        role: Role::Agent,
        protocol: agent_protocol::SPOKEN,
        build,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        features: is_ephemeral.then(|| lifetime.word().to_owned()).into_iter().collect(),
    }
}

fn setup(
    dirs: &Dirs,
    settings: &Settings,
    scopes: Scopes,
    gpus: Gpus,
    carried: Carried,
) -> Result<Setup, Fault> {
    let program = own_program()?;
    let program = program
        .to_str()
        .ok_or_else(|| Fault::new(Code::AgentFailed, "the path of this program is not UTF-8"))?;
    Ok(Setup {
        program: program.to_owned(),
        workers_dir: PathBuf::from(layout::workers_dir(&dirs.runtime)),
        timings: settings.timings.clone(),
        threads: settings.agent.threads,
        scopes,
        margin_bytes: settings.agent.worker_margin_bytes,
        cpu_percent: settings.agent.worker_cpu_percent,
        peaks: Arc::new(Peaks::open(dirs.peaks())),
        carried,
        gpus,
    })
}

fn own_program() -> Result<PathBuf, Fault> {
    std::env::current_exe().map_err(|error| cannot("find itself", &error))
}

fn pulls(store: &Arc<Store>, settings: &Settings) -> Result<Arc<Pulls>, Fault> {
    let (store, agent) = (Arc::clone(store), settings.agent.clone());
    Ok(Arc::new(Pulls::new(own_program()?, store, agent, settings.timings.clone())))
}

/// Takes the lock that the one agent of a hive and user holds for life.
fn lock(path: &Path) -> Result<File, Fault> {
    let failed = |what: &str, error| cannot(&format!("{what} {}", path.display()), &error);
    let file = File::create(path).map_err(|error| failed("open its lock", error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let message = "an agent of this user already runs";
            Err(Fault::new(Code::AgentFailed, message)
                .detail(crate::ANOTHER_RUNS, true)
                .hint("rbee ps  # is answered by it"))
        }
        Err(TryLockError::Error(error)) => Err(failed("take its lock", error)),
    }
}

/// Logs are JSON lines in two files of a bound; the guard writes what is left when it is dropped.
fn open_log(path: &Path) -> Result<tracing_appender::non_blocking::WorkerGuard, Fault> {
    let file = Rotating::open(path.to_owned(), limits::MAX_LOG_BYTES).map_err(|error| {
        let message = format!("the agent cannot open its log {}", path.display());
        Fault::new(Code::AgentFailed, message).caused_by(&error)
    })?;
    let (writer, guard) = file.in_background();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::INFO)
        .with_writer(writer)
        .finish();
    // A second subscriber in one process can only be a test's own.
    let _other = tracing::subscriber::set_global_default(subscriber);
    Ok(guard)
}

/// SIGTERM, SIGINT and SIGHUP are `down`. No terminal sends them: an agent has its own session.
fn spawn_signals(handle: &Handle, drain: std::time::Duration) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let handle = handle.clone();
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                _ = hangup.recv() => "SIGHUP",
            };
            tracing::info!(signal = name, "ending");
            let handle = handle.clone();
            tokio::spawn(async move { handle.ask(Ask::Down { drain }).await });
        }
    });
    Ok(())
}
