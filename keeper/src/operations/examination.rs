//! The way to a hive, checked step by step.

use std::sync::Arc;
use std::time::Instant;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use wire::doctor::{Check, Verdict};
use wire::text::shell_word;
use wire::{Code, Fault, HiveName};

use super::{checks, latency, machine, shell};
use crate::bootstrap::probe::{Ground, Installed, Seen, Takes};
use crate::bootstrap::{Host, Witness, bundle};
use crate::config::HiveSettings;
use crate::context::Context;
use crate::hives::seen;
use crate::link::remote::Remote;
use crate::link::{self, Transport};
use crate::output::clock::duration;
use crate::ssh::config::resolve;
use crate::ssh::resolved::{Resolved, Way};

/// Free disk below which somebody should look: less than another build needs.
const LITTLE_DISK_BYTES: u64 = 256 * 1024 * 1024;
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// The steps of the way, in their order.
const STEPS: [&str; 10] = [
    "ssh configuration",
    "name",
    "TCP connection",
    "host key",
    "identity",
    "shell",
    "machine",
    "directories",
    "installed build",
    "agent",
];

/// One hive under examination.
struct Examination<'a> {
    context: &'a Context,
    settings: &'a HiveSettings,
    remote: &'a Remote,
    checks: Vec<Check>,
}

/// Everything that can be seen of a hive; what comes after a step that failed is named as not
/// reached. Nothing is installed or started, on this machine alone the agent is.
///
/// The connection is one of its own: another one that is open says nothing of the way.
pub async fn of(hive: &HiveName, context: &Context, witness: Arc<dyn Witness>) -> Vec<Check> {
    let Some(settings) = context.config.hives.get(hive) else {
        return checks::here(context).await;
    };
    let remote = context.dialer.remote(hive, settings, false, witness);
    let mut examination = Examination { context, settings, remote: &remote, checks: Vec::new() };
    if let Err(fault) = examination.walk().await {
        let at = STEPS.get(examination.steps_done()).copied().unwrap_or("agent");
        examination.checks.push(checks::failed(at, fault));
    }
    for step in STEPS.iter().skip(examination.steps_done()) {
        examination.checks.push(checks::check(step, Verdict::Unknown, "not reached"));
    }
    examination.checks
}

impl Examination<'_> {
    /// How many of [`STEPS`] have been told.
    fn steps_done(&self) -> usize {
        STEPS.iter().filter(|step| self.checks.iter().any(|check| check.name == **step)).count()
    }

    fn tell(&mut self, name: &str, verdict: Verdict, seen: impl Into<String>) {
        self.checks.push(checks::check(name, verdict, seen));
    }

    async fn walk(&mut self) -> Result<(), Fault> {
        let resolved = resolved(self.context, self.settings).await?;
        self.tell("ssh configuration", Verdict::Ok, way_of(&resolved));
        self.reach(&resolved).await?;
        let host = self.remote.host().await?;
        let peer = host.session.peer().clone();
        let key = peer.host_key.unwrap_or_else(|| "checked by ssh".to_owned());
        let server =
            if peer.server.is_empty() { String::new() } else { format!(", {}", peer.server) };
        self.tell("host key", Verdict::Ok, format!("{key}{server}"));
        self.tell("identity", Verdict::Ok, peer.accepted);
        let check = shell::check(&host).await?;
        self.checks.push(check);
        let seen = self.remote.probe().await?;
        seen::note(&self.context.environment.dirs.state, self.remote.hive());
        self.look_at(&host, &seen).await?;
        self.ask_the_agent().await
    }

    /// The name and the first packet, as far as this machine makes the connection itself.
    async fn reach(&mut self, to: &Resolved) -> Result<(), Fault> {
        if to.way != Way::Direct {
            self.tell("name", Verdict::Ok, "resolved on the way there");
            self.tell("TCP connection", Verdict::Ok, "made on the way there");
            return Ok(());
        }
        let bound = self.context.config.timings.ssh_connect;
        let late = |what: &str| {
            Fault::new(Code::HiveUnreachable, format!("{what} within {}", duration(bound)))
        };
        let began = Instant::now();
        let found = timeout(bound, lookup_host((to.host.as_str(), to.port))).await;
        let addresses: Vec<_> = match found.map_err(|_late| late("no answer"))? {
            Ok(addresses) => addresses.take(MAX_ADDRESSES).collect(),
            Err(error) => {
                let message = format!("{} is no name that can be resolved", to.host);
                let hint = format!("getent hosts {}", shell_word(&to.host));
                return Err(Fault::new(Code::HiveUnreachable, message).cause(error).hint(hint));
            }
        };
        let numbers: Vec<String> = addresses.iter().map(|at| at.ip().to_string()).collect();
        let seen = format!("{} ({})", numbers.join(", "), duration(began.elapsed()));
        self.tell("name", Verdict::Ok, seen);
        let began = Instant::now();
        let connected = timeout(bound, TcpStream::connect(addresses.as_slice())).await;
        let hint = format!("nc -vz {} {}", shell_word(&to.host), to.port);
        match connected {
            Ok(Ok(stream)) => {
                let at = stream.peer_addr().map(|at| at.to_string()).unwrap_or_default();
                let seen = format!("{at} accepts ({})", duration(began.elapsed()));
                self.tell("TCP connection", Verdict::Ok, seen);
                Ok(())
            }
            Ok(Err(error)) => {
                let message = format!("port {} does not accept", to.port);
                Err(Fault::new(Code::HiveUnreachable, message).cause(error).hint(hint))
            }
            Err(_late) => Err(late("no connection").hint(hint)),
        }
    }

    /// System, library, directories and the installed program.
    async fn look_at(&mut self, host: &Host, seen: &Seen) -> Result<(), Fault> {
        let data = self.context.environment.dirs.data.clone();
        let build = self.context.build.clone();
        let ours = build.clone();
        let candidates = tokio::task::spawn_blocking(move || bundle::candidates(&data, &ours));
        let candidates = candidates.await.map_err(|error| {
            Fault::new(Code::Internal, "the bundles cannot be looked at").cause(error)
        })??;
        let fit = bundle::choose(host, seen, &candidates)?;
        let gpu = machine::gpu(seen).map(|gpu| format!(", {gpu}")).unwrap_or_default();
        let words = format!(
            "{}, {}{gpu}; the build for {} fits",
            machine::system(seen),
            machine::libc(seen),
            fit.target
        );
        self.tell("machine", Verdict::Ok, words);
        let (place, ground) = seen.place(host)?;
        self.directories(host, machine::place(place), ground);
        let installed = ground.program(&build, &fit.target);
        self.checks.push(program(host, installed, ground, &fit.target));
        Ok(())
    }

    fn directories(&mut self, host: &Host, place: &str, ground: &Ground) {
        let little = machine::free_bytes(ground).is_some_and(|free| free < LITTLE_DISK_BYTES);
        let verdict = match ground.takes {
            Takes::Programs if !little => Verdict::Ok,
            Takes::Full => Verdict::Failed,
            _ => Verdict::Warning,
        };
        let (takes, free) = (machine::takes(ground.takes), machine::free(ground));
        let seen = format!("{} {takes}, {free}; {place}", ground.data);
        let check = checks::check("directories", verdict, seen);
        let hint = self.context.on(&host.hive, &format!("df -h {}", shell_word(&ground.data)));
        let is_ok = verdict == Verdict::Ok;
        self.checks.push(if is_ok { check } else { checks::hinted(check, hint) });
    }

    /// The agent, when one runs, and what it says of itself.
    async fn ask_the_agent(&mut self) -> Result<(), Fault> {
        let hive = self.remote.hive();
        let timings = &self.context.config.timings;
        let Some((client, mut events)) = link::reach_running(self.remote, timings).await? else {
            let seen = "none runs, so nothing of rbee runs there; commands start it";
            self.tell("agent", Verdict::Ok, seen);
            return Ok(());
        };
        let hello = events.snapshot().await?.hello;
        let seen = format!("build {}, process {}", hello.build, hello.pid);
        self.checks.push(if hello.build == self.context.build {
            checks::check("agent", Verdict::Ok, seen)
        } else {
            let seen = format!("{seen}; this program is build {}", self.context.build);
            let check = checks::check("agent", Verdict::Warning, seen);
            checks::hinted(check, format!("rbee hive install {hive}"))
        });
        let trip = latency::measure(&client).await?;
        let verdict = if trip > latency::SLOW { Verdict::Warning } else { Verdict::Ok };
        self.tell("round trip", verdict, duration(trip));
        self.checks.extend(client.doctor().await?.into_iter().map(|mut check| {
            check.hint = check.hint.map(|hint| from_here(hive, &hint, self.context));
            check
        }));
        Ok(())
    }
}

