//! The end of a file of lines, and what is written to it from then on, also when it is full and
//! another takes its place.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::rotating::older;

/// Bytes that are read at once. A reader over a slow line gets no more before it asks again, so
/// that whatever else its connection carries has its turn.
const READ_BYTES: usize = 16 * 1024;

/// A place in a log.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    /// Files that are not read to their end, each with where to go on; the last one is the newest.
    files: VecDeque<(File, u64)>,
}

/// What there was to read.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// The next bytes.
    Bytes(Vec<u8>),
    /// Nothing yet.
    Nothing,
    /// Nothing ever: the log is gone.
    Gone,
}

impl Tail {
    /// At the last `lines` of the log at `path`, of the file before it too.
    ///
    /// # Errors
    /// Those of the file system; `NotFound` when there is no log.
    pub fn open(path: &Path, lines: u32) -> io::Result<Self> {
        // Opening a pipe would wait for its writer for ever.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let newest = File::open(path)?;
        let (from, found) = start_of_last(&newest, lines)?;
        let mut files = VecDeque::from([(newest, from)]);
        let before = File::open(older(path)).ok().filter(|_| found < lines);
        if let Some(before) = before {
            let (from, _) = start_of_last(&before, lines - found)?;
            files.push_front((before, from));
        }
        Ok(Self { path: path.to_owned(), files })
    }

    /// The next bytes.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn read(&mut self) -> io::Result<Read> {
        loop {
            let Some((file, at)) = self.files.front_mut() else { return Ok(Read::Gone) };
            if let Some(bytes) = read_at(file, at)? {
                return Ok(Read::Bytes(bytes));
            }
            if self.files.len() > 1 {
                self.files.pop_front();
                continue;
            }
            match self.successors()? {
                None => return Ok(Read::Nothing),
                Some(successors) => {
                    // It was written to until it got another name.
                    if let Some((file, at)) = self.files.front_mut()
                        && let Some(bytes) = read_at(file, at)?
                    {
                        return Ok(Read::Bytes(bytes));
                    }
                    self.files = successors;
                }
            }
        }
    }

    /// The files that took the place of the newest one; nothing while it has its place.
    fn successors(&self) -> io::Result<Option<VecDeque<(File, u64)>>> {
        let Some((file, _)) = self.files.back() else { return Ok(None) };
        let own = file.metadata()?.ino();
        let Some(newest) = found(&self.path)? else { return Ok(Some(VecDeque::new())) };
        if newest.metadata()?.ino() == own {
            return Ok(None);
        }
        // Two may have been filled since: the one between them is still there.
        let between = found(&older(&self.path))?;
        let between = match between {
            Some(file) if file.metadata()?.ino() != own => Some(file),
            _ => None,
        };
        Ok(Some(between.into_iter().chain([newest]).map(|file| (file, 0)).collect()))
    }
}

fn found(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_at(file: &File, at: &mut u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; READ_BYTES];
    let count = file.read_at(&mut bytes, *at)?;
    *at += u64::try_from(count).unwrap_or(u64::MAX);
    bytes.truncate(count);
    Ok((count > 0).then_some(bytes))
}

/// Where the last `lines` of a file begin, and how many there are.
fn start_of_last(file: &File, lines: u32) -> io::Result<(u64, u32)> {
    let length = file.metadata()?.len();
    let (mut end, mut found) = (length, 0);
    if lines == 0 {
        return Ok((length, 0));
    }
    let mut block = vec![0; READ_BYTES];
    while end > 0 {
        let size = end.min(u64::try_from(READ_BYTES).unwrap_or(end));
        let start = end - size;
        let part = block.get_mut(..usize::try_from(size).unwrap_or(0)).unwrap_or_default();
        file.read_exact_at(part, start)?;
        for (at, byte) in (start..).zip(part.iter()).collect::<Vec<_>>().into_iter().rev() {
            // The newline at the very end begins no line.
            if *byte == b'\n' && at + 1 < length {
                found += 1;
                if found == lines {
                    return Ok((at + 1, found));
                }
            }
        }
        end = start;
    }
    Ok((0, found + u32::from(length > 0)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::rotating::Rotating;
    use proptest::prelude::*;

    fn rest(tail: &mut Tail) -> String {
        let mut text = Vec::new();
        while let Read::Bytes(bytes) = tail.read().unwrap() {
            text.extend(bytes);
        }
        String::from_utf8(text).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whoever_follows_misses_no_line_and_sees_none_twice(
            lines in proptest::collection::vec("[a-z]{0,30}", 1..80),
            last in 0u32..20, looks in proptest::collection::vec(any::<bool>(), 80),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("log");
            let mut log = Rotating::open(path.clone(), 300).unwrap();
            let (before, after) = lines.split_at(lines.len() / 2);
            for line in before {
                log.write_all(format!("{line}\n").as_bytes()).unwrap();
            }
            let on_disk = [older(&path), path.clone()].map(std::fs::read_to_string);
            let kept: String = on_disk.into_iter().flatten().collect();
            let kept: Vec<&str> = kept.lines().collect();
            let from = kept.len().saturating_sub(usize::try_from(last).unwrap());
            let mut expected: Vec<&str> = kept[from..].to_vec();
            let mut tail = Tail::open(&path, last).unwrap();
            let mut seen = String::new();
            let mut unseen = 0;
            for (line, look) in after.iter().zip(looks) {
                log.write_all(format!("{line}\n").as_bytes()).unwrap();
                unseen += line.len() + 1;
                // Within one of the two files there is always something that was seen.
                if look || unseen > 100 {
                    seen.push_str(&rest(&mut tail));
                    unseen = 0;
                }
            }
            seen.push_str(&rest(&mut tail));
            expected.extend(after.iter().map(String::as_str));
            prop_assert_eq!(seen.lines().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_log_that_is_taken_away_is_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert_eq!(Tail::open(&path, 5).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::write(&path, "one\ntwo\nthree").unwrap();
        let mut tail = Tail::open(&path, 2).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(tail.read().unwrap(), Read::Bytes(b"two\nthree".to_vec()));
        assert_eq!(tail.read().unwrap(), Read::Gone);
    }
}
