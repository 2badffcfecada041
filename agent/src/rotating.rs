//! A file of lines that grows no further than its bound: a full one becomes the older half.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Lines that may wait for the disk; of more, some are lost and nobody waits.
const MAX_WAITING_LINES: usize = 4096;

/// A file and the one before it: `NAME` and `NAME.1`, each of half the bound at most.
#[derive(Debug)]
pub struct Rotating {
    path: PathBuf,
    file: File,
    written: u64,
    half_bytes: u64,
}

/// The file that `path` becomes when it is full.
pub fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

impl Rotating {
    /// Goes on with the file at `path`, readable by this user alone. Both files together hold
    /// `most_bytes`, and a line is never longer than half of that.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(path: PathBuf, most_bytes: u64) -> io::Result<Self> {
        let mut file = append(&path)?;
        let mut written = file.metadata()?.len();
        if written > 0 && !ends_a_line(&mut file)? {
            // Whoever wrote before was killed in the middle of a line.
            file.write_all(b"\n")?;
            written += 1;
        }
        Ok(Self { path, file, written, half_bytes: most_bytes / 2 })
    }

    /// A thread that writes to it, so that nobody else waits for the disk. What waits is written
    /// when the guard is dropped.
    pub fn in_background(self) -> (NonBlocking, WorkerGuard) {
        NonBlockingBuilder::default().buffered_lines_limit(MAX_WAITING_LINES).finish(self)
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)
}

fn ends_a_line(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

impl Write for Rotating {
    /// Takes whole lines: what is written at once stays in one file.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let count = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        if self.written > 0 && self.written.saturating_add(count) > self.half_bytes {
            std::fs::rename(&self.path, older(&self.path))?;
            self.file = append(&self.path)?;
            self.written = 0;
        }
        self.file.write_all(lines)?;
        self.written = self.written.saturating_add(count);
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
    fn it_keeps_the_newest_whole_lines_within_its_bound_and_across_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        for n in 0..200 {
            let mut file = Rotating::open(path.clone(), 1000).unwrap();
            writeln!(file, "{n:09}").unwrap();
        }
        let text = |path: &Path| std::fs::read_to_string(path).unwrap();
        let all = [text(&older(&path)), text(&path)].concat();
        assert!((500..=1000).contains(&all.len()), "{}", all.len());
        let numbers: Vec<u32> = all.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers.last(), Some(&199));
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    }

    #[test]
    fn a_line_that_was_torn_is_ended_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        std::fs::write(&path, "whole\nhal").unwrap();
        Rotating::open(path.clone(), 1000).unwrap().write_all(b"next\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole\nhal\nnext\n");
    }
}
