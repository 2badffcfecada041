//! An engine's standard error: bounded on disk, with its newest part at hand for the exit record.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wire::guard::files;
use wire::{Fault, limits, text};

use super::files::create;
use crate::log::FaultLine;

/// Bytes of each of the two files: the newest half and the one before it.
const SEGMENT_BYTES: u64 = limits::MAX_STDERR_FILE_BYTES / 2;
/// Bytes kept in memory: room for a fault in the last line, half of what an exit record may have.
const RECENT_BYTES: usize = 32 * 1024;
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// How long a pipe that some descendant still holds open may delay the exit record.
const DRAIN_BOUND: Duration = Duration::from_millis(500);

/// The end of what an engine wrote.
#[derive(Debug, Default)]
pub struct Recent(VecDeque<u8>);

impl Recent {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let excess = self.0.len().saturating_sub(RECENT_BYTES);
        self.0.drain(..excess);
    }

    /// The last lines for a person: at most [`limits::MAX_STDERR_TAIL_BYTES`] of them, whole lines
    /// where one fits, control characters neutralised.
    pub fn tail(&mut self) -> String {
        let text = text::for_terminal(&String::from_utf8_lossy(self.0.make_contiguous()));
        let Some(mut cut) = text.len().checked_sub(limits::MAX_STDERR_TAIL_BYTES) else {
            return text;
        };
        while !text.is_char_boundary(cut) {
            cut += 1;
        }
        let tail = text.get(cut..).unwrap_or_default();
        match tail.split_once('\n') {
            Some((_, lines)) if !lines.is_empty() => lines.to_owned(),
            _ => tail.to_owned(),
        }
    }

    /// The fault in the last line, if the engine wrote one.
    pub fn fault(&mut self) -> Option<Fault> {
        let recent = self.0.make_contiguous();
        let last = recent.trim_ascii_end().rsplit(|&b| b == b'\n').next()?;
        serde_json::from_slice(last).ok().map(|FaultLine { fault }| fault)
    }
}

/// Reads an engine's standard error until its end.
#[derive(Debug)]
pub struct Pump {
    task: JoinHandle<Recent>,
    engine_ended: oneshot::Sender<()>,
}

impl Pump {
    /// Begins to read `pipe` into `log`.
    pub fn start(pipe: pipe::Receiver, log: Log) -> Self {
        let (engine_ended, ended) = oneshot::channel();
        Self { task: tokio::spawn(pump(pipe, log, ended)), engine_ended }
    }

    /// What came last. Waits for the pipe's end, but at most [`DRAIN_BOUND`]: a process that the
    /// engine left behind may hold it open for ever.
    pub async fn finish(self) -> Recent {
        // The task may have seen the pipe's end already.
        let _ = self.engine_ended.send(());
        self.task.await.unwrap_or_default()
    }
}

async fn pump(mut pipe: pipe::Receiver, mut log: Log, ended: oneshot::Receiver<()>) -> Recent {
    let mut recent = Recent::default();
    let mut buffer = vec![0; READ_BYTES];
    let bound = async {
        // A guard that drops its pump wants the end too.
        let _ = ended.await;
        tokio::time::sleep(DRAIN_BOUND).await;
    };
    let mut bound = std::pin::pin!(bound);
    loop {
        let read = tokio::select! {
            read = pipe.read(&mut buffer) => read,
            () = &mut bound => return recent,
        };
        match read {
            Ok(0) | Err(_) => return recent,
            Ok(count) => {
                let bytes = buffer.get(..count).unwrap_or_default();
                log.push(bytes);
                recent.push(bytes);
            }
        }
    }
}

/// Two files that hold the newest [`limits::MAX_STDERR_FILE_BYTES`] together.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    older: PathBuf,
    file: File,
    written: u64,
}

impl Log {
    /// Begins an empty log in `dir`.
    pub fn create(dir: &Path) -> io::Result<Self> {
        let path = dir.join(files::STDERR);
        let older = dir.join(files::STDERR_OLDER);
        Ok(Self { file: create(&path)?, path, older, written: 0 })
    }

    /// Keeps `bytes` as well as the disk allows: an engine must never wait for its log.
    fn push(&mut self, bytes: &[u8]) {
        let _ = self.try_push(bytes);
    }

    fn try_push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.written + count > SEGMENT_BYTES {
            std::fs::rename(&self.path, &self.older)?;
            self.file = create(&self.path)?;
            self.written = 0;
        }
        self.written += count;
        self.file.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use wire::Code;

    fn recent(text: &str) -> Recent {
        let mut recent = Recent::default();
        for chunk in text.as_bytes().chunks(1000) {
            recent.push(chunk);
        }
        recent
    }

    #[test]
    fn the_tail_is_whole_lines_of_the_end_and_harmless() {
        let lines: Vec<String> = (0..5000).map(|n| format!("line {n} \u{1b}[2J\n")).collect();
        let tail = recent(&lines.concat()).tail();
        assert!(tail.starts_with("line "), "{tail:?}");
        assert!(tail.ends_with("line 4999 \u{fffd}[2J\n"), "{tail:?}");
    }

    #[test]
    fn a_fault_in_the_last_line_is_found_and_nowhere_else() {
        let line = r#"{"fault":{"code":"MODEL_CORRUPT","message":"m"}}"#;
        let fault = recent(&format!("log\n{line}\n\n")).fault().unwrap();
        assert_eq!((fault.code, fault.message.as_str()), (Code::ModelCorrupt, "m"));
        assert!(recent(&format!("{line}\nkilled\n")).fault().is_none());
        assert!(recent(&line[..20]).fault().is_none());
        assert!(recent("").fault().is_none());
    }

    #[test]
    fn the_files_hold_the_newest_bytes_and_never_more_than_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::create(dir.path()).unwrap();
        for n in 0..2000u32 {
            log.push(format!("{n:0999}\n").as_bytes());
        }
        let on_disk = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
        let all = [on_disk("stderr.log.1"), on_disk("stderr.log")].concat();
        assert!(all.len() as u64 <= limits::MAX_STDERR_FILE_BYTES);
        assert!(all.len() as u64 > SEGMENT_BYTES);
        assert!(all.ends_with(b"1999\n"));
    }

    proptest! {
        #[test]
        fn any_bytes_make_a_bounded_tail(
            chunks in vec(vec(any::<u8>(), 0..3000), 0..20),
        ) {
            let mut recent = Recent::default();
            for chunk in &chunks {
                recent.push(chunk);
            }
            prop_assert!(recent.0.len() <= RECENT_BYTES);
            let tail = recent.tail();
            prop_assert!(tail.len() <= limits::MAX_STDERR_TAIL_BYTES);
            let escaped = tail.contains('\u{1b}');
            prop_assert!(!escaped);
            let _ = recent.fault();
        }
    }
}
