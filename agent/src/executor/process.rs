//! A worker's directory and the guard process that lives in it.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::process::Child;
use wire::guard::{
    EngineCommand, ExitRecord, GuardRecord, GuardSpec, ProcessIdentity, RECORD_VERSION, files,
};
use wire::memory::Wanted;
use wire::{RequestId, Timings, WorkerId, layout, limits, ndjson, text};

use crate::admission;
use crate::carried::Carried;
use crate::inventory::Gpus;
use crate::peaks::Peaks;
use crate::platform;
use crate::rotating;
use crate::scope::Scopes;
use crate::supervisor::effect::Start;

/// How often a process that should end is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How long the processes of a control group that was left may take to go.
const GROUP_TIME: Duration = Duration::from_secs(10);

/// What every worker of this agent is started with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// This program.
    pub program: String,
    /// The directory that holds a directory for each worker.
    pub workers_dir: PathBuf,
    /// All waits.
    pub timings: Timings,
    /// Threads of a CPU worker; absent: one for each core.
    pub threads: Option<u32>,
    /// Where guards are started.
    pub scopes: Scopes,
    /// Bytes that a worker may take beyond what follows from its need.
    pub margin_bytes: u64,
    /// Hundredths of one processor that a worker may use; absent: all.
    pub cpu_percent: Option<u32>,
    /// What models took beyond their needs.
    pub peaks: Arc<Peaks>,
    /// Where what the next agent shall know is kept.
    pub carried: Carried,
    /// The GPUs whose memory is looked at around a worker's end.
    pub gpus: Gpus,
}

/// One worker's directory.
#[derive(Debug, Clone)]
pub struct Place {
    /// Whose.
    pub id: WorkerId,
    /// Where.
    pub dir: PathBuf,
    /// What its guard repeats.
    pub nonce: String,
    /// All waits.
    pub timings: Timings,
}

impl Setup {
    /// Where the worker `id` lives.
    pub fn dir(&self, id: &WorkerId) -> PathBuf {
        self.workers_dir.join(id.as_str())
    }

    fn engine(&self, start: &Start, dir: &Path) -> EngineCommand {
        let (spec, model) = (&start.spec, start.path.as_str());
        let socket = dir.join(files::ENGINE_SOCKET).to_string_lossy().into_owned();
        let mut args: Vec<String> =
            ["worker", "serve", "--socket", &socket, "--model", model].map(str::to_owned).into();
        let mut option = |name: &str, value: String| args.extend([name.to_owned(), value]);
        option("--ctx-size", spec.ctx_size.to_string());
        option("--slots", spec.slots.to_string());
        option("--device", spec.device.to_string());
        option("--heartbeat-ms", self.timings.heartbeat.as_millis().to_string());
        option("--patience-ms", self.timings.token_stall.as_millis().to_string());
        option("--data-limit-bytes", data_bytes(start).to_string());
        if let Some(threads) = self.threads {
            option("--threads", threads.to_string());
        }
        EngineCommand { program: self.program.clone(), args, can_be_asked: true }
    }

