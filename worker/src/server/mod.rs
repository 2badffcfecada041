//! A worker's process: its socket first, then its model, then requests until it is told to end.

mod drain;
mod face;
mod generate;
pub mod live;
pub mod reply;
pub mod socket;
mod threads;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use wire::{BuildId, Code, Device, Fault};

use crate::cli::ServeArgs;
use crate::engine::{self, Engine, LoadOptions};
use crate::log;
use crate::platform;
use crate::signals::Signals;
use face::Face;
use socket::{Line, Socket};

/// How long a worker that ends waits for the last bytes of its answers to be taken.
const FAREWELL: Duration = Duration::from_secs(1);

/// Runs `rbee worker serve …` until it is told to end, or nobody holds its standard input.
///
/// # Errors
/// Why it cannot serve: what the arguments ask for, the socket, the load, or an engine that broke.
pub fn run(args: &ServeArgs, build: BuildId) -> Result<ExitCode, Fault> {
    if args.device != Device::CPU {
        let message = format!("this build computes on cpu, not on {}", args.device);
        return Err(Fault::new(Code::BackendUnavailable, message));
    }
    threads::settle(args)?;
    if let Some(bytes) = args.data_limit_bytes {
        platform::limit_data(bytes).map_err(|error| {
            Fault::new(Code::Io, "cannot limit this process's data").cause(error)
        })?;
    }
    log::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::new(Code::Io, "cannot start the worker").cause(error))?;
    let outcome = runtime.block_on(serve(args, build));
    // A load that is still reading must not hold up the end.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn serve(args: &ServeArgs, build: BuildId) -> Result<(), Fault> {
    let socket = Socket::bind(&args.socket)?;
    let mut signals = Signals::listen()?;
    let mut lifeline = lifeline()?;
    let line = Line::new();
    let face = Face::new(args, build);
    tokio::spawn(socket.serve(face::router(face.clone()), line.clone()));
    let options = LoadOptions {
        path: args.model.clone(),
        ctx_size: args.ctx_size,
        threads: args.threads.and_then(|threads| usize::try_from(threads).ok()),
    };
    let mut broken = std::pin::pin!(operate(face.clone(), options, args.slots));
    let mut over = std::pin::pin!(face.drain().over());
    loop {
        tokio::select! {
            _ = &mut lifeline => return Ok(()),
            fault = &mut broken => return Err(fault),
            () = signals.next() => face.end_by(Instant::now()),
            () = &mut over => break,
        }
    }
    line.close(FAREWELL, false).await;
    Ok(())
}

/// Resolves when standard input ends: whoever started this worker is gone.
fn lifeline() -> Result<oneshot::Receiver<()>, Fault> {
    let (tell, gone) = oneshot::channel();
    let watch = move || {
        // Nothing is ever said on it; its end, or an error, is all that counts.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        // The worker may be at its end already.
        let _ = tell.send(());
    };
    match std::thread::Builder::new().name("lifeline".to_owned()).spawn(watch) {
        Ok(_) => Ok(gone),
        Err(error) => Err(Fault::new(Code::Io, "cannot watch standard input").cause(error)),
    }
}

/// Loads the model and follows its engine; returns only when something broke.
async fn operate(face: Arc<Face>, options: LoadOptions, slots: u32) -> Fault {
    let loading = face.clone();
    let load = tokio::task::spawn_blocking(move || {
        let model =
            engine::load(&options, &mut |done, total| loading.load_progressed(done, total))?;
        let took = model.load_time();
        Ok((Engine::start(model, slots)?, took))
    });
    let (engine, took) = match load.await {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(fault)) => return fault,
        Err(panic) => return Fault::new(Code::Internal, "the load broke off").cause(panic),
    };
    let mut occupancy = engine.occupancy();
    face.loaded(engine, took);
    tracing::info!(?took, "serving");
    loop {
        face.occupied(*occupancy.borrow_and_update());
        if occupancy.changed().await.is_err() {
            return Fault::new(Code::Internal, "the engine broke off");
        }
    }
}
