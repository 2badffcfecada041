//! An `sshd` of a test, and a person for it.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use keeper::ssh::Session;
use keeper::ssh::auth::keyring::Keyring;
use keeper::ssh::connect::{Caller, Note, Resolve, connect};
use keeper::ssh::person::{NewHostKey, Person};
use keeper::ssh::resolved::{Agent, Resolved, Unknown, Way};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::{Code, Fault, Timings};
use zeroize::Zeroizing;

const SSHD: &str = "/usr/sbin/sshd";
/// A bound on every single wait.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Whether there is an `sshd`; says which test is skipped where there is none.
#[must_use]
pub fn is_there(test: &str) -> bool {
    let there = Path::new(SSHD).exists();
    if !there {
        eprintln!("skipped: {test}: there is no {SSHD}");
    }
    there
}

/// Runs a program that must succeed.
#[track_caller]
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().expect(program);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Makes a key file; an empty passphrase locks nothing.
pub fn keygen(path: &Path, kind: &str, passphrase: &str) -> PathBuf {
    let file = path.to_str().unwrap();
    let mut args = vec!["-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", file];
    if kind == "rsa" {
        args.extend(["-b", "2048"]);
    }
    run("ssh-keygen", &args);
    path.to_owned()
}

/// The public part of a key file, as one line.
pub fn public(key: &Path) -> String {
    std::fs::read_to_string(format!("{}.pub", key.display())).unwrap().trim().to_owned()
}

