//! The lab of scripts/lab as a value: hosts with a real sshd each, gone when it is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::sandbox::{Finished, finish};
use crate::wait_until;

/// Seconds after which a command of the lab has failed.
const PATIENCE_S: &str = "60";

/// Labs that this process has started: each has a name of its own.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// Hosts that one test has for itself. Dropping it ends them and fails the test when anything of
/// them was left.
#[derive(Debug)]
pub struct Lab {
    name: String,
}

/// How a host's cable treats what it carries, each way.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cable {
    /// Time under way, in milliseconds.
    pub delay_ms: u32,
    /// By how much that time varies, in milliseconds.
    pub jitter_ms: u32,
    /// Of a hundred packets, how many are lost.
    pub loss_percent: u32,
    /// Kilobits per second; 0 is no limit.
    pub kbit: u32,
}

impl Lab {
    /// Starts hosts, each with its flavours joined by `+` (see the head of scripts/lab).
    ///
    /// `None`, and a line on stderr that says what is missing, where it cannot run: without root or
    /// without the programs it needs.
    ///
    /// # Panics
    /// When it cannot run and the environment says `CI`, or when it does not start.
    pub fn up(hosts: &[(&str, &str)]) -> Option<Self> {
        Self::up_with_disks("256m", hosts)
    }

    /// As [`Self::up`], with disks of another size, as mount(8) reads it.
    ///
    /// # Panics
    /// As [`Self::up`].
    pub fn up_with_disks(size: &str, hosts: &[(&str, &str)]) -> Option<Self> {
        let flavours: Vec<&str> = hosts.iter().map(|(_, flavour)| *flavour).collect();
        if let Some(missing) = missing(&flavours) {
            assert!(std::env::var_os("CI").is_none(), "CI needs the lab: {missing}");
            let _ = writeln!(std::io::stderr(), "skipped, it needs the lab: {missing}");
            return None;
        }
        end_orphans();
        let count = STARTED.fetch_add(1, Ordering::Relaxed);
        let lab = Self { name: format!("t{}-{count}", std::process::id()) };
        let hosts: Vec<String> = hosts.iter().map(|(host, f)| format!("{host}:{f}")).collect();
        let mut args = vec!["up"];
        args.extend(hosts.iter().map(String::as_str));
        let mut command = lab.command(&args);
        command.env("DISK", size);
        let _ = finish(spawn(command)).expect_code(0);
        Some(lab)
    }

    /// A command of scripts/lab for this lab, ready to start: its streams are pipes.
    pub fn command(&self, args: &[&str]) -> Command {
        command(&self.name, args)
    }

    /// As [`Self::command`], for what may take longer than most things.
    pub fn command_within(&self, seconds: u64, args: &[&str]) -> Command {
        patient(&self.name, &seconds.to_string(), args)
    }

    /// The namespace of a machine's process numbers, until it is powered off.
    pub fn namespace(&self, machine: &str) -> String {
        self.must(&["exec", machine, "readlink", "/proc/self/ns/pid"]).trim().to_owned()
    }

    /// The number, on this machine, of a process of one of the lab's machines.
    ///
    /// # Panics
    /// When it has none.
    pub fn process_of(&self, machine: &str) -> i32 {
        let namespace = PathBuf::from(self.namespace(machine));
        let all = all_processes();
        let inside = all.iter().find(|process| process.namespaces.contains(&namespace));
        inside.expect("a process of the machine").pid
    }

    /// The address of one of the lab's machines.
    ///
    /// # Panics
    /// When the lab has no such machine.
    pub fn address(&self, machine: &str) -> String {
        let rows = self.ls();
        let words = |row: &String| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let found = rows.iter().map(words).find(|row| row.first().is_some_and(|it| it == machine));
        found.and_then(|row| row.get(1).cloned()).expect("its address")
    }

    /// Runs a command of scripts/lab to its end.
    pub fn run(&self, args: &[&str]) -> Finished {
        finish(spawn(self.command(args)))
    }

    #[track_caller]
    fn must(&self, args: &[&str]) -> String {
        self.run(args).expect_code(0).stdout
    }

    /// Runs a command line on a host over SSH. It gives up after three seconds without an answer.
    pub fn ssh(&self, host: &str, line: &str) -> Finished {
        self.run(&["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=3", host, line])
    }

