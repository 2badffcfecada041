//! `rbee agent kill`: ends an agent that does not react. Its workers go on, and the next agent
//! finds them.

use std::time::Duration;

use tokio::net::UnixStream;
use wire::{Code, Fault, layout};

use crate::dirs::Dirs;
use crate::platform;

/// Between two looks at a process that is being ended.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long the operating system may take to end a killed process.
const END: Duration = Duration::from_secs(5);

/// Kills the agent `pid` when it is the one that holds the socket, and waits for its end.
///
/// # Errors
/// `IO_ERROR` when it is something else, or does not end.
pub async fn kill(dirs: &Dirs, pid: i32) -> Result<(), Fault> {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    let socket = layout::agent_socket(&dirs.runtime);
    let peer = match UnixStream::connect(&socket).await.and_then(|stream| stream.peer_cred()) {
        Ok(peer) => peer,
        // Nobody listens: it has ended already.
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => return Ok(()),
        Err(error) => {
            let fault = Fault::new(Code::Io, "the agent's socket does not say whose it is");
            return Err(fault.cause(format!("{socket}: {error}")));
        }
    };
    if peer.pid() != Some(pid) || peer.uid() != rustix::process::getuid().as_raw() {
        let message = format!("process {pid} is not the agent of this user");
        return Err(Fault::new(Code::Io, message).cause(socket));
    }
    let Some(process) = u32::try_from(pid).ok().and_then(platform::identity) else { return Ok(()) };
    platform::kill(process);
    let gone = async {
        while platform::is_alive(process) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(END, gone).await.map_err(|_late| {
        Fault::new(Code::Io, format!("process {pid} was killed and does not end"))
            .hint(format!("cat /proc/{pid}/wchan"))
    })
}