/// `SHA256:…` of a key file.
pub fn fingerprint(key: &Path) -> String {
    let line = run("ssh-keygen", &["-l", "-f", &format!("{}.pub", key.display())]);
    line.split_whitespace().nth(1).unwrap().to_owned()
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A server with a directory of its own: `host` is its key, `key` one that it accepts.
pub struct Server {
    pub dir: tempfile::TempDir,
    pub port: u16,
    pub process: Child,
}

impl Server {
    /// Starts one with `options` besides those that every test needs.
    pub fn start(options: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("rbee-ssh-").tempdir().unwrap();
        keygen(&dir.path().join("host"), "ed25519", "");
        let key = keygen(&dir.path().join("key"), "ed25519", "");
        std::fs::write(dir.path().join("authorized"), public(&key) + "\n").unwrap();
        Self::start_in(dir, options)
    }

    fn start_in(dir: tempfile::TempDir, options: &str) -> Self {
        if rustix::process::geteuid().is_root() {
            // The system's own service would make it.
            let _ = std::fs::DirBuilder::new().recursive(true).mode(0o755).create("/run/sshd");
        }
        let (port, at) = (free_port(), dir.path().display());
        // The first value of an option counts, so those of the test come first.
        let mut config = format!("{options}\n");
        write!(
            config,
            "ListenAddress 127.0.0.1:{port}\nHostKey {at}/host\nPidFile none\n\
             AuthorizedKeysFile {at}/authorized\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nLogLevel VERBOSE\n"
        )
        .unwrap();
        let config = config.replace("{dir}", &at.to_string());
        let file = dir.path().join("sshd_config");
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let process = Command::new(SSHD)
            .args(["-D", "-e", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Self { dir, port, process };
        wait_for("sshd to listen", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        server
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What its log says.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    /// A connection to it, with the key that it accepts and nothing recorded.
    pub fn resolved(&self) -> Resolved {
        Resolved {
            host: "127.0.0.1".into(),
            key_name: "127.0.0.1".into(),
            is_key_alias: false,
            port: self.port,
            user: run("id", &["-un"]).trim().to_owned(),
            identities: vec![self.path("key")],
            certificates: Vec::new(),
            identities_only: false,
            agent: Agent::None,
            known_hosts: vec![self.path("home/.ssh/known_hosts")],
            global_known_hosts: Vec::new(),
            revoked: None,
            hash_known_hosts: false,
            unknown: Unknown::Accept,
            way: Way::Direct,
            connect_timeout: None,
            batch: false,
            methods: ["publickey", "keyboard-interactive", "password"].map(String::from).to_vec(),
        }
    }

    /// The processes that serve its connections.
    pub fn children(&self) -> Vec<i32> {
        descendants(i32::try_from(self.process.id()).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn descendants(pid: i32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let children: Vec<i32> = children.split_whitespace().filter_map(|s| s.parse().ok()).collect();
    children.iter().flat_map(|&child| [vec![child], descendants(child)].concat()).collect()
}

/// Waits until `is_so`.
#[track_caller]
pub fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// Somebody who answers what they were told to, and remembers what was asked.
#[derive(Default)]
pub struct Puppet {
    pub trusts: bool,
    pub answers: Mutex<VecDeque<&'static str>>,
    pub asked: Mutex<Vec<String>>,
    /// How long they think.
    pub thinks: Duration,
}

impl Puppet {
    pub fn who_answers(answers: &[&'static str]) -> Arc<Self> {
        let answers = Mutex::new(answers.iter().copied().collect());
        Arc::new(Self { answers, ..Self::default() })
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Person for Puppet {
    fn trusts<'a>(&'a self, key: &'a NewHostKey) -> BoxFuture<'a, bool> {
        self.asked
            .lock()
            .unwrap()
            .push(format!("{} {} {}", key.host, key.algorithm, key.fingerprint));
        Box::pin(async move {
            tokio::time::sleep(self.thinks).await;
            self.trusts
        })
    }

    fn answers<'a>(&'a self, prompt: &'a str, _: bool) -> BoxFuture<'a, Option<Zeroizing<String>>> {
        self.asked.lock().unwrap().push(prompt.to_owned());
        let answer = self.answers.lock().unwrap().pop_front();
        Box::pin(async move {
            tokio::time::sleep(self.thinks).await;
            answer.map(|answer| Zeroizing::new(answer.to_owned()))
        })
    }
}

/// Waits that a test can afford.
pub fn timings() -> Timings {
    Timings { ssh_connect: Duration::from_secs(5), ..Timings::default() }
}

/// A caller for `person`, who goes through nothing.
pub fn caller(person: Arc<Puppet>) -> Caller {
    let resolve: Resolve = Arc::new(|_| {
        Box::pin(std::future::ready(Err(Fault::new(
            Code::Internal,
            "there is nothing to go through",
        ))))
    });
    Caller {
        person,
        keyring: Arc::new(Keyring::default()),
        resolve,
        timings: timings(),
        told: Arc::new(|_: Note<'_>| {}),
    }
}

/// A connection that must come about.
pub async fn connected(to: &Resolved) -> Arc<dyn Session> {
    match connect(to, &caller(Arc::default())).await {
        Ok(session) => session,
        Err(fault) => panic!("{fault:#?}"),
    }
}

/// A connection that must not come about.
pub async fn refused(to: &Resolved, caller: &Caller) -> Fault {
    match tokio::time::timeout(PATIENCE, connect(to, caller)).await.expect("an answer in time") {
        Ok(_) => panic!("it was let in"),
        Err(fault) => fault,
    }
}

/// Runs `script`; its output.
pub async fn sh(session: &dyn Session, script: &str) -> String {
    let mut shell = session.shell().await.unwrap();
    shell.input.write_all(script.as_bytes()).await.unwrap();
    shell.input.shutdown().await.unwrap();
    let (mut output, mut errors) = (String::new(), String::new());
    let (one, other) = tokio::join!(
        shell.output.read_to_string(&mut output),
        shell.errors.read_to_string(&mut errors)
    );
    one.unwrap();
    other.unwrap();
    output
}

/// Everything that a person would see of a fault.
pub fn shown(fault: &Fault) -> String {
    format!("{}\n{}\n{}", fault.message, fault.causes.join("\n"), fault.hints.join("\n"))
}

/// Writes a file that only its owner can read.
pub fn write_private(path: &Path, text: &str) {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
