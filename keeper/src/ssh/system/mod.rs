//! Connections that the person's own `ssh` makes, for what the builtin client cannot do: each shell
//! is a process of its own, with a connection of its own.
//!
//! Nothing is reached before the first shell: it reports what is wrong. `ssh` asks the person
//! itself, at their terminal; where nobody may be asked it runs in batch mode. Machines on the way
//! are connected to by an `ssh` of its own, which takes no `accept_new`: their host keys must be
//! recorded. An exit status of 255 is how `ssh` says that the connection ended, so a shell that
//! ends with it counts as lost.

mod complaint;
mod process;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::sleep;
use wire::text::shell_word;
use wire::{Code, Fault};

use super::address::Address;
use super::config::Around;
use super::connect::{Caller, Note};
use super::{Peer, Session, Shell, Stream};
use process::Start;

/// Pause before each attempt; as many as there are.
const PAUSES: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(200), Duration::from_millis(400)];
/// What is set whatever the configuration says: streams that are ours alone, and a connection whose
/// death is noticed. Each option is known since OpenSSH 7.6.
const OPTIONS: [&str; 9] = [
    "ControlMaster=no",
    "ControlPath=none",
    "ServerAliveInterval=3",
    "ServerAliveCountMax=8",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "Tunnel=no",
    // Its errors are read; a banner is none.
    "LogLevel=ERROR",
];

/// What a person would say too, to make the same connection.
const KEPT: [&str; 5] = ["-F", "-i", "-J", "-l", "-p"];

/// What is connected to.
#[derive(Debug, Clone)]
pub struct Target {
    /// The server.
    pub address: Address,
    /// A key file beside those of the configuration.
    pub identity: Option<PathBuf>,
    /// Machines to go through instead of the configured way.
    pub jump: Vec<Address>,
    /// Record a host key that nobody recorded, without a question.
    pub accept_new: bool,
    /// Whether somebody is at the terminal, so that `ssh` can ask.
    pub may_ask: bool,
}

/// Prepares connections to `target`.
///
/// # Errors
/// `INVALID_CONFIG` when there is no `ssh`.
pub fn connect(
    target: &Target,
    around: &Around,
    caller: &Caller,
) -> Result<Arc<dyn Session>, Fault> {
    let Some(program) = &around.program else {
        let fault = Fault::new(Code::InvalidConfig, "there is no `ssh` in PATH to connect with");
        return Err(fault.cause("ssh.client is \"system\"").hint("command -v ssh"));
    };
    let start = Start {
        program: program.clone(),
        arguments: arguments(target, around, caller.timings.ssh_connect),
        may_ask: target.may_ask,
        longest: caller.timings.ssh_connect.saturating_mul(2),
    };
    let peer = Peer { accepted: "by the system's ssh".to_owned(), ..Peer::default() };
    Ok(Arc::new(System { name: target.address.to_string(), start, caller: caller.clone(), peer }))
}

/// Everything after the program's name.
fn arguments(target: &Target, around: &Around, limit: Duration) -> Vec<OsString> {
    let mut all: Vec<OsString> = ["-T", "-a", "-x", "-e", "none"].map(OsString::from).to_vec();
    let mut add = |flag: &str, value: OsString| all.extend([flag.into(), value]);
    if let Some(config) = &around.config {
        add("-F", config.into());
    }
    for option in OPTIONS {
        add("-o", option.into());
    }
    // Where a person may be asked, their own configuration says whether they want to be.
    if !target.may_ask {
        add("-o", "BatchMode=yes".into());
    }
    // Whole seconds, of which zero would mean none.
    let seconds = limit.as_millis().div_ceil(1000).max(1);
    add("-o", format!("ConnectTimeout={seconds}").into());
    if target.accept_new {
        add("-o", "StrictHostKeyChecking=accept-new".into());
    }
    all.extend(place(target, around));
    all.push("/bin/sh".into());
    all
}

