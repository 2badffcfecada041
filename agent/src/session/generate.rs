//! Generation: a request waits for its slot, then the worker's bytes go through unchanged.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Limited};
use tokio::time::Instant;
use wire::generate::{ChatRequest, CompletionRequest, Prompt};
use wire::guard::files;
use wire::sampling::{Sampling, SamplingFields};
use wire::{Code, Fault, RequestId, WorkerId, layout, limits, routes};

use super::exchange::{Refused, parse, read_body, stream};
use super::relay::{self, Relay};
use super::workers::worker_id;
use super::{Hive, Shared};
use crate::client::{self, Reply};
use crate::executor::Slot;
use crate::supervisor::Ask;

/// One request on its way through this agent.
struct Call {
    worker: WorkerId,
    request: RequestId,
    deadline: Option<Instant>,
    stall: Duration,
    /// The worker's route.
    route: &'static str,
    body: Bytes,
}

pub(super) async fn chat(
    State(hive): Shared,
    Path(id): Path<String>,
    Extension(request): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let mut call = call(&hive, &id, request, &headers)?;
    call.body = read_body(body, &headers, limits::MAX_GENERATE_BYTES).await?;
    let (prompt, sampling) = parse::<ChatRequest>(&call.body)?.into_parts();
    check(&prompt, &sampling)?;
    proxy(&hive, call).await
}

pub(super) async fn complete(
    State(hive): Shared,
    Path(id): Path<String>,
    Extension(request): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let mut call = call(&hive, &id, request, &headers)?;
    call.route = routes::COMPLETE;
    call.body = read_body(body, &headers, limits::MAX_GENERATE_BYTES).await?;
    let CompletionRequest { prompt, sampling } = parse(&call.body)?;
    check(&Prompt::Raw(prompt), &sampling)?;
    proxy(&hive, call).await
}

pub(super) async fn cancel(
    State(hive): Shared,
    Path(id): Path<String>,
) -> Result<Response, Refused> {
    let request: RequestId =
        id.parse().map_err(|error| Fault::new(Code::InvalidArgument, format!("{error}")))?;
    hive.handle.ask(Ask::Cancel(request)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn check(prompt: &Prompt, sampling: &SamplingFields) -> Result<(), Fault> {
    prompt.check()?;
    let checked = Sampling::try_from(sampling);
    checked.map_err(|error| Fault::new(Code::InvalidArgument, error.to_string()))?;
    Ok(())
}

fn call(
    hive: &Arc<Hive>,
    id: &str,
    request: RequestId,
    headers: &HeaderMap,
) -> Result<Call, Fault> {
    Ok(Call {
        worker: worker_id(id)?,
        request,
        deadline: deadline(headers)?,
        stall: hive.settings.timings.token_stall,
        route: routes::CHAT,
        body: Bytes::new(),
    })
}

fn deadline(headers: &HeaderMap) -> Result<Option<Instant>, Fault> {
    let Some(value) = headers.get(routes::DEADLINE_HEADER) else { return Ok(None) };
    let ms = value.to_str().ok().and_then(|text| text.parse().ok());
    let deadline = ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms)));
    let message = || format!("{} is a number of milliseconds", routes::DEADLINE_HEADER);
    deadline.map(Some).ok_or_else(|| Fault::new(Code::InvalidArgument, message()))
}

async fn proxy(hive: &Arc<Hive>, call: Call) -> Result<Response, Refused> {
    let waiting = hive.handle.slot(call.worker.clone(), call.request);
    let mut slot = tokio::select! {
        slot = waiting => slot?,
        () = relay::until(call.deadline) => return Err(relay::too_late().into()),
    };
    let reply = ask_engine(hive, &call, &mut slot).await?;
    if !reply.response.status().is_success() {
        return pass_on(reply, slot).await;
    }
    let relay = Relay::new(reply, slot, (call.worker, call.request), call.deadline, call.stall);
    Ok(stream(Body::from_stream(relay.into_stream()), routes::EVENT_STREAM))
}

/// Sends the request to the engine and waits for the head of its response.
async fn ask_engine(hive: &Arc<Hive>, call: &Call, slot: &mut Slot) -> Result<Reply, Fault> {
    let dir = layout::worker_dir(&hive.dirs.runtime, &call.worker);
    let socket = std::path::Path::new(&dir).join(files::ENGINE_SOCKET);
    let exchange = async {
        let mut request = client::request(http::Method::POST, call.route, call.body.clone())?;
        let headers = request.headers_mut();
        set(headers, routes::REQUEST_HEADER, call.request.to_string());
        if let Some(deadline) = call.deadline {
            let left = deadline.saturating_duration_since(Instant::now()).as_millis().max(1);
            set(headers, routes::DEADLINE_HEADER, left.to_string());
        }
        client::Connection::open(&socket).await?.send(request).await
    };
    tokio::select! {
        reply = exchange => match reply {
            Ok(reply) => Ok(reply),
            Err(fault) => Err(relay::broken(slot, &call.worker, Some(&fault)).await),
        },
        fault = relay::revoked(slot) => Err(fault),
        () = tokio::time::sleep(call.stall) => Err(relay::stalled(&call.worker, call.stall)),
        () = relay::until(call.deadline) => Err(relay::too_late()),
    }
}

fn set(headers: &mut HeaderMap, name: &'static str, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// A refusal of the worker's, as it came.
async fn pass_on(reply: Reply, mut slot: Slot) -> Result<Response, Refused> {
    let (head, body) = reply.response.into_parts();
    let body = Limited::new(body, limits::MAX_MESSAGE_BYTES).collect().await.map_err(|error| {
        Fault::new(Code::ProtocolError, "the worker's refusal broke off").cause(error)
    })?;
    slot.done = true;
    let mut response = (head.status, body.to_bytes()).into_response();
    if let Some(media_type) = head.headers.get(header::CONTENT_TYPE) {
        response.headers_mut().insert(header::CONTENT_TYPE, media_type.clone());
    }
    Ok(response)
}
