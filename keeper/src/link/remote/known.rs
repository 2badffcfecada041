//! What was seen of a hive the last time: where its agent listened. Only a hint, never trusted.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wire::{HiveName, limits};

use crate::bootstrap::probe;
use crate::install;

/// The form of the file; a newer one counts as none.
const VERSION: u32 = 1;
/// Bytes of the file that are read.
const MAX_BYTES: u64 = 4 * 1024;
/// Directories in which anybody could have put a socket in the meantime.
const OPEN_DIRECTORIES: [&str; 3] = ["/tmp/", "/var/tmp/", "/dev/shm/"];

/// What was seen of a hive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Path of the agent's socket.
    pub socket: String,
    /// The target that its program was compiled for; empty when that is not known.
    pub target: String,
    /// Whether the server may forward to a socket.
    pub forwards: bool,
}

#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    #[serde(flatten)]
    known: Known,
}

impl Known {
    /// The socket to try before anything else. One in a directory that everybody may write to is
    /// left to the bridge, which looks at whose it is.
    pub fn direct(&self) -> Option<&str> {
        let is_open = OPEN_DIRECTORIES.iter().any(|dir| self.socket.starts_with(dir));
        (self.forwards && !is_open).then_some(self.socket.as_str())
    }

    fn is_sound(&self) -> bool {
        let socket = &self.socket;
        let has_control = socket.chars().any(char::is_control);
        socket.starts_with('/')
            && socket.len() <= limits::MAX_SOCKET_PATH_BYTES
            && !has_control
            && (self.target.is_empty() || probe::target(&self.target).is_some())
    }
}

fn path(state: &Path, hive: &HiveName) -> PathBuf {
    // A hive's name is DNS labels: it has no slash and never begins with a dot.
    state.join("hives").join(format!("{hive}.json"))
}

/// What is known of a hive.
pub fn recall(state: &Path, hive: &HiveName) -> Option<Known> {
    let mut text = String::new();
    File::open(path(state, hive)).ok()?.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    let record: Record = serde_json::from_str(&text).ok()?;
    (record.version == VERSION && record.known.is_sound()).then_some(record.known)
}

/// Remembers a hive. What cannot be remembered costs the next connection a round trip.
pub fn remember(state: &Path, hive: &HiveName, known: &Known) {
    if let Err(error) = write(&path(state, hive), known) {
        tracing::warn!(%hive, %error, "a hive cannot be remembered");
    }
}

/// Forgets a hive.
pub fn forget(state: &Path, hive: &HiveName) {
    if let Err(error) = fs::remove_file(path(state, hive))
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%hive, %error, "a hive cannot be forgotten");
    }
}

fn write(path: &Path, known: &Known) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let text = serde_json::to_vec(&Record { version: VERSION, known: known.clone() })?;
    install::written(&part, 0o600, |file| file.write_all(&text))?;
    fs::rename(part, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(socket: &str) -> Known {
        let target = "x86_64-unknown-linux-gnu".to_owned();
        Known { socket: socket.to_owned(), target, forwards: true }
    }

    #[test]
    fn a_hive_is_remembered_until_it_is_forgotten() {
        let state = tempfile::tempdir().unwrap();
        let hive = "pc.lan".parse().unwrap();
        let seen = known("/home/ada/.local/state/rbee/run/agent.sock");
        remember(state.path(), &hive, &seen);
        assert_eq!(recall(state.path(), &hive), Some(seen));
        let text = fs::read_to_string(path(state.path(), &hive)).unwrap();
        fs::write(path(state.path(), &hive), text.replace("\"version\":1", "\"version\":2"))
            .unwrap();
        assert_eq!(recall(state.path(), &hive), None, "a newer form is not guessed at");
        forget(state.path(), &hive);
        forget(state.path(), &hive);
        assert_eq!(recall(state.path(), &hive), None);
    }

    #[test]
    fn a_hint_that_could_mislead_is_none() {
        let state = tempfile::tempdir().unwrap();
        let hive = "pc".parse().unwrap();
        for socket in ["relative", "/a\nb", &format!("/{}", "x".repeat(200))] {
            remember(state.path(), &hive, &known(socket));
            assert_eq!(recall(state.path(), &hive), None, "{socket:?}");
        }
        assert_eq!(known("/tmp/rbee-7/0123/agent.sock").direct(), None, "anybody's directory");
        assert_eq!(Known { forwards: false, ..known("/home/a.sock") }.direct(), None);
        assert_eq!(known("/home/a.sock").direct(), Some("/home/a.sock"));
    }
}
