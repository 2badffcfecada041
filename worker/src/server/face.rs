//! What a worker answers on its socket, and the state behind the answers.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;
use wire::hello::{Hello, Role};
use wire::status::{EnginePhase, EngineStatus};
use wire::worker::StopRequest;
use wire::{BuildId, Code, Fault, limits, routes};

use super::drain::Drain;
use super::live::{self, Live};
use super::{generate, reply};
use crate::cli::ServeArgs;
use crate::engine::{Engine, Occupancy};

/// What its handlers share.
pub struct Face {
    build: BuildId,
    heartbeat: Duration,
    patience: Duration,
    status: watch::Sender<EngineStatus>,
    engine: OnceLock<Engine>,
    drain: Arc<Drain>,
}

impl Face {
    /// The face of a worker that has not begun to load.
    pub fn new(args: &ServeArgs, build: BuildId) -> Arc<Self> {
        let status = EngineStatus {
            phase: EnginePhase::Loading { bytes_done: 0, bytes_total: 0 },
            pid: std::process::id(),
            ctx_size: args.ctx_size,
            slots: args.slots,
            active: 0,
            queued: 0,
            load_ms: None,
        };
        Arc::new(Self {
            build,
            heartbeat: Duration::from_millis(args.heartbeat_ms),
            patience: Duration::from_millis(args.patience_ms),
            status: watch::Sender::new(status),
            engine: OnceLock::new(),
            drain: Drain::new(),
        })
    }

    /// How long the reader of an answer may take nothing.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Its requests.
    pub fn drain(&self) -> &Arc<Drain> {
        &self.drain
    }

    /// The engine, once it serves.
    ///
    /// # Errors
    /// `WORKER_NOT_READY` while it loads.
    pub fn engine(&self) -> Result<&Engine, Fault> {
        self.engine.get().ok_or_else(|| {
            Fault::new(Code::WorkerNotReady, "the worker is loading its model").hint("rbee ps")
        })
    }

    /// Says how far the load is.
    pub fn load_progressed(&self, done: u64, total: u64) {
        self.status.send_if_modified(|status| match &mut status.phase {
            EnginePhase::Loading { bytes_done, bytes_total } => {
                (*bytes_done, *bytes_total) = (done, total);
                true
            }
            _ => false,
        });
    }

    /// Lets requests in.
    pub fn loaded(&self, engine: Engine, took: Duration) {
        // A face gets one engine in its life.
        let _ = self.engine.set(engine);
        self.status.send_modify(|status| {
            status.load_ms = Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            if matches!(status.phase, EnginePhase::Loading { .. }) {
                status.phase = EnginePhase::Serving;
            }
        });
    }

    /// Says how much the engine has to do.
    pub fn occupied(&self, now: Occupancy) {
        self.status.send_modify(|status| {
            (status.active, status.queued) = (now.active, now.queued);
        });
    }

    /// Takes no more requests; those that run have until then.
    pub fn end_by(&self, until: Instant) {
        self.drain.begin(until);
        self.status.send_modify(|status| status.phase = EnginePhase::Draining);
    }
}

/// The routes of a worker.
pub fn router(face: Arc<Face>) -> Router {
    let router = Router::new()
        .route(routes::HELLO, get(hello))
        .route(routes::STATUS, get(follow))
        .route(routes::CHAT, post(generate::chat))
        .route(routes::COMPLETE, post(generate::complete))
        .route(routes::STOP, post(stop));
    reply::with_refusals(router).with_state(face)
}

impl Live for EngineStatus {
    fn is_last(&self) -> bool {
        false
    }

    fn is_progress(&self) -> bool {
        matches!(self.phase, EnginePhase::Loading { .. })
    }
}

async fn hello(State(face): State<Arc<Face>>) -> Json<Hello> {
    Json(reply::hello(Role::Worker, &face.build))
}

async fn follow(State(face): State<Arc<Face>>) -> Response {
    let lines = live::lines(face.status.subscribe(), face.heartbeat);
    // A worker that ends does not wait for those who only watch.
    let drain = face.drain.clone();
    reply::ndjson(lines.take_until(async move { drain.over().await }))
}

/// Ends the worker: [`StopRequest::drain_ms`] for what runs, absent is none. Answers when nothing
/// runs any more; the process follows.
async fn stop(
    State(face): State<Arc<Face>>,
    body: Body,
) -> Result<Json<serde_json::Value>, reply::Refusal> {
    let body = reply::read_body(body, limits::MAX_MESSAGE_BYTES).await?;
    let request: StopRequest =
        if body.is_empty() { StopRequest::default() } else { reply::parse(&body)? };
    let drain = Duration::from_millis(request.drain_ms.unwrap_or(0).min(limits::MAX_WAIT_MS));
    face.end_by(Instant::now() + drain);
    face.drain.over().await;
    Ok(Json(serde_json::json!({})))
}