    /// Makes a worker's directory and starts its guard.
    ///
    /// # Errors
    /// Whatever the operating system refuses.
    pub async fn start(&self, start: &Start) -> io::Result<(Place, Child)> {
        let dir = self.dir(&start.id);
        let guard = GuardSpec {
            version: RECORD_VERSION,
            id: start.id.clone(),
            nonce: RequestId::random().to_string(),
            spec: start.spec.clone(),
            model_ctx: start.model_ctx,
            need_bytes: start.need_bytes,
            wanted: Wanted {
                memory_bytes: Some(admission::limit_bytes(start.need_bytes, self.margin_bytes)),
                data_bytes: Some(data_bytes(start)),
                cpu_percent: self.cpu_percent,
            },
            restarts: start.restarts,
            attempts: start.attempts,
            last_end: start.last_end.clone(),
            model_path: start.path.clone(),
            engine: self.engine(start, &dir),
            timings: self.timings.clone(),
        };
        let place = Place::of(&guard, dir.clone());
        tokio::task::spawn_blocking(move || write_spec(&dir, &guard))
            .await
            .map_err(io::Error::other)??;
        let child = self
            .scopes
            .command(&self.program)
            .args(["worker", "guard", "--dir"])
            .arg(&place.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match child {
            Ok(child) => Ok((place, child)),
            Err(error) => {
                // The next attempt makes it again.
                let _panicked = tokio::task::spawn_blocking(move || place.remove()).await;
                Err(error)
            }
        }
    }
}

/// Bytes of data beyond which an engine's allocations fail: the bound where no control group is,
/// and behind one for what is asked for and never touched.
fn data_bytes(start: &Start) -> u64 {
    start.need_bytes.saturating_mul(2).saturating_add(limits::WORKER_DATA_SLACK_BYTES)
}

fn write_spec(dir: &Path, spec: &GuardSpec) -> io::Result<()> {
    std::fs::create_dir(dir)?;
    write_new(&dir.join(files::SPEC), spec).inspect_err(|_| {
        // Half of a directory would be a worker to the next agent.
        let _left = std::fs::remove_dir_all(dir);
    })
}

fn write_new<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let bytes = ndjson::encode(value).map_err(io::Error::other)?;
    let part = path.with_extension("part");
    std::fs::write(&part, bytes)?;
    std::fs::rename(part, path)
}

impl Place {
    /// The place of a guard that was started with `spec`.
    pub fn of(spec: &GuardSpec, dir: PathBuf) -> Self {
        let (id, nonce) = (spec.id.clone(), spec.nonce.clone());
        Self { id, dir, nonce, timings: spec.timings.clone() }
    }

    /// The guard's socket.
    pub fn guard_socket(&self) -> PathBuf {
        self.dir.join(files::GUARD_SOCKET)
    }

    /// The engine's socket.
    pub fn engine_socket(&self) -> PathBuf {
        self.dir.join(files::ENGINE_SOCKET)
    }

    /// Whether a guard's record is of this worker and of this start of it.
    pub fn owns(&self, record: &GuardRecord) -> bool {
        record.id == self.id && record.nonce == self.nonce
    }

    /// The exit record on disk, if the guard lived to write it.
    pub fn exit_record(&self) -> Option<ExitRecord> {
        read(&self.dir, files::EXIT).filter(|record: &ExitRecord| record.id == self.id)
    }

    /// The processes, as the guard recorded them; none when the machine was started anew since.
    pub fn record(&self) -> Option<GuardRecord> {
        self.any_record().filter(|record| is_of_boot(record, platform::boot_id().as_deref()))
    }

    /// The guard's record, whether its processes can still be there or not.
    pub fn any_record(&self) -> Option<GuardRecord> {
        read(&self.dir, files::RECORD).filter(|record| self.owns(record))
    }

    /// Keeps what the engine wrote, for [`limits::MAX_FINISHED_WORKERS`] ended workers.
    fn keep_log(&self) -> io::Result<()> {
        let runtime = self.dir.parent().and_then(Path::parent).and_then(Path::to_str);
        let Some(runtime) = runtime else { return Ok(()) };
        let log = PathBuf::from(layout::ended_log(runtime, &self.id));
        let Some(ended) = log.parent() else { return Ok(()) };
        std::fs::create_dir_all(ended)?;
        forget_oldest(ended, 2 * limits::MAX_FINISHED_WORKERS - 2)?;
        std::fs::rename(self.dir.join(files::STDERR), &log)?;
        match std::fs::rename(self.dir.join(files::STDERR_OLDER), rotating::older(&log)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes the directory. What cannot be removed is left for the next agent.
    pub fn remove(&self) {
        if let Err(error) = self.keep_log() {
            tracing::info!(worker = %self.id, %error, "a worker's log was not kept");
        }
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            tracing::warn!(worker = %self.id, %error, "a worker's directory could not be removed");
        }
    }

    /// The last lines of the engine's stderr files, of which the older one may hold the beginning.
    pub fn stderr_tail(&self) -> String {
        let mut bytes = Vec::new();
        for name in [files::STDERR_OLDER, files::STDERR] {
            let Ok(file) = std::fs::File::open(self.dir.join(name)) else { continue };
            // What of it can be read is better than nothing.
            let _ = file.take(limits::MAX_STDERR_FILE_BYTES).read_to_end(&mut bytes);
        }
        let from = bytes.len().saturating_sub(limits::MAX_STDERR_TAIL_BYTES);
        let tail = String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()).into_owned();
        text::for_terminal(&tail)
    }
}

