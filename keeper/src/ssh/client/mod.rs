//! A connection by the client that is part of this program.

pub mod carrier;
pub mod channel;
pub mod host;
pub mod patience;
pub mod reach;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use russh::client::{Config, Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelOpenFailure, Disconnect, SshId};
use tokio::time::timeout;
use wire::{Code, Fault, Timings};

use self::carrier::Cut;
use self::channel::{program, stream};
use self::host::{Host, Learned, preferred};
use crate::ssh::known_hosts::KnownHosts;
use crate::ssh::{Peer, Session, Shell, Stream};

/// Bytes that may be on their way to us on one channel: 1 Gbit/s at a round trip of 64 ms.
const WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// How long a server may take to notice that we leave.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a connection offers and how it watches its server.
pub fn config(known: &KnownHosts, timings: &Timings) -> Config {
    Config {
        client_id: SshId::Standard(Cow::Borrowed(concat!(
            "SSH-2.0-rbee_",
            env!("CARGO_PKG_VERSION")
        ))),
        window_size: WINDOW_BYTES,
        preferred: preferred(known),
        keepalive_interval: Some(timings.heartbeat),
        keepalive_max: keepalives(timings),
        nodelay: true,
        ..Config::default()
    }
}

/// Unanswered keepalives after which a connection is lost; the next one would be sent then: it is
/// known just before [`Timings::dead`].
fn keepalives(timings: &Timings) -> usize {
    let heartbeat = timings.heartbeat.as_millis().max(1);
    let within = timings.dead.as_millis() / heartbeat;
    usize::try_from(within).unwrap_or(usize::MAX).saturating_sub(2).max(1)
}

/// One authenticated connection. It is closed when it and all its streams are dropped.
pub struct Connection {
    handle: Arc<Handle<Host>>,
    /// How it is called in messages: `user@host:port`.
    name: String,
    peer: Peer,
    learned: Arc<Learned>,
    cut: Option<Cut>,
}

impl Connection {
    /// The connection of an authenticated `handle`.
    pub fn new(
        handle: Handle<Host>,
        name: String,
        peer: Peer,
        learned: Arc<Learned>,
        cut: Cut,
    ) -> Self {
        Self { handle: Arc::new(handle), name, peer, learned, cut: Some(cut) }
    }

    /// Opens a stream to a TCP port that the server can reach (`direct-tcpip`).
    ///
    /// # Errors
    /// `HIVE_UNREACHABLE` when the server does not forward, or cannot reach it.
    pub async fn tcp(self: &Arc<Self>, host: &str, port: u16) -> Result<Stream, Fault> {
        // The originator is for the server's log alone (RFC 4254, section 7.2).
        let channel =
            self.handle.channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0).await;
        let what = format!("a connection to {host}:{port}");
        let channel = channel.map_err(|error| self.not_opened(&what, &error))?;
        Ok(Box::new(stream(channel.split(), Arc::clone(self))))
    }

    fn not_opened(&self, what: &str, error: &russh::Error) -> Fault {
        let russh::Error::ChannelOpenFailure(reason) = error else { return self.lost() };
        let (word, why) = match reason {
            ChannelOpenFailure::AdministrativelyProhibited => {
                ("prohibited", "its configuration forbids it")
            }
            ChannelOpenFailure::ConnectFailed => {
                ("connect_failed", "nothing answers there, or its configuration forbids it")
            }
            ChannelOpenFailure::UnknownChannelType => {
                ("unknown_channel_type", "it does not know how")
            }
            _ => ("resource_shortage", "it has no room for more"),
        };
        let message = format!("{}: the server does not open {what}: {why}", self.name);
        Fault::new(Code::HiveUnreachable, message).detail("refused", word)
    }

    fn lost(&self) -> Fault {
        let message = format!("{}: the SSH connection was lost", self.name);
        let fault = Fault::new(Code::HiveUnreachable, message);
        match self.learned.end.get() {
            Some(why) => fault.cause(why),
            None => fault,
        }
    }

    async fn exec(self: Arc<Self>) -> Result<Shell, Fault> {
        let opened = self.handle.channel_open_session().await;
        let channel = opened.map_err(|error| self.not_opened("a session", &error))?;
        let (mut from, to) = channel.split();
        to.exec(true, "/bin/sh").await.map_err(|_| self.lost())?;
        loop {
            match from.wait().await {
                Some(ChannelMsg::Success) => break,
                Some(ChannelMsg::Failure | ChannelMsg::Close) => {
                    let message = format!("{}: the server does not run /bin/sh", self.name);
                    return Err(Fault::new(Code::HiveUnreachable, message)
                        .cause("it accepts this user, but executes nothing for them")
                        .detail("refused", "exec"));
                }
                Some(_) => {}
                None => return Err(self.lost()),
            }
        }
        let parts = program((from, to), self);
        Ok(Shell {
            input: Box::pin(parts.input),
            output: Box::pin(parts.output),
            errors: Box::pin(parts.errors),
            ended: parts.ended,
        })
    }

    async fn streamlocal(self: Arc<Self>, path: &str) -> Result<Stream, Fault> {
        let opened: Result<Channel<Msg>, _> =
            self.handle.channel_open_direct_streamlocal(path).await;
        let channel = opened.map_err(|error| self.not_opened(&format!("{path:?}"), &error))?;
        Ok(Box::new(stream(channel.split(), self)))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let (handle, cut) = (Arc::clone(&self.handle), self.cut.take());
        // Without a runtime nothing can be sent any more, and nothing runs that could be left.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let Some(mut cut) = cut else { return };
            let farewell = async {
                let _ = handle.disconnect(Disconnect::ByApplication, "", "").await;
                cut.gone().await;
            };
            let _ = timeout(FAREWELL, farewell).await;
        });
    }
}

/// A connection to share: its streams keep it alive.
pub struct Shared(pub Arc<Connection>);

impl Session for Shared {
    fn shell(&self) -> BoxFuture<'_, Result<Shell, Fault>> {
        Box::pin(Arc::clone(&self.0).exec())
    }

    fn socket<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Stream, Fault>> {
        Box::pin(Arc::clone(&self.0).streamlocal(path))
    }

    fn peer(&self) -> &Peer {
        &self.0.peer
    }

    fn is_closed(&self) -> bool {
        self.0.handle.is_closed()
    }
}
