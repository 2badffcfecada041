//! Small files that outlive the agent: read within a bound, replaced whole, of a version.

use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// One such file. A newer build's is neither used nor replaced.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    path: PathBuf,
    version: u32,
    /// Whether the file may be written: it is not a newer build's.
    is_ours: bool,
}

#[derive(Serialize, Deserialize)]
struct Stored<T> {
    version: u32,
    #[serde(flatten)]
    content: T,
}

/// The one field that every version has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Kept {
    /// Reads at most `max_bytes` of a file; a missing or damaged one has no content.
    pub fn open<T: DeserializeOwned>(
        path: PathBuf,
        version: u32,
        max_bytes: u64,
    ) -> (Self, Option<T>) {
        let bytes = read(&path, max_bytes).unwrap_or_default();
        let newer = serde_json::from_slice::<Version>(&bytes).is_ok_and(|v| v.version > version);
        if newer {
            tracing::warn!(path = %path.display(), "a newer build's file is not used");
        }
        let content = serde_json::from_slice::<Stored<T>>(&bytes).ok().filter(|_| !newer);
        (Self { path, version, is_ours: !newer }, content.map(|stored| stored.content))
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// Whatever the operating system refuses.
    pub fn save<T: Serialize>(&self, content: &T) -> io::Result<()> {
        if !self.is_ours {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&Stored { version: self.version, content })?;
        let part = self.path.with_extension("part");
        let mut options = std::fs::OpenOptions::new();
        let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&part);
        let written = opened.and_then(|mut file| file.write_all(&bytes));
        if let Err(error) = written.and_then(|()| std::fs::rename(&part, &self.path)) {
            // The cause is worth more than a second error about the rest of it.
            let _kept = std::fs::remove_file(&part);
            return Err(error);
        }
        Ok(())
    }
}

fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}
