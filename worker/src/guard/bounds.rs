//! What bounds an engine's memory and processors, and whether that is what ended it.

use std::fs::File;
use std::io;
use std::time::Duration;

use wire::guard::GuardSpec;
use wire::memory::{Containment, Limit, LimitBy, MemoryUse};
use wire::text::shell_word;
use wire::worker::Exit;
use wire::{Code, Fault};

use crate::platform;
use crate::platform::groups::{self, Group, Tree};

/// Between two looks at an engine's memory.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How much readier the kernel shall be to end an engine than the agent and the guards, whatever
/// their sizes (0 to 1000; `proc_pid_oom_score_adj(5)`).
const ENGINE_OOM_SCORE: i32 = 500;
/// How much above its guard's an engine's readiness is at least.
const ENGINE_OOM_STEP: i32 = 100;
/// The readiness beyond which nothing goes.
const MAX_OOM_SCORE: i32 = 1000;
/// How often, and how far apart, a group is tried to be removed while its last process goes.
const REMOVALS: usize = 50;
const REMOVE_AGAIN: Duration = Duration::from_millis(10);
/// What Rust writes before it aborts for want of memory, and the signal that follows.
const ALLOCATION_FAILED: (&str, &str) = ("memory allocation of ", " bytes failed");
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
/// The memory of the group that is made only to see whether it can be.
const PROBE_BYTES: u64 = 1 << 30;
/// What gives a machine memory back.
const FREE_SOME: &str = "rbee ps  # then `rbee worker stop ID` frees a worker's memory";

/// What an engine is started in.
#[derive(Debug)]
pub struct Bounds {
    group: Option<Group>,
    limit: Limit,
}

impl Bounds {
    /// Makes a control group for the engine of `spec` where one can be made.
    pub fn around(spec: &GuardSpec) -> Self {
        let wanted = spec.wanted;
        let group = wanted.memory_bytes.and_then(|memory_bytes| {
            let bounds = groups::Bounds { memory_bytes, cpu_percent: wanted.cpu_percent };
            // The number of this process tells it from a group of the same name that was left.
            let name = format!("{}-{}", spec.id, std::process::id());
            Tree::of_this_process().make(&name, bounds).ok()
        });
        let limit = match &group {
            Some(group) => Limit {
                bytes: wanted.memory_bytes,
                by: group.by(),
                cpu_percent: wanted.cpu_percent.filter(|_| group.bounds_cpu()),
            },
            None => without_group(spec),
        };
        Self { group, limit }
    }

    /// The same without its group, which would not take the engine.
    pub fn leave_group(self, spec: &GuardSpec) -> Self {
        self.remove_now();
        Self { group: None, limit: without_group(spec) }
    }

    /// Whether there is a control group.
    pub fn has_group(&self) -> bool {
        self.group.is_some()
    }

    /// What is in force.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// The groups' directories.
    pub fn dirs(&self) -> Vec<String> {
        let dirs = self.group.iter().flat_map(Group::dirs);
        dirs.map(|dir| dir.to_string_lossy().into_owned()).collect()
    }

    /// What the engine goes through before it is what it shall be.
    ///
    /// # Errors
    /// Whatever the operating system refuses.
    pub fn doors(&self) -> io::Result<Vec<File>> {
        self.group.as_ref().map_or_else(|| Ok(Vec::new()), Group::doors)
    }

    /// Removes a group that nothing went into.
    pub fn remove_now(&self) {
        if let Some(group) = &self.group {
            // One that stays is empty and is named for a guard that is gone.
            let _left = group.remove();
        }
    }

    /// Ends what is left in the group and removes it.
    pub async fn remove(self) {
        let Some(group) = self.group else { return };
        for _ in 0..REMOVALS {
            group.kill_all();
            if group.remove().is_ok() {
                return;
            }
            tokio::time::sleep(REMOVE_AGAIN).await;
        }
    }
}

fn without_group(spec: &GuardSpec) -> Limit {
    let bytes = spec.wanted.data_bytes;
    let by = if bytes.is_some() { LimitBy::Rlimit } else { LimitBy::None };
    Limit { bytes, by, cpu_percent: None }
}

/// The readiness to be ended that an engine is started with.
pub fn engine_oom_score() -> i32 {
    let own = platform::oom_score_adj().unwrap_or(0);
    own.saturating_add(ENGINE_OOM_STEP).clamp(ENGINE_OOM_SCORE, MAX_OOM_SCORE)
}

/// Follows an engine's memory while it lives.
#[derive(Debug)]
pub struct Watch {
    pid: u32,
    peak_bytes: u64,
    /// Processes that the kernel had ended for memory, at the last look.
    oom_kills: Option<u64>,
}

impl Watch {
    /// Begins.
    pub fn over(pid: u32) -> Self {
        Self { pid, peak_bytes: 0, oom_kills: platform::oom_kills() }
    }

    /// Looks at it; called every [`LOOK_EVERY`].
    pub fn look(&mut self) {
        self.peak_bytes = self.peak_bytes.max(platform::own_bytes(self.pid).unwrap_or(0));
        self.oom_kills = platform::oom_kills();
    }

