//! `rbee agent start`: finds the agent that runs, or starts one and waits for its greeting.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Child;
use wire::fault::Fault;
use wire::hello::{Hello, Role, agent_protocol};
use wire::settings::Lifetime;
use wire::{Code, layout, limits, ndjson, routes, text};

use crate::client;
use crate::dirs::Dirs;
use crate::scope::Scopes;
use crate::settings::Settings;

/// Between two looks at a socket that should soon be there.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long an agent that listens may take to greet.
const GREETING: Duration = Duration::from_secs(2);

/// Returns the greeting of the agent of this user.
///
/// # Errors
/// `AGENT_FAILED` with the daemon's own words, `VERSION_MISMATCH` when one runs that speaks
/// another protocol.
pub async fn start(dirs: &Dirs, settings: &Settings) -> Result<Hello, Fault> {
    let socket = PathBuf::from(layout::agent_socket(&dirs.runtime));
    if let Some(hello) = greet(&socket).await {
        return accept(hello);
    }
    let stderr = dirs.log.join("agent.stderr");
    let launched = launch(&Scopes::look().await, settings.agent.lifetime, &stderr);
    let mut child = launched.map_err(|error| {
        Fault::new(Code::AgentFailed, "the agent could not be started").caused_by(&error)
    })?;
    let waiting = wait(&socket, &mut child, &stderr);
    let waited = tokio::time::timeout(settings.timings.agent_start, waiting).await;
    waited.unwrap_or_else(|_late| {
        let limit = settings.timings.agent_start.as_secs_f32();
        let message = format!("the agent did not answer within {limit} s");
        Err(Fault::new(Code::AgentFailed, message).hint(cat(&stderr)))
    })
}

/// Waits for a greeting, for as long as the child lives or has lost the race against another:
/// two keepers may start an agent at the same time, and only one of the two stays.
async fn wait(socket: &Path, child: &mut Child, stderr: &Path) -> Result<Hello, Fault> {
    let mut look = tokio::time::interval(LOOK_AGAIN);
    loop {
        look.tick().await;
        let ended = !matches!(child.try_wait(), Ok(None));
        if let Some(hello) = greet(socket).await {
            return accept(hello);
        }
        if ended {
            let fault = last_words(stderr);
            if !fault.details.contains_key(crate::ANOTHER_RUNS) {
                return Err(fault);
            }
        }
    }
}

async fn greet(socket: &Path) -> Option<Hello> {
    let hello = tokio::time::timeout(GREETING, client::get::<Hello>(socket, routes::HELLO));
    hello.await.ok()?.ok()
}

fn accept(hello: Hello) -> Result<Hello, Fault> {
    if hello.role != Role::Agent {
        return Err(Fault::new(
            Code::ProtocolError,
            "something else listens on the agent's socket",
        ));
    }
    agent_protocol::SPOKEN.agree(hello.protocol)?;
    Ok(hello)
}

fn launch(scopes: &Scopes, lifetime: Lifetime, stderr: &Path) -> std::io::Result<Child> {
    let log = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(stderr)?;
    let mut command = scopes.command(std::env::current_exe()?);
    command
        .args(["agent", "serve", "--detach", "--lifetime", lifetime.word()])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command.spawn()
}

/// Why a daemon that ended at once says it did.
fn last_words(stderr: &Path) -> Fault {
    let words = read_tail(stderr).unwrap_or_default();
    let line = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    match ndjson::decode::<crate::Report>(line.as_bytes()) {
        Ok(report) => report.fault,
        Err(_not_ours) => Fault::new(Code::AgentFailed, "the agent ended at once")
            .cause(text::one_line(line, limits::MAX_FAULT_MESSAGE_BYTES))
            .hint(cat(stderr)),
    }
}

fn cat(path: &Path) -> String {
    format!("cat {}", text::shell_word(&path.to_string_lossy()))
}

fn read_tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let tail = u64::try_from(limits::MAX_MESSAGE_BYTES).unwrap_or(u64::MAX);
    let from = file.metadata()?.len().saturating_sub(tail);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(tail).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
