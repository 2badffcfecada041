//! The journal's file: one entry a line, read back when the next agent starts.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use wire::journal::{Entry, JOURNAL_VERSION};
use wire::{limits, ndjson};

use crate::rotating::{Rotating, older};

/// The file's name in the directory of logs.
const NAME: &str = "requests.jsonl";

/// Entries among which a second word on the same request is looked for: it comes shortly after.
const RECENT: usize = 256;

/// Bytes of both files of the journal: each alone holds all entries that are remembered.
fn most_bytes() -> u64 {
    let bytes = 2 * limits::MAX_JOURNAL_ENTRIES * limits::MAX_JOURNAL_ENTRY_BYTES;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Opens the file in `dir` to go on with it.
///
/// # Errors
/// Those of the file system.
pub fn open(dir: &Path) -> io::Result<Rotating> {
    Rotating::open(dir.join(NAME), most_bytes())
}

/// The entries in `dir`, oldest first, as many as are remembered. What cannot be read is passed
/// over: a torn line, an entry of a newer build.
pub fn load(dir: &Path) -> VecDeque<Entry> {
    let path = dir.join(NAME);
    let mut entries = VecDeque::new();
    for file in [older(&path), path] {
        // A file that is absent has no entries.
        let _unreadable = load_file(file, &mut entries);
    }
    entries
}

fn load_file(path: PathBuf, entries: &mut VecDeque<Entry>) -> io::Result<()> {
    // Opening a pipe would wait for its writer for ever.
    if !std::fs::metadata(&path)?.is_file() {
        return Ok(());
    }
    let mut file = BufReader::new(File::open(path)?.take(most_bytes()));
    let mut line = Vec::new();
    while file.read_until(b'\n', &mut line)? > 0 {
        if line.len() <= limits::MAX_JOURNAL_ENTRY_BYTES
            && let Ok(entry) = ndjson::decode::<Entry>(&line)
            && entry.version <= JOURNAL_VERSION
        {
            remember(entries, entry);
        }
        line.clear();
    }
    Ok(())
}

/// Adds an entry; a second one of the same arrival replaces the first, the oldest one too many is
/// forgotten.
pub fn remember(entries: &mut VecDeque<Entry>, entry: Entry) {
    let same = |old: &Entry| {
        (old.request, old.received_unix_ms) == (entry.request, entry.received_unix_ms)
    };
    if let Some(old) = entries.iter_mut().rev().take(RECENT).find(|old| same(old)) {
        *old = entry;
        return;
    }
    if entries.len() >= limits::MAX_JOURNAL_ENTRIES {
        entries.pop_front();
    }
    entries.push_back(entry);
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use wire::RequestId;

    fn entry(n: u64) -> Entry {
        Entry::received(RequestId::random(), "demo-1".parse().unwrap(), n)
    }

    fn write(dir: &Path, entry: &Entry) {
        open(dir).unwrap().write_all(&ndjson::encode(entry).unwrap()).unwrap();
    }

    #[test]
    fn the_last_thousand_are_read_back_in_order_and_a_later_word_counts() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..1_010 {
            write(dir.path(), &entry(n));
        }
        let mut last = entry(2_000);
        write(dir.path(), &last);
        last.ended_ms = Some(5);
        write(dir.path(), &last);
        let read = load(dir.path());
        assert_eq!(read.len(), limits::MAX_JOURNAL_ENTRIES);
        assert_eq!(read.front().unwrap().received_unix_ms, 11);
        assert_eq!(read.back(), Some(&last));
    }

    #[test]
    fn what_cannot_be_read_is_passed_over_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let newer = Entry { version: JOURNAL_VERSION + 1, ..entry(1) };
        write(dir.path(), &newer);
        let path = dir.path().join(NAME);
        let torn = [std::fs::read(&path).unwrap(), b"{\"version\":1,\"req".to_vec()].concat();
        std::fs::write(&path, &torn).unwrap();
        write(dir.path(), &entry(2));
        let read = load(dir.path());
        assert_eq!(read.iter().map(|e| e.received_unix_ms).collect::<Vec<_>>(), [2]);
        assert!(std::fs::read(&path).unwrap().starts_with(&torn));
        assert!(load(Path::new("/nonexistent")).is_empty());
    }
}
