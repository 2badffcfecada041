//! Workers: listed, started, stopped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use wire::worker::{StopRequest, WorkerInfo};
use wire::{Code, Device, Fault, ModelRef, RequestId, WorkerId, layout, limits};

use super::exchange::{Refused, json, parse, read_body};
use super::{Hive, Shared};
use crate::admission;
use crate::inventory;
use crate::store::Model;
use crate::supervisor::{Answer, Ask, SpawnAsk};

/// A [`wire::worker::SpawnRequest`] whose texts are not checked yet, so that each refusal can name
/// its rule without repeating the text.
#[derive(Debug, Deserialize)]
struct SpawnFields {
    model: String,
    device: Option<String>,
    ctx_size: Option<u32>,
    keep_alive_s: Option<i64>,
    #[serde(default)]
    reuse: bool,
}

fn invalid(error: impl std::fmt::Display) -> Fault {
    Fault::new(Code::InvalidArgument, error.to_string())
}

/// The worker that a path names.
pub(super) fn worker_id(text: &str) -> Result<WorkerId, Fault> {
    text.parse().map_err(invalid)
}

pub(super) async fn list(State(hive): Shared) -> Result<Response, Refused> {
    json(&look(&hive).await?.workers)
}

/// All of a hive's workers at one moment.
pub(super) struct Look {
    pub revision: u64,
    pub workers: Vec<WorkerInfo>,
    /// Bytes that are promised to workers.
    pub promised: BTreeMap<Device, u64>,
    /// Whether more may be started.
    pub accepting: bool,
}

/// Looks at the workers.
pub(super) async fn look(hive: &Hive) -> Result<Look, Refused> {
    match hive.handle.ask(Ask::Look).await? {
        Answer::Look { revision, mut workers, promised, accepting } => {
            hive.journal.pace(&mut workers);
            Ok(Look { revision, workers, promised, accepting })
        }
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn spawn(
    State(hive): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let body = read_body(body, &headers, limits::MAX_MESSAGE_BYTES).await?;
    let fields: SpawnFields = parse(&body)?;
    let model: ModelRef = fields.model.parse().map_err(invalid)?;
    let device = fields.device.map(|text| text.parse::<Device>()).transpose().map_err(invalid)?;
    if fields.keep_alive_s.is_some_and(|seconds| seconds < -1) {
        return Err(invalid("keep_alive_s is -1, 0 or a number of seconds").into());
    }
    if fields.ctx_size.is_some_and(|n| !(limits::MIN_CTX_SIZE..=limits::MAX_CTX_SIZE).contains(&n))
    {
        let (least, most) = (limits::MIN_CTX_SIZE, limits::MAX_CTX_SIZE);
        return Err(invalid(format!("ctx_size is {least} to {most} tokens")).into());
    }
    admission::device(device)?;
    let Model { path, shape } = resolve(&hive, &model).await?;
    let available_bytes = inventory::available_bytes().ok_or_else(|| {
        Fault::new(Code::Internal, "the system does not say how much memory is free")
    })?;
    let ask = SpawnAsk {
        model,
        device,
        ctx_size: fields.ctx_size,
        keep_alive_s: fields.keep_alive_s,
        reuse: fields.reuse,
        path,
        shape,
        available_bytes,
        // Known where workers' ends are known.
        overrun_bytes: 0,
        obstacle: full_disk(&hive).await,
        seed: seed(),
    };
    match hive.handle.ask(Ask::Spawn(Box::new(ask))).await? {
        Answer::Spawned(reply) => json(&*reply),
        other => Err(unexpected(&other)),
    }
}

/// Why the disk has no room for a worker's own directory, if it has none.
async fn full_disk(hive: &Arc<Hive>) -> Option<Fault> {
    let dir = PathBuf::from(layout::workers_dir(&hive.dirs.runtime));
    tokio::task::spawn_blocking(move || inventory::full_disk(&dir)).await.ok().flatten()
}

async fn resolve(hive: &Arc<Hive>, model: &ModelRef) -> Result<Model, Fault> {
    let (store, model) = (Arc::clone(&hive.store), model.clone());
    tokio::task::spawn_blocking(move || store.resolve(&model))
        .await
        .map_err(|error| Fault::new(Code::Internal, "reading the model failed").cause(error))?
}

/// A random number of 24 bits, out of a random UUID.
fn seed() -> u32 {
    let id = RequestId::random().to_string();
    let digits = id.get(id.len().saturating_sub(6)..).unwrap_or_default();
    u32::from_str_radix(digits, 16).unwrap_or_default()
}

pub(super) async fn stop(
    State(hive): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let worker = worker_id(&id)?;
    let drain = drain(body, &headers, hive.settings.timings.drain).await?;
    stopped(hive.handle.ask(Ask::Stop { worker, drain }).await?)
}

pub(super) async fn restart(
    State(hive): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let worker = worker_id(&id)?;
    let drain = drain(body, &headers, hive.settings.timings.drain).await?;
    match hive.handle.ask(Ask::Restart { worker, drain }).await? {
        Answer::Spawned(reply) => json(&*reply),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn down(
    State(hive): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let drain = drain(body, &headers, hive.settings.timings.down_drain).await?;
    stopped(hive.handle.ask(Ask::Down { drain }).await?)
}

pub(super) async fn leave(State(hive): Shared) -> Result<Response, Refused> {
    match hive.handle.ask(Ask::Leave).await? {
        Answer::Left => Ok(StatusCode::NO_CONTENT.into_response()),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn hand_over(
    State(hive): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let drain = drain(body, &headers, hive.settings.timings.drain).await?;
    match hive.handle.ask(Ask::HandOver { drain }).await? {
        Answer::HandedOver(reply) => json(&reply),
        other => Err(unexpected(&other)),
    }
}

async fn drain(body: Body, headers: &HeaderMap, default: Duration) -> Result<Duration, Fault> {
    /// A day: a longer wait is a mistake.
    const LONGEST_MS: u64 = 24 * 60 * 60 * 1000;
    let request: StopRequest = parse(&read_body(body, headers, limits::MAX_MESSAGE_BYTES).await?)?;
    match request.drain_ms {
        None => Ok(default),
        Some(ms @ 0..=LONGEST_MS) => Ok(Duration::from_millis(ms)),
        Some(_) => Err(invalid("drain_ms is at most a day")),
    }
}

fn stopped(answer: Answer) -> Result<Response, Refused> {
    match answer {
        Answer::Stopped(reply) => json(&reply),
        other => Err(unexpected(&other)),
    }
}

/// A defect: the supervisor answered another question.
pub(super) fn unexpected(answer: &Answer) -> Refused {
    tracing::error!(?answer, "an answer to another question");
    Fault::new(Code::Internal, "the supervisor answered another question").into()
}
