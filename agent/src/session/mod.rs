//! The agent's face: HTTP on its unix socket, for keepers and for `curl --unix-socket`.

mod alive;
mod doctor;
mod events;
mod exchange;
mod generate;
mod limits;
mod logs;
mod models;
mod relay;
mod requests;
mod socket;
mod voice;
mod workers;

pub mod server;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::Semaphore;
use wire::hello::Hello;
use wire::{Code, Fault, routes};

use self::exchange::{Refused, json};
use self::limits::Refusals;
use crate::dirs::Dirs;
use crate::executor::Handle;
use crate::inventory::Inventory;
use crate::journal::Journal;
use crate::pulls::Pulls;
use crate::settings::Settings;
use crate::store::Store;

/// What every request may need.
#[derive(Debug)]
pub struct Hive {
    /// The way to the supervisor.
    pub handle: Handle,
    /// Who answers.
    pub hello: Hello,
    /// The models of this hive.
    pub store: Arc<Store>,
    /// Those that are being fetched.
    pub pulls: Arc<Pulls>,
    /// The devices of this hive.
    pub inventory: Inventory,
    /// Where everything is.
    pub dirs: Dirs,
    /// What this agent was started with.
    pub settings: Settings,
    /// What became of each request.
    pub journal: Arc<Journal>,
    /// Places for those who read logs.
    log_streams: Arc<Semaphore>,
    started: Instant,
    refusals: Mutex<Refusals>,
}

impl Hive {
    /// A hive that counts its time from now.
    pub fn new(
        handle: Handle,
        hello: Hello,
        places: (Dirs, Arc<Store>, Arc<Pulls>),
        inventory: Inventory,
        settings: Settings,
    ) -> Self {
        let (dirs, store, pulls) = places;
        Self {
            handle,
            hello,
            store,
            pulls,
            inventory,
            journal: Journal::open(&dirs.log),
            log_streams: Arc::new(Semaphore::new(wire::limits::MAX_LOG_STREAMS)),
            dirs,
            settings,
            started: Instant::now(),
            refusals: Mutex::new(Refusals::default()),
        }
    }
}

type Shared = State<Arc<Hive>>;

/// All routes.
pub fn router(hive: Arc<Hive>) -> Router {
    Router::new()
        .route(routes::HELLO, get(hello))
        .route(routes::LIVE, get(|| async { StatusCode::OK }))
        .route(routes::READY, get(ready))
        .route(routes::ALIVE, post(alive::alive))
        .route(routes::EVENTS, get(events::events))
        .route(routes::WORKERS_LIST, get(workers::list))
        .route(routes::WORKERS_SPAWN, post(workers::spawn))
        .route(routes::WORKER_STOP, post(workers::stop))
        .route(routes::WORKER_RESTART, post(workers::restart))
        .route(routes::WORKER_CHAT, post(generate::chat))
        .route(routes::WORKER_COMPLETE, post(generate::complete))
        .route(routes::MODELS_LIST, get(models::list))
        .route(routes::MODELS_PULL, post(models::pull))
        .route(routes::MODELS_REMOVE, post(models::remove))
        .route(routes::REQUESTS, get(requests::list))
        .route(routes::REQUEST_CANCEL, post(requests::cancel))
        .route(routes::LOGS, get(logs::agent))
        .route(routes::WORKER_LOGS, get(logs::worker))
        .route(routes::DOWN, post(workers::down))
        .route(routes::LEAVE, post(workers::leave))
        .route(routes::HANDOVER, post(workers::hand_over))
        .route(routes::DOCTOR, get(doctor::doctor))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&hive), exchange::correlate))
        .with_state(hive)
}

/// The routes of an agent that cannot open anything: none of them does anything.
fn refusing() -> Router {
    Router::new().fallback(|| async { exchange::refusal(crate::client::exhausted()) })
}

async fn hello(State(hive): Shared) -> Result<Response, Refused> {
    json(&hive.hello)
}

async fn ready(State(hive): Shared) -> Result<Response, Refused> {
    if workers::look(&hive).await?.accepting {
        return Ok(StatusCode::OK.into_response());
    }
    Err(Fault::new(Code::ShuttingDown, "the agent is shutting down").into())
}

async fn no_route() -> Refused {
    Fault::new(Code::NotFound, "there is no such route").into()
}

async fn no_method() -> Refused {
    Fault::new(Code::NotFound, "this route does not have this method").into()
}
