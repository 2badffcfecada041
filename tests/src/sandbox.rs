//! A home directory of its own in which the real program runs.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::procs::{self, Process, Role};
use crate::wait_until;

/// How long anything in a sandbox may take. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Names another program to try or to measure: one of the profile `dist`, or an older one.
const PROGRAM_VARIABLE: &str = "RBEE_PROGRAM";

/// A home with nothing in it. Dropping it ends what runs there and fails the test when something
/// was left over.
#[derive(Debug)]
pub struct Sandbox {
    home: tempfile::TempDir,
}

/// What a command said and how it ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Exit code; absent when a signal ended it.
    pub code: Option<i32>,
    /// Its output.
    pub stdout: String,
    /// Everything else it said.
    pub stderr: String,
}

impl Finished {
    /// Asserts the exit code and returns itself; the failure shows both streams.
    #[must_use]
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// The NDJSON lines of its output.
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// An empty home.
    pub fn new() -> Self {
        let home = tempfile::Builder::new().prefix("rbee-").tempdir().expect("a temporary home");
        Self { home }
    }

    /// A home whose configuration file says `toml`.
    pub fn with_config(toml: &str) -> Self {
        let sandbox = Self::new();
        let dir = sandbox.home().join(".config/rbee");
        std::fs::create_dir_all(&dir).expect("a configuration directory");
        std::fs::write(dir.join("config.toml"), toml).expect("a configuration file");
        sandbox
    }

    /// The home directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The agent's socket.
    pub fn agent_socket(&self) -> PathBuf {
        self.home().join(".local/state/rbee/run/agent.sock")
    }

    /// The program with this home and nothing of the caller's environment that could matter.
    pub fn command(&self, args: &[&str]) -> Command {
        self.command_of(&program(), args)
    }

    /// As [`Self::command`], with another build of the program.
    pub fn command_of(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("HOME", self.home())
            .env("PATH", "/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .current_dir(self.home())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    pub fn rbee(&self, args: &[&str]) -> Finished {
        finish(self.command(args).spawn().expect("rbee starts"))
    }

    /// Runs the program to its end with `input` on its stdin.
    pub fn rbee_with_stdin(&self, args: &[&str], input: &[u8]) -> Finished {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().expect("rbee starts");
        let mut stdin = child.stdin.take().expect("a piped stdin");
        let input = input.to_vec();
        // The program may refuse before it has read everything: then the pipe breaks, rightly.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let finished = finish(child);
        writer.join().expect("the writer ends");
        finished
    }

    /// The program's processes in this home.
    pub fn processes(&self) -> Vec<Process> {
        procs::under(self.home())
    }

    /// The one process of a role.
    #[track_caller]
    pub fn pid_of(&self, role: Role) -> i32 {
        let found: Vec<_> = self.processes().into_iter().filter(|p| p.role == role).collect();
        assert_eq!(found.len(), 1, "exactly one {role:?} in {:?}", self.processes());
        found.first().expect("one").pid
    }

    /// The workers as `rbee worker list --json` shows them.
    pub fn workers(&self) -> Vec<serde_json::Value> {
        let listed = self.rbee(&["worker", "list", "--json"]).expect_code(0);
        serde_json::from_str(&listed.stdout).expect("a JSON array")
    }

    /// Waits until the one worker says `state`.
    pub fn wait_for_state(&self, state: &str) -> serde_json::Value {
        wait_until(&format!("the worker is {state}"), PATIENCE, || {
            let mut workers = self.workers();
            let matches = workers.len() == 1 && workers.first()?.get("state")? == state;
            matches.then(|| workers.remove(0))
        })
    }

    /// Ends everything with `rbee down` and waits until no process is left.
    pub fn down(&self) {
        let _ = self.rbee(&["down"]).expect_code(0);
        wait_until("no process is left", PATIENCE, || self.processes().is_empty().then_some(()));
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.processes().is_empty() {
            return;
        }
        let _ = self.command(&["down"]).output();
        let bound = Duration::from_secs(15);
        let start = std::time::Instant::now();
        while !self.processes().is_empty() && start.elapsed() < bound {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let left = self.processes();
        for process in &left {
            procs::signal(process.pid, rustix::process::Signal::KILL);
        }
        assert!(left.is_empty() || std::thread::panicking(), "left over after `down`: {left:?}");
    }
}

/// Waits for a child while its output is read.
///
/// # Panics
/// When its pipes cannot be read.
pub fn finish(mut child: Child) -> Finished {
    let mut stderr_pipe = child.stderr.take();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = &mut stderr_pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    });
    let mut stdout = Vec::new();
    if let Some(mut pipe) = child.stdout.take() {
        let _ = pipe.read_to_end(&mut stdout);
    }
    let status = child.wait().expect("the child ends");
    let stderr = reader.join().expect("stderr was read");
    Finished {
        code: status.code(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// The id of the build that a program is of, as it says itself.
///
/// # Panics
/// When it says none.
pub fn build_of(program: &Path) -> String {
    let said = Command::new(program).arg("--version").output().expect("it runs");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let is_id = |word: &&str| word.len() == 16 && word.chars().all(|c| c.is_ascii_hexdigit());
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.into_iter().find(is_id).expect("a build id").to_owned()
}

/// Another build of the program in `dir`: the same but for its id, which is what tells builds
/// apart.
///
/// # Panics
/// When the program has no id, or cannot be written.
pub fn another_build(dir: &Path) -> PathBuf {
    let (program, path) = (program(), dir.join("rbee"));
    let own = build_of(&program);
    let other: String = own.chars().rev().collect();
    let other = if other == own { "0123456789abcdef".to_owned() } else { other };
    let mut bytes = std::fs::read(&program).expect("the program");
    let next = |bytes: &[u8]| bytes.windows(own.len()).position(|word| word == own.as_bytes());
    assert!(next(&bytes).is_some(), "the program has its id");
    while let Some(at) = next(&bytes) {
        let place = bytes.get_mut(at..at + other.len()).expect("as long as the other");
        place.copy_from_slice(other.as_bytes());
    }
    std::fs::write(&path, bytes).expect("a program");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).expect("it may run");
    path
}

/// The program that was built with this suite, beside the directory of the test programs; or the
/// one that [`PROGRAM_VARIABLE`] names.
///
/// # Panics
/// When it was not built.
pub fn program() -> PathBuf {
    if let Some(named) = std::env::var_os(PROGRAM_VARIABLE) {
        // As whoever typed it meant it: cargo starts suites and benchmarks in their own directory.
        return Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(named);
    }
    let suite = std::env::current_exe().expect("the suite's own path");
    suite
        .ancestors()
        .map(|dir| dir.join("rbee"))
        .find(|path| path.is_file())
        .expect("the program: run `cargo build --release` first")
}
