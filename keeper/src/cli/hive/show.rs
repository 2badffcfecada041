//! `rbee hive show`: everything that is known of one hive.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use wire::event::{Snapshot, Warning};
use wire::worker::WorkerInfo;
use wire::{BuildId, Fault, HiveName, text};

use super::device::DeviceRow;
use super::each::known;
use super::list::State;
use super::uptime::{self, Uptime};
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::hives::seen;
use crate::link::{self, Transport};
use crate::operations::{examination, latency, machine};
use crate::output::clock::duration;
use crate::output::progress::bytes;
use crate::output::style::Style;

/// Bytes of one line.
const MAX_LINE_BYTES: usize = 1024;

/// Show everything about one hive.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which hive. This machine is `local`.
    #[arg(value_name = "NAME")]
    hive: HiveName,
    /// Write a JSON object.
    #[arg(long)]
    pub json: bool,
}

/// A hive. What is not known is absent.
#[derive(Debug, Default, Serialize)]
struct Shown {
    name: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh: Option<Ssh>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<Machine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<Agent>,
    devices: Vec<DeviceRow>,
    workers: Vec<WorkerInfo>,
    warnings: Vec<Warning>,
    paths: Paths,
}

/// How it is reached.
#[derive(Debug, Serialize)]
struct Ssh {
    address: String,
    host: String,
    user: String,
    port: u16,
    host_key: Option<String>,
    accepted: String,
    server: String,
}

/// What it is.
#[derive(Debug, Serialize)]
struct Machine {
    system: String,
    libc: String,
    gpu: Option<String>,
    uptime_s: Option<u64>,
    free_bytes: Option<u64>,
    /// Builds of rbee that are installed there.
    builds: Vec<BuildId>,
}

/// Its agent.
#[derive(Debug, Serialize)]
struct Agent {
    build: BuildId,
    version: String,
    pid: u32,
    uptime_s: Option<u64>,
    /// Median round trip, in milliseconds.
    latency_ms: f64,
}

/// Where rbee lives there.
#[derive(Debug, Default, Serialize)]
struct Paths {
    /// Programs and models.
    data: String,
    /// Logs and sockets.
    state: String,
}

/// Does it.
///
/// # Errors
/// `HIVE_NOT_FOUND`, and whatever keeps the hive from being looked at.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    known(&args.hive, context)?;
    let shown = block_on(async { Ok(gather(&args.hive, context).await?) })?;
    seen::note(&context.environment.dirs.state, &args.hive);
    if args.json {
        return context.print_json(&shown);
    }
    context.print(&sheet(&shown, &context.stdout_style()))
}

async fn gather(hive: &HiveName, context: &Context) -> Result<Shown, Fault> {
    let Some(settings) = context.config.hives.get(hive) else {
        let dirs = &context.environment.dirs;
        let paths = Paths {
            data: dirs.data.to_string_lossy().into_owned(),
            state: dirs.state.to_string_lossy().into_owned(),
        };
        let shown = Shown { name: hive.to_string(), paths, ..Shown::default() };
        let shown = shown.with_agent(&context.local(), context).await?;
        let uptime = uptime::here(shown.agent_pid()).await;
        return Ok(shown.with_uptime(uptime));
    };
    let steps = super::passing(context, 1);
    let remote = context.dialer.remote(hive, settings, false, steps.clone());
    let resolved = examination::resolved(context, settings).await?;
    let host = remote.host().await?;
    let peer = host.session.peer().clone();
    let seen = remote.probe().await?;
    let (place, ground) = seen.place(&host)?;
    let mut builds: Vec<BuildId> = ground.installed.iter().map(|it| it.build.clone()).collect();
    builds.dedup();
    let shown = Shown {
        name: hive.to_string(),
        ssh: Some(Ssh {
            address: settings.address.to_string(),
            host: resolved.host,
            user: resolved.user,
            port: resolved.port,
            host_key: peer.host_key,
            accepted: peer.accepted,
            server: peer.server,
        }),
        machine: Some(Machine {
            system: machine::system(&seen),
            libc: machine::libc(&seen),
            gpu: machine::gpu(&seen),
            uptime_s: None,
            free_bytes: machine::free_bytes(ground),
            builds,
        }),
        paths: Paths { data: ground.data.clone(), state: seen.state(place).to_owned() },
        ..Shown::default()
    };
    let shown = shown.with_agent(&remote, context).await?;
    let uptime = uptime::there(&host, shown.agent_pid()).await?;
    Ok(shown.with_uptime(uptime))
}

impl Shown {
    /// Adds what the agent says, when one runs.
    async fn with_agent<T: Transport>(mut self, way: &T, context: &Context) -> Result<Self, Fault> {
        self.state = State::Stopped.name();
        let Some((client, mut events)) = link::reach_running(way, &context.config.timings).await?
        else {
            return Ok(self);
        };
        let Snapshot { hello, devices, workers, warnings, .. } = events.snapshot().await?;
        self.state = State::Online.name();
        self.agent = Some(Agent {
            build: hello.build,
            version: hello.version,
            pid: hello.pid,
            uptime_s: None,
            latency_ms: latency::milliseconds(latency::measure(&client).await?),
        });
        self.devices = devices.iter().map(DeviceRow::from).collect();
        self.workers = workers;
        self.warnings = warnings;
        Ok(self)
    }

