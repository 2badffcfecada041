//! Asking an engine to end, over its own socket.

use std::path::Path;

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use wire::routes;

/// Why an engine could not be asked; the ladder's next step follows at once.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Its socket is not there, or takes no connection.
    #[error("the engine's socket does not answer")]
    Socket(#[from] std::io::Error),
    /// It broke off, or does not speak HTTP.
    #[error("the engine broke off")]
    Http(#[from] hyper::Error),
    /// The request could not be built.
    #[error("the request could not be built")]
    Request(#[from] http::Error),
    /// It refused.
    #[error("the engine answered {0}")]
    Refused(StatusCode),
}

/// Asks the engine on `socket` to end without waiting for its requests.
///
/// # Errors
/// Everything but a successful answer. An engine that ends before it answers counts as `Http`.
pub async fn ask(socket: &Path) -> Result<(), AskError> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(routes::STOP)
        .header(HOST, "worker")
        .body(Full::new(Bytes::from_static(b"{\"drain_ms\":0}")))?;
    let answer = async { sender.send_request(request).await };
    let mut connection = std::pin::pin!(connection);
    let response = tokio::select! {
        response = answer => response?,
        broken = &mut connection => {
            broken?;
            return Ok(());
        }
    };
    match response.status() {
        status if status.is_success() => Ok(()),
        status => Err(AskError::Refused(status)),
    }
}