/// The words with which a person at a terminal goes to `target` with their own `ssh`, its name
/// first.
///
/// # Errors
/// `INVALID_CONFIG` when there is no `ssh`.
pub fn by_hand(target: &Target, around: &Around) -> Result<Vec<OsString>, Fault> {
    let Some(program) = &around.program else {
        let fault = Fault::new(Code::InvalidConfig, "there is no `ssh` in PATH to go there with");
        return Err(fault.hint("command -v ssh"));
    };
    let mut words = vec![program.clone().into_os_string()];
    if let Some(config) = &around.config {
        words.extend(["-F".into(), config.into()]);
    }
    words.extend(place(target, around));
    Ok(words)
}

/// Where to, and by which way.
fn place(target: &Target, around: &Around) -> Vec<OsString> {
    let mut all: Vec<OsString> = Vec::new();
    let mut add = |flag: &str, value: OsString| all.extend([flag.into(), value]);
    if let Some(identity) = &target.identity {
        add("-i", super::config::home(identity, around).into());
    }
    if !target.jump.is_empty() {
        let jumps: Vec<String> = target.jump.iter().map(jump_word).collect();
        add("-J", jumps.join(",").into());
    }
    if let Some(user) = target.address.user() {
        add("-l", user.into());
    }
    if let Some(port) = target.address.port() {
        add("-p", port.to_string().into());
    }
    all.extend(["--", target.address.host()].map(OsString::from));
    all
}

/// As `-J` wants it: a number of IPv6 needs its brackets without a port too.
fn jump_word(jump: &Address) -> String {
    let text = jump.to_string();
    if jump.port().is_some() || !jump.host().contains(':') {
        return text;
    }
    match jump.user() {
        Some(user) => format!("{user}@[{}]", jump.host()),
        None => format!("[{}]", jump.host()),
    }
}

/// A server that `ssh` connects to, once for each shell.
struct System {
    name: String,
    start: Start,
    caller: Caller,
    peer: Peer,
}

impl System {
    async fn start(&self) -> Result<Shell, Fault> {
        let of = PAUSES.len();
        let mut before: Option<Fault> = None;
        for (number, pause) in (1..).zip(PAUSES) {
            sleep(pause).await;
            let note = Note::Attempt { to: &self.name, number, of, after: before.as_ref() };
            (self.caller.told)(note);
            let fault = match self.start.run().await {
                Ok(shell) => return Ok(shell),
                Err(end) => complaint::fault(&self.name, &self.asked_by_hand(), &end),
            };
            tracing::warn!(host = self.name, number, why = fault.message, "no connection");
            if fault.code != Code::HiveUnreachable {
                return Err(fault.detail("attempts", number));
            }
            before = Some(fault);
        }
        let mut fault =
            before.unwrap_or_else(|| Fault::new(Code::HiveUnreachable, self.name.as_str()));
        fault.message = format!("{} ({of} attempts)", fault.message);
        Err(fault.detail("attempts", of))
    }

    /// The same connection as a person would try it: what follows `ssh` and a flag.
    fn asked_by_hand(&self) -> String {
        let words = &self.start.arguments;
        let mut line: Vec<String> = Vec::new();
        for pair in words.windows(2) {
            if let [flag, value] = pair
                && let Some(flag) = KEPT.iter().find(|kept| flag == *kept)
            {
                line.push(format!("{flag} {}", shell_word(&value.to_string_lossy())));
            }
        }
        let host = words.iter().skip_while(|word| *word != "--").nth(1);
        line.extend(host.map(|host| shell_word(&host.to_string_lossy())));
        format!("{} true", line.join(" "))
    }
}

impl Session for System {
    fn shell(&self) -> BoxFuture<'_, Result<Shell, Fault>> {
        Box::pin(self.start())
    }

    fn socket<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Stream, Fault>> {
        let message = format!("{}: the system's ssh opens no streams to sockets here", self.name);
        Box::pin(std::future::ready(Err(Fault::new(Code::HiveUnreachable, message))))
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Each shell has a connection of its own, so the next one may always work.
    fn is_closed(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
