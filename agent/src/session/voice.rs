//! Whether a keeper still says anything. The SSH server of a hive keeps its side of a connection
//! open for long after the line was cut; a keeper that speaks HTTP/2 answers pings.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{Instant, MissedTickBehavior};
use wire::silence::Silence;

/// What every connection of HTTP/2 begins with (RFC 9113, section 3.4). Whoever speaks HTTP/1
/// cannot be asked for a sign of life, and may listen for as long as it likes.
const PREFACE: &[u8] = b"PRI ";

#[derive(Debug, Default)]
struct Signs {
    heard: AtomicU64,
    answers_pings: AtomicBool,
}

/// A stream that counts how often bytes came.
#[derive(Debug)]
pub struct Listened {
    inner: UnixStream,
    signs: Arc<Signs>,
}

/// The ear of one connection.
#[derive(Debug)]
pub struct Ear(Arc<Signs>);

/// `stream` as before, and its ear.
pub fn listen(stream: UnixStream) -> (Listened, Ear) {
    let signs = Arc::new(Signs::default());
    (Listened { inner: stream, signs: Arc::clone(&signs) }, Ear(signs))
}

impl Ear {
    /// Listens until a keeper that could say something has said nothing for `patience`.
    pub async fn until_gone(self, patience: Duration) {
        let pause = Silence::pause(patience);
        let mut look = tokio::time::interval(pause);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut silence, began) = (Silence::default(), Instant::now());
        loop {
            look.tick().await;
            let heard = self.0.heard.load(Ordering::Relaxed);
            let quiet = silence.look(heard, began.elapsed(), pause);
            // By the next look it would be too late.
            let is_gone = quiet.saturating_add(pause) >= patience;
            if is_gone && self.0.answers_pings.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

impl AsyncRead for Listened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        let new = buffer.filled().get(before..).unwrap_or_default();
        if !new.is_empty() && self.signs.heard.fetch_add(1, Ordering::Relaxed) == 0 {
            self.signs.answers_pings.store(new.starts_with(PREFACE), Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Listened {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