    /// Runs a command as the keeper's user.
    pub fn keeper(&self, args: &[&str]) -> Finished {
        self.run(&[&["keeper"], args].concat())
    }

    /// A command of the keeper's user, for those that a test talks to.
    pub fn keeper_spawn(&self, args: &[&str]) -> Child {
        spawn(self.command(&[&["keeper"], args].concat()))
    }

    /// Runs a command as a host's root, past SSH.
    pub fn exec(&self, host: &str, args: &[&str]) -> Finished {
        self.run(&[&["exec", host], args].concat())
    }

    /// Unplugs a host's cable.
    #[track_caller]
    pub fn cut(&self, host: &str) {
        self.must(&["cut", host]);
    }

    /// Plugs it in again.
    #[track_caller]
    pub fn heal(&self, host: &str) {
        self.must(&["heal", host]);
    }

    /// A host's firewall drops everything.
    #[track_caller]
    pub fn drop_packets(&self, host: &str) {
        self.must(&["drop", host]);
    }

    /// It drops nothing any more.
    #[track_caller]
    pub fn undrop_packets(&self, host: &str) {
        self.must(&["undrop", host]);
    }

    /// A host's firewall answers SSH with a reset.
    #[track_caller]
    pub fn reject(&self, host: &str) {
        self.must(&["reject", host]);
    }

    /// It lets SSH through again.
    #[track_caller]
    pub fn allow(&self, host: &str) {
        self.must(&["allow", host]);
    }

    /// A host's firewall drops what comes from the keeper; other hosts reach it.
    #[track_caller]
    pub fn hide(&self, host: &str) {
        self.must(&["hide", host]);
    }

    /// The keeper reaches it again.
    #[track_caller]
    pub fn unhide(&self, host: &str) {
        self.must(&["unhide", host]);
    }

    /// Makes a host's cable slow or lossy; the default is a good one.
    #[track_caller]
    pub fn delay(&self, host: &str, cable: Cable) {
        let Cable { delay_ms, jitter_ms, loss_percent, kbit } = cable;
        let shape = [delay_ms, jitter_ms, loss_percent, kbit].map(|number| number.to_string());
        let [delay, jitter, loss, kbit] = &shape;
        self.must(&["delay", host, delay, jitter, loss, kbit]);
    }

    /// `stop`: no new connections. `cut`: the open ones end as well. `start`: as before.
    #[track_caller]
    pub fn sshd(&self, host: &str, what: &str) {
        self.must(&["sshd", host, what]);
    }

    /// Takes a host's power away.
    #[track_caller]
    pub fn power_off(&self, host: &str) {
        self.must(&["power-off", host]);
    }

    /// The last login of its user ends, and with it everything that is not their manager's.
    #[track_caller]
    pub fn logout(&self, host: &str) {
        self.must(&["logout", host]);
    }

    /// Starts it again; returns when its sshd listens.
    #[track_caller]
    pub fn boot(&self, host: &str) {
        self.must(&["boot", host]);
    }

    /// Stops every process of a host where it stands.
    #[track_caller]
    pub fn freeze(&self, host: &str) {
        self.must(&["freeze", host]);
    }

    /// Lets them go on.
    #[track_caller]
    pub fn thaw(&self, host: &str) {
        self.must(&["thaw", host]);
    }

    /// Leaves nothing free on a host's disk.
    #[track_caller]
    pub fn fill_disk(&self, host: &str) {
        self.must(&["fill-disk", host]);
    }

    /// Frees what [`Self::fill_disk`] took.
    #[track_caller]
    pub fn free_disk(&self, host: &str) {
        self.must(&["free-disk", host]);
    }

    /// The machines: name, address, `on` or `off`, flavours.
    #[track_caller]
    pub fn ls(&self) -> Vec<String> {
        lines(&self.must(&["ls"]))
    }

    /// A host's processes but its init: pid, uid, state, arguments.
    #[track_caller]
    pub fn ps(&self, host: &str) -> Vec<String> {
        lines(&self.must(&["ps", host]))
    }

    /// A host's TCP and UDP listeners: protocol, address and port, program.
    #[track_caller]
    pub fn listeners(&self, host: &str) -> Vec<String> {
        lines(&self.must(&["listeners", host]))
    }

