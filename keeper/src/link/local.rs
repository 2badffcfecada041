//! The hive that is this machine: the agent's own socket, no SSH.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use wire::guard::files;
use wire::hello::Hello;
use wire::{BuildId, Code, Fault, HiveName, layout, limits, ndjson};

use super::{Opened, Transport};
use crate::environment::Directories;
use crate::install;
use crate::last_words;
use crate::model::path_word;
use crate::platform;

/// Bytes of what a failing agent says on standard error that are kept.
const MAX_COMPLAINT_BYTES: u64 = 16 * 1024;
/// What a starting agent gets beyond its own bound, to say what went wrong.
const GRACE: Duration = Duration::from_secs(2);

/// The local transport.
#[derive(Debug, Clone)]
pub struct Local {
    hive: HiveName,
    socket: PathBuf,
    workers: PathBuf,
    data: PathBuf,
    build: BuildId,
    agent_start: Duration,
}

impl Local {
    /// The way to the agent of this user on this machine; a new agent gets `agent_start` to answer.
    pub fn new(dirs: &Directories, build: BuildId, agent_start: Duration) -> Self {
        Self {
            hive: HiveName::local(),
            socket: dirs.agent_socket(),
            workers: layout::workers_dir(&dirs.runtime).into(),
            data: dirs.data.clone(),
            build,
            agent_start,
        }
    }
}

impl Transport for Local {
    fn hive(&self) -> &HiveName {
        &self.hive
    }

    async fn open(&self) -> Result<Option<Opened>, Fault> {
        use io::ErrorKind::{ConnectionRefused, NotFound};
        let stream = match UnixStream::connect(&self.socket).await {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => return Ok(None),
            Err(error) => {
                let message = "the agent's socket cannot be opened";
                return Err(Fault::new(Code::HiveUnreachable, message)
                    .cause(format!("{}: {error}", self.socket.display()))
                    .hint("rbee doctor"));
            }
        };
        self.check_owner(&stream)?;
        let agent_pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        Ok(Some(Opened { stream: Box::new(stream), agent_pid }))
    }

    async fn start(&self) -> Result<(), Fault> {
        let program = install::ensure(&self.data, &self.build)?;
        tracing::info!(program = %program.display(), "starting the agent");
        let mut child = Command::new(&program)
            .args(["agent", "start"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                failed("it cannot be executed").cause(format!("{}: {error}", program.display()))
            })?;
        let bound = self.agent_start.saturating_add(GRACE);
        if let Ok(outcome) = tokio::time::timeout(bound, started(&mut child)).await {
            return outcome;
        }
        let _ = child.start_kill();
        Err(failed(&format!("no answer within {} s", bound.as_secs())))
    }

    async fn has_orphans(&self) -> Result<bool, Fault> {
        let Ok(mut workers) = tokio::fs::read_dir(&self.workers).await else { return Ok(false) };
        while let Ok(Some(worker)) = workers.next_entry().await {
            // A guard takes its socket away when it ends; one that was killed leaves it behind,
            // and then an agent is started for nothing, which is harmless.
            let socket = worker.path().join(files::GUARD_SOCKET);
            if tokio::fs::try_exists(socket).await.unwrap_or(false) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn holder(&self) -> Result<Option<i32>, Fault> {
        Ok(self.open().await?.and_then(|opened| opened.agent_pid))
    }

    async fn kill_agent(&self, pid: i32) -> Result<(), Fault> {
        platform::kill_agent(pid)
            .map_err(|error| Fault::new(Code::Io, "the agent was not killed").caused_by(&error))
    }

    async fn ended(&self, pid: u32) -> Result<(), Fault> {
        platform::ended(pid)
            .await
            .map_err(|error| Fault::new(Code::Io, "the agent's end cannot be seen").cause(error))
    }

    /// Each stream is a connection of its own.
    async fn renew(&self) {}
}

impl Local {
    /// A socket of another user would read this user's prompts.
    fn check_owner(&self, stream: &UnixStream) -> Result<(), Fault> {
        let own = rustix::process::getuid().as_raw();
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == own => Ok(()),
            Ok(peer) => {
                let message = format!("the agent's socket belongs to user {}", peer.uid());
                Err(Fault::new(Code::Io, message)
                    .cause(self.socket.display())
                    .hint(format!("ls -l {}", path_word(&self.socket))))
            }
            Err(error) => {
                Err(Fault::new(Code::Io, "the agent's socket does not say whose it is")
                    .cause(error))
            }
        }
    }
}

fn failed(why: &str) -> Fault {
    Fault::new(Code::AgentFailed, format!("the agent of this machine did not start: {why}"))
        .hint("rbee doctor")
}

/// Waits for `agent start`: one line of JSON when its agent answers, else what it complained of.
async fn started(child: &mut Child) -> Result<(), Fault> {
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failed("its output cannot be read"));
    };
    let complaint = async {
        let mut text = Vec::new();
        // What was read until an error is still the best explanation.
        let _ = stderr.take(MAX_COMPLAINT_BYTES).read_to_end(&mut text).await;
        String::from_utf8_lossy(&text).into_owned()
    };
    let answer = async {
        match first_line(stdout).await {
            Ok(line) if !line.is_empty() => Some(line),
            _ => None,
        }
    };
    tokio::pin!(complaint);
    let line = tokio::select! {
        biased;
        line = answer => line,
        text = &mut complaint => return finished(child, &text).await,
    };
    if let Some(line) = line {
        let hello: Hello = ndjson::decode(line.trim_end().as_bytes())?;
        tracing::info!(pid = hello.pid, build = %hello.build, "the agent answers");
        return Ok(());
    }
    let text = complaint.await;
    finished(child, &text).await
}

async fn first_line(stdout: impl AsyncRead + Unpin) -> io::Result<String> {
    let mut line = String::new();
    let bound = u64::try_from(limits::MAX_MESSAGE_BYTES).unwrap_or(u64::MAX);
    BufReader::new(stdout.take(bound)).read_line(&mut line).await?;
    Ok(line)
}

async fn finished(child: &mut Child, complaint: &str) -> Result<(), Fault> {
    match child.wait().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(explained(&status.to_string(), complaint)),
        Err(error) => Err(failed("it cannot be waited for").cause(error)),
    }
}

/// The fault that the agent printed as its last line, or its last words.
fn explained(status: &str, complaint: &str) -> Fault {
    if let Some(fault) = last_words::fault(complaint) {
        return fault;
    }
    let lines: Vec<&str> = complaint.lines().filter(|line| !line.trim().is_empty()).collect();
    let last_words = lines.iter().rev().take(4).rev();
    last_words.fold(failed(status), Fault::cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_says_why_it_failed_is_quoted() {
        let fault = Fault::new(Code::DiskFull, "no space").hint("df");
        let line = serde_json::json!({ "fault": fault }).to_string();
        assert_eq!(explained("exit status: 1", &format!("log\n{line}\n")), fault);
        let plain = explained("exit status: 1", "a\nb\nc\nd\ne\n");
        assert_eq!(plain.code, Code::AgentFailed);
        assert_eq!(plain.causes, ["b", "c", "d", "e"]);
    }
}
