//! The hive's own health, as it can be seen from inside.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use wire::doctor::{Check, Verdict};
use wire::guard::{GuardRecord, files};
use wire::worker::{WorkerInfo, WorkerState};
use wire::{Code, Fault, layout};

use super::exchange::{Refused, json};
use super::workers::unexpected;
use super::{Hive, Shared};
use crate::executor::process;
use crate::inventory;
use crate::platform;
use crate::settings;
use crate::supervisor::{Answer, Ask};

/// Free memory below which somebody should look: less than any useful model needs.
const LITTLE_MEMORY_BYTES: u64 = 512 * 1024 * 1024;
/// Free disk below which somebody should look.
const LITTLE_DISK_BYTES: u64 = 1024 * 1024 * 1024;

pub(super) async fn doctor(State(hive): Shared) -> Result<Response, Refused> {
    let workers = match hive.handle.ask(Ask::Look).await? {
        Answer::Look { workers, .. } => workers,
        other => return Err(unexpected(&other)),
    };
    let hive = Arc::clone(&hive);
    let checks = tokio::task::spawn_blocking(move || examine(&hive, &workers)).await;
    let checks = checks
        .map_err(|error| Fault::new(Code::Internal, "the examination failed").cause(error))?;
    json(&checks)
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
        memory(),
        disk(&hive.dirs.data),
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

fn memory() -> Check {
    const NAME: &str = "free memory";
    let Some(free) = inventory::available_bytes() else {
        return check(NAME, Verdict::Warning, "the system does not say");
    };
    let verdict = if free >= LITTLE_MEMORY_BYTES { Verdict::Ok } else { Verdict::Warning };
    let seen = format!("{} MiB", free >> 20);
    hinted(check(NAME, verdict, seen), "rbee ps  # then `rbee worker stop ID`".to_owned())
}

fn disk(data: &Path) -> Check {
    const NAME: &str = "free disk";
    match platform::disk_free_bytes(data) {
        Ok(free) => {
            let verdict = if free >= LITTLE_DISK_BYTES { Verdict::Ok } else { Verdict::Warning };
            let seen = format!("{} MiB at {}", free >> 20, data.display());
            hinted(check(NAME, verdict, seen), format!("df -h {}", data.display()))
        }
        Err(error) => check(NAME, Verdict::Warning, format!("{}: {error}", data.display())),
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
