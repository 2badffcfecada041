//! The hive's own health, as it can be seen from inside.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use tokio::process::Command;
use wire::device::{Backend, DeviceInfo, Source};
use wire::doctor::{Check, Verdict};
use wire::guard::{GuardRecord, files};
use wire::memory::{Containment, LimitBy};
use wire::settings::AgentSettings;
use wire::worker::{WorkerInfo, WorkerState};
use wire::{Code, Fault, layout, ndjson, text};

use super::exchange::{Refused, json};
use super::workers::{Look, look};
use super::{Hive, Shared};
use crate::executor::process;
use crate::inventory;
use crate::platform;
use crate::settings;

/// How long the look at what bounds workers may take.
const LOOK_TIME: Duration = Duration::from_secs(5);
/// Degrees Celsius from which on a GPU is hot: the makers' own bound at which it slows down is a
/// little above.
const HOT_CELSIUS: i32 = 85;
/// What a look at what bounds workers is about.
const BOUNDS: &str = "workers' bounds";

pub(super) async fn doctor(State(hive): Shared) -> Result<Response, Refused> {
    let Look { workers, promised, .. } = look(&hive).await?;
    let hive = Arc::clone(&hive);
    let devices = hive.inventory.devices(&workers, &promised).await;
    let devices = gpus(&devices, &hive.inventory.notes());
    let bounds = bounds(hive.handle.command()).await;
    let checks = tokio::task::spawn_blocking(move || examine(&hive, &workers)).await;
    let mut checks = checks
        .map_err(|error| Fault::new(Code::Internal, "the examination failed").cause(error))?;
    checks.push(bounds);
    checks.extend(devices);
    json(&checks)
}

/// Every GPU, or why none is seen.
fn gpus(devices: &[DeviceInfo], notes: &[String]) -> Vec<Check> {
    let all: Vec<Check> =
        devices.iter().filter(|info| info.device.backend != Backend::Cpu).map(gpu).collect();
    if all.is_empty() {
        let why = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) };
        return vec![check("GPUs", Verdict::Ok, format!("none is seen{why}"))];
    }
    all
}

fn gpu(info: &DeviceInfo) -> Check {
    let name = format!("device {}", info.device);
    let what = info.name.clone().unwrap_or_else(|| "without a name".to_owned());
    let told = info.source.map_or("nobody", Source::as_str);
    if info.lost_since_unix_s.is_some() {
        let seen = format!("{what}: it cannot be reached any more, it fell off its bus");
        let hint = "sudo dmesg | grep -iE 'xid|amdgpu' | tail".to_owned();
        return hinted(check(name, Verdict::Failed, seen), hint);
    }
    if info.silent_since_unix_s.is_some() {
        let seen = format!("{what}: its driver does not answer");
        return hinted(check(name, Verdict::Warning, seen), "sudo dmesg | tail".to_owned());
    }
    let seen = match info.temperature_celsius {
        Some(celsius) if celsius >= HOT_CELSIUS => {
            let seen = format!("{what}: {celsius} °C, hot from {HOT_CELSIUS} °C on");
            return check(name, Verdict::Warning, seen);
        }
        Some(celsius) => format!("{what}: {celsius} °C, told by {told}"),
        None => format!("{what}: told by {told}"),
    };
    check(name, Verdict::Ok, seen)
}

/// What would bound a worker that is started now. A child finds out: it is where guards will be.
async fn bounds(mut command: Command) -> Check {
    command.args(["worker", "limits"]).stdin(Stdio::null()).stderr(Stdio::null());
    let output = tokio::time::timeout(LOOK_TIME, command.kill_on_drop(true).output()).await;
    let Ok(Ok(output)) = output else {
        return check(BOUNDS, Verdict::Warning, "could not be looked at");
    };
    match ndjson::decode::<Containment>(&output.stdout) {
        Ok(seen) => contained(seen),
        Err(_) => check(BOUNDS, Verdict::Warning, "could not be looked at"),
    }
}

fn contained(seen: Containment) -> Check {
    let word = seen.by.as_str();
    let text = match seen.by {
        LimitBy::Cgroup1 | LimitBy::Cgroup2 => {
            format!("{word}: a worker that takes too much is ended by the kernel, and named")
        }
        _ => format!(
            "{word}: a worker's own allocations fail beyond its limit, and its processors have \
             none; no control group could be made ({})",
            seen.why.join("; ")
        ),
    };
    // Not to have them is no defect, so the hint stands beside a check that is well.
    Check { hint: seen.hint, ..check(BOUNDS, Verdict::Ok, text) }
}

