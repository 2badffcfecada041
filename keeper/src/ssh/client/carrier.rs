//! The byte stream under a connection: it can be cut from outside, a stalled write ends it, and the
//! server's first words are remembered.

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};
use wire::text;

use crate::ssh::Stream;

/// Bytes of a server's first words that are remembered: its version line has 255 at most (RFC 4253,
/// section 4.2), lines before it may be shown to a person.
const MAX_GREETING_BYTES: usize = 1024;
/// Bytes of a line of it that are shown.
const MAX_SHOWN_BYTES: usize = 120;

/// A server's first words.
#[derive(Debug, Clone, Default)]
pub struct Greeting(Arc<Mutex<Vec<u8>>>);

impl Greeting {
    fn hear(&self, bytes: &[u8]) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_GREETING_BYTES.saturating_sub(heard.len());
        heard.extend(bytes.iter().take(room));
    }

    fn text(&self) -> String {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// Whether it said anything at all.
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Its version line (`SSH-2.0-…`), made printable; empty as long as it said none.
    pub fn version(&self) -> String {
        let text = self.text();
        let line = text.lines().find(|line| line.starts_with("SSH-")).unwrap_or_default();
        text::one_line(line.trim_end(), MAX_SHOWN_BYTES)
    }

    /// Its first line, made printable.
    pub fn first_line(&self) -> String {
        let text = self.text();
        text::one_line(text.lines().next().unwrap_or_default().trim(), MAX_SHOWN_BYTES)
    }
}

/// Ends the connection's byte stream when it is dropped.
#[derive(Debug)]
pub struct Cut {
    _alive: oneshot::Sender<()>,
    gone: oneshot::Receiver<()>,
}

impl Cut {
    /// Waits until the connection has let go of its byte stream by itself.
    pub async fn gone(&mut self) {
        let _ = (&mut self.gone).await;
    }
}

/// The stream that a connection runs over.
pub struct Carrier {
    stream: Stream,
    greeting: Greeting,
    cut: oneshot::Receiver<()>,
    /// How long one write may wait for the other side to take a byte.
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    /// What must live as long: a program, the connection that this one goes through.
    _keeps: Box<dyn Any + Send + Sync>,
    /// Tells the [`Cut`] that this is gone, by its drop.
    _there: oneshot::Sender<()>,
}

impl Carrier {
    /// A carrier over `stream`, for as long as the [`Cut`] lives.
    pub fn new(
        stream: Stream,
        keeps: Box<dyn Any + Send + Sync>,
        patience: Duration,
    ) -> (Self, Greeting, Cut) {
        let (alive, cut) = oneshot::channel();
        let (there, gone) = oneshot::channel();
        let greeting = Greeting::default();
        let carrier = Self {
            stream,
            greeting: greeting.clone(),
            cut,
            patience,
            waiting: None,
            _keeps: keeps,
            _there: there,
        };
        (carrier, greeting, Cut { _alive: alive, gone })
    }

    fn check_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match Pin::new(&mut self.cut).poll(cx) {
            Poll::Ready(_) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Carrier {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_cut(cx)?;
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some(new) = buf.filled().get(before..) {
            self.greeting.hear(new);
        }
        result
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_cut(cx)?;
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        if result.is_ready() {
            self.waiting = None;
            return result;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        match waiting.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn carrier(
        room: usize,
        patience: Duration,
    ) -> (Carrier, Greeting, Cut, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(room);
        let (carrier, greeting, cut) = Carrier::new(Box::new(ours), Box::new(()), patience);
        (carrier, greeting, cut, theirs)
    }

    #[tokio::test]
    async fn a_cut_ends_a_read_that_waits() {
        let (mut carrier, _, cut, _theirs) = carrier(64, Duration::from_secs(60));
        let read = tokio::spawn(async move { carrier.read_u8().await });
        drop(cut);
        let error = read.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn a_write_that_nobody_takes_ends_after_its_patience() {
        let (mut carrier, _, _cut, _theirs) = carrier(4, Duration::from_millis(20));
        let error = carrier.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn the_greeting_is_bounded_and_printable() {
        let (mut carrier, greeting, _cut, mut theirs) = carrier(1 << 16, Duration::from_secs(60));
        assert!(greeting.is_empty());
        theirs.write_all(b"\x1b[2Jhello\r\nSSH-2.0-x\x07y\r\n").await.unwrap();
        theirs.write_all(&[b'a'; 5000]).await.unwrap();
        drop(theirs);
        let mut all = Vec::new();
        carrier.read_to_end(&mut all).await.unwrap();
        assert_eq!(greeting.version(), "SSH-2.0-x y");
        assert_eq!(greeting.first_line(), " [2Jhello");
        assert!(greeting.text().len() <= MAX_GREETING_BYTES);
    }
}
