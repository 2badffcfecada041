//! `rbee agent attach`: a bridge of bytes between the standard streams and the agent's socket, for
//! connections that cannot forward to a socket themselves.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use wire::hello::{Attached, Bridge};
use wire::marker::Marker;
use wire::{BuildId, Code, Fault, layout};

use crate::dirs::Dirs;

/// Bytes that are carried at a time; a pipe of Linux holds as many (pipe(7)).
const CHUNK_BYTES: usize = 64 * 1024;

/// Says that the bridge stands, and carries bytes until one side ends.
///
/// # Errors
/// When the socket, or standard output, cannot be used.
pub fn attach(marker: &Marker, socket: &UnixStream, attached: Attached) -> io::Result<()> {
    tell(marker, &Bridge::Attached(attached))?;
    // As a file: what the library would keep back for the end of a line is a byte that the other
    // side waits for.
    let output = std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?);
    // An end of either side in the middle of a write is an end.
    let _ended = carry(io::stdin(), output, socket);
    Ok(())
}

/// Writes the line that the other end waits for.
///
/// # Errors
/// When standard output is closed.
pub fn tell(marker: &Marker, bridge: &Bridge) -> io::Result<()> {
    let text = serde_json::to_string(bridge)?;
    let mut output = io::stdout().lock();
    output.write_all(marker.line(&text).as_bytes())?;
    output.flush()
}

/// Connects to the agent of this user; with its process id where the system knows it.
///
/// # Errors
/// `HIVE_UNREACHABLE` when no agent runs, `IO_ERROR` when the socket is not this user's.
pub async fn connect(dirs: &Dirs, build: BuildId) -> Result<(UnixStream, Attached), Fault> {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    let socket = layout::agent_socket(&dirs.runtime);
    let cannot = |error: &io::Error| {
        let fault = match error.kind() {
            NotFound | ConnectionRefused => Fault::new(Code::HiveUnreachable, "no agent runs"),
            _ => Fault::new(Code::Io, "the agent's socket cannot be used"),
        };
        fault.cause(format!("{socket}: {error}"))
    };
    let stream = tokio::net::UnixStream::connect(&socket).await.map_err(|error| cannot(&error))?;
    let peer = stream.peer_cred().map_err(|error| cannot(&error))?;
    if peer.uid() != rustix::process::getuid().as_raw() {
        let message = format!("the agent's socket belongs to user {}", peer.uid());
        return Err(Fault::new(Code::Io, message).cause(socket));
    }
    let plain = stream.into_std().and_then(|stream| {
        stream.set_nonblocking(false)?;
        Ok(stream)
    });
    let plain = plain.map_err(|error| cannot(&error))?;
    Ok((plain, Attached { pid: peer.pid(), socket, build }))
}

/// Carries bytes both ways. An end of the input is passed on, and the agent may still answer; an
/// end of the agent, or of whoever reads the output, is the end.
fn carry(
    input: impl Read + Send + 'static,
    mut output: impl Write + AsFd,
    stream: &UnixStream,
) -> io::Result<()> {
    let mut to_agent = stream.try_clone()?;
    // Ends with the process: the end of the other direction is the end of both.
    std::thread::Builder::new().spawn(move || {
        // An agent that reads no more is seen by the other direction.
        let _ended = copy(input, &mut to_agent);
        to_agent.shutdown(Shutdown::Write)
    })?;
    let mut from_agent = stream;
    let mut chunk = vec![0; CHUNK_BYTES];
    while is_wanted(stream, &output)? {
        match from_agent.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => output.write_all(chunk.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    output.flush()
}

/// Waits until the agent wrote something; false when nobody reads the output any more. An agent
/// that does not react would else hold the bridge of a keeper that is gone.
fn is_wanted(stream: &UnixStream, output: &impl AsFd) -> io::Result<bool> {
    let gone = PollFlags::ERR | PollFlags::HUP;
    loop {
        let mut waits =
            [PollFd::new(stream, PollFlags::IN), PollFd::new(output, PollFlags::empty())];
        match poll(&mut waits, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let [agent, reader] = &waits;
        if !agent.revents().is_empty() {
            return Ok(true);
        }
        if reader.revents().intersects(gone) {
            return Ok(false);
        }
    }
}

fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(chunk.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bridge between a keeper's end of a pair of streams and an agent's.
    struct Carried {
        keeper: UnixStream,
        agent: UnixStream,
        bridge: std::thread::JoinHandle<io::Result<()>>,
    }

    fn bridge() -> Carried {
        let (keeper, standard) = UnixStream::pair().unwrap();
        let (agent, socket) = UnixStream::pair().unwrap();
        for stream in [&keeper, &agent] {
            stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        }
        let input = standard.try_clone().unwrap();
        let bridge = std::thread::spawn(move || carry(input, standard, &socket));
        Carried { keeper, agent, bridge }
    }

    #[test]
    fn bytes_go_both_ways_and_the_last_answer_comes_after_the_end_of_the_questions() {
        let Carried { mut keeper, mut agent, bridge } = bridge();
        let much = vec![7; 3 * CHUNK_BYTES + 1];
        let sender = std::thread::spawn({
            let (mut keeper, much) = (keeper.try_clone().unwrap(), much.clone());
            move || {
                keeper.write_all(&much).unwrap();
                keeper.shutdown(Shutdown::Write).unwrap();
            }
        });
        let mut asked = Vec::new();
        agent.read_to_end(&mut asked).unwrap();
        assert!(asked == much, "every byte, then the end");
        agent.write_all(b"answer").unwrap();
        drop(agent);
        let mut answer = Vec::new();
        keeper.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"answer");
        bridge.join().unwrap().unwrap();
        sender.join().unwrap();
    }

    #[test]
    fn the_end_of_the_agent_ends_the_bridge_although_the_keeper_says_nothing() {
        let Carried { keeper: _keeper, agent, bridge } = bridge();
        drop(agent);
        bridge.join().unwrap().unwrap();
    }

    #[test]
    fn a_keeper_that_is_gone_does_not_wait_for_an_agent_that_does_not_react() {
        let Carried { keeper, agent: _agent, bridge } = bridge();
        drop(keeper);
        bridge.join().unwrap().unwrap();
    }
}