fn examine(hive: &Hive, workers: &[WorkerInfo]) -> Vec<Check> {
    let runtime = Path::new(&hive.dirs.runtime);
    let socket = layout::agent_socket(&hive.dirs.runtime);
    let mut checks = vec![
        privacy("runtime directory", runtime, 0o700),
        privacy("agent's socket", Path::new(&socket), 0o600),
        privacy("log directory", &hive.dirs.log, 0o700),
        sockets(hive, workers),
        configuration(hive),
        memory(hive.settings.agent.reserve_ram_bytes),
        disk("free disk", &hive.dirs.data, &hive.settings.agent),
        disk("free disk of records", Path::new(&hive.dirs.runtime), &hive.settings.agent),
    ];
    checks.extend(workers.iter().map(health));
    checks
}

/// The file is read when an agent starts; what was written since then does not count yet.
fn configuration(hive: &Hive) -> Check {
    let name = "agent's configuration";
    match settings::load(&hive.dirs.config) {
        Ok(now) if now == hive.settings => check(name, Verdict::Ok, "as the agent read it"),
        Ok(_) => {
            let seen = "changed since the agent was started; the old values count";
            hinted(check(name, Verdict::Warning, seen), "rbee down".to_owned())
        }
        Err(fault) => {
            hinted(check(name, Verdict::Failed, fault.message), "rbee config check".to_owned())
        }
    }
}

fn check(name: impl Into<String>, verdict: Verdict, seen: impl Into<String>) -> Check {
    Check { name: name.into(), verdict, seen: seen.into(), hint: None }
}

fn hinted(check: Check, hint: String) -> Check {
    let needed = check.verdict != Verdict::Ok;
    Check { hint: needed.then_some(hint), ..check }
}

fn privacy(name: &str, path: &Path, wanted: u32) -> Check {
    let seen = match std::fs::symlink_metadata(path) {
        Ok(seen) => seen,
        Err(error) => return check(name, Verdict::Failed, format!("{}: {error}", path.display())),
    };
    let (mode, uid) = (seen.mode() & 0o777, seen.uid());
    let own = uid == rustix::process::getuid().as_raw();
    let verdict = if own && mode == wanted { Verdict::Ok } else { Verdict::Failed };
    let seen = format!("{} has mode {mode:04o} and belongs to user {uid}", path.display());
    hinted(check(name, verdict, seen), format!("chmod {wanted:o} {}", path.display()))
}

/// No process of a hive holds a TCP or UDP socket.
fn sockets(hive: &Hive, workers: &[WorkerInfo]) -> Check {
    let mut pids = vec![std::process::id()];
    for worker in workers.iter().filter(|worker| worker.pid.is_some()) {
        let dir = layout::worker_dir(&hive.dirs.runtime, &worker.id);
        let record = process::read::<GuardRecord>(Path::new(&dir), files::RECORD);
        pids.extend(record.map(|record| record.guard.pid));
        pids.extend(worker.pid);
    }
    let (mut found, mut unseen) = (0, 0);
    for pid in &pids {
        match platform::network_sockets(*pid) {
            Ok(count) => found += count,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(_refused) => unseen += 1,
        }
    }
    let verdict = match (found, unseen) {
        (0, 0) => Verdict::Ok,
        (0, _) => Verdict::Warning,
        _ => Verdict::Failed,
    };
    let seen = format!("{found} network sockets in {} processes, {unseen} not seen", pids.len());
    check("network sockets", verdict, seen)
}

fn memory(reserve: u64) -> Check {
    const NAME: &str = "free memory";
    let Some(free) = inventory::available_bytes() else {
        return check(NAME, Verdict::Warning, "the system does not say");
    };
    let verdict = if free >= reserve { Verdict::Ok } else { Verdict::Warning };
    let seen = format!("{} MiB, {} MiB shall stay free", free >> 20, reserve >> 20);
    hinted(check(NAME, verdict, seen), "rbee ps  # then `rbee worker stop ID`".to_owned())
}

fn disk(name: &str, dir: &Path, settings: &AgentSettings) -> Check {
    match platform::disk(dir) {
        Ok(disk) => {
            let (free, reserve) = (disk.free_bytes, settings.reserve_of_disk(disk.total_bytes));
            let verdict = if free >= reserve { Verdict::Ok } else { Verdict::Warning };
            let (free, reserve, dir) = (free >> 20, reserve >> 20, dir.to_string_lossy());
            let seen = format!("{free} MiB at {dir}, {reserve} MiB shall stay free");
            hinted(check(name, verdict, seen), format!("df -h {}", text::shell_word(&dir)))
        }
        Err(error) => check(name, Verdict::Warning, format!("{}: {error}", dir.display())),
    }
}

fn health(worker: &WorkerInfo) -> Check {
    let name = format!("worker {}", worker.id);
    let (verdict, seen) = match &worker.state {
        WorkerState::Crashed { exit, .. } => (Verdict::Warning, format!("crashed: {exit}")),
        WorkerState::Failed { why, .. } => (Verdict::Warning, format!("failed: {why}")),
        WorkerState::Stale => (Verdict::Warning, "silent".to_owned()),
        state => (Verdict::Ok, state.name().to_owned()),
    };
    hinted(check(name, verdict, seen), format!("rbee worker stop {}", worker.id))
}
