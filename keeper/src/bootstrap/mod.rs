//! Brings this program to a machine that has nothing but an SSH server: probe, choice of a build,
//! upload, start, attach. All of it by scripts for `/bin/sh` over one connection.

pub mod attach;
pub mod bundle;
mod elf;
pub mod line;
pub mod logs;
pub mod payload;
pub mod probe;
pub mod purge;
pub mod script;
pub mod start;
pub mod stock;
pub mod upload;

#[cfg(test)]
mod testing;

use std::sync::Arc;
use std::time::Duration;

use wire::{Code, Fault, HiveName};

use crate::ssh::Session;

/// A directory of every Unix that everybody may write to and that survives a boot: what a home does
/// not take goes into a private directory there.
pub const SHARED: &str = "/var/tmp";

/// What is being done to bring a hive up, as it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A connection is made.
    Connecting,
    /// The machine is asked what it is.
    Probing,
    /// The program is sent there.
    Installing {
        /// Bytes that are there.
        done: u64,
        /// Bytes to send.
        total: u64,
    },
    /// The agent is started.
    Starting,
    /// The agent answers.
    Online,
    /// Something that is not as one might expect.
    Note(String),
}

/// Somebody who is told what happens.
pub trait Witness: Send + Sync {
    /// A step of `hive` begins, or goes on.
    fn sees(&self, hive: &HiveName, step: &Step);
}

/// A machine and the connection to it.
#[derive(Clone)]
pub struct Host {
    /// Its name.
    pub hive: HiveName,
    /// The connection.
    pub session: Arc<dyn Session>,
    /// Its shell that waits for a script.
    pub waiting: script::Waiting,
    /// Who is told what happens.
    pub witness: Arc<dyn Witness>,
    /// How long the machine may say nothing before it is given up.
    pub silence: Duration,
    /// [`SHARED`].
    pub shared: String,
}

impl Host {
    /// Tells what happens.
    pub fn sees(&self, step: &Step) {
        self.witness.sees(&self.hive, step);
    }

    /// A fault of this machine: what was done, and what came of it.
    pub fn fault(&self, code: Code, what: impl std::fmt::Display) -> Fault {
        Fault::new(code, format!("hive {}: {what}", self.hive))
    }

    /// The command that looks closer.
    pub fn doctor(&self) -> String {
        format!("rbee hive doctor {}", self.hive)
    }

    /// A directory in the place of the one beside the home is not this user's.
    pub(crate) fn foreign(&self, path: &str) -> Fault {
        let what = format!("{path} is in the way: it is not a private directory of its user");
        self.fault(Code::AgentFailed, what)
            .hint(self.there(&format!("ls -ld {}", wire::text::shell_word(path))))
    }

    /// A command for a person to type, on that machine.
    pub(crate) fn there(&self, command: &str) -> String {
        format!("{command}  # on {}", self.hive)
    }
}