/// Removes the files of a directory that were written to longest ago, down to `most`.
fn forget_oldest(dir: &Path, most: usize) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)?.flatten() {
        files.push((entry.metadata()?.modified()?, entry.path()));
    }
    files.sort();
    let excess = files.len().saturating_sub(most);
    files.iter().take(excess).try_for_each(|(_, path)| std::fs::remove_file(path))
}

/// Whether a record is of this run of the operating system, as far as both are known.
fn is_of_boot(record: &GuardRecord, boot: Option<&str>) -> bool {
    match (record.boot.as_deref(), boot) {
        (Some(then), Some(now)) => then == now,
        _ => true,
    }
}

/// Reads one of a worker's files; nothing when it is missing, too long or not what it should be.
pub fn read<T: DeserializeOwned>(dir: &Path, name: &str) -> Option<T> {
    let path = dir.join(name);
    // Opening a pipe would wait for its writer for ever.
    std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
    let file = std::fs::File::open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(limits::MAX_RECORD_BYTES + 1).read_to_end(&mut bytes).ok()?;
    if u64::try_from(bytes.len()).ok()? > limits::MAX_RECORD_BYTES {
        return None;
    }
    ndjson::decode(&bytes).ok()
}

/// Waits until a process is gone, for at most `limit`. Whether it is.
pub async fn wait_gone(process: ProcessIdentity, limit: Duration) -> bool {
    let gone = async {
        let mut look = tokio::time::interval(LOOK_AGAIN);
        while platform::is_alive(process) {
            look.tick().await;
        }
    };
    tokio::time::timeout(limit, gone).await.is_ok()
}

/// Removes the control groups that a guard left, once the last thread in them is gone: a process
/// whose leader is a zombie may have others for a moment.
pub fn remove_groups(record: &GuardRecord) {
    if platform::remove_groups(&record.groups) {
        return;
    }
    let groups = record.groups.clone();
    tokio::spawn(async move {
        let gone = async {
            let mut look = tokio::time::interval(LOOK_AGAIN);
            while !platform::remove_groups(&groups) {
                look.tick().await;
            }
        };
        if tokio::time::timeout(GROUP_TIME, gone).await.is_err() {
            tracing::warn!(?groups, "control groups could not be removed");
        }
    });
}

/// Kills what a record names, its engine's whole group first, and waits for its end.
pub async fn kill(record: &GuardRecord, limit: Duration) {
    tracing::warn!(
        worker = %record.id, engine = record.engine.pid, guard = record.guard.pid, signal = "KILL",
        "killing a worker that cannot be asked any more"
    );
    platform::kill_group(record.engine);
    platform::kill(record.guard);
    wait_gone(record.engine, limit).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_another_boot_names_no_process() {
        let dir = tempfile::tempdir().unwrap();
        let me = platform::identity(std::process::id()).unwrap();
        let record = |boot: Option<&str>| GuardRecord {
            version: RECORD_VERSION,
            id: "demo-0".parse().unwrap(),
            nonce: "n".to_owned(),
            build: "0123456789abcdef".parse().unwrap(),
            guard: me,
            engine: me,
            boot: boot.map(str::to_owned),
            limit: None,
            groups: Vec::new(),
        };
        let place = Place {
            id: "demo-0".parse().unwrap(),
            dir: dir.path().to_owned(),
            nonce: "n".to_owned(),
            timings: Timings::default(),
        };
        let seen = |boot: Option<&str>| {
            write_new(&dir.path().join(files::RECORD), &record(boot)).unwrap();
            (place.record().is_some(), place.any_record().is_some())
        };
        assert_eq!(seen(platform::boot_id().as_deref()), (true, true));
        assert_eq!(seen(Some("another")), (false, true));
        assert_eq!(seen(None), (true, true), "an older guard does not say");
    }
}
