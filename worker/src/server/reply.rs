//! How requests are read and refused: bounded bodies, and a fault for every mistake.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use http::StatusCode;
use http::header::{CONNECTION, CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use wire::fault::ErrorEnvelope;
use wire::hello::{Hello, Role, worker_protocol};
use wire::{BuildId, Code, Fault, routes};

/// How long a request's body may stop in the middle.
const BODY_SILENCE: Duration = Duration::from_secs(10);

/// A fault as an HTTP response: its code's status and an [`ErrorEnvelope`].
#[derive(Debug)]
pub struct Refusal(pub Fault);

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, axum::Json(ErrorEnvelope { error: self.0 })).into_response()
    }
}

/// Answers unknown routes and unknown methods of known routes as faults.
pub fn with_refusals<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .fallback(|| async { Refusal(Fault::new(Code::NotFound, "there is no such route")) })
        .method_not_allowed_fallback(|| async {
            Refusal(Fault::new(Code::NotFound, "this route has no such method"))
        })
}

/// Reads a whole body of at most `limit` bytes; a longer one is refused at its announced length,
/// or at the byte that is too many.
///
/// # Errors
/// `TOO_LARGE` over the limit, `INVALID_ARGUMENT` when the body breaks off.
pub async fn read_body(body: Body, limit: usize) -> Result<Bytes, Fault> {
    let too_large = || Fault::new(Code::TooLarge, format!("the body is longer than {limit} bytes"));
    let announced = body.size_hint().lower();
    if usize::try_from(announced).map_or(true, |bytes| bytes > limit) {
        return Err(too_large());
    }
    let broken = |how| Fault::new(Code::InvalidArgument, format!("the body {how}"));
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

/// Reads one JSON value. The refusal tells where the mistake is and never repeats the text.
///
/// # Errors
/// `INVALID_ARGUMENT` with the mistake's line and column.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(json).map_err(|error| {
        let text = error.to_string();
        // Only this message names nothing but a field of ours; others quote what they read.
        let problem = match text.strip_prefix("missing field `").and_then(|t| t.split_once('`')) {
            Some((field, _)) => format!("lacks the field `{field}`"),
            None if error.is_data() => "has a value that its field does not take".to_owned(),
            None => "is not JSON".to_owned(),
        };
        let at = format!("at line {} column {}", error.line(), error.column());
        Fault::new(Code::InvalidArgument, format!("the body {problem}, {at}"))
    })
}

/// What this program says of itself.
pub fn hello(role: Role, build: &BuildId) -> Hello {
    Hello {
        role,
        protocol: worker_protocol::SPOKEN,
        build: build.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        features: Vec::new(),
    }
}

/// A streaming response. Its connection carries nothing after it, so that the stream's end is the
/// connection's.
pub fn stream(media_type: &'static str, body: Body) -> Response {
    ([(CONTENT_TYPE, media_type), (CONNECTION, "close")], body).into_response()
}

/// A stream of live lines.
pub fn ndjson(lines: impl Stream<Item = Result<Bytes, Fault>> + Send + 'static) -> Response {
    stream(routes::NDJSON, Body::from_stream(lines))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::generate::ChatRequest;
    use wire::limits;

    #[test]
    fn a_malformed_body_is_located_and_never_echoed() {
        let bodies: [&[u8]; 6] = [
            b"secret",
            b"{\"messages\": \"secret\"}",
            b"{\"messages\": [{\"role\":\"secret\",\"content\":\"x\"}]}",
            b"{\"messages\": [], \"temperature\": \"secret\"}",
            b"{\"secret\": 1}",
            b"{\"messages\": [], \"stop\": {\"secret\": 1}}",
        ];
        for body in bodies {
            let fault = parse::<ChatRequest>(body).unwrap_err();
            assert_eq!(fault.code, Code::InvalidArgument);
            assert!(fault.message.contains("line 1 column"), "{}", fault.message);
            assert!(!serde_json::to_string(&fault).unwrap().contains("secret"), "{fault:?}");
        }
        let fault = parse::<ChatRequest>(b"{}").unwrap_err();
        assert!(fault.message.contains("lacks the field `messages`"), "{}", fault.message);
    }

    #[tokio::test]
    async fn a_body_of_the_limit_passes_and_one_byte_more_does_not() {
        let limit = limits::MAX_MESSAGE_BYTES;
        assert_eq!(read_body(Body::from(vec![0; limit]), limit).await.unwrap().len(), limit);
        let fault = read_body(Body::from(vec![0; limit + 1]), limit).await.unwrap_err();
        assert_eq!(fault.code, Code::TooLarge);
        let pieces = std::iter::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![0; 1000])));
        let endless = Body::from_stream(futures_util::stream::iter(pieces));
        assert_eq!(read_body(endless, limit).await.unwrap_err().code, Code::TooLarge);
    }
}