    /// What is to be said of the memory of an engine that has ended.
    pub fn conclude(&self, bounds: &Bounds, exit: Exit, stderr_tail: &str) -> MemoryUse {
        let in_group = bounds.group.as_ref().is_some_and(|group| group.oom_kills() > 0);
        let on_machine = platform::oom_kills().zip(self.oom_kills).is_some_and(|(n, o)| n > o);
        let killed = match exit {
            Exit::Code(0) => false,
            // Its own group says for sure; without one, two things at once have to do.
            Exit::Signal(SIGKILL) => in_group || (!bounds.has_group() && on_machine),
            _ => in_group,
        };
        let gave_up = exit == Exit::Signal(SIGABRT) && allocation_failure(stderr_tail).is_some();
        let whole = bounds.group.as_ref().filter(|_| killed).and_then(Group::peak_bytes);
        // The kernel counts in batches, and so a little beyond the limit.
        let most = bounds.limit.bytes.filter(|_| whole.is_some()).unwrap_or(u64::MAX);
        let peak_bytes = self.peak_bytes.max(whole.unwrap_or(0)).min(most);
        MemoryUse {
            peak_bytes: (peak_bytes > 0).then_some(peak_bytes),
            out_of_memory: killed || gave_up,
        }
    }
}

/// The line in which an engine says that it got no memory.
fn allocation_failure(stderr_tail: &str) -> Option<&str> {
    let (before, after) = ALLOCATION_FAILED;
    stderr_tail.lines().rev().find(|line| line.starts_with(before) && line.ends_with(after))
}

/// Why an engine ended that ran out of memory, with what helps.
pub fn fault(spec: &GuardSpec, limit: Limit, memory: MemoryUse, stderr_tail: &str) -> Fault {
    let mib = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), |n| (n >> 20).to_string());
    let refused = allocation_failure(stderr_tail);
    // Behind a group's limit stands the one of data: who was refused more has met that.
    let limit = if refused.is_some() { without_group(spec) } else { limit };
    let by = limit.by.as_str();
    let (had, may) = (mib(memory.peak_bytes), mib(limit.bytes));
    let is_own_limit = |peak: u64, bytes: u64| peak >= bytes - bytes / 10;
    let of_the_machine = matches!(limit.by, LimitBy::None)
        || (limit.by != LimitBy::Rlimit
            && !memory.peak_bytes.zip(limit.bytes).is_some_and(|(p, b)| is_own_limit(p, b)));
    let message = if of_the_machine {
        format!("the machine ran out of memory; the worker had {had} MiB of its {may} MiB ({by})")
    } else {
        format!("the worker ran out of memory: it had {had} MiB, its limit is {may} MiB ({by})")
    };
    let fault = Fault::new(Code::OutOfMemory, message)
        .detail("limit_bytes", limit.bytes)
        .detail("limit_by", by)
        .detail("peak_bytes", memory.peak_bytes);
    let fault = match refused {
        Some(line) => fault.cause(line),
        None => fault,
    };
    // What others hold is worth more than what a smaller context gives up.
    let fault = if of_the_machine { fault.hint(FREE_SOME) } else { fault };
    let model = shell_word(&spec.spec.model.to_string());
    match spec.spec.smaller_ctx_size() {
        Some(ctx) => fault.hint(format!("rbee run -m {model} --ctx-size {ctx} \"…\"")),
        None if of_the_machine => fault,
        None => fault.hint(FREE_SOME),
    }
}

/// `rbee worker limits`: what would bound a worker that is started from here.
pub fn containment() -> Containment {
    let tree = Tree::of_this_process();
    let bounds = groups::Bounds { memory_bytes: PROBE_BYTES, cpu_percent: None };
    match tree.make(&format!("probe-{}", std::process::id()), bounds) {
        Ok(group) => {
            let left =
                group.remove().err().map(|error| format!("it could not be removed: {error}"));
            Containment { by: group.by(), why: left.into_iter().collect(), hint: None }
        }
        Err(why) => Containment { by: LimitBy::Rlimit, why, hint: improvement(&tree) },
    }
}

/// Gives this user a group of their own, and puts the agent into it. The agent is this process's
/// parent: it asks.
fn improvement(tree: &Tree) -> Option<String> {
    let (by, dir) = tree.improvable()?;
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let agent = rustix::process::getppid()?.as_raw_nonzero();
    if uid == 0 {
        // Who may do everything was refused by something that no command of ours changes.
        return None;
    }
    let root = dir.ancestors().filter(|dir| dir.join("cgroup.procs").exists()).last()?;
    let root = shell_word(root.to_str()?);
    let enable = match by {
        LimitBy::Cgroup2 => "echo +memory > cgroup.subtree_control && ",
        _ => "",
    };
    Some(format!(
        "sudo sh -c 'cd {root} && {enable}mkdir -p rbee-of-{uid} && \
         chown -R {uid}:{gid} rbee-of-{uid} && echo {agent} > rbee-of-{uid}/cgroup.procs'"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_that_failed_is_told_by_its_whole_line() {
        let tail = "{\"level\":\"INFO\"}\nmemory allocation of 1073741824 bytes failed\n";
        assert!(allocation_failure(tail).is_some());
        assert!(allocation_failure("he said: memory allocation of 1 bytes failed").is_none());
        assert!(allocation_failure("memory allocation of nothing").is_none());
    }

    #[test]
    fn an_engine_is_ended_before_its_guard() {
        let guard = platform::oom_score_adj().unwrap_or(0);
        assert!(engine_oom_score() > guard || guard >= MAX_OOM_SCORE);
        assert!((ENGINE_OOM_SCORE..=MAX_OOM_SCORE).contains(&engine_oom_score()));
    }
}
