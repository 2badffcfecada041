//! The side of a loan that has the connections: one socket, which at most one program of a user
//! holds, and a task for each loan.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use wire::{BuildId, Fault};

use super::{Call, PATIENCE, PULSE, Reply, Request, VERSION};
use crate::link::remote::Remote;
use crate::link::way::Way;
use crate::link::{Opened, Transport};

/// Loans at once: a command has one or two.
const MAX_LOANS: usize = 64;
/// Between two looks whether the one who lends has left; a file lock announces nothing.
const LOOK: Duration = Duration::from_secs(5);
/// Bytes that a borrower may be behind. The stream is one of many on its connection, so it is read
/// whether the borrower reads or not; a borrower's own windows are a part of this.
const MAX_BEHIND_BYTES: usize = 8 * 1024 * 1024;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Somebody who wants to use a connection.
pub struct Loan {
    stream: BufReader<UnixStream>,
    request: Request,
    _permit: OwnedSemaphorePermit,
}

/// The socket while it is ours.
struct Place {
    socket: PathBuf,
    listener: UnixListener,
    /// Who has it may take the socket away.
    _lock: File,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Waits until nobody else lends and passes on who wants a loan, until nobody takes them.
pub async fn lend(runtime: PathBuf, loans: mpsc::Sender<Loan>) {
    let place = loop {
        match take(&runtime) {
            Ok(Some(place)) => break place,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "connections cannot be lent"),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = loans.closed() => return,
        }
    };
    let room = Arc::new(Semaphore::new(MAX_LOANS));
    loop {
        let accepted = tokio::select! {
            accepted = place.listener.accept() => accepted,
            () = loans.closed() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Too many open files: those of others may be closed meanwhile.
            tokio::time::sleep(PULSE).await;
            continue;
        };
        // Who finds no room, or is somebody else, connects by itself.
        let Ok(permit) = room.clone().try_acquire_owned() else { continue };
        if super::is_own(&stream) {
            tokio::spawn(hear(stream, permit, loans.clone()));
        }
    }
}

async fn hear(stream: UnixStream, permit: OwnedSemaphorePermit, loans: mpsc::Sender<Loan>) {
    let mut stream = BufReader::new(stream);
    let heard = tokio::time::timeout(PATIENCE, super::hear::<Request>(&mut stream)).await;
    if let Ok(Some(request)) = heard {
        let _ = loans.send(Loan { stream, request, _permit: permit }).await;
    }
}

/// Takes the socket's place; none while somebody else has it.
fn take(runtime: &Path) -> io::Result<Option<Place>> {
    DirBuilder::new().recursive(true).mode(0o700).create(runtime)?;
    let seen = std::fs::symlink_metadata(runtime)?;
    let own = rustix::process::getuid().as_raw();
    if !seen.is_dir() || seen.uid() != own || seen.mode() & 0o077 != 0 {
        let message = format!("{} is not a private directory of this user", runtime.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    let path = super::lock(runtime);
    let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
        Err(std::fs::TryLockError::Error(error)) => return Err(error),
    }
    let socket = super::socket(runtime);
    // It gets its name when it takes connections and is private; what a killed one left goes.
    let fresh = socket.with_extension("new");
    let _ = std::fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
    std::fs::rename(&fresh, &socket)?;
    Ok(Some(Place { socket, listener, _lock: lock }))
}

/// Serves one loan to its end, over the connection that one of `ways` has open. A program of
/// another build than `build` starts its agents by itself.
pub async fn serve(loan: Loan, ways: &[Way], build: &BuildId) {
    let Loan { mut stream, request, _permit } = loan;
    let Some(remote) = lendable(&request, ways, build) else {
        let _ = super::say(&mut stream, &Reply::Refused).await;
        return;
    };
    tracing::info!(hive = %request.hive, call = ?request.call, "a connection is lent");
    let mut done = std::pin::pin!(done(remote, request.call));
    let mut pulse = tokio::time::interval(PULSE);
    let (reply, opened) = loop {
        let mut early = [0];
        tokio::select! {
            done = &mut done => break done,
            _ = pulse.tick() => {
                if super::say(&mut stream, &Reply::Taken).await.is_none() {
                    return;
                }
            }
            // Nothing is sent before the answer: whoever is read from has left.
            _ = stream.read(&mut early) => return,
        }
    };
    if super::say(&mut stream, &reply).await.is_some()
        && let Some(opened) = opened
    {
        carry(opened, stream.into_inner()).await;
    }
}

/// The way whose connection is open, when both sides mean the same by its name.
fn lendable<'a>(request: &Request, ways: &'a [Way], build: &BuildId) -> Option<&'a Remote> {
    if request.version != VERSION || (request.call == Call::Start && request.build != *build) {
        return None;
    }
    ways.iter().find_map(|way| match way {
        Way::Remote(way) if *way.hive() == request.hive => {
            (way.terms().allow(&request.terms) && way.is_connected()).then_some(&**way)
        }
        _ => None,
    })
}

