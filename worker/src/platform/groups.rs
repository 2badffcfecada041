//! Control groups (cgroups(7)): where one may be made, what it bounds, and what happened in it.
//!
//! Nothing is assumed of the machine: a group is there when its directory could be made, its limit
//! written and read back. Everything else is a reason, in words.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use wire::memory::LimitBy;

/// Every group that we make begins with this.
const PREFIX: &str = "rbee-";
/// Where the agent and its guards go in version 2: a group with controlled children may have no
/// processes of its own.
const LEAF: &str = "rbee-agent";
/// Microseconds in which the processors' share is counted, the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;

/// What a group shall bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Hundredths of one processor.
    pub cpu_percent: Option<u32>,
}

impl Bounds {
    fn quota_us(self) -> Option<u64> {
        self.cpu_percent.map(|percent| u64::from(percent) * (CPU_PERIOD_US / 100))
    }
}

/// The groups that this process is in, of the hierarchies that count here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// In version 2.
    unified: Option<PathBuf>,
    /// In version 1's hierarchy of memory.
    memory: Option<PathBuf>,
    /// In version 1's hierarchy of processors.
    cpu: Option<PathBuf>,
}

impl Tree {
    /// As `/proc/self` says.
    pub fn of_this_process() -> Self {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}"));
        Self::parse(&read("cgroup").unwrap_or_default(), &read("mountinfo").unwrap_or_default())
    }

    /// From the two files' texts (cgroups(7), `proc_pid_mountinfo(5)`).
    fn parse(groups: &str, mounts: &str) -> Self {
        let path_of = |wanted: &str| {
            groups.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let (controllers, path) = (fields.next()?, fields.next()?);
                controllers.split(',').any(|word| word == wanted).then_some(path)
            })
        };
        let find = |kind: &str, controller: &str| {
            let path = path_of(controller)?;
            mounts.lines().find_map(|line| {
                let mount = Mount::parse(line)?;
                let fits = mount.kind == kind
                    && (controller.is_empty() || mount.options.split(',').any(|o| o == controller));
                if fits { mount.dir_of(path) } else { None }
            })
        };
        Self {
            unified: find("cgroup2", ""),
            memory: find("cgroup", "memory"),
            cpu: find("cgroup", "cpu"),
        }
    }

    /// The directory that its user would have to be given, with its version.
    pub fn improvable(&self) -> Option<(LimitBy, &Path)> {
        let unified = self.unified.as_deref().filter(|dir| has_word(&controllers(dir), "memory"));
        let unified = unified.map(|dir| (LimitBy::Cgroup2, dir));
        unified.or_else(|| self.memory.as_deref().map(|dir| (LimitBy::Cgroup1, dir)))
    }

    /// Makes a group with `bounds`, named `name` behind our prefix; version 2 before version 1.
    ///
    /// # Errors
    /// Why neither could be made.
    pub fn make(&self, name: &str, bounds: Bounds) -> Result<Group, Vec<String>> {
        let name = format!("{PREFIX}{name}");
        let mut why = Vec::new();
        if let Some(own) = &self.unified {
            match Group::unified(own, &name, bounds) {
                Ok(group) => return Ok(group),
                Err(error) => why.push(format!("version 2 in {}: {error}", own.display())),
            }
        }
        if let Some(own) = &self.memory {
            match Group::of_version_1(own, self.cpu.as_deref(), &name, bounds) {
                Ok(group) => return Ok(group),
                Err(error) => why.push(format!("version 1 in {}: {error}", own.display())),
            }
        }
        if why.is_empty() {
            why.push("this system shows no control groups".to_owned());
        }
        Err(why)
    }
}

/// One line of a `mountinfo`.
struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (place, source) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let mut source = source.split(' ');
        let (root, point) = (place.next()?, place.next()?);
        let (kind, _device, options) = (source.next()?, source.next()?, source.next()?);
        Some(Self { root, point, kind, options })
    }

    /// Where the group `path` of the hierarchy is seen.
    fn dir_of(&self, path: &str) -> Option<PathBuf> {
        let below = Path::new(path).strip_prefix(self.root).ok()?;
        let stays = below.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        // A point with an escaped character is none of a usual system.
        (stays && !self.point.contains('\\'))
            .then(|| Path::new(self.point).components().chain(below.components()).collect())
    }
}

/// A group that was made.
#[derive(Debug)]
pub struct Group {
    by: LimitBy,
    /// The group that bounds memory.
    memory: PathBuf,
    /// In version 1, the one that bounds processors.
    cpu: Option<PathBuf>,
    /// Whether processors are bounded.
    bounds_cpu: bool,
}

