//! What a guard answers on its socket.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::sync::{mpsc, watch};
use wire::guard::GuardStatus;
use wire::hello::{Hello, Role};
use wire::{BuildId, Code, Fault, routes};

use crate::server::live::{self, Live};
use crate::server::reply::{self, Refusal};

/// What its handlers share.
pub struct Face {
    /// What this program was built from.
    pub build: BuildId,
    /// Where the engine is.
    pub status: watch::Receiver<GuardStatus>,
    /// Asks for the engine's end.
    pub stop: mpsc::Sender<()>,
    /// Between two lines on which nothing changes.
    pub heartbeat: Duration,
}

/// The routes of a guard.
pub fn router(face: Face) -> Router {
    let router = Router::new()
        .route(routes::HELLO, get(hello))
        .route(routes::GUARD, get(follow))
        .route(routes::STOP, post(stop));
    reply::with_refusals(router).with_state(Arc::new(face))
}

impl Live for GuardStatus {
    fn is_last(&self) -> bool {
        matches!(self, Self::Ended(_))
    }

    fn is_progress(&self) -> bool {
        false
    }
}

async fn hello(State(face): State<Arc<Face>>) -> Json<Hello> {
    Json(reply::hello(Role::Guard, &face.build))
}

async fn follow(State(face): State<Arc<Face>>) -> Response {
    reply::ndjson(live::lines(face.status.clone(), face.heartbeat))
}

/// Starts the stop ladder and answers with the exit record at its end. Harmless to repeat. It has
/// no body: how long requests may finish is decided before a guard is asked.
async fn stop(State(face): State<Arc<Face>>) -> Response {
    // A full channel says that someone has asked already.
    let _ = face.stop.try_send(());
    let mut status = face.status.clone();
    let ended = status.wait_for(Live::is_last).await.map(|status| status.clone());
    match ended {
        Ok(GuardStatus::Ended(record)) => Json(record).into_response(),
        _ => {
            Refusal(Fault::new(Code::Internal, "the guard ended before its engine")).into_response()
        }
    }
}
