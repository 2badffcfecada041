//! What every exchange has: a correlation id, a bounded body, and one form of refusal.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use wire::fault::ErrorEnvelope;
use wire::{Code, Fault, RequestId, ndjson, routes};

use super::Hive;

/// How long a request's body may stop in the middle.
const BODY_SILENCE: Duration = Duration::from_secs(10);

/// A fault on its way to becoming a response; [`correlate`] gives it its id and its body.
#[derive(Debug, Clone)]
pub struct Refused(Box<Fault>);

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self(Box::new(fault))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives every request an id, limits how often refusals are explained, and writes their bodies.
pub async fn correlate(
    State(hive): State<Arc<Hive>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = request_id(request.headers());
    request.extensions_mut().insert(*id.as_ref().unwrap_or(&RequestId::random()));
    let (method, path) = (request.method().clone(), request.uri().path().len());
    let (mut response, id) = match id {
        Ok(id) => (next.run(request).await, id),
        Err(fault) => (Refused::from(fault).into_response(), RequestId::random()),
    };
    let Some(Refused(fault)) = response.extensions_mut().remove::<Refused>() else {
        return response;
    };
    let fault = limit(&hive, *fault).of_request(id);
    // The path came from outside: its length is all that is logged of it.
    let code = fault.code.as_str();
    tracing::info!(request = %id, %method, path_bytes = path, code, "refused");
    refusal(fault)
}

fn limit(hive: &Hive, fault: Fault) -> Fault {
    let is_invalid = matches!(fault.code, Code::InvalidArgument | Code::NotFound | Code::TooLarge);
    if !is_invalid {
        return fault;
    }
    let mut refusals = hive.refusals.lock().unwrap_or_else(PoisonError::into_inner);
    if refusals.is_one_too_many(hive.started.elapsed()) {
        Fault::new(Code::RateLimited, "too many invalid requests in this second")
    } else {
        fault
    }
}

/// A fault as a response.
pub fn refusal(fault: Fault) -> Response {
    let status =
        StatusCode::from_u16(fault.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = ndjson::encode(&ErrorEnvelope { error: fault }).unwrap_or_default();
    let mut response = (status, body).into_response();
    set_type(&mut response, "application/json");
    response
}

fn set_type(response: &mut Response, media_type: &'static str) {
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
}

/// The request's own id, or a new one.
fn request_id(headers: &HeaderMap) -> Result<RequestId, Fault> {
    let Some(value) = headers.get(routes::REQUEST_HEADER) else {
        return Ok(RequestId::random());
    };
    let parsed = value.to_str().ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| {
        Fault::new(Code::InvalidArgument, format!("{} is a UUID", routes::REQUEST_HEADER))
    })
}

/// A value as a JSON response.
///
/// # Errors
/// As [`ndjson::encode`].
pub fn json<T: Serialize>(value: &T) -> Result<Response, Refused> {
    let mut response = ndjson::encode(value)?.into_response();
    set_type(&mut response, "application/json");
    Ok(response)
}

/// A response that goes on.
pub fn stream(body: Body, media_type: &'static str) -> Response {
    let mut response = body.into_response();
    set_type(&mut response, media_type);
    response
}

/// Reads a body of at most `limit` bytes; a longer one is refused before it is read, when it says
/// its length, and else as soon as it exceeds it.
///
/// # Errors
/// `TOO_LARGE`, or `INVALID_ARGUMENT` for one that breaks off.
pub async fn read_body(body: Body, headers: &HeaderMap, limit: usize) -> Result<Bytes, Fault> {
    let too_large = || {
        let message = format!("the body is longer than the limit of {limit} bytes");
        Fault::new(Code::TooLarge, message).detail("limit_bytes", limit)
    };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length = length.and_then(|text| text.parse::<u64>().ok());
    if length.is_some_and(|length| usize::try_from(length).is_ok_and(|bytes| bytes > limit)) {
        return Err(too_large());
    }
    let broken = |how| Fault::new(Code::InvalidArgument, format!("the request's body {how}"));
    let (mut body, mut bytes) = (Limited::new(body, limit), Vec::new());
    loop {
        match tokio::time::timeout(BODY_SILENCE, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            }
            Ok(Some(Err(error))) if error.is::<LengthLimitError>() => return Err(too_large()),
            Ok(Some(Err(_))) => return Err(broken("broke off")),
            Ok(None) => return Ok(bytes.into()),
            Err(_silent) => return Err(broken("stopped coming")),
        }
    }
}

/// Reads JSON out of a body; an empty body is an empty object.
///
/// # Errors
/// `INVALID_ARGUMENT` with the position of the mistake; nothing of the body is repeated.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        let problem = match error.classify() {
            Category::Data => "has a missing field or a value that its field does not take",
            Category::Syntax | Category::Eof | Category::Io => "is not JSON",
        };
        let (line, column) = (error.line(), error.column());
        let message = format!("the request {problem}, at line {line} column {column}");
        Fault::new(Code::InvalidArgument, message).detail("line", line).detail("column", column)
    })
}
