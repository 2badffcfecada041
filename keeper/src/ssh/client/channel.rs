//! Byte streams over one channel of a connection: a task that always drains the channel, and the
//! two ends that a caller holds.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};

use super::Connection;
use crate::ssh::Ended;

/// Pieces that may wait between the connection and the reader of a stream; a piece is a packet.
const MAX_PIECES: usize = 32;
/// Bytes of one write that are taken at once; the channel splits them into packets.
const MAX_WRITE_BYTES: usize = 256 * 1024;
/// Extended data of this type is standard error (RFC 4254, section 5.2).
const STDERR: u32 = 1;

/// A piece of a stream. An empty one is its end.
type Piece = io::Result<Bytes>;

fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the SSH connection was lost")
}

/// What a channel carries to us. A stream that ends in an error was cut.
pub struct Incoming {
    pieces: mpsc::Receiver<Piece>,
    rest: Bytes,
    is_done: bool,
}

impl AsyncRead for Incoming {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() && !self.is_done && buf.remaining() > 0 {
            match ready!(self.pieces.poll_recv(cx)) {
                Some(Ok(piece)) if !piece.is_empty() => self.rest = piece,
                Some(Ok(_)) => self.is_done = true,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Err(lost())),
            }
        }
        let count = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest.split_to(count));
        Poll::Ready(Ok(()))
    }
}

/// How far a writer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Ending,
    Done,
}

/// What we send over a channel.
pub struct Outgoing {
    channel: Arc<ChannelWriteHalf<Msg>>,
    /// The write that goes on, and its bytes.
    sending: Option<(usize, BoxFuture<'static, Result<(), russh::Error>>)>,
    stage: Stage,
    /// Resolves when the channel has ended; a write that waits for room would never know.
    ended: oneshot::Receiver<()>,
    /// Told that the end of file was sent; dropped without it, the channel's task sends one.
    finished: Option<oneshot::Sender<()>>,
}

impl Outgoing {
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if Pin::new(&mut self.ended).poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let Some((count, sending)) = &mut self.sending else { return Poll::Ready(Ok(0)) };
        let result = ready!(sending.as_mut().poll(cx));
        let count = *count;
        self.sending = None;
        Poll::Ready(result.map(|()| count).map_err(|_| lost()))
    }
}

impl AsyncWrite for Outgoing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.stage != Stage::Open {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.sending.is_none() {
            let taken = buf.get(..MAX_WRITE_BYTES).unwrap_or(buf);
            let (bytes, channel) = (Bytes::copy_from_slice(taken), Arc::clone(&self.channel));
            let sending = Box::pin(async move { channel.data_bytes(bytes).await });
            self.sending = Some((taken.len(), sending));
        }
        // A write that was given up and begun anew with less must not report more than it got.
        self.poll_sent(cx).map_ok(|count| count.min(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.sending.is_none() {
            return Poll::Ready(Ok(()));
        }
        self.poll_sent(cx).map_ok(drop)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.stage {
                Stage::Done => return Poll::Ready(Ok(())),
                Stage::Open => {
                    if self.sending.is_some() {
                        ready!(self.poll_sent(cx))?;
                    }
                    let channel = Arc::clone(&self.channel);
                    self.sending = Some((0, Box::pin(async move { channel.eof().await })));
                    self.stage = Stage::Ending;
                }
                Stage::Ending => {
                    ready!(self.poll_sent(cx))?;
                    self.stage = Stage::Done;
                    if let Some(finished) = self.finished.take() {
                        let _ = finished.send(());
                    }
                }
            }
        }
    }
}

/// Both directions of a channel that has no second stream.
pub struct Both {
    incoming: Incoming,
    outgoing: Outgoing,
}

impl AsyncRead for Both {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.incoming).poll_read(cx, buf)
    }
}

impl AsyncWrite for Both {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.outgoing).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.outgoing).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.outgoing).poll_shutdown(cx)
    }
}

/// The ends of a channel that runs a program.
pub struct Program {
    /// Its standard input.
    pub input: Outgoing,
    /// Its standard output.
    pub output: Incoming,
    /// Its standard error.
    pub errors: Incoming,
    /// How it ended.
    pub ended: BoxFuture<'static, Ended>,
}

