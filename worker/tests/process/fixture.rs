//! Starts guards and workers in directories of their own, and leaves none behind.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use wire::guard::{
    EngineCommand, ExitRecord, GuardRecord, GuardSpec, GuardStatus, RECORD_VERSION, files,
};
use wire::memory::Wanted;
use wire::worker::WorkerSpec;
use wire::{BuildId, Device, Timings, routes};

use crate::client::{Exchange, Lines};

/// No single thing that a test waits for takes this long, on any machine.
const WAIT_BOUND: Duration = Duration::from_secs(30);
/// Between two looks at a thing that nobody announces.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The build that the tests pretend to be.
pub fn build() -> BuildId {
    "00112233aabbccdd".parse().unwrap()
}

/// Waits for `condition`, which `name` says in words; returns how long it took.
pub async fn wait_until(name: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    let mut looks = tokio::time::interval(LOOK_AGAIN);
    while !condition() {
        assert!(begun.elapsed() < WAIT_BOUND, "waited in vain: {name}");
        looks.tick().await;
    }
    begun.elapsed()
}

/// Whether a process computes or waits: a zombie that nobody reaps does neither.
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

pub fn pid(raw: u32) -> Pid {
    Pid::from_raw(i32::try_from(raw).unwrap()).unwrap()
}

/// A directory whose sockets' paths are short enough wherever the tests run.
pub fn short_dir() -> TempDir {
    tempfile::Builder::new().prefix("rbee").tempdir_in("/tmp").unwrap()
}

/// This program in the worker role, ended with the value.
pub fn role(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("worker").args(arguments).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Waits for a process's end; its exit code.
pub async fn exit_code(child: &mut Child) -> i32 {
    let status = tokio::time::timeout(WAIT_BOUND, child.wait()).await.expect("the process ends");
    status.unwrap().code().expect("an exit code and no signal")
}

/// What a process with a piped standard error wrote until its end.
pub async fn stderr_of(child: &mut Child) -> String {
    let mut text = String::new();
    let read = child.stderr.as_mut().unwrap().read_to_string(&mut text);
    tokio::time::timeout(WAIT_BOUND, read).await.expect("standard error ends").unwrap();
    text
}

/// Waits until a socket is there.
pub async fn wait_for_socket(path: &Path) {
    let there = || path.metadata().is_ok_and(|meta| meta.file_type().is_socket());
    wait_until(&format!("the socket {}", path.display()), there).await;
}

/// Waits that a test can afford.
pub fn timings() -> Timings {
    let millis = Duration::from_millis;
    Timings {
        heartbeat: millis(100),
        stop_ask: millis(400),
        stop_term: millis(600),
        ..Timings::default()
    }
}

/// A spec that runs `script` in a shell.
pub fn shell(script: &str) -> GuardSpec {
    spec("/bin/sh", &["-c", script])
}

/// A spec that runs any program.
pub fn spec(program: &str, args: &[&str]) -> GuardSpec {
    GuardSpec {
        version: RECORD_VERSION,
        id: "test-abc123".parse().unwrap(),
        nonce: "nonce".to_owned(),
        spec: WorkerSpec {
            model: "file:/m.gguf".parse().unwrap(),
            device: Device::CPU,
            ctx_size: 2048,
            slots: 1,
            keep_alive_s: -1,
        },
        model_ctx: 2048,
        need_bytes: 0,
        wanted: Wanted::default(),
        restarts: 0,
        attempts: 0,
        last_end: None,
        model_path: String::new(),
        engine: EngineCommand {
            program: program.to_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            can_be_asked: false,
        },
        timings: timings(),
    }
}

/// A running guard.
pub struct Guarded {
    pub dir: TempDir,
    pub guard: Child,
}

impl Guarded {
    /// Starts a guard for `spec` and waits for its socket.
    pub async fn start(spec: &GuardSpec) -> Self {
        Self::start_in(short_dir(), spec).await
    }

    /// The same in a directory of the test's choice.
    pub async fn start_in(dir: TempDir, spec: &GuardSpec) -> Self {
        std::fs::write(dir.path().join(files::SPEC), serde_json::to_vec(spec).unwrap()).unwrap();
        let guard = role(&["guard", "--dir", dir.path().to_str().unwrap()]).spawn().unwrap();
        let guarded = Self { dir, guard };
        wait_for_socket(&guarded.socket()).await;
        guarded
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path(files::GUARD_SOCKET)
    }

    /// A connection that follows the guard.
    pub async fn follow(&self) -> Lines {
        Exchange::get(&self.socket(), routes::GUARD).await.lines()
    }

    /// What the guard left when its engine ran.
    pub async fn record(&self) -> GuardRecord {
        self.file(files::RECORD).await
    }

    /// What the guard left when its engine had ended.
    pub async fn exit(&self) -> ExitRecord {
        self.file(files::EXIT).await
    }

    async fn file<T: serde::de::DeserializeOwned>(&self, name: &str) -> T {
        let path = self.path(name);
        wait_until(name, || path.exists()).await;
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    /// Walks the stop ladder; the exit record and how long it took.
    pub async fn stop(&self) -> (ExitRecord, Duration) {
        let begun = Instant::now();
        let record = Exchange::post(&self.socket(), routes::STOP, "").await.json().await;
        (record, begun.elapsed())
    }

    pub fn signal_guard(&self, signal: Signal) {
        kill_process(pid(self.guard.id().expect("the guard runs")), signal).unwrap();
    }
}

impl Drop for Guarded {
    /// A failed test may leave an engine that no guard ends any more.
    fn drop(&mut self) {
        let ended = self.path(files::EXIT).exists();
        let record = std::fs::read(self.path(files::RECORD)).unwrap_or_default();
        if let (false, Ok(record)) = (ended, serde_json::from_slice::<GuardRecord>(&record)) {
            let _ = kill_process_group(pid(record.engine.pid), Signal::KILL);
        }
    }
}

/// The exit record of a last line.
pub fn ended(status: &GuardStatus) -> Option<&ExitRecord> {
    match status {
        GuardStatus::Ended(record) => Some(record),
        _ => None,
    }
}
