//! What differs by operating system: seeing the end of a process that is not a child.

use std::io;

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

#[cfg(test)]
mod tests {
    use super::*;

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
