//! Generation: a request waits for its slot, then the worker's bytes go through unchanged.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Limited};
use tokio::time::Instant;
use wire::fault::ErrorEnvelope;
use wire::generate::{ChatRequest, CompletionRequest, Prompt};
use wire::guard::files;
use wire::sampling::{Sampling, SamplingFields};
use wire::{Code, Fault, RequestId, WorkerId, layout, limits, routes};

use super::exchange::{Refused, parse, read_body, stream};
use super::relay::{self, Relay};
use super::workers::worker_id;
use super::{Hive, Shared, requests};
use crate::client::{self, Reply};
use crate::executor::Slot;
use crate::journal::{Arrival, Trace};
use crate::supervisor::Client;

/// How long a request waits before it is worth a look at how many are before it.
const WORTH_A_LOOK: Duration = Duration::from_millis(20);

/// One request on its way through this agent.
struct Call {
    worker: WorkerId,
    request: RequestId,
    client: Client,
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
    Extension(client): Extension<Client>,
    http: Request,
) -> Result<Response, Refused> {
    let call = Call::of(&hive, &id, (request, client), http.headers())?;
    let read = |body: &[u8]| {
        let (prompt, sampling) = parse::<ChatRequest>(body)?.into_parts();
        check(&prompt, &sampling)
    };
    answer(&hive, call, http, read).await
}

pub(super) async fn complete(
    State(hive): Shared,
    Path(id): Path<String>,
    Extension(request): Extension<RequestId>,
    Extension(client): Extension<Client>,
    http: Request,
) -> Result<Response, Refused> {
    let call = Call::of(&hive, &id, (request, client), http.headers())?;
    let read = |body: &[u8]| {
        let CompletionRequest { prompt, sampling } = parse(body)?;
        check(&Prompt::Raw(prompt), &sampling)
    };
    answer(&hive, Call { route: routes::COMPLETE, ..call }, http, read).await
}

fn check(prompt: &Prompt, sampling: &SamplingFields) -> Result<(), Fault> {
    prompt.check()?;
    let checked = Sampling::try_from(sampling);
    checked.map_err(|error| Fault::new(Code::InvalidArgument, error.to_string()))?;
    Ok(())
}

impl Call {
    fn of(
        hive: &Arc<Hive>,
        worker: &str,
        (request, client): (RequestId, Client),
        headers: &HeaderMap,
    ) -> Result<Self, Fault> {
        Ok(Self {
            worker: worker_id(worker)?,
            request,
            client,
            deadline: deadline(headers)?,
            stall: hive.settings.timings.token_stall,
            route: routes::CHAT,
            body: Bytes::new(),
        })
    }

    /// How the journal knows it.
    fn arrival(&self, headers: &HeaderMap) -> Arrival {
        let name = headers.get(routes::CLIENT_HEADER).and_then(|name| name.to_str().ok());
        Arrival {
            request: self.request,
            client: self.client,
            name: name.and_then(|name| name.parse().ok()),
            worker: self.worker.clone(),
            deadline: self.deadline.map(Instant::into_std),
        }
    }
}

fn deadline(headers: &HeaderMap) -> Result<Option<Instant>, Fault> {
    let Some(value) = headers.get(routes::DEADLINE_HEADER) else { return Ok(None) };
    let ms = value.to_str().ok().and_then(|text| text.parse().ok());
    let deadline = ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms)));
    let message = || format!("{} is a number of milliseconds", routes::DEADLINE_HEADER);
    deadline.map(Some).ok_or_else(|| Fault::new(Code::InvalidArgument, message()))
}

/// Answers a request, and has its end written down however it comes.
async fn answer(
    hive: &Arc<Hive>,
    mut call: Call,
    http: Request,
    read: impl FnOnce(&[u8]) -> Result<(), Fault>,
) -> Result<Response, Refused> {
    let (head, body) = http.into_parts();
    // Dropped with this future when the client leaves.
    let mut trace = Some(hive.journal.begin(call.arrival(&head.headers)));
    let outcome = async {
        let limit = limits::MAX_GENERATE_BYTES;
        call.body = tokio::select! {
            body = read_body(body, &head.headers, limit) => body?,
            () = relay::until(call.deadline) => return Err(relay::too_late()),
        };
        read(&call.body)?;
        proxy(hive, call, &mut trace).await
    };
    let outcome = outcome.await;
    if let (Err(fault), Some(trace)) = (&outcome, trace.take()) {
        trace.failed(fault);
    }
    Ok(outcome?)
}

/// Waits for the request's slot, and passes the worker's answer on.
async fn proxy(hive: &Arc<Hive>, call: Call, trace: &mut Option<Trace>) -> Result<Response, Fault> {
    let model = requests::model_of(hive, &call.worker).await;
    if let Some(trace) = trace {
        trace.queued(model);
    }
    let mut slot = wait_for_slot(hive, &call, trace.as_ref()).await?;
    if let Some(trace) = trace {
        trace.granted();
    }
    let reply = ask_engine(hive, &call, &mut slot).await?;
    if !reply.response.status().is_success() {
        return pass_on(reply, slot, trace).await;
    }
    let of = (call.worker, call.request);
    let relay = Relay::new(reply, (slot, trace.take()), of, call.deadline, call.stall);
    Ok(stream(Body::from_stream(relay.into_stream()), routes::EVENT_STREAM))
}

async fn wait_for_slot(
    hive: &Arc<Hive>,
    call: &Call,
    trace: Option<&Trace>,
) -> Result<Slot, Fault> {
    let waiting = hive.handle.slot(call.worker.clone(), call.request, call.client);
    tokio::pin!(waiting);
    let mut has_looked = false;
    loop {
        tokio::select! {
            biased;
            slot = &mut waiting => return slot,
            () = relay::until(call.deadline) => return Err(relay::too_late()),
            () = tokio::time::sleep(WORTH_A_LOOK), if !has_looked => has_looked = true,
        }
        if let (Some(trace), Some(ahead)) = (trace, hive.handle.ahead(call.request).await) {
            trace.waits_behind(ahead);
        }
    }
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
            // The worker has seen nothing of it.
            Err(fault) if client::is_exhausted(&fault) => Err(fault),
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
async fn pass_on(
    reply: Reply,
    mut slot: Slot,
    trace: &mut Option<Trace>,
) -> Result<Response, Fault> {
    let (head, body) = reply.response.into_parts();
    let body = Limited::new(body, limits::MAX_MESSAGE_BYTES).collect().await.map_err(|error| {
        Fault::new(Code::ProtocolError, "the worker's refusal broke off").cause(error)
    })?;
    slot.done = true;
    let body = body.to_bytes();
    if let Some(trace) = trace.take() {
        let unreadable = |_| Fault::new(Code::ProtocolError, "the worker refused");
        let fault = serde_json::from_slice::<ErrorEnvelope>(&body).map(|refused| refused.error);
        trace.failed(&fault.unwrap_or_else(unreadable));
    }
    let mut response = (head.status, body).into_response();
    if let Some(media_type) = head.headers.get(header::CONTENT_TYPE) {
        response.headers_mut().insert(header::CONTENT_TYPE, media_type.clone());
    }
    Ok(response)
}
