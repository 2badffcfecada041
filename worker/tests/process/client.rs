//! A small HTTP client on unix sockets, as an agent has one.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use wire::fault::ErrorEnvelope;
use wire::generate::Chunk;
use wire::{Fault, ndjson, sse};

/// No single answer takes this long, on any machine.
const ANSWER_BOUND: Duration = Duration::from_secs(30);

/// One connection with one request on it. Dropping it closes the connection.
pub struct Exchange {
    response: Response<Incoming>,
    connection: JoinHandle<()>,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Exchange {
    /// Sends `request` on a new connection to `socket` and waits for the answer's head.
    pub async fn send(socket: &Path, request: Request<Full<Bytes>>) -> Result<Self, hyper::Error> {
        let stream = UnixStream::connect(socket).await.expect("the socket takes connections");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        let response = sender.send_request(request);
        let response = tokio::time::timeout(ANSWER_BOUND, response).await.expect("an answer")?;
        Ok(Self { response, connection })
    }

    pub async fn get(socket: &Path, route: &str) -> Self {
        let request = Request::get(route).header("host", "x").body(Full::default()).unwrap();
        Self::send(socket, request).await.unwrap()
    }

    pub async fn post(socket: &Path, route: &str, body: impl Into<Bytes>) -> Self {
        Self::send(socket, post(route, body)).await.unwrap()
    }

    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The next bytes of the body, or `None` at its end.
    pub async fn bytes(&mut self) -> Option<Bytes> {
        let frame = tokio::time::timeout(ANSWER_BOUND, self.response.frame()).await;
        let frame = frame.expect("the next bytes of the body")?;
        Some(frame.expect("the body is whole").into_data().unwrap())
    }

    pub async fn json<T: DeserializeOwned>(mut self) -> T {
        let mut all = Vec::new();
        while let Some(bytes) = self.bytes().await {
            all.extend_from_slice(&bytes);
        }
        serde_json::from_slice(&all).expect("the answer is the expected JSON")
    }

    /// The fault of a refused request.
    pub async fn fault(self) -> Fault {
        let status = self.status();
        let ErrorEnvelope { error } = self.json().await;
        assert_eq!(status.as_u16(), error.code.http_status());
        error
    }

    pub fn lines(self) -> Lines {
        Lines { exchange: self, decoder: ndjson::Decoder::default() }
    }

    pub fn events(self) -> Events {
        Events { exchange: self, decoder: sse::Decoder::default(), waiting: Vec::new() }
    }
}

/// A request with a JSON body.
pub fn post(route: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder()
        .method(Method::POST)
        .uri(route)
        .header("host", "x")
        .body(Full::new(body.into()))
        .unwrap()
}

/// An NDJSON stream.
pub struct Lines {
    exchange: Exchange,
    decoder: ndjson::Decoder,
}

impl Lines {
    /// The values that come next together, or `None` at the stream's end.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Option<Vec<T>> {
        let bytes = self.exchange.bytes().await?;
        let mut values = Vec::new();
        self.decoder.push(&bytes, &mut values).unwrap();
        Some(values)
    }

    /// The first value that `wanted` accepts; the stream must not end before.
    pub async fn until<T: DeserializeOwned>(
        &mut self,
        name: &str,
        wanted: impl Fn(&T) -> bool,
    ) -> T {
        loop {
            let Some(values) = self.next::<T>().await else { panic!("no line: {name}") };
            if let Some(value) = values.into_iter().find(&wanted) {
                return value;
            }
        }
    }
}

/// A generation stream.
pub struct Events {
    exchange: Exchange,
    decoder: sse::Decoder,
    waiting: Vec<sse::Item<Chunk>>,
}

impl Events {
    pub async fn next(&mut self) -> Option<sse::Item<Chunk>> {
        while self.waiting.is_empty() {
            let bytes = self.exchange.bytes().await?;
            self.decoder.push(&bytes, &mut self.waiting).unwrap();
        }
        Some(self.waiting.remove(0))
    }

    pub async fn all(mut self) -> Vec<sse::Item<Chunk>> {
        let mut items = Vec::new();
        while let Some(item) = self.next().await {
            items.push(item);
        }
        items
    }
}