/// What an agent says to do, as it is typed here: rbee itself is in no PATH there.
fn from_here(hive: &HiveName, hint: &str, context: &Context) -> String {
    let command = hint.split("  #").next().unwrap_or(hint);
    if !command.starts_with("rbee ") {
        return context.on(hive, hint);
    }
    if command.starts_with("rbee config ") {
        return format!("# on {hive}: {hint}");
    }
    hint.replacen(command, &format!("{command} --hive {hive}"), 1)
}

/// What counts for the connection to a hive.
///
/// # Errors
/// `INVALID_CONFIG` for an ssh configuration that cannot be used.
pub async fn resolved(context: &Context, hive: &HiveSettings) -> Result<Resolved, Fault> {
    let around = &context.environment.ssh;
    resolve(around, &hive.address, hive.identity.as_deref(), &hive.jump).await
}

/// The connection in words.
fn way_of(to: &Resolved) -> String {
    let way = match &to.way {
        Way::Direct => String::new(),
        Way::Jumps(jumps) => {
            let jumps: Vec<String> = jumps.iter().map(ToString::to_string).collect();
            format!(" through {}", jumps.join(", "))
        }
        Way::Command(_) => " through a ProxyCommand".to_owned(),
    };
    let host = if to.host.contains(':') { format!("[{}]", to.host) } else { to.host.clone() };
    format!("{}@{host}:{}{way}", to.user, to.port)
}

/// Whether the installed program is what was sent there.
fn program(host: &Host, installed: Option<&Installed>, ground: &Ground, target: &str) -> Check {
    const NAME: &str = "installed build";
    let hint = format!("rbee hive install {}", host.hive);
    match installed {
        Some(Installed { recorded: Some(recorded), real: Some(real), .. }) if recorded == real => {
            let seen = format!("{target} in {}, its SHA-256 is right", ground.data);
            checks::check(NAME, Verdict::Ok, seen)
        }
        Some(Installed { real: None, .. }) => {
            checks::check(NAME, Verdict::Warning, "its SHA-256 cannot be computed there")
        }
        Some(_) => {
            let check = checks::check(NAME, Verdict::Failed, "it is not what was installed");
            checks::hinted(check, hint)
        }
        None => {
            let seen = "this build is not there yet; commands install it";
            checks::check(NAME, Verdict::Ok, seen)
        }
    }
}
