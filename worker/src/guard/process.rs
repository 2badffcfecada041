//! The engine's process: started in a group of its own, signalled only while its pid is its own.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use wire::guard::{EngineCommand, ProcessIdentity};
use wire::worker::Exit;

use super::bounds::engine_oom_score;
use crate::platform;

/// A started engine that has not been reaped: its pid, which is also its group's id, cannot belong
/// to anyone else as long as this value lives.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Pid,
    identity: ProcessIdentity,
}

/// What comes out of a started engine.
#[derive(Debug)]
pub struct Outlets {
    /// Its standard error.
    pub stderr: pipe::Receiver,
    /// Resolves when it has ended; it is not reaped then.
    pub ended: oneshot::Receiver<()>,
}

impl Process {
    /// Starts `engine`. Its standard input stays open, and empty, for as long as this process
    /// lives: an engine that watches it ends with its guard, however the guard ended.
    /// It goes through `doors`, each a control group's, before it is `engine`.
    pub fn start(engine: &EngineCommand, doors: Vec<File>) -> io::Result<(Self, Outlets)> {
        let mut command = Command::new(&engine.program);
        command
            .args(&engine.args)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        platform::enter_before_exec(&mut command, doors, engine_oom_score());
        let mut child = command.spawn()?;
        match Self::watch(&mut child) {
            Ok((group, identity, outlets)) => Ok((Self { child, group, identity }, outlets)),
            Err(error) => {
                // An engine that cannot be watched must not stay.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    fn watch(child: &mut Child) -> io::Result<(Pid, ProcessIdentity, Outlets)> {
        let pid = child.id();
        let group = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::other("the engine has no valid pid"))?;
        let stderr = child.stderr.take().ok_or_else(|| io::Error::other("no standard error"))?;
        let stderr = pipe::Receiver::from_owned_fd(OwnedFd::from(stderr))?;
        let identity = ProcessIdentity { pid, start_time: platform::start_time(pid)? };
        let (tell, ended) = oneshot::channel();
        // NOWAIT leaves the zombie in place, so that the group's id stays taken until `reap`.
        std::thread::Builder::new().name("engine-wait".to_owned()).spawn(move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(group), options) {}
            // Nobody listens when the guard itself is at its end.
            let _ = tell.send(());
        })?;
        Ok((group, identity, Outlets { stderr, ended }))
    }

    /// Who it is.
    pub fn identity(&self) -> ProcessIdentity {
        self.identity
    }

    /// Sends SIGTERM to the engine and everything in its group.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGKILL to the engine and everything in its group.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        // The group exists until its leader is reaped; a refusal (a member that changed its user)
        // leaves nothing else to try.
        let _ = kill_process_group(self.group, signal);
    }

    /// Takes the end of an engine that has ended. Whatever it left in its group is killed first,
    /// while the group's id is still its own and the signal cannot reach a stranger.
    pub fn reap(mut self) -> Exit {
        self.kill();
        match self.child.wait() {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => Exit::Unseen,
            },
            Err(_) => Exit::Unseen,
        }
    }
}
