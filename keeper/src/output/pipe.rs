//! Standard output on a thread of its own, so that a slow reader never stops the keeper from
//! hearing Ctrl-C or from answering the hive.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot};

/// Chunks that may wait for a slow reader; after that the hive is made to wait.
const MAX_WAITING: usize = wire::limits::MAX_TOKEN_BACKLOG;

/// The way to standard output. Every chunk is flushed.
#[derive(Debug)]
pub struct Pipe {
    chunks: mpsc::Sender<Vec<u8>>,
    /// Chunks that were handed to the thread and are not written yet.
    unwritten: Arc<AtomicUsize>,
    shortcut: Option<Shortcut>,
    /// Absent once it was told.
    end: Option<oneshot::Receiver<io::Result<()>>>,
}

impl Pipe {
    /// Starts the thread that writes to `out`. Where `out` is a pipe with room, chunks go there at
    /// once instead.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn new(out: impl Write + AsFd + Send + 'static) -> io::Result<Self> {
        let shortcut = Shortcut::of(&out);
        Ok(Self { shortcut, ..Self::by_thread(out)? })
    }

    fn by_thread(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let (chunks, mut waiting) = mpsc::channel::<Vec<u8>>(MAX_WAITING);
        let (ended, end) = oneshot::channel();
        let unwritten = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&unwritten);
        std::thread::Builder::new().name("stdout".to_owned()).spawn(move || {
            let mut write = || -> io::Result<()> {
                while let Some(chunk) = waiting.blocking_recv() {
                    out.write_all(&chunk)?;
                    out.flush()?;
                    left.fetch_sub(1, Ordering::Release);
                }
                Ok(())
            };
            let outcome = write();
            // Closed before the outcome is told: whoever waits to send asks for it next.
            drop(waiting);
            let _ = ended.send(outcome);
        })?;
        Ok(Self { chunks, unwritten, shortcut: None, end: Some(end) })
    }

    /// Hands over one chunk, waiting while too many wait already.
    ///
    /// # Errors
    /// What ended the writer, `BrokenPipe` when the reader left.
    pub async fn write(&mut self, mut chunk: Vec<u8>) -> io::Result<()> {
        // Only this side adds chunks: with none left, the thread writes nothing.
        if let (Some(shortcut), 0) = (&self.shortcut, self.unwritten.load(Ordering::Acquire)) {
            let written = shortcut.write(&chunk)?;
            if written == chunk.len() {
                return Ok(());
            }
            chunk.drain(..written);
        }
        self.unwritten.fetch_add(1, Ordering::Relaxed);
        if self.chunks.send(chunk).await.is_ok() {
            return Ok(());
        }
        Err(self.outcome().await.err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()))
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn finish(mut self) -> io::Result<()> {
        let (closed, _) = mpsc::channel(1);
        self.chunks = closed;
        self.outcome().await
    }

    async fn outcome(&mut self) -> io::Result<()> {
        match self.end.take() {
            Some(end) => end.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// Writes to a pipe without the thread as long as that cannot wait: waking a thread for each token
/// costs more than the token's own way, on processors that the engine keeps busy.
#[derive(Debug)]
struct Shortcut(OwnedFd);

impl Shortcut {
    /// Bytes that a pipe with room takes whole and at once (`PIPE_BUF`, pipe(7)).
    const MAX_BYTES: usize = 4096;

    /// For pipes alone: a terminal or a file says that it is ready and can still take its time.
    fn of(out: &impl AsFd) -> Option<Self> {
        let is_pipe =
            fstat(out).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
        let own = out.as_fd().try_clone_to_owned();
        if is_pipe { own.ok().map(Self) } else { None }
    }

    /// Bytes that were written; 0 when it would have to wait.
    fn write(&self, chunk: &[u8]) -> io::Result<usize> {
        let mut ready = [PollFd::new(&self.0, PollFlags::OUT)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let fits = chunk.len() <= Self::MAX_BYTES;
        if !fits || !matches!(poll(&mut ready, Some(&at_once)), Ok(1)) {
            return Ok(0);
        }
        match rustix::io::write(&self.0, chunk) {
            Ok(written) => Ok(written),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn everything_is_written_in_order_before_finish_returns() {
        let out = Shared::default();
        let mut pipe = Pipe::by_thread(out.clone()).unwrap();
        for n in 0..MAX_WAITING * 2 {
            pipe.write(format!("{n}\n").into_bytes()).await.unwrap();
        }
        pipe.finish().await.unwrap();
        let expected = (0..MAX_WAITING * 2).fold(String::new(), |text, n| format!("{text}{n}\n"));
        assert_eq!(*out.0.lock().unwrap(), expected.into_bytes());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_reader_that_left_is_known_by_its_error() {
        let mut pipe = Pipe::by_thread(Closed).unwrap();
        let error = loop {
            if let Err(error) = pipe.write(b"x".to_vec()).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_full_pipe_stops_nobody_and_keeps_the_order() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut pipe = Pipe::new(writer).unwrap();
        assert!(pipe.shortcut.is_some());
        // More than the pipe takes (64 KiB), in chunks of every size around `PIPE_BUF`.
        let sizes = (0..40).map(|n| 1 + n * 151).chain([4095, 4096, 4097, 1]);
        let mut expected = Vec::new();
        for (size, letter) in sizes.zip((b'a'..=b'z').cycle()) {
            let chunk = vec![letter; size];
            expected.extend_from_slice(&chunk);
            pipe.write(chunk).await.unwrap();
        }
        assert!(pipe.unwritten.load(Ordering::Acquire) > 0, "the pipe was full");
        let (mut read, length) = (vec![0; expected.len()], expected.len());
        let reading = std::thread::spawn(move || {
            io::Read::read_exact(&mut reader, &mut read).unwrap();
            read
        });
        pipe.finish().await.unwrap();
        assert_eq!((reading.join().unwrap() == expected, length > 65_536), (true, true));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_pipe_whose_reader_left_says_so_at_once() {
        let (reader, writer) = io::pipe().unwrap();
        let mut pipe = Pipe::new(writer).unwrap();
        pipe.write(b"heard".to_vec()).await.unwrap();
        drop(reader);
        let error = pipe.write(b"unheard".to_vec()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
