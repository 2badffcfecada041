//! What differs by operating system: when a process was started, when the system itself was.

use std::io;

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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

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
