//! HTTP/1.1 over a unix socket: how the agent speaks with guards and engines.

use std::collections::VecDeque;
use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use wire::{Code, Fault, limits, ndjson};

use crate::platform;

/// One connection for one exchange. Dropping it closes the socket, which is how a request is
/// cancelled.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
}

/// The task that moves a connection's bytes; it ends with its owner.
#[derive(Debug)]
pub struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A response whose body is still coming.
#[derive(Debug)]
pub struct Reply {
    /// Status, headers and body.
    pub response: http::Response<Incoming>,
    /// Keeps the connection open as long as the body is wanted.
    pub driver: Driver,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// `IO_ERROR` when nobody listens on `socket`.
    pub async fn open(socket: &Path) -> Result<Self, Fault> {
        let stream = UnixStream::connect(socket).await.map_err(|error| {
            if platform::is_out_of_descriptors(&error) {
                return exhausted().caused_by(&error);
            }
            let message = format!("the worker's socket {} does not answer", socket.display());
            Fault::new(Code::Io, message).caused_by(&error)
        })?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        let driver = Driver(tokio::spawn(async move {
            // Whoever waits for the response learns of an error by it.
            let _ended = connection.await;
        }));
        Ok(Self { sender, driver })
    }

    /// Sends one request and waits for the head of its response.
    ///
    /// # Errors
    /// `IO_ERROR` when the connection breaks.
    pub async fn send(mut self, request: http::Request<Full<Bytes>>) -> Result<Reply, Fault> {
        let response = self.sender.send_request(request).await.map_err(|error| broken(&error))?;
        Ok(Reply { response, driver: self.driver })
    }
}

/// Name of the detail that says that nothing is wrong but the number of open files.
const EXHAUSTED: &str = "out_of_descriptors";

/// The refusal of an agent that cannot open anything.
pub fn exhausted() -> Fault {
    Fault::new(Code::Io, "the agent has no file descriptor left for this request")
        .detail(EXHAUSTED, true)
        .detail("retry_after_s", 1)
        .hint("rbee ps  # works again as soon as other requests have ended")
}

/// Whether a fault is [`exhausted`].
pub fn is_exhausted(fault: &Fault) -> bool {
    fault.details.contains_key(EXHAUSTED)
}

/// A request without a body.
///
/// # Errors
/// `INTERNAL` when `path` is no path.
pub fn request(
    method: http::Method,
    path: &str,
    body: Bytes,
) -> Result<http::Request<Full<Bytes>>, Fault> {
    http::Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, "rbee")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| Fault::new(Code::Internal, "a request could not be built").cause(error))
}

/// Asks for one JSON value.
///
/// # Errors
/// `IO_ERROR` for a broken connection, `PROTOCOL_ERROR` for an answer that is no such value.
pub async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, Fault> {
    let request = request(http::Method::GET, path, Bytes::new())?;
    let reply = Connection::open(socket).await?.send(request).await?;
    let body = Limited::new(reply.response.into_body(), limits::MAX_MESSAGE_BYTES)
        .collect()
        .await
        .map_err(|error| Fault::new(Code::ProtocolError, "an answer broke off").cause(error))?;
    ndjson::decode(&body.to_bytes())
}

/// A stream of NDJSON values.
#[derive(Debug)]
pub struct Values<T> {
    body: Incoming,
    decoder: ndjson::Decoder,
    ready: VecDeque<T>,
    _driver: Driver,
}

impl<T: DeserializeOwned> Values<T> {
    /// Opens the stream at `path`.
    ///
    /// # Errors
    /// `IO_ERROR` for a broken connection, `PROTOCOL_ERROR` for a refusal.
    pub async fn open(socket: &Path, path: &str) -> Result<Self, Fault> {
        let request = request(http::Method::GET, path, Bytes::new())?;
        let reply = Connection::open(socket).await?.send(request).await?;
        if !reply.response.status().is_success() {
            return Err(Fault::new(Code::ProtocolError, "a worker refused its status stream"));
        }
        Ok(Self {
            body: reply.response.into_body(),
            decoder: ndjson::Decoder::default(),
            ready: VecDeque::new(),
            _driver: reply.driver,
        })
    }

    /// The next value; nothing when the stream is over, broken or malformed.
    pub async fn next(&mut self) -> Option<T> {
        loop {
            if let Some(value) = self.ready.pop_front() {
                return Some(value);
            }
            let frame = self.body.frame().await?.ok()?;
            let Ok(data) = frame.into_data() else { continue };
            let mut values = Vec::new();
            self.decoder.push(&data, &mut values).ok()?;
            self.ready.extend(values);
        }
    }
}

fn broken(error: &hyper::Error) -> Fault {
    Fault::new(Code::Io, "a connection to a worker broke").caused_by(error)
}
