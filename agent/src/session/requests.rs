//! Requests by their ids: looked up in the journal, cancelled.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use wire::journal::RequestPrefix;
use wire::{Code, Fault, RequestId};

use super::exchange::{Refused, json};
use super::workers::look;
use super::{Hive, Shared};
use crate::supervisor::Ask;

fn invalid(error: impl std::fmt::Display) -> Fault {
    Fault::new(Code::InvalidArgument, error.to_string())
}

/// `GET /v1/requests?id=PREFIX`.
pub(super) async fn list(
    State(hive): Shared,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let query = query.unwrap_or_default();
    let prefix = query.split('&').find_map(|part| part.strip_prefix("id="));
    let prefix = prefix.map(str::parse::<RequestPrefix>).transpose().map_err(invalid)?;
    let mut entries = hive.journal.find(prefix.as_ref());
    for entry in &mut entries {
        let waits = entry.ended_ms.is_none() && entry.slot_ms.is_none();
        if waits && let Some(ahead) = hive.handle.ahead(entry.request).await {
            entry.ahead = Some(ahead);
        }
    }
    json(&entries)
}

/// `POST /v1/requests/{id}/cancel`.
pub(super) async fn cancel(
    State(hive): Shared,
    Path(id): Path<String>,
) -> Result<Response, Refused> {
    let request: RequestId = id.parse().map_err(invalid)?;
    hive.handle.ask(Ask::Cancel(request)).await?;
    tracing::info!(%request, "request cancelled");
    hive.journal.cancelled(request);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Learns the models of the hive's workers, so that entries can name them.
pub(super) async fn model_of(hive: &Arc<Hive>, worker: &wire::WorkerId) -> Option<wire::ModelRef> {
    if let Some(model) = hive.journal.model_of(worker) {
        return Some(model);
    }
    let workers = look(hive).await.ok()?.workers;
    hive.journal.learn_models(workers.into_iter().map(|worker| (worker.id, worker.spec.model)));
    hive.journal.model_of(worker)
}
