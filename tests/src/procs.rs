//! The processes of a sandbox and the sockets of this machine, read from /proc.

use std::path::Path;

/// What a process of the program is, told by its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// `rbee agent serve`.
    Agent,
    /// `rbee worker guard`.
    Guard,
    /// `rbee worker serve`.
    Engine,
    /// `rbee worker fetch`.
    Fetch,
    /// Anything else that names the sandbox.
    Other,
}

/// One living process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// What it is.
    pub role: Role,
    /// Its arguments.
    pub args: Vec<String>,
}

/// Nanoseconds that all threads of a process have computed so far (`/proc/PID/task/*/schedstat`,
/// first figure); 0 when there is no such process.
pub fn cpu_ns(pid: i32) -> u64 {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|figures| figures.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// Pids of the living processes of this machine, those in other namespaces too, whose arguments
/// together contain each of `words`.
pub fn with_words(words: &[&str]) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let raw = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&raw).replace('\0', " ");
            words.iter().all(|word| line.contains(word))
        })
        .collect()
}

/// The living processes (zombies left out) whose arguments name a path under `dir`.
pub fn under(dir: &Path) -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let dir = dir.to_string_lossy().into_owned();
    let mut found: Vec<Process> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| read(pid, &dir))
        .collect();
    found.sort_by_key(|process| (process.role, process.pid));
    found
}

fn read(pid: i32, dir: &str) -> Option<Process> {
    let args = args_of(pid)?;
    if !args.iter().any(|arg| arg.contains(dir)) {
        return None;
    }
    let role = Role::of(&args);
    Some(Process { pid, role, args })
}

fn args_of(pid: i32) -> Option<Vec<String>> {
    let raw = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let args = raw.split(|&b| b == 0).filter(|arg| !arg.is_empty());
    Some(args.map(|arg| String::from_utf8_lossy(arg).into_owned()).collect())
}

impl Role {
    fn of(args: &[String]) -> Self {
        let has = |word: &str| args.iter().any(|arg| arg == word);
        match () {
            () if has("agent") && has("serve") => Self::Agent,
            () if has("worker") && has("guard") => Self::Guard,
            () if has("worker") && has("serve") => Self::Engine,
            () if has("worker") && has("fetch") => Self::Fetch,
            () => Self::Other,
        }
    }
}

/// A process of another machine of the lab, as this one sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inmate {
    /// Its number here.
    pub pid: i32,
    /// Its number there.
    pub inner: i32,
    /// Its parent's number here.
    pub parent: i32,
    /// `R`, `S`, `Z` and so on (`proc_pid_stat(5)`).
    pub state: char,
    /// What it is.
    pub role: Role,
    /// Its arguments.
    pub args: Vec<String>,
}

/// The processes whose namespace of process numbers is `namespace` (`pid:[4026531836]`), and the
/// zombies that they have not reaped.
pub fn inmates(namespace: &str) -> Vec<Inmate> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let is_inside = |pid: i32| {
        let link = std::fs::read_link(format!("/proc/{pid}/ns/pid"));
        link.is_ok_and(|link| link.to_str() == Some(namespace))
    };
    // A zombie is in no namespace any more.
    let (mut found, zombies): (Vec<Inmate>, Vec<Inmate>) = pids
        .filter_map(inmate)
        .filter(|one| one.state == 'Z' || is_inside(one.pid))
        .partition(|one| one.state != 'Z');
    let parents: Vec<i32> = found.iter().map(|one| one.pid).collect();
    found.extend(zombies.into_iter().filter(|one| parents.contains(&one.parent)));
    found
}

fn inmate(pid: i32) -> Option<Inmate> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let args = args_of(pid)?;
    Some(Inmate {
        pid,
        inner: field("NSpid:")?.split_whitespace().last()?.parse().ok()?,
        parent: field("PPid:")?.trim().parse().ok()?,
        state: field("State:")?.trim().chars().next()?,
        role: Role::of(&args),
        args,
    })
}

/// How many files and sockets a process has open.
pub fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Whether a process exists and is no zombie.
pub fn is_alive(pid: i32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// Whether a process was stopped by a signal.
pub fn is_stopped(pid: i32) -> bool {
    state(pid) == Some('T')
}

/// The letter of a process's state (`proc_pid_stat(5)`, third field).
fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

/// Sends a signal to one process.
///
/// # Panics
/// When the pid is not positive: 0 and negative ones would signal groups.
pub fn signal(pid: i32, signal: rustix::process::Signal) {
    assert!(pid > 1, "a pid, not a group");
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // An Err means that it has just ended by itself; the caller waits for its effect anyway.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Bytes of a process's memory that are its own and resident, from `VmRSS`.
pub fn resident_bytes(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Inodes of the listening TCP and bound UDP sockets that one of `pids` holds.
pub fn listeners_of(pids: &[i32]) -> Vec<String> {
    let listening = listening_inodes();
    pids.iter().flat_map(|&pid| sockets_of(pid)).filter(|inode| listening.contains(inode)).collect()
}

fn sockets_of(pid: i32) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    entries
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            let link = link.to_str()?;
            Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect()
}

/// Every listening TCP and every UDP socket of this network namespace, by inode.
fn listening_inodes() -> Vec<String> {
    let mut inodes = Vec::new();
    for (table, tcp) in [("tcp", true), ("tcp6", true), ("udp", false), ("udp6", false)] {
        let text = std::fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // Field 3 is the state (0A is LISTEN), field 9 the inode (proc_net_tcp(5)).
            if let (Some(state), Some(inode)) = (fields.get(3), fields.get(9))
                && (!tcp || *state == "0A")
            {
                inodes.push((*inode).to_owned());
            }
        }
    }
    inodes.sort();
    inodes
}

/// Zombies whose parent is one of `parents`: ended, and nobody has asked how.
pub fn zombies_of(parents: &[i32]) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // State and parent are the first fields after the name (proc_pid_stat(5)).
            let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            let zombie = fields.next() == Some("Z");
            let parent = fields.next().and_then(|field| field.parse().ok());
            zombie && parent.is_some_and(|parent| parents.contains(&parent))
        })
        .collect()
}

/// Whether what is started from here ignores a signal from its start, as under `nohup`.
pub fn is_ignored_here(signal: rustix::process::Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    // The lowest bit is the first signal (`proc_pid_status(5)`).
    u32::try_from(signal.as_raw() - 1).is_ok_and(|bit| ignored >> bit & 1 == 1)
}
