//! SSH: one authenticated connection to a machine, whichever client makes it.
//!
//! Knows nothing of rbee: what is done over a connection is decided in `bootstrap` and `link`.

pub mod address;
pub mod auth;
pub mod client;
pub mod config;
pub mod connect;
pub mod known_hosts;
pub mod person;
pub mod resolved;
pub mod system;
pub mod terminal;

use std::pin::Pin;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use wire::Fault;

/// Both directions of a byte stream.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A byte stream of a connection. Whoever holds it must keep reading: an unread stream may stall
/// every other one of its connection.
pub type Stream = Box<dyn Duplex>;

/// How a shell on the other machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with its exit status.
    Exit(u32),
    /// By a signal, named without `SIG` (RFC 4254, section 6.10).
    Signal(String),
    /// The connection ended first.
    Lost,
}

/// A shell that runs on the other machine. Dropping it closes its channel.
pub struct Shell {
    /// Its standard input. Shutting it down is its end of file.
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
    /// Its standard output.
    pub output: Pin<Box<dyn AsyncRead + Send>>,
    /// Its standard error.
    pub errors: Pin<Box<dyn AsyncRead + Send>>,
    /// Resolves when it ended; needs no polling while the streams are read.
    pub ended: BoxFuture<'static, Ended>,
}

/// One authenticated connection.
pub trait Session: Send + Sync {
    /// Starts `/bin/sh` there, which reads its script from its standard input. Nothing else is ever
    /// executed: a login shell of any kind passes these two words on unchanged.
    ///
    /// # Errors
    /// `HIVE_UNREACHABLE` when the connection is lost or the server opens no session.
    fn shell(&self) -> BoxFuture<'_, Result<Shell, Fault>>;

    /// Opens a stream to a unix socket there (`direct-streamlocal@openssh.com`).
    ///
    /// # Errors
    /// `HIVE_UNREACHABLE` when the server does not forward, or nothing listens there.
    fn socket<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Stream, Fault>>;

    /// What is known of the other side.
    fn peer(&self) -> &Peer;

    /// Whether the connection was lost.
    fn is_closed(&self) -> bool;
}

/// What is known of the other side of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peer {
    /// Its host key, as `SHA256:…`; none when the system's `ssh` checked it.
    pub host_key: Option<String>,
    /// How it accepted this user, for a person: `publickey SHA256:… (agent)`, `password`.
    pub accepted: String,
    /// The server's version line, made printable.
    pub server: String,
}
