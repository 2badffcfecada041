//! What differs by operating system: seeing and making the end of a process that is not a child,
//! and whether this one was started without a standard output.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether standard output was closed when the program began.
static WITHOUT_STDOUT: AtomicBool = AtomicBool::new(false);

/// Looks at standard output before `main` does: from then on Rust has `/dev/null` in the place of a
/// closed one, and every write to it succeeds.
#[cfg(target_os = "linux")]
#[used]
// SAFETY: the section holds functions of this signature, which the C library calls once, before
// `main` and on its thread (System V ABI, "Initialization and Termination Functions"); this one
// makes a system call and stores a flag.
#[expect(unsafe_code, reason = "nothing else runs before Rust's own start")]
#[unsafe(link_section = ".init_array")]
static LOOK_AT_STDOUT: extern "C" fn() = {
    extern "C" fn look() {
        let closed = rustix::io::fcntl_getfd(io::stdout()) == Err(rustix::io::Errno::BADF);
        WITHOUT_STDOUT.store(closed, Ordering::Relaxed);
    }
    look
};

/// Lets every write to a standard output fail that was closed when the program began, as one does
/// to a pipe whose reader left.
///
/// # Errors
/// Those of the operating system.
pub fn break_a_closed_stdout() -> io::Result<()> {
    use std::mem::ManuallyDrop;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    if !WITHOUT_STDOUT.load(Ordering::Relaxed) {
        return Ok(());
    }
    let (_reader, writer) = io::pipe()?;
    // SAFETY: the descriptor is open, since Rust put something in its place; it is not closed here.
    #[expect(unsafe_code, reason = "rustix replaces an owned descriptor only")]
    let stdout = unsafe { OwnedFd::from_raw_fd(io::stdout().as_raw_fd()) };
    rustix::io::dup2(&writer, &mut ManuallyDrop::new(stdout))?;
    Ok(())
}

/// Whether this program was started to ignore a signal, as nohup(1) starts one
/// (`SigIgn` of `proc_pid_status(5)`: one bit a signal, in hexadecimal).
#[cfg(target_os = "linux")]
pub fn ignores(signal: rustix::process::Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let bit = u32::try_from(signal.as_raw() - 1).unwrap_or(u32::MAX);
    mask.checked_shr(bit).is_some_and(|mask| mask & 1 == 1)
}

/// What this machine calls itself, where it says so.
pub fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Waits until the process ends; at once when there is none.
///
/// # Errors
/// When the operating system cannot watch it.
#[cfg(target_os = "linux")]
pub async fn ended(pid: u32) -> io::Result<()> {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // SAFETY: the descriptor belongs to the `OwnedFd`, which is moved in and closed with the
    // `AsyncFd`, not before.
    #[expect(unsafe_code, reason = "tokio's safe form is deprecated")]
    let watched = unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) }?;
    // A pidfd is readable once its process has ended (pidfd_open(2)).
    watched.readable().await.map(|_| ())
}

/// Waits until the process ends; at once when there is none.
///
/// # Errors
/// When the operating system cannot watch it.
#[cfg(not(target_os = "linux"))]
pub async fn ended(pid: u32) -> io::Result<()> {
    use rustix::process::{Pid, test_kill_process};

    /// Between two looks at a process that nothing announces the end of.
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    while test_kill_process(pid).is_ok() {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Kills the process when it is an agent of this user.
///
/// # Errors
/// `PermissionDenied` when it is something else, else those of the operating system. A process that
/// has ended already is none.
#[cfg(target_os = "linux")]
pub fn kill_agent(pid: i32) -> io::Result<()> {
    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags, Signal, getuid, pidfd_open, pidfd_send_signal};
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    /// Bytes of a command line that are looked at.
    const MAX_COMMAND_BYTES: u64 = 8 * 1024;
    let number = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    // Opened before the look: the process that is looked at is the one that is killed, also when
    // its number is given to another one in between.
    let process = match pidfd_open(number, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(()),
        other => other?,
    };
    let mut command = Vec::new();
    let file = std::fs::File::open(format!("/proc/{pid}/cmdline"))?;
    let owner = file.metadata()?.uid();
    file.take(MAX_COMMAND_BYTES).read_to_end(&mut command)?;
    if owner != getuid().as_raw() || !serves_as_agent(&command) {
        let message = format!("process {pid} is no agent of this user");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    match pidfd_send_signal(&process, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Kills the process when it is an agent of this user.
///
/// # Errors
/// `Unsupported`: what a process is cannot be known here.
#[cfg(not(target_os = "linux"))]
pub fn kill_agent(_: i32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether a command line of `/proc` (`proc_pid_cmdline(5)`) is that of `rbee agent serve`.
#[cfg(target_os = "linux")]
fn serves_as_agent(command: &[u8]) -> bool {
    let mut words = command.split(|byte| *byte == 0);
    let program = words.next().and_then(|path| path.rsplit(|byte| *byte == b'/').next());
    program == Some(b"rbee") && words.next() == Some(b"agent") && words.next() == Some(b"serve")
}

/// Has what a lossy line lost sent again at even pauses, as long as little is on its way: at ever
/// longer ones, a few losses in a row would silence signs of life for ten seconds.
#[cfg(target_os = "linux")]
pub fn repeat_often(stream: &tokio::net::TcpStream) {
    // Where it is refused, the line is as patient as others are.
    let _ = rustix::net::sockopt::set_tcp_thin_linear_timeouts(stream, true);
}

/// Elsewhere the system decides.
#[cfg(not(target_os = "linux"))]
pub fn repeat_often(_: &tokio::net::TcpStream) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn only_an_agent_is_killed() {
        use std::os::unix::process::{CommandExt, ExitStatusExt};
        use std::time::{Duration, Instant};
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("agent"), "read line\n").unwrap();
        // A shell that reads the script `agent`, under any name.
        let waiter = |name: &str| {
            let mut command = std::process::Command::new("sh");
            command.arg0(name).args(["agent", "serve"]).current_dir(dir.path());
            let child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
            // The kernel lets the parent go on a moment before the child's new words are there.
            let (words, begun) = (format!("/proc/{}/cmdline", child.id()), Instant::now());
            while std::fs::read(&words).unwrap().is_empty() {
                assert!(begun.elapsed() < Duration::from_secs(20), "it has a command line");
                std::thread::yield_now();
            }
            child
        };
        let pid = |child: &std::process::Child| i32::try_from(child.id()).unwrap();
        let (mut agent, mut other) = (waiter("/data/rbee"), waiter("/data/bee"));
        let refused = kill_agent(pid(&other)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(other.try_wait().unwrap().is_none(), "it lives");
        other.kill().unwrap();
        other.wait().unwrap();
        kill_agent(pid(&agent)).unwrap();
        assert_eq!(agent.wait().unwrap().signal(), Some(9));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_agent_is_known_by_its_command_line() {
        assert!(serves_as_agent(b"/data/1f/x86_64/rbee\0agent\0serve\0--detach\0"));
        for other in [
            &b"/data/rbee\0agent\0start\0"[..],
            b"/data/rbee\0worker\0serve\0",
            b"vi\0agent\0serve\0",
            b"rbee agent serve",
            b"",
        ] {
            assert!(!serves_as_agent(other));
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_end_of_a_process_is_seen() {
        let mut child = tokio::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id().unwrap();
        let mut end = std::pin::pin!(ended(pid));
        let still = tokio::time::timeout(std::time::Duration::from_millis(50), &mut end).await;
        assert!(still.is_err(), "it lives");
        child.kill().await.unwrap();
        end.await.unwrap();
    }
}
