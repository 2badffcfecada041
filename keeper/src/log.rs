//! The keeper's own log: off, unless `RBEE_LOG` says what to write. Never on the terminal, and
//! never with prompts or answers in it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;
use wire::{Code, Fault, limits};

use crate::environment::Environment;

/// Bytes of each of the two files: the newest half and the one before it.
const HALF_BYTES: u64 = limits::MAX_LOG_BYTES / 2;

/// Starts the log in `<state>/log` when `RBEE_LOG` is set. What it returns writes the rest out
/// when it is dropped.
///
/// # Errors
/// `INVALID_ARGUMENT` for a filter that cannot be read, `IO_ERROR` when the directory cannot be
/// written.
pub fn start(environment: &Environment) -> Result<Option<WorkerGuard>, Fault> {
    let Some(filter) = &environment.log else { return Ok(None) };
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Fault::new(Code::InvalidArgument, "RBEE_LOG is no filter of log lines")
            .cause(error)
            .hint("RBEE_LOG=info rbee ps")
    })?;
    let dir = environment.dirs.state.join("log");
    let file = Shared::open(&dir).map_err(|error| {
        Fault::new(Code::Io, format!("{} cannot be written", dir.display())).caused_by(&error)
    })?;
    let (writer, guard) = tracing_appender::non_blocking(file);
    let started = tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(writer)
        .try_init()
        .map_err(|error| Fault::new(Code::Internal, "the log was started twice").cause(error));
    started.map(|()| Some(guard))
}

/// `keeper.jsonl`, to which all keepers of this user add lines; a full one becomes
/// `keeper.jsonl.1`.
struct Shared {
    path: PathBuf,
    file: File,
}

impl Shared {
    fn open(dir: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let path = dir.join("keeper.jsonl");
        Ok(Self { file: append(&path)?, path })
    }

    /// Another keeper may have begun a new file already: then this one goes on with that.
    fn begin_the_next(&mut self) -> io::Result<()> {
        let own = self.file.metadata()?.ino();
        if std::fs::metadata(&self.path).is_ok_and(|there| there.ino() == own) {
            std::fs::rename(&self.path, self.path.with_extension("jsonl.1"))?;
        }
        self.file = append(&self.path)?;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

impl Write for Shared {
    /// Takes whole lines: what is written at once stays in one file, beside those of others.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let count = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        if self.file.metadata()?.len().saturating_add(count) > HALF_BYTES {
            self.begin_the_next()?;
        }
        self.file.write_all(lines)?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keepers_share_one_log_that_keeps_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let mut keepers = [Shared::open(dir.path()).unwrap(), Shared::open(dir.path()).unwrap()];
        let line = [vec![b'x'; 99_999], b"\n".to_vec()].concat();
        for n in 0..200 {
            keepers[n % 2].write_all(&line).unwrap();
        }
        let sizes: Vec<u64> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(sizes.len(), 2);
        let all: u64 = sizes.iter().sum();
        assert!((HALF_BYTES..=limits::MAX_LOG_BYTES).contains(&all), "{sizes:?}");
    }
}
