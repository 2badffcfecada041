//! Standard output on a thread of its own, so that a slow reader never stops the keeper from
//! hearing Ctrl-C or from answering the hive.

use std::io::{self, Write};

use tokio::sync::{mpsc, oneshot};

/// Chunks that may wait for a slow reader; after that the hive is made to wait.
const MAX_WAITING: usize = wire::limits::MAX_TOKEN_BACKLOG;

/// The way to standard output. Every chunk is flushed.
#[derive(Debug)]
pub struct Pipe {
    chunks: mpsc::Sender<Vec<u8>>,
    /// Absent once it was told.
    end: Option<oneshot::Receiver<io::Result<()>>>,
}

impl Pipe {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn new(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let (chunks, mut waiting) = mpsc::channel::<Vec<u8>>(MAX_WAITING);
        let (ended, end) = oneshot::channel();
        std::thread::Builder::new().name("stdout".to_owned()).spawn(move || {
            let mut write = || -> io::Result<()> {
                while let Some(chunk) = waiting.blocking_recv() {
                    out.write_all(&chunk)?;
                    out.flush()?;
                }
                Ok(())
            };
            let outcome = write();
            // Closed before the outcome is told: whoever waits to send asks for it next.
            drop(waiting);
            let _ = ended.send(outcome);
        })?;
        Ok(Self { chunks, end: Some(end) })
    }

    /// Hands over one chunk, waiting while too many wait already.
    ///
    /// # Errors
    /// What ended the writer, `BrokenPipe` when the reader left.
    pub async fn write(&mut self, chunk: Vec<u8>) -> io::Result<()> {
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
        let mut pipe = Pipe::new(out.clone()).unwrap();
        for n in 0..MAX_WAITING * 2 {
            pipe.write(format!("{n}\n").into_bytes()).await.unwrap();
        }
        pipe.finish().await.unwrap();
        let expected = (0..MAX_WAITING * 2).fold(String::new(), |text, n| format!("{text}{n}\n"));
        assert_eq!(*out.0.lock().unwrap(), expected.into_bytes());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_reader_that_left_is_known_by_its_error() {
        let mut pipe = Pipe::new(Closed).unwrap();
        let error = loop {
            if let Err(error) = pipe.write(b"x".to_vec()).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
