//! One worker from outside: its guard's word, its engine's word, and its end.

use std::time::Duration;

use bytes::Bytes;
use tokio::process::Child;
use tokio::sync::mpsc;
use wire::guard::{GuardRecord, GuardStatus, ProcessIdentity};
use wire::hello::{Hello, Role, worker_protocol};
use wire::status::EngineStatus;
use wire::{Fault, routes};

use super::Message;
use super::process::{self, Place};
use crate::client::{self, Values};
use crate::platform;
use crate::supervisor::{End, Input};

/// Between two attempts to connect to a socket that should be there.
const CONNECT_AGAIN: Duration = Duration::from_millis(20);
/// How long a guard that has said its last word may take to exit, and a killed engine to vanish.
const EXIT_TIME: Duration = Duration::from_millis(500);

fn pause() -> tokio::time::Interval {
    let mut pause = tokio::time::interval(CONNECT_AGAIN);
    pause.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    pause
}

/// Where a worker's news go.
pub type Inputs = mpsc::Sender<Message>;

/// Tells the supervisor; it only fails when the agent ends.
pub async fn tell(inputs: &Inputs, input: Input) {
    let _agent_ends = inputs.send(Message::tell(input)).await;
}

/// Follows a worker to its end, tells the supervisor of it, and cleans up behind it. `child` is
/// the guard, when this agent started it.
pub async fn tend(place: Place, mut child: Option<Child>, inputs: Inputs) {
    let end = follow(&place, &mut child, &inputs).await;
    if let Some(record) = read_record(&place).await {
        process::wait_gone(record.guard, EXIT_TIME).await;
        process::remove_groups(&record);
    }
    if let Some(mut child) = child {
        // Reaped, so that no zombie stays; a guard that hangs is reaped by tokio later.
        let _late = tokio::time::timeout(EXIT_TIME, child.wait()).await;
    }
    let worker = place.id.clone();
    tracing::info!(%worker, ?end, "worker ended");
    let _panicked = tokio::task::spawn_blocking(move || place.remove()).await;
    tell(&inputs, Input::Ended { worker, end: Box::new(end) }).await;
}

async fn follow(place: &Place, child: &mut Option<Child>, inputs: &Inputs) -> End {
    let mut engine = None;
    loop {
        let Some(mut values) = connect(place, child).await else { break };
        while let Some(status) = values.next().await {
            match status {
                GuardStatus::Running(record) if place.owns(&record) => {
                    if let Some(limit) = record.limit {
                        let worker = place.id.clone();
                        tell(inputs, Input::Limited { worker, limit }).await;
                    }
                    let _agent_ends = inputs.send(Message::running(record)).await;
                    engine.get_or_insert_with(|| Listener::start(place, inputs));
                }
                GuardStatus::Ended(record) if record.id == place.id => {
                    return End::Recorded(record);
                }
                _ => {}
            }
        }
        if let Some(end) = recorded(place).await {
            return end;
        }
    }
    lost(place, child).await
}

/// Connects to the guard, for as long as there is one to wait for.
async fn connect(place: &Place, child: &mut Option<Child>) -> Option<Values<GuardStatus>> {
    let attempts = async {
        let mut pause = pause();
        loop {
            pause.tick().await;
            if let Ok(values) = Values::open(&place.guard_socket(), routes::GUARD).await {
                return Some(values);
            }
            if !guard_lives(place, child).await {
                return None;
            }
        }
    };
    tokio::time::timeout(place.timings.agent_start, attempts).await.ok().flatten()
}

async fn guard_lives(place: &Place, child: &mut Option<Child>) -> bool {
    match child {
        Some(child) => matches!(child.try_wait(), Ok(None)),
        None => match read_record(place).await {
            Some(record) => platform::is_alive(record.guard),
            None => false,
        },
    }
}

async fn read_record(place: &Place) -> Option<GuardRecord> {
    let place = place.clone();
    tokio::task::spawn_blocking(move || place.record()).await.ok().flatten()
}

async fn recorded(place: &Place) -> Option<End> {
    let place = place.clone();
    let record = tokio::task::spawn_blocking(move || place.exit_record()).await.ok().flatten();
    record.map(End::Recorded)
}

/// The guard is gone or does not answer: what it left says how it ended, and what it left running
/// is killed.
async fn lost(place: &Place, child: &mut Option<Child>) -> End {
    if let Some(end) = recorded(place).await {
        return end;
    }
    let Some(record) = read_record(place).await else {
        if let Some(child) = child {
            // A guard without a record has no engine yet.
            let _gone = child.start_kill();
        }
        return End::NotStarted { why: "its guard ended before the engine ran".to_owned() };
    };
    process::kill(&record, EXIT_TIME).await;
    let place = place.clone();
    let tail = tokio::task::spawn_blocking(move || place.stderr_tail()).await;
    End::Unseen { stderr_tail: tail.unwrap_or_default() }
}

/// The task that holds an engine's status stream open; it ends with its owner.
struct Listener(tokio::task::JoinHandle<()>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Listener {
    fn start(place: &Place, inputs: &Inputs) -> Self {
        let (place, inputs) = (place.clone(), inputs.clone());
        Self(tokio::spawn(async move {
            let mut pause = pause();
            loop {
                pause.tick().await;
                let socket = place.engine_socket();
                let opened = Values::<EngineStatus>::open(&socket, routes::STATUS).await;
                let Ok(mut values) = opened else { continue };
                while let Some(status) = values.next().await {
                    tell(&inputs, Input::Engine { worker: place.id.clone(), status }).await;
                }
            }
        }))
    }
}

/// Whether the guard in `place` is alive, its own, and speaks this build's protocol.
pub async fn greet(place: &Place) -> Result<bool, Fault> {
    let hello: Hello = client::get(&place.guard_socket(), routes::HELLO).await?;
    worker_protocol::SPOKEN.agree(hello.protocol)?;
    Ok(hello.role == Role::Guard)
}

/// Sends a guard down its ladder. Its last word comes over the stream that `tend` holds. One whose
/// socket was moved away gets a signal, which it takes for the same.
pub async fn stop(
    place_socket: std::path::PathBuf,
    guard: Option<ProcessIdentity>,
    limit: Duration,
) {
    let attempts = async {
        let mut pause = pause();
        loop {
            pause.tick().await;
            let Ok(connection) = client::Connection::open(&place_socket).await else {
                if let Some(guard) = guard
                    && !tokio::fs::try_exists(&place_socket).await.unwrap_or(true)
                {
                    return platform::terminate(guard);
                }
                continue;
            };
            let Ok(request) =
                client::request(http::Method::POST, routes::STOP, Bytes::from_static(b"{}"))
            else {
                return;
            };
            if connection.send(request).await.is_ok() {
                return;
            }
        }
    };
    // A guard that does not listen is the supervisor's to kill.
    let _late = tokio::time::timeout(limit, attempts).await;
}