impl Group {
    fn of_version_1(
        own: &Path,
        cpu: Option<&Path>,
        name: &str,
        bounds: Bounds,
    ) -> io::Result<Self> {
        check_we_are_in(own)?;
        let memory = make_dir(own, name)?;
        let limit = bounds.memory_bytes.to_string();
        if let Err(error) = write(&memory.join("memory.limit_in_bytes"), &limit) {
            remove_dir(&memory);
            return Err(error);
        }
        // Swap would only make the end slow; a kernel without it has no such file.
        let _no_swap = write(&memory.join("memory.memsw.limit_in_bytes"), &limit);
        let cpu = bounds.quota_us().zip(cpu).and_then(|(quota, own)| {
            check_we_are_in(own).ok()?;
            let dir = make_dir(own, name).ok()?;
            let period = write(&dir.join("cpu.cfs_period_us"), &CPU_PERIOD_US.to_string());
            let quota = || write(&dir.join("cpu.cfs_quota_us"), &quota.to_string());
            if period.and_then(|()| quota()).is_err() {
                remove_dir(&dir);
                return None;
            }
            Some(dir)
        });
        Ok(Self { by: LimitBy::Cgroup1, memory, bounds_cpu: cpu.is_some(), cpu })
    }

    fn unified(own: &Path, name: &str, bounds: Bounds) -> io::Result<Self> {
        check_we_are_in(own)?;
        let base = match own.parent() {
            Some(parent) if own.ends_with(LEAF) => parent,
            _ => own,
        };
        if !has_word(&controllers(base), "memory") {
            return Err(io::Error::other("it has no memory controller"));
        }
        let lock = lock(base)?;
        let made = enable(base, "memory").and_then(|()| Self::below(base, name, bounds));
        if made.is_err() {
            give_back(base, &lock);
        }
        made
    }

    /// A group below `base`, whose children have controllers already.
    fn below(base: &Path, name: &str, bounds: Bounds) -> io::Result<Self> {
        let memory = make_dir(base, name)?;
        if let Err(error) = write(&memory.join("memory.max"), &bounds.memory_bytes.to_string()) {
            remove_dir(&memory);
            return Err(error);
        }
        // A kernel without swap has no such file, an old one does not end groups as a whole.
        let _no_swap = write(&memory.join("memory.swap.max"), "0");
        let _old = write(&memory.join("memory.oom.group"), "1");
        let bounds_cpu = bounds.quota_us().is_some_and(|quota| {
            let max = format!("{quota} {CPU_PERIOD_US}");
            enable(base, "cpu").and_then(|()| write(&memory.join("cpu.max"), &max)).is_ok()
        });
        Ok(Self { by: LimitBy::Cgroup2, memory, cpu: None, bounds_cpu })
    }

    /// What bounds.
    pub fn by(&self) -> LimitBy {
        self.by
    }

    /// Whether it bounds processors, too.
    pub fn bounds_cpu(&self) -> bool {
        self.bounds_cpu
    }

    /// Its directories.
    pub fn dirs(&self) -> impl Iterator<Item = &Path> {
        [Some(&self.memory), self.cpu.as_ref()].into_iter().flatten().map(PathBuf::as_path)
    }

    /// What a process writes `0` to that goes into it.
    ///
    /// # Errors
    /// Whatever the operating system refuses.
    pub fn doors(&self) -> io::Result<Vec<File>> {
        self.dirs().map(|dir| OpenOptions::new().write(true).open(dir.join(PROCS))).collect()
    }

    /// How many of its processes the kernel has ended for their memory.
    pub fn oom_kills(&self) -> u64 {
        let name = if self.by == LimitBy::Cgroup2 { "memory.events" } else { "memory.oom_control" };
        let text = std::fs::read_to_string(self.memory.join(name)).unwrap_or_default();
        figure(&text, "oom_kill").unwrap_or(0)
    }

    /// Bytes that it had at the most, cached files included; kernels before 5.19 do not say it of
    /// version 2.
    pub fn peak_bytes(&self) -> Option<u64> {
        let name =
            if self.by == LimitBy::Cgroup2 { "memory.peak" } else { "memory.max_usage_in_bytes" };
        std::fs::read_to_string(self.memory.join(name)).ok()?.trim_end().parse().ok()
    }

    /// Kills what is still in it: a descendant of the engine that left its process group.
    pub fn kill_all(&self) {
        if self.by == LimitBy::Cgroup2 && write(&self.memory.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        for pid in pids(&self.memory) {
            super::kill_while(pid, || pids(&self.memory).contains(&pid));
        }
    }

    /// Removes it; busy as long as a process is in it.
    ///
    /// # Errors
    /// Whatever the operating system refuses.
    pub fn remove(&self) -> io::Result<()> {
        self.dirs().try_for_each(|dir| match std::fs::remove_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })?;
        if let (LimitBy::Cgroup2, Some(base)) = (self.by, self.memory.parent()) {
            // Without the lock another guard may be making its group: it will give back.
            let _unlocked = lock(base).map(|lock| give_back(base, &lock));
        }
        Ok(())
    }
}

/// The file of a group's processes.
const PROCS: &str = "cgroup.procs";

fn check_we_are_in(dir: &Path) -> io::Result<()> {
    if pids(dir).contains(&std::process::id()) {
        return Ok(());
    }
    Err(io::Error::other("this process is not in it"))
}