async fn done(remote: &Remote, call: Call) -> (Reply, Option<Opened>) {
    let reply = match call {
        Call::Open => match remote.open().await {
            Ok(Some(opened)) => {
                return (Reply::Opened { agent_pid: opened.agent_pid }, Some(opened));
            }
            Ok(None) => Ok(Reply::Absent),
            Err(fault) => Err(fault),
        },
        Call::Start => remote.start().await.map(|()| Reply::Done),
        Call::HasOrphans => remote.has_orphans().await.map(Reply::Has),
        Call::Holder => remote.holder().await.map(Reply::Process),
        Call::KillAgent(pid) => remote.kill_agent(pid).await.map(|()| Reply::Done),
        Call::Ended(pid) => remote.ended(pid).await.map(|()| Reply::Done),
    };
    (reply.unwrap_or_else(|fault: Fault| Reply::Failed(Box::new(fault))), None)
}

/// Carries bytes both ways until either side ends.
async fn carry(opened: Opened, borrower: UnixStream) {
    let (from_hive, mut to_hive) = tokio::io::split(opened.stream);
    let (mut from_borrower, to_borrower) = borrower.into_split();
    tokio::select! {
        _ = tokio::io::copy(&mut from_borrower, &mut to_hive) => {}
        () = deliver(from_hive, to_borrower) => {}
    }
}

/// Reads whatever comes, and keeps what the reader has not taken; a reader too far behind is given
/// up, so that it never holds up the others of the connection.
async fn deliver(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let (mut behind, mut behind_bytes) = (VecDeque::new(), 0);
    let mut room = BytesMut::with_capacity(PIECE_BYTES);
    let mut has_more = true;
    while has_more || !behind.is_empty() {
        let next: Bytes = behind.front().cloned().unwrap_or_default();
        tokio::select! {
            read = from.read_buf(&mut room), if has_more => match read {
                Ok(count) if count > 0 => {
                    behind_bytes += count + size_of::<Bytes>();
                    behind.push_back(room.split().freeze());
                    room.reserve(PIECE_BYTES);
                }
                _ => has_more = false,
            },
            written = to.write(&next), if !next.is_empty() => {
                let (Ok(count), Some(first)) = (written, behind.front_mut()) else { return };
                first.advance(count);
                behind_bytes -= count;
                if first.is_empty() {
                    behind.pop_front();
                    behind_bytes -= size_of::<Bytes>();
                }
            }
        }
        if behind_bytes > MAX_BEHIND_BYTES {
            tracing::warn!("a borrower that does not read is given up");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn one_lends_at_a_time_and_the_next_takes_the_place_that_a_killed_one_left() {
        let home = tempfile::tempdir().unwrap();
        let runtime = home.path().join("run");
        let first = take(&runtime).unwrap().unwrap();
        let socket = crate::link::loan::socket(&runtime);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&runtime), mode(&socket)), (0o700, 0o600));
        assert!(take(&runtime).unwrap().is_none(), "somebody lends");
        drop(first);
        assert!(!socket.exists());
        // A killed one takes nothing away.
        drop(UnixListener::bind(&socket).unwrap());
        assert!(UnixStream::connect(&socket).await.is_err());
        let _next = take(&runtime).unwrap().unwrap();
        assert!(UnixStream::connect(&socket).await.is_ok());
        std::fs::set_permissions(&runtime, Permissions::from_mode(0o755)).unwrap();
        assert!(take(&runtime).is_err(), "others could enter");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_borrower_that_does_not_read_is_given_up_and_never_holds_up_who_writes() {
        let (mut hive, from) = tokio::io::duplex(1024);
        let (to, _unread) = tokio::io::duplex(1024);
        let delivering = tokio::spawn(deliver(from, to));
        let piece = vec![7; 64 * 1024];
        let mut sent = 0;
        while hive.write_all(&piece).await.is_ok() {
            sent += piece.len();
            assert!(sent <= 2 * MAX_BEHIND_BYTES, "it goes on");
        }
        delivering.await.unwrap();
        assert!(sent >= MAX_BEHIND_BYTES / 2, "{sent}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_comes_arrives_whole_however_slowly_it_is_read() {
        let (mut hive, from) = tokio::io::duplex(100);
        let (to, mut reader) = tokio::io::duplex(7);
        let sent: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let expected = sent.clone();
        tokio::spawn(deliver(from, to));
        tokio::spawn(async move { hive.write_all(&sent).await });
        let mut came = Vec::new();
        reader.read_to_end(&mut came).await.unwrap();
        assert!(came == expected);
    }
}
