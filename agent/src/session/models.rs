//! Models that this hive keeps: listed, pulled, removed.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::stream;
use tokio::sync::watch;
use wire::pull::{PullEvent, PullRequest, RemoveRequest};
use wire::{Code, Fault, limits, ndjson, routes};

use super::exchange::{self, Refused, json, parse, read_body};
use super::{Hive, Shared};
use crate::pulls::Listener;
use crate::store::Store;

pub(super) async fn list(State(hive): Shared) -> Result<Response, Refused> {
    json(&on_disk(&hive, Store::list).await?)
}

pub(super) async fn remove(
    State(hive): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let body = read_body(body, &headers, limits::MAX_MESSAGE_BYTES).await?;
    let RemoveRequest { model } = parse(&body)?;
    json(&on_disk(&hive, move |store| store.remove(&model)).await?)
}

pub(super) async fn pull(
    State(hive): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let body = read_body(body, &headers, limits::MAX_MESSAGE_BYTES).await?;
    let request: PullRequest = parse(&body)?;
    let listener = hive.pulls.join(request)?;
    let reader = Reader { listener, closing: hive.handle.closing() };
    let lines = stream::unfold(Some(reader), |reader| async move {
        let (line, reader) = reader?.next().await?;
        Some((Ok::<Bytes, Infallible>(line), reader))
    });
    Ok(exchange::stream(Body::from_stream(lines), routes::NDJSON))
}

/// What waits for a disk waits on a thread of its own.
async fn on_disk<T: Send + 'static>(
    hive: &Arc<Hive>,
    work: impl FnOnce(&Store) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let store = Arc::clone(&hive.store);
    tokio::task::spawn_blocking(move || work(&store))
        .await
        .map_err(|error| Fault::new(Code::Internal, "looking at the models failed").cause(error))?
}

/// Somebody who waits for a model.
struct Reader {
    listener: Listener,
    closing: watch::Receiver<bool>,
}

impl Reader {
    /// The next line, and the reader unless it is the last.
    async fn next(mut self) -> Option<(Bytes, Option<Self>)> {
        let event = tokio::select! {
            event = self.listener.next() => event?,
            _closing = self.closing.wait_for(|closing| *closing) => PullEvent::Failed {
                fault: Fault::new(Code::ShuttingDown, "the agent is shutting down")
                    .hint("rbee pull …  # goes on where it was"),
            },
        };
        let is_last = matches!(event, PullEvent::Done { .. } | PullEvent::Failed { .. });
        let line = ndjson::encode(&event).ok()?;
        Some((line.into(), (!is_last).then_some(self)))
    }
}
