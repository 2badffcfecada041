//! A client's socket. Who writes to it is woken when it waits for room, and else never.
//!
//! The runtime's own asks the system for both directions at once, and a unix socket tells of room
//! each time its peer takes something: one wake-up for each token, on a processor that computes.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// The socket.
#[derive(Debug)]
pub struct Socket {
    stream: AsyncFd<UnixStream>,
    /// Tells of room, while that is waited for.
    room: Option<AsyncFd<OwnedFd>>,
}

#[expect(
    deprecated,
    reason = "unsound for who gives out another descriptor later; these have one for life, and the \
              other way in is unsafe"
)]
fn registered<T: AsRawFd>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(socket, interest)
}

impl Socket {
    /// Takes over an accepted connection.
    ///
    /// # Errors
    /// Those of registering it with the runtime.
    pub fn new(stream: tokio::net::UnixStream) -> io::Result<Self> {
        Ok(Self { stream: registered(stream.into_std()?, Interest::READABLE)?, room: None })
    }

    fn poll_sent(
        &mut self,
        cx: &mut Context<'_>,
        send: impl Fn(&UnixStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match send(self.stream.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                done => {
                    self.room = None;
                    return Poll::Ready(done);
                }
            }
            let room = match &mut self.room {
                Some(room) => room,
                none => {
                    // A descriptor is registered once: this is another one of the same socket.
                    let other = self.stream.get_ref().as_fd().try_clone_to_owned()?;
                    none.insert(registered(other, Interest::WRITABLE)?)
                }
            };
            ready!(room.poll_write_ready(cx))?.clear_ready();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.stream.poll_read_ready(cx))?;
            let free = buffer.initialize_unfilled();
            let read = match ready.try_io(|stream| stream.get_ref().read(free)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(read) => read?,
                Err(_nothing_there) => continue,
            };
            if (1..free.len()).contains(&read) {
                // That was all: another look would only be told so.
                ready.clear_ready();
            }
            buffer.advance(read);
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_sent(cx, |mut stream| stream.write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_sent(cx, |mut stream| stream.write_vectored(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.stream.get_ref().shutdown(Shutdown::Write) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Far more than a socket takes at once.
    const MANY_BYTES: usize = 8 * 1024 * 1024;

    #[tokio::test]
    async fn what_does_not_fit_waits_for_room_and_arrives_whole_in_both_directions() {
        let (near, far) = tokio::net::UnixStream::pair().unwrap();
        let mut near = Socket::new(near).unwrap();
        let sent: Vec<u8> = (0..=250).cycle().take(MANY_BYTES).collect();
        let expected = sent.clone();
        let echoes = tokio::spawn(async move {
            let (mut read, mut write) = far.into_split();
            let mut came = Vec::new();
            read.read_to_end(&mut came).await.unwrap();
            write.write_all(&came).await.unwrap();
        });
        near.write_all(&sent).await.unwrap();
        near.shutdown().await.unwrap();
        let mut came = Vec::new();
        near.read_to_end(&mut came).await.unwrap();
        echoes.await.unwrap();
        assert!(came == expected, "{} bytes", came.len());
    }

    #[tokio::test]
    async fn writing_to_who_has_gone_is_an_error() {
        let (near, far) = tokio::net::UnixStream::pair().unwrap();
        drop(far);
        let mut near = Socket::new(near).unwrap();
        assert_eq!(near.write_all(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
