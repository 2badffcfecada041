//! What only the operating system knows: processes, their memory, the sockets they hold.
//!
//! Linux, by `/proc` (proc(5)). Another system is a second version of this file.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use wire::guard::ProcessIdentity;

#[cfg(not(target_os = "linux"))]
compile_error!("the agent's platform module knows Linux only");

/// Ticks of a start time in one second: the kernel shows its users 100 of them on every
/// architecture that this program is built for, whatever its own clock does (time(7)).
const TICKS_PER_SECOND: u64 = 100;

/// The process of `pid` as it is now, unless it is gone or a zombie.
pub fn identity(pid: u32) -> Option<ProcessIdentity> {
    let Stat { state, start_time, .. } = stat(pid)?;
    (state != 'Z' && state != 'X').then_some(ProcessIdentity { pid, start_time })
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// When a process began, in seconds of Unix time, by the start of the system.
pub fn started_unix_s(process: ProcessIdentity) -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: u64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()?;
    boot.checked_add(process.start_time / TICKS_PER_SECOND)
}

/// Whether that very process still runs.
pub fn is_alive(process: ProcessIdentity) -> bool {
    identity(process.pid) == Some(process)
}

/// The random id of this run of the operating system (random(4)), where it has one.
pub fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim_end().to_owned())
}

/// What is read of a process's state.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    group: u32,
    session: u32,
    start_time: u64,
}

/// State, process group, session and start time (fields 3, 5, 6 and 22). The name before them may
/// hold anything, so it is cut off at its last parenthesis.
fn parse_stat(stat: &str) -> Option<Stat> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let group = fields.nth(1)?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    let start_time = fields.nth(15)?.parse().ok()?;
    Some(Stat { state, group, session, start_time })
}

/// A hold on one process: a signal through it never reaches a later process of the same pid.
#[derive(Debug)]
enum Hold {
    /// A descriptor of it (`pidfd_open(2)`).
    Descriptor(OwnedFd),
    /// Its pid, where the kernel (before 5.3) has no such descriptors, or none is left.
    Pid(Pid),
}

impl Hold {
    /// Holds the process that has `pid`, if `is_it` still says so once it is held: what is held and
    /// what was looked at are one then.
    fn take(pid: u32, is_it: impl Fn() -> bool) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let hold = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => Self::Descriptor(descriptor),
            Err(rustix::io::Errno::SRCH) => return None,
            Err(_) => Self::Pid(pid),
        };
        is_it().then_some(hold)
    }

    fn send(&self, signal: Signal) {
        // Gone in between is as good as reached.
        let _gone = match self {
            Self::Descriptor(descriptor) => pidfd_send_signal(descriptor, signal),
            Self::Pid(pid) => rustix::process::kill_process(*pid, signal),
        };
    }
}

/// Kills the process group that `leader` leads, if that very process still runs: each of its
/// members by itself, because the group's number may belong to a stranger once the leader is gone.
pub fn kill_group(leader: ProcessIdentity) {
    let Some(session) = stat(leader.pid).map(|stat| stat.session) else { return };
    let Some(hold) = Hold::take(leader.pid, || is_alive(leader)) else { return };
    hold.send(Signal::KILL);
    let belongs = |pid: u32| {
        stat(pid).is_some_and(|stat| stat.group == leader.pid && stat.session == session)
    };
    let Ok(entries) = std::fs::read_dir("/proc") else { return };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids.filter(|pid| *pid != leader.pid && belongs(*pid)) {
        if let Some(member) = Hold::take(pid, || belongs(pid)) {
            member.send(Signal::KILL);
        }
    }
}

/// Kills one process, if it still is that very process.
pub fn kill(process: ProcessIdentity) {
    signal(process, Signal::KILL);
}

/// Asks one process for its end, if it still is that very process.
pub fn terminate(process: ProcessIdentity) {
    signal(process, Signal::TERM);
}

fn signal(process: ProcessIdentity, signal: Signal) {
    if let Some(hold) = Hold::take(process.pid, || is_alive(process)) {
        hold.send(signal);
    }
}

/// Whether the system refused because this process, or all of them together, have no file
/// descriptor left (open(2)).
pub fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| code == Some(errno.raw_os_error()))
}

/// Bytes of a process's memory that are in RAM.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    kib_of(&status, "VmRSS:")
}

/// Bytes of a process's memory that are its own: in RAM, and no pages of files.
pub fn own_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    // Kernels before 4.5 do not tell the kinds apart.
    kib_of(&status, "RssAnon:")?.checked_add(kib_of(&status, "RssShmem:").unwrap_or(0))
}

