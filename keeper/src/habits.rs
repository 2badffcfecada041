//! What the person chose last time: small files of the state directory.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// The file that tells whether the workers were stopped when the TUI was left.
const STOPS: &str = "quit";
/// Bytes of it; a word.
const MAX_BYTES: u64 = 16;

/// Whether the workers were stopped last time; kept when nothing is known of that.
pub fn stops(state: &Path) -> bool {
    let mut word = String::new();
    let file = fs::File::open(state.join(STOPS));
    let read = file.and_then(|file| file.take(MAX_BYTES).read_to_string(&mut word));
    read.is_ok() && word.trim() == "stop"
}

/// Remembers whether the workers were stopped.
///
/// # Errors
/// Those of the file system.
pub fn remember_stops(state: &Path, stops: bool) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(state)?;
    let path = state.join(STOPS);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(if stops { b"stop\n" } else { b"keep\n" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_remembered_and_anything_else_in_the_file_keeps() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        assert!(!stops(&state));
        remember_stops(&state, true).unwrap();
        assert!(stops(&state));
        remember_stops(&state, false).unwrap();
        assert!(!stops(&state));
        fs::write(state.join(STOPS), [0xff; 4096]).unwrap();
        assert!(!stops(&state));
    }
}
