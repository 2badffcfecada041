//! The person's own ssh configuration: what it says of one connection.
//!
//! Where there is an OpenSSH client it is asked (`ssh -G`), so that whatever it understands counts
//! here too. Elsewhere its files are read by `files`, which knows `Host`, `Include` and the plain
//! kinds of `Match`; a block whose `Match` asks for more (`exec`, `canonical`, `final`, `tagged`,
//! `localnetwork`) does not apply there.

mod expand;
mod files;
mod openssh;
mod options;

use std::path::{Path, PathBuf};
use std::time::Duration;

use wire::Fault;

use super::address::Address;
use super::resolved::{Resolved, Way};
use options::Asked;

/// How long `ssh -G` may take. It needs some milliseconds, and what a `Match exec` needs.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);

/// What the configuration takes from around it.
#[derive(Debug, Clone)]
pub struct Around {
    /// The OpenSSH client, when there is one.
    pub program: Option<PathBuf>,
    /// A file to read instead of the person's and the system's configuration (`ssh -F`).
    pub config: Option<PathBuf>,
    /// The person's home directory, as the system has it: OpenSSH does not look at `HOME`.
    pub home: PathBuf,
    /// The person's name on this machine.
    pub user: String,
    /// The person's number on this machine.
    pub uid: u32,
    /// A variable of the environment.
    pub variable: fn(&str) -> Option<String>,
}

/// What counts for a connection to `address`. An `identity` is tried before those of the
/// configuration, and a `jump` is the way instead of the configured one.
///
/// # Errors
/// `INVALID_CONFIG` for an ssh configuration that cannot be used, in the words of `ssh` if it was
/// asked.
pub async fn resolve(
    around: &Around,
    address: &Address,
    identity: Option<&Path>,
    jump: &[Address],
) -> Result<Resolved, Fault> {
    let answer = match &around.program {
        Some(program) => openssh::ask(program, around, address, LONGEST_ANSWER).await?,
        None => None,
    };
    let options = match answer {
        Some(options) => options,
        None => files::read(around, address)?,
    };
    let mut resolved = Asked { around, address }.resolve(&options)?;
    if let Some(identity) = identity {
        let identity = home(identity, around);
        resolved.identities.retain(|other| *other != identity);
        resolved.identities.insert(0, identity);
    }
    if !jump.is_empty() {
        resolved.way = Way::Jumps(jump.to_vec());
    }
    Ok(resolved)
}

/// A path that a person wrote, with `~` as their home directory.
pub fn home(path: &Path, around: &Around) -> PathBuf {
    expand::home(&path.to_string_lossy(), &around.home)
}

#[cfg(test)]
mod tests;