/// A line of a process's status as bytes.
fn kib_of(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Makes the kernel end others before this process when memory is short, as far as this user may
/// ask for it (`proc_pid_oom_score_adj(5)`). Those that it starts begin with the same.
pub fn be_spared() {
    // Only a privileged process may lower it; an engine's is raised in any case.
    let _unprivileged = std::fs::write("/proc/self/oom_score_adj", AGENT_OOM_SCORE);
}

/// How much later the kernel shall end the agent and its guards (-1000 to 0).
const AGENT_OOM_SCORE: &str = "-500";

/// Removes control groups that a guard made and did not live to remove. Only empty ones can be:
/// whether none of them is left.
pub fn remove_groups(dirs: &[String]) -> bool {
    let is_left = |dir: &&Path| {
        let name = dir.file_name().map(OsStr::as_encoded_bytes);
        let is_ours = name.is_some_and(|name| name.starts_with(GROUP_PREFIX.as_bytes()));
        is_ours && dir.join("cgroup.procs").exists() && std::fs::remove_dir(dir).is_err()
    };
    dirs.iter().map(Path::new).filter(is_left).count() == 0
}

/// The beginning of every name of a control group of ours.
const GROUP_PREFIX: &str = "rbee-";

/// How many TCP and UDP sockets a process holds.
///
/// # Errors
/// Whatever `/proc` refuses; a process that is gone is not found.
pub fn network_sockets(pid: u32) -> std::io::Result<usize> {
    let mut held = BTreeSet::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A descriptor may be closed while the directory is read.
        let Ok(target) = std::fs::read_link(entry?.path()) else { continue };
        let target = target.to_string_lossy();
        let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        held.extend(inode.and_then(|digits| digits.parse::<u64>().ok()));
    }
    let mut count = 0;
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        // A system without IPv6 lacks its tables.
        let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")) else {
            continue;
        };
        count += inodes(&text).filter(|inode| held.contains(inode)).count();
    }
    Ok(count)
}

/// The inodes of a table of `/proc/net`: the tenth column, below a line of headings.
fn inodes(table: &str) -> impl Iterator<Item = u64> + '_ {
    table.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().nth(9)?.parse().ok())
}

/// A disk.
#[derive(Debug, Clone, Copy)]
pub struct Disk {
    /// Bytes that this user may still write.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// The disk that `path` is on.
///
/// # Errors
/// Whatever statvfs(3) refuses, and a file system without a size of its own (ramfs).
pub fn disk(path: &Path) -> std::io::Result<Disk> {
    let stat = rustix::fs::statvfs(path)?;
    if stat.f_blocks == 0 {
        return Err(std::io::Error::other("its file system has no size"));
    }
    Ok(Disk {
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_parentheses_does_not_shift_the_fields() {
        let fields: Vec<String> = (4..=24).map(|n| n.to_string()).collect();
        let stat = format!("7 (a) Z 9 (b)) S {}", fields.join(" "));
        let expected = Stat { state: 'S', group: 5, session: 6, start_time: 22 };
        assert_eq!(parse_stat(&stat), Some(expected));
        assert_eq!(parse_stat("7 (a) S 4"), None);
    }

    #[test]
    fn this_process_is_alive_and_another_start_time_is_not_it() {
        let me = identity(std::process::id()).unwrap();
        assert!(is_alive(me));
        assert!(!is_alive(ProcessIdentity { start_time: me.start_time + 1, ..me }));
        assert!(resident_bytes(me.pid).unwrap() >= own_bytes(me.pid).unwrap());
        assert!(own_bytes(me.pid).unwrap() > 0);
    }

    #[test]
    fn only_the_very_process_is_killed_and_its_group_with_it() {
        use std::os::unix::process::{CommandExt, ExitStatusExt};
        let mut shell = std::process::Command::new("/bin/sh")
            .args(["-c", "sleep 600 & echo $!; wait"])
            .process_group(0)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(shell.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        let child = identity(line.trim().parse().unwrap()).unwrap();
        let leader = identity(shell.id()).unwrap();
        let later = |process: ProcessIdentity| ProcessIdentity {
            start_time: process.start_time + 1,
            ..process
        };
        kill(later(leader));
        kill_group(later(leader));
        kill(later(child));
        assert!(is_alive(leader) && is_alive(child), "another process of that pid was meant");
        kill_group(leader);
        assert_eq!(shell.wait().unwrap().signal(), Some(9));
        let mut rest = String::new();
        // Its end closes the pipe.
        std::io::Read::read_to_string(&mut out, &mut rest).unwrap();
    }

    #[test]
    fn a_listening_socket_is_seen() {
        let before = network_sockets(std::process::id()).unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(network_sockets(std::process::id()).unwrap() > before);
        drop(socket);
    }
}