/// The task of a channel.
struct Pump {
    from: ChannelReadHalf,
    to: Arc<ChannelWriteHalf<Msg>>,
    output: mpsc::Sender<Piece>,
    errors: mpsc::Sender<Piece>,
    ended: Option<oneshot::Sender<Ended>>,
    /// Resolves when the writer is finished or gone; none once that has been seen to.
    finished: Option<oneshot::Receiver<()>>,
    /// Tells the writer that the channel has ended, by its drop.
    _alive: oneshot::Sender<()>,
    /// The connection lives as long as its channels.
    _connection: Arc<Connection>,
}

impl Pump {
    async fn run(mut self) {
        loop {
            tokio::select! {
                message = self.from.wait() => match message {
                    None | Some(ChannelMsg::Close) => break,
                    Some(message) => self.deliver(message).await,
                },
                sent = finished(&mut self.finished) => {
                    self.finished = None;
                    if !sent {
                        let _ = self.to.eof().await;
                    }
                }
                () = abandoned(&self.output, &self.errors, &mut self.ended),
                    if self.finished.is_none() =>
                {
                    let _ = self.to.close().await;
                    break;
                }
            }
        }
        if let Some(ended) = self.ended.take() {
            let _ = ended.send(Ended::Lost);
        }
    }

    async fn deliver(&mut self, message: ChannelMsg) {
        // A reader that left is no reason to stop: what comes for it is dropped.
        match message {
            ChannelMsg::Data { data } if !data.is_empty() => {
                let _ = self.output.send(Ok(data)).await;
            }
            ChannelMsg::ExtendedData { data, ext: STDERR } if !data.is_empty() => {
                let _ = self.errors.send(Ok(data)).await;
            }
            ChannelMsg::Eof => {
                let _ = self.output.send(Ok(Bytes::new())).await;
                let _ = self.errors.send(Ok(Bytes::new())).await;
            }
            ChannelMsg::ExitStatus { exit_status } => self.end(Ended::Exit(exit_status)),
            ChannelMsg::ExitSignal { signal_name, .. } => {
                self.end(Ended::Signal(signal_word(&signal_name)));
            }
            _ => {}
        }
    }

    fn end(&mut self, how: Ended) {
        if let Some(ended) = self.ended.take() {
            let _ = ended.send(how);
        }
    }
}

/// Whether the writer sent its end of file itself.
async fn finished(of: &mut Option<oneshot::Receiver<()>>) -> bool {
    match of {
        Some(receiver) => receiver.await.is_ok(),
        None => std::future::pending().await,
    }
}

/// Waits until nobody wants anything of the channel any more.
async fn abandoned(
    output: &mpsc::Sender<Piece>,
    errors: &mpsc::Sender<Piece>,
    ended: &mut Option<oneshot::Sender<Ended>>,
) {
    output.closed().await;
    errors.closed().await;
    if let Some(ended) = ended {
        ended.closed().await;
    }
}

fn signal_word(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => wire::text::one_line(name, 32),
        known => format!("{known:?}"),
    }
}

/// The parts of a channel before it is known what for.
type Halves = (ChannelReadHalf, ChannelWriteHalf<Msg>);

/// A channel's streams, drained by a task from now on.
pub fn program(channel: Halves, connection: Arc<Connection>) -> Program {
    let (output_sender, output) = mpsc::channel(MAX_PIECES);
    let (errors_sender, errors) = mpsc::channel(MAX_PIECES);
    let (ended_sender, ended) = oneshot::channel();
    let (alive, channel_ended) = oneshot::channel();
    let (finished_sender, finished) = oneshot::channel();
    let (from, to) = (channel.0, Arc::new(channel.1));
    let input = Outgoing {
        channel: Arc::clone(&to),
        sending: None,
        stage: Stage::Open,
        ended: channel_ended,
        finished: Some(finished_sender),
    };
    let pump = Pump {
        from,
        to,
        output: output_sender,
        errors: errors_sender,
        ended: Some(ended_sender),
        finished: Some(finished),
        _alive: alive,
        _connection: connection,
    };
    tokio::spawn(pump.run());
    let incoming = |pieces| Incoming { pieces, rest: Bytes::new(), is_done: false };
    let ended = Box::pin(async move { ended.await.unwrap_or(Ended::Lost) });
    Program { input, output: incoming(output), errors: incoming(errors), ended }
}

/// As [`program`], for a channel that runs none.
pub fn stream(channel: Halves, connection: Arc<Connection>) -> Both {
    let Program { input, output, .. } = program(channel, connection);
    Both { incoming: output, outgoing: input }
}
