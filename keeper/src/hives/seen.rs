//! When each hive answered last: one small file a hive, so that keepers never wait for each other.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use wire::HiveName;

/// The form of the file; a newer one is not understood and counts as none.
const VERSION: u32 = 1;
/// Bytes of the file that are read.
const MAX_BYTES: u64 = 4 * 1024;

#[derive(Serialize, Deserialize)]
struct Seen {
    version: u32,
    /// Milliseconds since 1970.
    last_seen_ms: u64,
}

/// Where it is kept below the state directory.
fn path(state: &Path, hive: &HiveName) -> PathBuf {
    // A hive's name is DNS labels: it has no slash and never begins with a dot.
    state.join("seen").join(hive.as_str())
}

/// Notes that a hive answered just now. What cannot be noted is only missing in a list.
pub fn note(state: &Path, hive: &HiveName) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let last_seen_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    if let Err(error) = write(&path(state, hive), &Seen { version: VERSION, last_seen_ms }) {
        tracing::warn!(%hive, %error, "it cannot be noted that a hive answered");
    }
}

/// When a hive answered last, in milliseconds since 1970; none when that is not known.
pub fn last(state: &Path, hive: &HiveName) -> Option<u64> {
    let mut text = String::new();
    fs::File::open(path(state, hive)).ok()?.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    let seen: Seen = serde_json::from_str(&text).ok()?;
    (seen.version == VERSION).then_some(seen.last_seen_ms)
}

/// Forgets a hive that is removed.
pub fn forget(state: &Path, hive: &HiveName) {
    if let Err(error) = fs::remove_file(path(state, hive))
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%hive, %error, "a hive cannot be forgotten");
    }
}

fn write(path: &Path, seen: &Seen) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let text = serde_json::to_vec(seen)?;
    // Half a file counts as none, and the next answer of the hive mends it.
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hive_is_remembered_until_it_is_forgotten() {
        let state = tempfile::tempdir().unwrap();
        let hive = "pc.lan".parse().unwrap();
        assert_eq!(last(state.path(), &hive), None);
        note(state.path(), &hive);
        assert!(last(state.path(), &hive).unwrap() > 1_600_000_000_000);
        fs::write(path(state.path(), &hive), r#"{"version":2,"last_seen_ms":7}"#).unwrap();
        assert_eq!(last(state.path(), &hive), None, "a newer form is not guessed at");
        forget(state.path(), &hive);
        forget(state.path(), &hive);
        assert_eq!(fs::read_dir(state.path().join("seen")).unwrap().count(), 0);
    }
}
