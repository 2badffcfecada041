//! A machine behind a connection that is a process: `/bin/sh` of a kind, with a home of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use keeper::bootstrap::script::Waiting;
use keeper::bootstrap::{Host, Step, Witness};
use keeper::ssh::{Ended, Peer, Session, Shell, Stream};
use tokio::io::AsyncWrite;
use tokio::net::UnixStream;
use tokio::process::{ChildStdin, Command};
use wire::{Code, Fault, HiveName};

/// A shell and its tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// dash and the tools of this machine.
    Dash,
    /// busybox alone.
    Busybox,
}

/// What the disk of the home is like, seen by one shell alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// This machine's.
    Plain,
    /// Of this many KiB.
    Small(u32),
    /// No program runs from it.
    Noexec,
    /// It cannot be written.
    ReadOnly,
}

/// The machine.
pub struct Machine {
    dir: tempfile::TempDir,
    kind: Kind,
    disk: Disk,
    noise: String,
    cut: Mutex<Option<usize>>,
    logins: AtomicUsize,
    forwards: bool,
    peer: Peer,
}

/// The kinds that this machine can be.
pub fn kinds() -> Vec<Kind> {
    let there = |program: &str| {
        std::process::Command::new(program).arg("true").stdin(Stdio::null()).output().is_ok()
    };
    let all = [(Kind::Dash, "dash"), (Kind::Busybox, "busybox")];
    let found: Vec<_> = all.into_iter().filter(|(_, name)| there(name)).map(|it| it.0).collect();
    assert!(!found.is_empty(), "neither dash nor busybox is installed");
    found
}

/// Whether a shell can have a disk of its own here; says so when it cannot.
pub fn has_disks() -> bool {
    let tried = std::process::Command::new("unshare").args(["-m", "true"]).output();
    let can = tried.is_ok_and(|output| output.status.success());
    if !can {
        eprintln!("skipped: mount namespaces need root");
    }
    can
}

impl Machine {
    /// A machine with an empty home.
    pub fn new(kind: Kind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["home", "shared", "tools"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        if kind == Kind::Busybox {
            let mut install = std::process::Command::new("busybox");
            let tools = dir.path().join("tools");
            assert!(install.args(["--install", "-s"]).arg(tools).status().unwrap().success());
        }
        Self {
            dir,
            kind,
            disk: Disk::Plain,
            noise: String::new(),
            cut: Mutex::new(None),
            logins: AtomicUsize::new(0),
            forwards: true,
            peer: Peer::default(),
        }
    }

    /// With another disk.
    pub fn on(self, disk: Disk) -> Self {
        Self { disk, ..self }
    }

    /// With a login that prints.
    pub fn noisy(self, noise: &str) -> Self {
        Self { noise: noise.to_owned(), ..self }
    }

    /// With a server that forwards to no socket.
    pub fn without_forwarding(self) -> Self {
        Self { forwards: false, ..self }
    }

    /// Ends the next connection after this many bytes.
    pub fn cut_after(&self, bytes: usize) {
        *self.cut.lock().unwrap() = Some(bytes);
    }

    /// Shells that were started on it.
    pub fn logins(&self) -> usize {
        self.logins.load(Ordering::SeqCst)
    }

    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub fn shared(&self) -> PathBuf {
        self.dir.path().join("shared")
    }

    fn command(&self) -> Command {
        let program = match self.kind {
            Kind::Dash => "exec dash",
            Kind::Busybox => "exec busybox sh",
        };
        let mount = match self.disk {
            Disk::Plain => String::new(),
            Disk::Small(kib) => format!("mount -t tmpfs -o size={kib}k x \"$HOME\" && "),
            Disk::Noexec => "mount -t tmpfs -o noexec x \"$HOME\" && ".to_owned(),
            Disk::ReadOnly => "mount -t tmpfs -o ro x \"$HOME\" && ".to_owned(),
        };
        let line = format!("printf %s \"$NOISE\"; {mount}{program}");
        let mut command = if self.disk == Disk::Plain {
            Command::new("sh")
        } else {
            let mut command = Command::new("unshare");
            command.args(["-m", "sh"]);
            command
        };
        let tools = match self.kind {
            Kind::Dash => "/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            // The tools last: the login itself needs `mount` and `busybox` of this machine.
            Kind::Busybox => format!("{}:/bin:/usr/bin", self.dir.path().join("tools").display()),
        };
        command
            .args(["-c", &line])
            .env_clear()
            .envs([("PATH", tools), ("NOISE", self.noise.clone())])
            .env("HOME", self.home())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

impl Session for Machine {
    fn shell(&self) -> BoxFuture<'_, Result<Shell, Fault>> {
        let left = self.cut.lock().unwrap().take();
        self.logins.fetch_add(1, Ordering::SeqCst);
        let mut child = self.command().spawn().unwrap();
        let input = Cut { inner: child.stdin.take(), left };
        let (output, errors) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let waiting = tokio::spawn(async move { child.wait().await.unwrap() });
        let ended = waiting.map(|status| match status.unwrap().code() {
            Some(code) => Ended::Exit(code.unsigned_abs()),
            None => Ended::Signal("KILL".to_owned()),
        });
        let shell = Shell {
            input: Box::pin(input),
            output: Box::pin(output),
            errors: Box::pin(errors),
            ended: ended.boxed(),
        };
        Box::pin(async { Ok(shell) })
    }

    fn socket<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Stream, Fault>> {
        Box::pin(async move {
            let refused = || Fault::new(Code::HiveUnreachable, "not forwarded");
            if !self.forwards {
                return Err(refused());
            }
            let stream = UnixStream::connect(path).await.map_err(|_| refused())?;
            Ok(Box::new(stream) as Stream)
        })
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn is_closed(&self) -> bool {
        false
    }
}

/// Standard input of a shell whose connection may end in the middle.
struct Cut {
    inner: Option<ChildStdin>,
    left: Option<usize>,
}

impl AsyncWrite for Cut {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.left == Some(0) {
            this.inner = None;
        }
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let part = &buf[..buf.len().min(this.left.unwrap_or(usize::MAX))];
        let written = std::task::ready!(Pin::new(inner).poll_write(cx, part))?;
        this.left = this.left.map(|left| left - written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Some(inner) => Pin::new(inner).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner = None;
        Poll::Ready(Ok(()))
    }
}

/// Remembers what it is told.
#[derive(Default)]
pub struct Seen(Mutex<Vec<Step>>);

impl Witness for Seen {
    fn sees(&self, _: &HiveName, step: &Step) {
        self.0.lock().unwrap().push(step.clone());
    }
}

impl Seen {
    pub fn steps(&self) -> Vec<Step> {
        self.0.lock().unwrap().clone()
    }

    pub fn notes(&self) -> Vec<String> {
        let steps = self.steps().into_iter();
        steps
            .filter_map(|step| if let Step::Note(note) = step { Some(note) } else { None })
            .collect()
    }
}

/// The connection to a machine, and who is told.
pub fn host(machine: &Arc<Machine>) -> (Host, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let host = Host {
        hive: "pc".parse().unwrap(),
        session: machine.clone(),
        waiting: Waiting::default(),
        witness: seen.clone(),
        silence: Duration::from_secs(30),
        shared: machine.shared().to_str().unwrap().to_owned(),
    };
    (host, seen)
}

/// Every path below a directory.
pub fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(next).unwrap().map(Result::unwrap) {
            found.push(entry.path().strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            if entry.file_type().unwrap().is_dir() {
                dirs.push(entry.path());
            }
        }
    }
    found.sort();
    found
}