    /// What is on a host's disk and was not there at first.
    #[track_caller]
    pub fn files(&self, host: &str) -> Vec<String> {
        lines(&self.must(&["files", host]))
    }

    /// Where scripts/lab keeps what belongs to this lab.
    pub fn state_dir(&self) -> PathBuf {
        state_dir(&self.name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let processes = self.processes();
        let down = self.run(&["down"]);
        if std::thread::panicking() {
            return;
        }
        let _ = down.expect_code(0);
        // Those that had only entered the lab end a moment after what they ran there.
        wait_until("no process of the lab is left", Duration::from_secs(5), || {
            let left = all_processes();
            (!left.iter().any(|p| processes.contains(&p.identity()))).then_some(())
        });
        assert!(!self.state_dir().exists(), "{} is left", self.state_dir().display());
        let mounts = std::fs::read_to_string("/proc/mounts").expect("mounts");
        assert!(!mounts.contains(&self.name), "mounts of the lab are left");
    }
}

impl Lab {
    /// Every process in a namespace that the lab's room or one of its descendants is in.
    fn processes(&self) -> BTreeSet<(i32, u64)> {
        let all = all_processes();
        let Some(room) = first_process(&self.state_dir()) else { return BTreeSet::new() };
        let parents: BTreeMap<i32, i32> = all.iter().map(|p| (p.pid, p.parent)).collect();
        let is_inside = |process: &&Process| {
            std::iter::successors(Some(process.pid), |pid| parents.get(pid).copied())
                .any(|pid| pid == room)
        };
        let namespaces: BTreeSet<PathBuf> =
            all.iter().filter(is_inside).flat_map(|p| p.namespaces.iter().cloned()).collect();
        let entered = all.iter().filter(|p| !p.namespaces.is_disjoint(&namespaces));
        entered.map(Process::identity).collect()
    }
}

/// What stands between this machine and a lab with these flavours, if anything does.
fn missing(flavours: &[&str]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("namespaces need root".to_owned());
    }
    let needs = finish(spawn(command("needs", &[&["needs"], flavours].concat())));
    (needs.code != Some(0)).then(|| format!("{}{}", needs.stdout.trim_end(), needs.stderr))
}

/// A test that was killed could not end its lab; the next one does.
fn end_orphans() {
    let parent = state_dir("");
    let Some(parent) = parent.parent() else { return };
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let file = entry.file_name();
        let Some(name) = file.to_str().and_then(|file| file.strip_prefix("rbee-lab-")) else {
            continue;
        };
        let owner = name.strip_prefix('t').and_then(|rest| rest.split('-').next());
        let Some(owner) = owner.and_then(|pid| pid.parse::<i32>().ok()) else { continue };
        if !crate::procs::is_alive(owner) {
            let _ = finish(spawn(command(name, &["down"])));
        }
    }
}

/// `scripts/lab ARGS` for the lab of a name.
pub fn command(lab: &str, args: &[&str]) -> Command {
    patient(lab, PATIENCE_S, args)
}

fn patient(lab: &str, seconds: &str, args: &[&str]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/lab");
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", seconds])
        .arg(script)
        .args(args)
        .env("LAB", lab)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn spawn(mut command: Command) -> Child {
    command.spawn().expect("scripts/lab starts")
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn state_dir(lab: &str) -> PathBuf {
    std::env::temp_dir().join(format!("rbee-lab-{lab}"))
}

fn first_process(state_dir: &Path) -> Option<i32> {
    let text = std::fs::read_to_string(state_dir.join("pid")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// A process that is no zombie: those are in no namespace any more.
#[derive(Debug)]
struct Process {
    pid: i32,
    /// In clock ticks after the start of the machine.
    started: u64,
    parent: i32,
    /// Of its network, its mounts and its processes.
    namespaces: BTreeSet<PathBuf>,
}

impl Process {
    /// What no later process shares: a pid is given again.
    fn identity(&self) -> (i32, u64) {
        (self.pid, self.started)
    }
}

fn all_processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(read_process).collect()
}

fn read_process(pid: i32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name in parentheses come fields 3 and on (proc_pid_stat(5)).
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    let links = ["net", "mnt", "pid"].map(|kind| format!("/proc/{pid}/ns/{kind}"));
    let namespaces = links.iter().map(std::fs::read_link).collect::<Result<_, _>>().ok()?;
    Some(Process { pid, started, parent, namespaces })
}
