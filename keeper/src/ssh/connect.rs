//! Making a connection: reach the server, check its host key, prove who the person is; a few
//! attempts for what may pass by itself.

use std::any::Any;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::BufReader;
use tokio::time::sleep;
use wire::text::{one_line, shell_word};
use wire::{Code, Fault, Timings};

use super::address::Address;
use super::auth::identities::Identities;
use super::auth::keyring::Keyring;
use super::auth::{Denied, Login, authenticate};
use super::client::carrier::{Carrier, Greeting};
use super::client::host::{Banners, Broken, Host, Learned, openssh};
use super::client::patience::{Clock, Deadline, Timed};
use super::client::reach::{self, Stderr, Unreached};
use super::client::{Connection, Shared, config};
use super::known_hosts::KnownHosts;
use super::person::{Nobody, Person};
use super::resolved::{Resolved, Way};
use super::{Peer, Session, Stream};

/// Pause before each attempt; as many as there are.
const PAUSES: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(200), Duration::from_millis(400)];
/// Bytes that are read ahead of the SSH library: two of the largest packets.
const READ_AHEAD_BYTES: usize = 64 * 1024;
/// Machines that a connection may go through, those of their own configurations included.
const MAX_HOPS: usize = 8;

/// What happens while a connection is made.
#[derive(Debug, Clone, Copy)]
pub enum Note<'a> {
    /// An attempt begins.
    Attempt {
        /// The server: `user@host:port`.
        to: &'a str,
        /// Which attempt, from 1.
        number: usize,
        /// How many there may be.
        of: usize,
        /// Why the one before failed.
        after: Option<&'a Fault>,
    },
    /// The server says something before it lets anybody in, one clean line at a time.
    Banner {
        /// The server: `user@host:port`.
        from: &'a str,
        /// What it says.
        line: &'a str,
    },
    /// Something did not work that the connection can do without.
    Warning(&'a str),
}

/// Who is told.
pub type Told = Arc<dyn Fn(Note<'_>) + Send + Sync>;

/// Finds out what counts for a machine on the way.
pub type Resolve =
    Arc<dyn Fn(Address) -> BoxFuture<'static, Result<Resolved, Fault>> + Send + Sync>;

/// Who makes connections, and how.
#[derive(Clone)]
pub struct Caller {
    /// Who is asked.
    pub person: Arc<dyn Person>,
    /// What they typed before; the same for all connections of a program.
    pub keyring: Arc<Keyring>,
    /// How machines on the way are resolved.
    pub resolve: Resolve,
    /// How long everything may take.
    pub timings: Timings,
    /// Who is told what happens.
    pub told: Told,
}

/// Makes a connection to the server of `to`.
///
/// # Errors
/// `HIVE_UNREACHABLE` when it does not answer, `HOST_KEY_UNKNOWN` or `HOST_KEY_CHANGED` for its
/// host key, `AUTH_FAILED` when it does not accept the person or a key file is not there,
/// `INVALID_CONFIG` for files of known hosts that cannot be read.
pub async fn connect(to: &Resolved, caller: &Caller) -> Result<Arc<dyn Session>, Fault> {
    let connection = open(to, caller, None, 0).await?;
    Ok(Arc::new(Shared(connection)))
}

/// Makes a connection, through `via` where there is one; `hops` machines are on the way already.
fn open<'a>(
    to: &'a Resolved,
    caller: &'a Caller,
    via: Option<Arc<Connection>>,
    hops: usize,
) -> BoxFuture<'a, Result<Arc<Connection>, Fault>> {
    Box::pin(async move {
        let name = name_of(to);
        if hops > MAX_HOPS {
            let message = format!("{name}: more than {MAX_HOPS} machines are on the way");
            return Err(Fault::new(Code::InvalidConfig, message)
                .cause("does one of them go through itself?")
                .hint(format!("ssh -G {} | grep -i proxyjump", shell_word(&to.host))));
        }
        let identities = Identities::read(to)?;
        let via = match (&via, &to.way) {
            (None, Way::Jumps(jumps)) => through(jumps, &name, caller, hops).await?,
            _ => via,
        };
        let to = Arc::new(to.clone());
        Opening { to, name, caller, identities, via }.run().await
    })
}

/// Connections to machines on the way, each through the one before.
async fn through(
    jumps: &[Address],
    name: &str,
    caller: &Caller,
    hops: usize,
) -> Result<Option<Arc<Connection>>, Fault> {
    let mut via = None;
    for (number, jump) in jumps.iter().enumerate() {
        let on_the_way = |mut fault: Fault| {
            fault.message = format!("on the way to {name}: {}", fault.message);
            fault
        };
        let resolved = (caller.resolve)(jump.clone()).await.map_err(on_the_way)?;
        let next = open(&resolved, caller, via.take(), hops + number + 1).await;
        via = Some(next.map_err(on_the_way)?);
    }
    Ok(via)
}

/// `user@host:port`, printable.
fn name_of(to: &Resolved) -> String {
    let (user, host, port) = (&to.user, &to.host, to.port);
    let text = if host.contains(':') {
        format!("{user}@[{host}]:{port}")
    } else {
        format!("{user}@{host}:{port}")
    };
    one_line(&text, 400)
}

