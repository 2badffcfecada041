//! What came of an answer that a failure cut short is kept in a file: standard output may be gone.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use wire::RequestId;

/// Files that are kept; older ones are taken away.
const MAX_FILES: usize = 20;

/// Writes `text` to a new private file below `state`, the user's directory of the program.
///
/// # Errors
/// Those of the file system.
pub fn keep(state: &Path, id: RequestId, text: &str) -> io::Result<PathBuf> {
    let dir = state.join("partial");
    DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    let path = dir.join(format!("{id}.txt"));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(text.as_bytes())?;
    collect(&dir);
    Ok(path)
}

/// Takes the oldest files away. What cannot be removed is left for the next time.
fn collect(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut files: Vec<_> = entries
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort();
    for (_, path) in files.iter().rev().skip(MAX_FILES) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_text_is_kept_for_this_user_alone_and_not_for_ever() {
        let state = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..MAX_FILES + 3)
            .map(|n| keep(state.path(), RequestId::random(), &format!("half {n}")).unwrap())
            .collect();
        let last = paths.last().unwrap();
        assert_eq!(fs::read_to_string(last).unwrap(), format!("half {}", MAX_FILES + 2));
        assert_eq!(fs::metadata(last).unwrap().permissions().mode() & 0o777, 0o600);
        let left = fs::read_dir(state.path().join("partial")).unwrap().count();
        assert_eq!(left, MAX_FILES);
    }
}