    /// The agent's process there; zero, which is nobody's, when none runs.
    fn agent_pid(&self) -> u32 {
        self.agent.as_ref().map_or(0, |agent| agent.pid)
    }

    fn with_uptime(mut self, uptime: Uptime) -> Self {
        if let Some(machine) = &mut self.machine {
            machine.uptime_s = uptime.machine_s;
        }
        if let Some(agent) = &mut self.agent {
            agent.uptime_s = uptime.process_s;
        }
        self
    }
}

fn and_up(words: String, uptime_s: Option<u64>) -> String {
    match uptime_s {
        Some(seconds) => format!("{words}, up {}", duration(Duration::from_secs(seconds))),
        None => words,
    }
}

fn worker_words(worker: &WorkerInfo) -> String {
    let words = format!("{} {} {}", worker.id, worker.spec.model, worker.state.name());
    match worker.limit.and_then(|limit| Some((limit.bytes?, limit.by))) {
        Some((most, by)) => format!("{words}, at most {} by {}", bytes(most), by.as_str()),
        None => words,
    }
}

/// Keys and values, a line each.
fn sheet(shown: &Shown, style: &Style) -> String {
    let mut lines: Vec<(&str, String)> = vec![("hive", shown.name.clone())];
    lines.push(("state", shown.state.to_owned()));
    if let Some(ssh) = &shown.ssh {
        lines.push(("address", ssh.address.clone()));
        lines.push(("connected to", format!("{}@{}, port {}", ssh.user, ssh.host, ssh.port)));
        let key = ssh.host_key.clone().unwrap_or_else(|| "checked by ssh".to_owned());
        lines.push(("host key", key));
        lines.push(("accepted", ssh.accepted.clone()));
        if !ssh.server.is_empty() {
            lines.push(("server", ssh.server.clone()));
        }
    }
    if let Some(machine) = &shown.machine {
        let words = format!("{}, {}", machine.system, machine.libc);
        lines.push(("system", and_up(words, machine.uptime_s)));
        lines.extend(machine.gpu.clone().map(|gpu| ("gpu", gpu)));
        lines.extend(machine.free_bytes.map(|free| ("free disk", bytes(free))));
        let builds: Vec<&str> = machine.builds.iter().map(BuildId::as_str).collect();
        lines.push(("builds", if builds.is_empty() { "-".to_owned() } else { builds.join(", ") }));
    }
    match &shown.agent {
        Some(agent) => {
            let words =
                format!("version {}, build {}, process {}", agent.version, agent.build, agent.pid);
            lines.push(("agent", and_up(words, agent.uptime_s)));
            lines.push(("round trip", format!("{} ms", agent.latency_ms)));
        }
        None => lines.push(("agent", "none runs".to_owned())),
    }
    lines.extend(shown.devices.iter().map(|device| ("device", device.words())));
    for worker in &shown.workers {
        lines.push(("worker", worker_words(worker)));
    }
    lines.extend(shown.warnings.iter().map(|warning| ("warning", warning.sentence())));
    lines.push(("programs", shown.paths.data.clone()));
    lines.push(("state in", shown.paths.state.clone()));
    let widest = lines.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    lines.iter().fold(String::new(), |mut out, (key, value)| {
        let key = style.muted(&format!("{key:widest$}"));
        let _ = writeln!(out, "{key}  {}", text::one_line(value, MAX_LINE_BYTES));
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_has_a_clean_line_for_everything_that_is_known() {
        let shown = Shown {
            name: "pc".to_owned(),
            state: State::Online.name(),
            ssh: Some(Ssh {
                address: "ada@pc".to_owned(),
                host: "10.0.0.7".to_owned(),
                user: "ada".to_owned(),
                port: 2222,
                host_key: Some("SHA256:abc".to_owned()),
                accepted: "publickey SHA256:x (agent)".to_owned(),
                server: "SSH-2.0-x\u{1b}[2J".to_owned(),
            }),
            agent: Some(Agent {
                build: "0123456789abcdef".parse().unwrap(),
                version: "0.1.0".to_owned(),
                pid: 7,
                uptime_s: Some(7_260),
                latency_ms: 0.412,
            }),
            ..Shown::default()
        };
        let text = sheet(&shown, &Style::plain());
        for part in ["ada@10.0.0.7, port 2222", "SHA256:abc", "0.412 ms", "process 7, up 2 h 1 min"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\u{1b}'));
        let empty = sheet(&Shown::default(), &Style::plain());
        assert!(empty.contains("none runs"), "{empty}");
    }
}