fn pids(dir: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(dir.join(PROCS)).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn controllers(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default()
}

fn has_word(text: &str, word: &str) -> bool {
    text.split_ascii_whitespace().any(|one| one == word)
}

/// The number behind `name` in lines of names and numbers.
fn figure(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

fn make_dir(own: &Path, name: &str) -> io::Result<PathBuf> {
    let dir = own.join(name);
    std::fs::create_dir(&dir)?;
    Ok(dir)
}

/// Removes a directory that nothing was put into.
fn remove_dir(dir: &Path) {
    let _left = std::fs::remove_dir(dir);
}

/// Gives the children of `base` a controller. A group with processes refuses that: those of this
/// program go into a leaf then; somebody else's are left alone.
fn enable(base: &Path, controller: &str) -> io::Result<()> {
    let control = base.join("cgroup.subtree_control");
    if has_word(&std::fs::read_to_string(&control)?, controller) {
        return Ok(());
    }
    let on = format!("+{controller}");
    let Err(error) = write(&control, &on) else { return Ok(()) };
    if error.kind() != io::ErrorKind::ResourceBusy {
        return Err(error);
    }
    let leaf = base.join(LEAF);
    match std::fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for pid in pids(base).into_iter().filter(|pid| super::is_of_this_program(*pid)) {
        write(&leaf.join(PROCS), &pid.to_string())?;
    }
    write(&control, &on).map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => io::Error::other("other programs are in it"),
        _ => error,
    })
}

/// Keeps the guards of one group from giving controllers to its children and taking them away at
/// the same time; held until it is dropped.
fn lock(base: &Path) -> io::Result<File> {
    let file = File::open(base.join("cgroup.subtree_control"))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(file)
}

/// Takes the leaf away again when `base` has no other group of ours: what was there before us is
/// there after us.
fn give_back(base: &Path, _held: &File) {
    let ours = |entry: std::fs::DirEntry| {
        entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX) && name != LEAF)
    };
    let Ok(mut entries) = std::fs::read_dir(base) else { return };
    let leaf = base.join(LEAF);
    if !leaf.is_dir() || entries.any(|entry| entry.is_ok_and(ours)) {
        return;
    }
    for controller in ["memory", "cpu"] {
        let _was_off = write(&base.join("cgroup.subtree_control"), &format!("-{controller}"));
    }
    for pid in pids(&leaf) {
        // One that has just ended is out of it, too.
        let _ended = write(&base.join(PROCS), &pid.to_string());
    }
    remove_dir(&leaf);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /outer /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn each_hierarchy_is_found_by_what_it_is_mounted_with() {
        let groups = "9:name=systemd:/x\n4:memory:/outer/in\n2:cpu,cpuacct:/\n0::/user/a.scope\n";
        let tree = Tree::parse(groups, MOUNTS);
        let dir = |text: &str| Some(PathBuf::from(text));
        assert_eq!(tree.unified, dir("/sys/fs/cgroup/unified/user/a.scope"));
        assert_eq!(tree.memory, dir("/sys/fs/cgroup/memory/in"));
        assert_eq!(tree.cpu.unwrap().to_str(), Some("/sys/fs/cgroup/cpu,cpuacct"));
    }

    #[test]
    fn a_group_outside_of_the_mount_or_above_it_is_none() {
        for path in ["/elsewhere", "/outer/../..", "/outerside"] {
            let tree = Tree::parse(&format!("4:memory:{path}\n"), MOUNTS);
            assert_eq!(tree, Tree::default(), "{path}");
        }
        assert_eq!(Tree::parse("", ""), Tree::default());
        assert_eq!(Tree::parse("::\n:\nnonsense", "a b - c\n - \n"), Tree::default());
    }

    #[test]
    fn a_directory_that_is_no_control_group_is_refused_and_stays_empty() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree {
            unified: Some(dir.path().to_owned()),
            memory: Some(dir.path().to_owned()),
            cpu: None,
        };
        let bounds = Bounds { memory_bytes: 1 << 30, cpu_percent: None };
        std::fs::write(dir.path().join(PROCS), format!("{}\n", std::process::id())).unwrap();
        std::fs::write(dir.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
        std::fs::write(dir.path().join("cgroup.subtree_control"), "").unwrap();
        let why = tree.make("a", bounds).unwrap_err();
        assert_eq!(why.len(), 2, "{why:?}");
        assert!(!dir.path().join("rbee-a").exists() && !dir.path().join(LEAF).exists());
        assert!(Tree::default().make("a", bounds).unwrap_err()[0].contains("no control groups"));
    }

    #[test]
    fn figures_are_found_by_their_whole_name() {
        let text = "low 1\noom 5\noom_kill 3\noom_group_kill 7\n";
        assert_eq!(figure(text, "oom_kill"), Some(3));
        assert_eq!(figure(text, "oom"), Some(5));
        assert_eq!(figure("oom_kill x\n", "oom_kill"), None);
    }
}
