//! Serves the routes on the unix socket: one task a connection, bounded in number and in windows.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wire::{Timings, limits};

use super::socket::Socket;
use super::voice;
use crate::executor::Handle;
use crate::platform;
use crate::supervisor::{Client, Input};

/// How long a client may take to send its request's head.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long connections may take to end when the agent does.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long a connection that finds no descriptor left is spoken with.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// Before another try, when the system is out of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Binds the socket. The caller holds the agent's lock, so what lies there is stale.
///
/// # Errors
/// Whatever the operating system refuses.
pub fn bind(socket: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// How a connection of which nobody hears the end is noticed: the SSH server of a hive keeps its
/// side open for long after the link was cut.
#[derive(Debug, Clone, Copy)]
struct Pulse {
    /// Silence after which the keeper is asked for a sign of life.
    interval: Duration,
    /// Silence after which it is gone. Any byte of it breaks the silence: on a slow line the
    /// question waits behind what it is sent, and a keeper gives signs of life unasked.
    patience: Duration,
}

impl Pulse {
    fn of(timings: &Timings) -> Self {
        let interval = timings.heartbeat.min(timings.stale / 3);
        Self { interval, patience: timings.stale }
    }
}

/// Serves until the agent ends, and then until open exchanges have had their time.
pub async fn serve(listener: UnixListener, router: Router, handle: Handle, timings: &Timings) {
    let pulse = Pulse::of(timings);
    let free = Arc::new(Semaphore::new(limits::MAX_CONNECTIONS));
    let mut closing = handle.closing();
    let mut connections = JoinSet::new();
    let mut spare = Spare::open();
    let mut clients = (1..).map(Client);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = connections.join_next() => continue,
            _closing = closing.wait_for(|closing| *closing) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                if platform::is_out_of_descriptors(&error) {
                    spare.refuse(&listener, &handle, pulse).await;
                }
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        if !is_own_user(&stream) {
            tracing::warn!("a connection of another user was closed");
            continue;
        }
        // One too many is closed at once: its client sees that, and those who are here stay.
        let Ok(permit) = Arc::clone(&free).try_acquire_owned() else { continue };
        let (router, handle) = (router.clone(), handle.clone());
        let client = clients.next().unwrap_or_default();
        connections.spawn(async move {
            handle.tell(Input::Connected).await;
            connection(stream, (router, client), &handle, pulse).await;
            handle.tell(Input::Disconnected).await;
            drop(permit);
        });
    }
    let goodbye = async { while connections.join_next().await.is_some() {} };
    // Whoever does not end in time is cut off when the set is dropped.
    let _late = tokio::time::timeout(GOODBYE, goodbye).await;
}

/// A descriptor that is held for the moment when there is no other: whoever connects then is told
/// so, instead of being left to wait.
struct Spare(Option<std::fs::File>);

impl Spare {
    fn open() -> Self {
        Self(std::fs::File::open("/dev/null").ok())
    }

    /// Gives the descriptor to the next connection, refuses what it asks, and takes it back.
    async fn refuse(&mut self, listener: &UnixListener, handle: &Handle, pulse: Pulse) {
        if self.0.take().is_some() {
            let refusing = async {
                let (stream, _) = listener.accept().await?;
                if is_own_user(&stream) {
                    connection(stream, (super::refusing(), Client::default()), handle, pulse).await;
                }
                io::Result::Ok(())
            };
            // Whoever was quicker has the descriptor; there will be another.
            let _late = tokio::time::timeout(REFUSAL_TIME, refusing).await;
        }
        *self = Self::open();
    }
}

fn is_own_user(stream: &UnixStream) -> bool {
    let own = rustix::process::getuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own)
}

async fn connection(
    stream: UnixStream,
    (router, client): (Router, Client),
    handle: &Handle,
    pulse: Pulse,
) {
    // Whoever connects and says nothing must not keep a place.
    if !matches!(tokio::time::timeout(HEAD_TIME, stream.readable()).await, Ok(Ok(()))) {
        return;
    }
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(usize::try_from(limits::MAX_HEADER_BYTES).unwrap_or(usize::MAX))
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(pulse.interval)
        .keep_alive_timeout(Duration::from_millis(limits::MAX_WAIT_MS))
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(limits::MAX_STREAMS)
        .max_header_list_size(limits::MAX_HEADER_BYTES);
    // Refused only where the system is out of something: its client sees the end.
    let Ok(socket) = Socket::new(stream) else { return };
    let (stream, ear) = voice::listen(socket);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(client);
        router.call(request)
    });
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let mut closing = handle.closing();
    tokio::select! {
        () = ear.until_gone(HEAD_TIME, pulse.patience) => {
            tracing::info!("a client that said nothing any more was let go");
            return;
        }
        ended = serving.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended with an error");
            }
            return;
        }
        _closing = closing.wait_for(|closing| *closing) => {}
    }
    serving.as_mut().graceful_shutdown();
    let _cut = serving.await;
}
