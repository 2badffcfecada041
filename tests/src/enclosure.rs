//! A sandbox whose program sees other mounts or lives in a control group of the test's own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::sandbox::{Finished, finish};
use crate::{Sandbox, wait_until};

/// A mount namespace, held open by a process that does nothing else. It ends with this value, and
/// with it every mount that was made in it.
#[derive(Debug)]
pub struct Enclosure {
    holder: Child,
}

/// Whether this test may do what needs root; says so where it may not.
pub fn is_root() -> bool {
    let root = rustix::process::getuid().is_root();
    if !root {
        let _ = writeln!(std::io::stderr(), "skipped, it needs root");
    }
    root
}

impl Enclosure {
    /// A mount namespace in which `script` has been run.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn after(script: &str) -> Self {
        // Not among its arguments: by those, processes of a sandbox are found.
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", "set -e; eval \"$MOUNTS\"; echo made; read end || true"])
            .env("MOUNTS", script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        let mut line = [0; 5];
        let stdout = holder.stdout.as_mut().expect("a pipe");
        std::io::Read::read_exact(stdout, &mut line).expect("the mounts are made");
        Self { holder }
    }

    /// A path as it is seen inside.
    pub fn inside(&self, path: &Path) -> PathBuf {
        let below = path.strip_prefix("/").expect("an absolute path");
        Path::new(&format!("/proc/{}/root", self.holder.id())).join(below)
    }

    /// The program of `sandbox`, run inside.
    pub fn command(&self, sandbox: &Sandbox, args: &[&str]) -> Command {
        let holder = self.holder.id().to_string();
        wrapped(sandbox, args, &["nsenter", "--target", &holder, "--mount"])
    }

    /// Runs the program inside to its end.
    ///
    /// # Panics
    /// When it does not start.
    pub fn rbee(&self, sandbox: &Sandbox, args: &[&str]) -> Finished {
        finish(self.command(sandbox, args).spawn().expect("nsenter starts"))
    }

    /// Ends everything of `sandbox` from inside.
    pub fn down(&self, sandbox: &Sandbox) {
        let _ = self.rbee(sandbox, &["down"]).expect_code(0);
        let gone = || sandbox.processes().is_empty().then_some(());
        wait_until("no process is left", crate::sandbox::PATIENCE, gone);
    }
}

impl Drop for Enclosure {
    fn drop(&mut self) {
        // Its standard input closes, and its read ends.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// The sandbox's command behind the words of another program that executes it.
fn wrapped(sandbox: &Sandbox, args: &[&str], before: &[&str]) -> Command {
    let inner = sandbox.command(args);
    let (program, arguments) = before.split_first().expect("a program");
    let mut outer = Command::new(program);
    outer.args(arguments).arg(inner.get_program()).args(inner.get_args()).env_clear();
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    outer
}

/// A control group of version 1 for memory, that a test may fill. Removed with this value.
#[derive(Debug)]
pub struct MemoryGroup {
    dir: PathBuf,
}

impl MemoryGroup {
    /// A group of at most `bytes`, where this system has version 1 and lets us make one.
    pub fn of(bytes: u64) -> Option<Self> {
        let own = own_memory_group()?;
        let dir = own.join(format!("test-{}", std::process::id()));
        std::fs::create_dir(&dir).ok()?;
        let group = Self { dir };
        std::fs::write(group.dir.join("memory.limit_in_bytes"), bytes.to_string()).ok()?;
        Some(group)
    }

    /// The program of `sandbox`, run inside.
    pub fn command(&self, sandbox: &Sandbox, args: &[&str]) -> Command {
        let script = "echo $$ > \"$0\" && exec \"$@\"";
        let procs = self.dir.join("cgroup.procs").to_string_lossy().into_owned();
        wrapped(sandbox, args, &["sh", "-c", script, &procs])
    }

    /// Runs the program inside to its end.
    ///
    /// # Panics
    /// When it does not start.
    pub fn rbee(&self, sandbox: &Sandbox, args: &[&str]) -> Finished {
        finish(self.command(sandbox, args).spawn().expect("sh starts"))
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let emptied = || std::fs::remove_dir(&self.dir).is_ok().then_some(());
        if !std::thread::panicking() {
            wait_until("the test's group is empty", crate::sandbox::PATIENCE, emptied);
        }
    }
}

/// The directory of this process's group in version 1's hierarchy of memory, at its usual place.
pub fn own_memory_group() -> Option<PathBuf> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.split_once(":memory:"))?.1;
    let dir = Path::new("/sys/fs/cgroup/memory").join(path.trim_start_matches('/'));
    dir.is_dir().then_some(dir)
}