/// Why an attempt failed, and whether the next one may fare better.
struct Miss {
    fault: Fault,
    may_pass: bool,
}

impl From<Fault> for Miss {
    fn from(fault: Fault) -> Self {
        Self { fault, may_pass: false }
    }
}

/// What an attempt runs over.
struct Reached {
    stream: Stream,
    keeps: Box<dyn Any + Send + Sync>,
    stderr: Option<Stderr>,
}

/// A connection in the making.
struct Opening<'a> {
    to: Arc<Resolved>,
    name: String,
    caller: &'a Caller,
    identities: Identities,
    via: Option<Arc<Connection>>,
}

impl Opening<'_> {
    async fn run(self) -> Result<Arc<Connection>, Fault> {
        let of = PAUSES.len();
        let mut before: Option<Fault> = None;
        for (number, pause) in (1..).zip(PAUSES) {
            sleep(pause).await;
            let note = Note::Attempt { to: &self.name, number, of, after: before.as_ref() };
            (self.caller.told)(note);
            let miss = match self.attempt().await {
                Ok(connection) => return Ok(Arc::new(connection)),
                Err(miss) => miss,
            };
            tracing::warn!(host = self.name, number, why = miss.fault.message, "no connection");
            if !miss.may_pass {
                return Err(miss.fault.detail("attempts", number));
            }
            before = Some(miss.fault);
        }
        let mut fault = before.unwrap_or_else(|| self.unreachable("does not answer"));
        fault.message = format!("{} ({of} attempts)", fault.message);
        Err(fault.detail("attempts", of))
    }

    fn limit(&self) -> Duration {
        let ours = self.caller.timings.ssh_connect;
        self.to.connect_timeout.map_or(ours, |theirs| theirs.min(ours))
    }

    /// `what` completes a sentence that begins with the server's name.
    fn unreachable(&self, what: &str) -> Fault {
        Fault::new(Code::HiveUnreachable, format!("{}: {what}", self.name))
            .detail("host", self.to.host.as_str())
            .detail("port", self.to.port)
    }

    fn may_pass(&self, what: &str) -> Miss {
        Miss { fault: self.unreachable(what).hint(openssh(&self.to, "-v ")), may_pass: true }
    }

    /// A miss of `what` within the bound of one attempt.
    fn too_slow(&self, what: &str) -> Miss {
        self.may_pass(&format!("{what} within {:?}", self.limit()))
    }

    async fn attempt(&self) -> Result<Connection, Miss> {
        let clock = Clock::default();
        let deadline = Deadline::new(clock.clone(), self.limit());
        // Read anew: an attempt before may have recorded the key that is shown.
        let known = Arc::new(KnownHosts::of(&self.to)?);
        let Some(reached) = deadline.within(self.reach()).await else {
            let Miss { fault, .. } = self.too_slow("nothing answers");
            return Err(Miss { fault: self.with_ping(fault), may_pass: true });
        };
        let Reached { stream, keeps, mut stderr } = reached?;
        let (carrier, greeting, cut) = Carrier::new(stream, keeps, self.caller.timings.dead);
        let person: Arc<dyn Person> =
            if self.to.batch { Arc::new(Nobody) } else { Arc::clone(&self.caller.person) };
        let person = Arc::new(Timed::new(person, clock.clone()));
        let learned = Arc::new(Learned::default());
        let host = Host {
            name: self.name.clone(),
            resolved: Arc::clone(&self.to),
            known: Arc::clone(&known),
            person: Arc::clone(&person),
            told: Arc::clone(&self.caller.told),
            learned: Arc::clone(&learned),
            banners: Banners::default(),
        };
        let config = Arc::new(config(&known, &self.caller.timings));
        // Each packet is read in two parts, its length first.
        let carrier = BufReader::with_capacity(READ_AHEAD_BYTES, carrier);
        let shaken = deadline.within(russh::client::connect_stream(config, carrier, host)).await;
        let mut handle = match shaken {
            Some(Ok(handle)) => handle,
            Some(Err(Broken::Refused(fault))) => return Err((*fault).into()),
            Some(Err(Broken::Ssh(error))) => {
                let miss = self.broken(&error, &greeting);
                return Err(with_stderr(miss, stderr.as_mut()).await);
            }
            None if greeting.is_empty() => {
                let miss = self.too_slow("it accepts connections, but says nothing");
                return Err(with_stderr(miss, stderr.as_mut()).await);
            }
            None => return Err(self.too_slow("it does not agree on keys")),
        };
        let login = Login {
            to: &self.to,
            identities: &self.identities,
            keyring: &self.caller.keyring,
            person: &person,
            clock: &clock,
            name: &self.name,
        };
        let accepted = match deadline.within(authenticate(&login, &mut handle)).await {
            Some(Ok(accepted)) => accepted,
            Some(Err(denied)) => return Err(self.denied(denied, &learned)),
            None => return Err(self.too_slow("it does not decide whom it lets in")),
        };
        let host_key = learned.host_key.get().cloned();
        let peer = Peer { host_key, accepted, server: greeting.version() };
        Ok(Connection::new(handle, self.name.clone(), peer, learned, cut))
    }

    async fn reach(&self) -> Result<Reached, Miss> {
        let (host, port) = (self.to.host.as_str(), self.to.port);
        if let Some(via) = &self.via {
            let stream = via.tcp(host, port).await.map_err(|fault| {
                let may_pass =
                    fault.details.get("refused").is_none_or(|why| why == "connect_failed");
                Miss { fault: fault.hint(openssh(&self.to, "-v ")), may_pass }
            })?;
            return Ok(Reached { stream, keeps: Box::new(Arc::clone(via)), stderr: None });
        }
        let reached = match &self.to.way {
            Way::Command(command) => reach::command(command)
                .map(|(stream, keeps, stderr)| Reached { stream, keeps, stderr: Some(stderr) }),
            Way::Direct | Way::Jumps(_) => reach::tcp(host, port).await.map(|stream| Reached {
                stream,
                keeps: Box::new(()),
                stderr: None,
            }),
        };
        reached.map_err(|unreached| self.unreached(unreached))
    }

    fn unreached(&self, unreached: Unreached) -> Miss {
        match unreached {
            Unreached::NoAddress(error) => {
                let fault = self.unreachable("the name is not known").cause(error);
                Miss { fault: self.with_ping(fault), may_pass: true }
            }
            Unreached::NoProgram(error) => {
                let fault = self.unreachable("the ProxyCommand cannot be started").cause(error);
                let hint = format!("ssh -G {} | grep -i proxy", shell_word(&self.to.host));
                fault.hint(hint).into()
            }
            Unreached::NoAnswer(all) => {
                let what = match all.last().map(|(_, error)| error.kind()) {
                    Some(ErrorKind::ConnectionRefused) => "the connection was refused",
                    Some(ErrorKind::TimedOut) => "nothing answers",
                    Some(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => {
                        "there is no route to it"
                    }
                    Some(ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted) => {
                        "the connection was reset"
                    }
                    _ => "it cannot be reached",
                };
                let mut fault = self.unreachable(what);
                for (address, error) in &all {
                    fault = fault.cause(format!("{}: {error}", address.ip()));
                }
                Miss { fault: self.with_ping(fault), may_pass: true }
            }
        }
    }

    fn with_ping(&self, fault: Fault) -> Fault {
        let is_seen_from_here = self.via.is_none() && self.to.way == Way::Direct;
        let ping = || format!("ping -c 3 {}", shell_word(&self.to.host));
        let fault = if is_seen_from_here { fault.hint(ping()) } else { fault };
        fault.hint(openssh(&self.to, "-v "))
    }

    /// The protocol ended before the keys were agreed on.
    fn broken(&self, error: &russh::Error, greeting: &Greeting) -> Miss {
        let is_ssh = !greeting.version().is_empty();
        if let russh::Error::NoCommonAlgo { kind, theirs, .. } = error {
            let what = format!("the server and rbee have no {kind:?} algorithm in common");
            let theirs = one_line(&theirs.join(", "), 400);
            let fault = self.unreachable(&what).cause(format!("the server has {theirs}"));
            return fault.hint(openssh(&self.to, "-vv ")).into();
        }
        match error {
            russh::Error::Disconnect | russh::Error::HUP | russh::Error::IO(_) => {
                let what = if greeting.is_empty() {
                    "the server closed the connection before it said anything"
                } else {
                    "the server closed the connection before keys were agreed on"
                };
                let Miss { fault, may_pass } = self.may_pass(what);
                Miss { fault: fault.cause(error), may_pass }
            }
            russh::Error::Version if !is_ssh => {
                let fault = self.unreachable("what answers there is not an SSH server");
                let fault = fault.cause(format!("it says: {}", greeting.first_line()));
                fault.hint(openssh(&self.to, "-v ")).into()
            }
            _ => {
                let fault = self.unreachable("the server breaks the SSH protocol").cause(error);
                fault.hint(openssh(&self.to, "-v ")).into()
            }
        }
    }

    fn denied(&self, denied: Denied, learned: &Learned) -> Miss {
        let why = learned.end.get();
        let with_why = |fault: Fault| match why {
            Some(why) => fault.cause(format!("its reason: {why}")),
            None => fault,
        };
        match denied {
            Denied::Refused(fault) => fault.into(),
            Denied::Lost { failures: 0, .. } => {
                let miss = self.may_pass("the server closed the connection before it let us in");
                Miss { fault: with_why(miss.fault), ..miss }
            }
            Denied::Lost { fault, .. } => with_why(fault).into(),
        }
    }
}

/// Adds what a `ProxyCommand` says about it.
async fn with_stderr(miss: Miss, stderr: Option<&mut Stderr>) -> Miss {
    let Some(stderr) = stderr else { return miss };
    let text = stderr.text().await;
    let mut fault = miss.fault.cause("the way there is a ProxyCommand");
    for line in text.lines().filter(|line| !line.trim().is_empty()).take(4) {
        fault = fault.cause(one_line(line.trim_end(), 300));
    }
    Miss { fault, ..miss }
}
