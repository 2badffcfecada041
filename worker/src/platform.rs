//! What differs by operating system: when a process was started, when the system itself was, what
//! bounds a process, and what its memory is.

pub mod groups;

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Start time of a live or unreaped process, in ticks since boot: with its pid it names one
/// process for as long as the machine runs (`proc_pid_stat(5)`, field 22).
#[cfg(target_os = "linux")]
pub fn start_time(pid: u32) -> io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_start_time(&stat)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a stat line has 22 fields"))
}

/// Start times are read on Linux only; elsewhere every process has 0, and a pid alone names it.
#[cfg(not(target_os = "linux"))]
pub fn start_time(_pid: u32) -> io::Result<u64> {
    Ok(0)
}

/// The random id of this run of the operating system (`random(4)`), where it has one.
pub fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim_end().to_owned())
}

/// Field 22 of a stat line. The second field is the program's name in parentheses and may itself
/// hold blanks and parentheses, so fields are counted after the last one.
#[cfg(target_os = "linux")]
fn parse_start_time(stat: &str) -> Option<u64> {
    const FIELDS_BETWEEN_NAME_AND_START: usize = 19;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(FIELDS_BETWEEN_NAME_AND_START)?.parse().ok()
}

/// Bytes of a process's memory that are its own: resident, and no pages of files.
pub fn own_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    // Kernels before 4.5 do not tell the kinds apart.
    kib("RssAnon:")?.checked_add(kib("RssShmem:").unwrap_or(0))?.checked_mul(1024)
}

/// How many processes the kernel has ended for memory since it was started (`/proc/vmstat`).
pub fn oom_kills() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// How readily the kernel ends this process before others when memory is short, -1000 to 1000
/// (`proc_pid_oom_score_adj(5)`).
pub fn oom_score_adj() -> Option<i32> {
    std::fs::read_to_string("/proc/self/oom_score_adj").ok()?.trim().parse().ok()
}

/// Lets what `command` starts go through `doors` (each a group's open `cgroup.procs`) before it is
/// the program that it shall be: nothing of that is ever outside. A group that refuses it refuses
/// the start.
pub fn enter_before_exec(command: &mut Command, doors: Vec<File>, oom_score_adj: i32) {
    let score = oom_score_adj.to_string();
    let enter = move || {
        for door in &doors {
            // The writer itself, whatever its number is in this namespace.
            rustix::io::write(door, b"0")?;
        }
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
        let mode = rustix::fs::Mode::empty();
        // Anybody may raise it; where nobody can, the kernel chooses by size.
        if let Ok(file) = rustix::fs::open(c"/proc/self/oom_score_adj", flags, mode) {
            let _kept = rustix::io::write(&file, score.as_bytes());
        }
        Ok(())
    };
    #[expect(unsafe_code, reason = "between fork and exec: system calls on owned values only")]
    // SAFETY: the closure neither allocates, locks nor touches what another thread may hold; each
    // of its calls is a system call that signal-safety(7) allows there.
    unsafe {
        command.pre_exec(enter);
    }
}

/// Whether a process runs the same file as this one.
pub fn is_of_this_program(pid: u32) -> bool {
    let program = |who: &str| std::fs::read_link(format!("/proc/{who}/exe")).ok();
    program("self").is_some_and(|own| program(&pid.to_string()) == Some(own))
}

/// Kills a process that `belongs`, which is asked once its number cannot become another's.
#[cfg(target_os = "linux")]
pub fn kill_while(pid: u32, belongs: impl FnOnce() -> bool) {
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if belongs() {
        // Gone in between is as good as killed.
        let _gone = pidfd_send_signal(&process, Signal::KILL);
    }
}

/// There are no groups of processes to take one from elsewhere.
#[cfg(not(target_os = "linux"))]
pub fn kill_while(_pid: u32, _belongs: impl FnOnce() -> bool) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_has_taken_is_memory_of_its_own() {
        let taken = vec![7u8; 64 << 20];
        let own = own_bytes(std::process::id()).unwrap();
        assert!(own >= 64 << 20, "{own} of {}", taken.len());
        assert_eq!(own_bytes(u32::MAX), None);
    }

    #[test]
    fn this_process_runs_this_program_and_the_first_one_does_not() {
        assert!(is_of_this_program(std::process::id()));
        assert!(!is_of_this_program(1));
    }

    #[test]
    fn a_program_name_with_parentheses_does_not_shift_the_fields() {
        let fields: Vec<String> = (4..=30).map(|n| n.to_string()).collect();
        let stat = format!("17 (a) b) (c) S {}\n", fields.join(" "));
        assert_eq!(parse_start_time(&stat), Some(22));
        assert_eq!(parse_start_time("17 (x) S 1 2"), None);
        assert_eq!(parse_start_time(""), None);
    }

    #[test]
    fn a_process_keeps_its_start_time_and_a_missing_one_has_none() {
        let own = start_time(std::process::id()).unwrap();
        assert!(own > 0);
        assert_eq!(start_time(std::process::id()).unwrap(), own);
        assert!(start_time(u32::MAX).is_err());
    }
}

/// Bounds the private memory of this process: beyond it an allocation fails, and with it the
/// process. Mapped files are not counted (`RLIMIT_DATA`, setrlimit(2)).
///
/// # Errors
/// When the operating system refuses.
pub fn limit_data(bytes: u64) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    Ok(setrlimit(Resource::Data, limit)?)
}
