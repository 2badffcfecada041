//! HTTP/1.1 on a unix socket that only this user can reach, with a bound on everything.

use std::fs::Permissions;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{CONNECTION, HeaderValue};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use wire::{Code, Fault, limits};

use super::reply::Refusal;

/// Bytes that one connection reads ahead: a header of the limit, or a piece of a body.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Headers of one message; our own have fewer than ten.
const MAX_HEADERS: usize = 64;
/// How long a connection may be idle, or take to send its headers. One that is in the middle of
/// an answer, such as a stream, is not idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two attempts to accept when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound socket. Its file is removed with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Binds `path`, which must not exist: a socket that is there may have a living owner. Its
    /// file appears with mode 0600 and takes connections from its first moment.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a path that no socket can have, else `IO_ERROR`.
    pub fn bind(path: &Path) -> Result<Self, Fault> {
        if path.as_os_str().len() > limits::MAX_SOCKET_PATH_BYTES {
            let message =
                format!("a socket's path has at most {} bytes", limits::MAX_SOCKET_PATH_BYTES);
            return Err(Fault::new(Code::InvalidArgument, message));
        }
        let listener = bind_whole(path).map_err(|error| {
            Fault::new(Code::Io, format!("cannot bind the socket {}", path.display())).cause(error)
        })?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Accepts connections of this user for ever and serves each of them with `router`.
    pub async fn serve(self, router: Router, line: Arc<Line>) {
        let own = rustix::process::geteuid().as_raw();
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) if !is_of(&stream, own) => {
                    tracing::warn!("refused a connection of another user");
                }
                Ok((stream, _)) => {
                    if let Some(ticket) = Ticket::admit(&line) {
                        tokio::spawn(converse(stream, router.clone(), ticket));
                    } else {
                        tracing::warn!("refused a connection over the limit");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// A file appears at `bind`, before its mode is set and before `listen`; so all of that happens
/// under another name. A link, unlike a rename, never replaces what is there.
fn bind_whole(path: &Path) -> io::Result<UnixListener> {
    let unfinished = path.with_extension("new");
    // Left behind by a process that was killed right here.
    let _ = std::fs::remove_file(&unfinished);
    let listener = UnixListener::bind(&unfinished)?;
    let linked = std::fs::set_permissions(&unfinished, Permissions::from_mode(0o600))
        .and_then(|()| std::fs::hard_link(&unfinished, path));
    std::fs::remove_file(&unfinished)?;
    linked.map(|()| listener)
}

impl Drop for Socket {
    fn drop(&mut self) {
        // It may be gone already: the directory's owner removes it too.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn is_of(stream: &UnixStream, uid: u32) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == uid)
}

/// What a socket and its owner tell each other: how many connections are open, and that it ends.
#[derive(Debug)]
pub struct Line {
    open: watch::Sender<usize>,
    /// Connections so far.
    total: watch::Sender<u64>,
    closing: watch::Sender<bool>,
}

impl Line {
    /// A line with no connection.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            open: watch::Sender::new(0),
            total: watch::Sender::new(0),
            closing: watch::Sender::new(false),
        })
    }

    /// How many connections are open; marked as changed whenever one comes or goes.
    pub fn connections(&self) -> watch::Receiver<usize> {
        self.open.subscribe()
    }

    /// Lets every connection finish what it has, and end. Waits until all have ended, at most
    /// `bound`; with `expects_a_reader`, also until the first has come.
    pub async fn close(&self, bound: Duration, expects_a_reader: bool) {
        self.closing.send_replace(true);
        let (mut open, mut total) = (self.open.subscribe(), self.total.subscribe());
        let (now, before) = (*open.borrow(), *total.borrow());
        let drained = async {
            if expects_a_reader && now == 0 {
                // By their total: one may come and go before this task runs again. An error is
                // impossible: `self` holds the sender.
                let _ = total.wait_for(|total| *total > before).await;
            }
            let _ = open.wait_for(|open| *open == 0).await;
        };
        let _ = tokio::time::timeout(bound, drained).await;
    }
}

/// One open connection.
struct Ticket(Arc<Line>);

impl Ticket {
    fn admit(line: &Arc<Line>) -> Option<Self> {
        let admitted = line.open.send_if_modified(|open| {
            let free = *open < limits::MAX_CONNECTIONS;
            *open += usize::from(free);
            free
        });
        if admitted {
            line.total.send_modify(|total| *total += 1);
        }
        admitted.then(|| Self(line.clone()))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open = open.saturating_sub(1));
    }
}

/// Serves one connection to its end.
async fn converse(stream: UnixStream, router: Router, ticket: Ticket) {
    let mut closing = ticket.0.closing.subscribe();
    let is_closing = closing.clone();
    let has_served = Arc::new(AtomicBool::new(false));
    let served = has_served.clone();
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: http::Request<Incoming>| {
        served.store(true, Ordering::Relaxed);
        let answer = answer(router.call(request));
        let is_closing = is_closing.clone();
        async move {
            let mut response = answer.await;
            if *is_closing.borrow() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_header_size(usize::try_from(limits::MAX_HEADER_BYTES).unwrap_or(READ_BUFFER_BYTES))
        .max_buf_size(READ_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // A peer that breaks off or breaks HTTP ends its own connection and nothing else.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = closing.wait_for(|closing| *closing) => {}
    }
    // A connection whose first request is still on its way gets its answer, and is closed by it.
    if has_served.load(Ordering::Relaxed) {
        connection.as_mut().graceful_shutdown();
    }
    let _ = connection.await;
}

/// The response, or `INTERNAL` when the handler panicked: one bad request ends nobody else's.
async fn answer<E>(response: impl Future<Output = Result<Response, E>>) -> Response {
    if let Ok(Ok(response)) = AssertUnwindSafe(response).catch_unwind().await {
        return response;
    }
    tracing::error!("a request handler panicked");
    Refusal(Fault::new(Code::Internal, "a defect of rbee ended this request")).into_response()
}

#[cfg(test)]
mod tests;
