//! One worker as the supervisor knows it.

use wire::WorkerId;
use wire::memory::Limit;
use wire::worker::{Exit, LastEnd, Supervision, WorkerInfo, WorkerSpec, WorkerState};

use super::effect::Start;
use super::input::{Back, Moment};
use super::queue::Queue;

/// Where a worker is, with what that stage needs.
#[derive(Debug, Clone, PartialEq)]
pub enum Life {
    /// No word of its engine yet.
    Starting,
    /// It reads its model.
    Loading {
        /// Bytes of weights read.
        bytes_done: u64,
        /// Bytes of weights in all.
        bytes_total: u64,
    },
    /// It takes requests.
    Serving,
    /// It finishes what it has, until then.
    Draining(Moment),
    /// Its guard walks the ladder.
    Stopping {
        /// Since when.
        since: Moment,
        /// When the guard was given up and killed.
        killed: Option<Moment>,
    },
    /// No process stands behind it until it is started again.
    Restarting {
        /// The how manieth start in a row it will be; 0 when somebody asked for it.
        attempt: u32,
        /// When.
        at: Moment,
        /// Whether that has come, and the memory is being measured.
        measuring: bool,
    },
    /// No process stands behind it.
    Finished(WorkerState),
}

/// Why a worker is being ended. Of two reasons the later one here is what counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It said nothing for too long.
    Silent,
    /// Its load made no progress.
    LoadStalled {
        /// Bytes of weights read.
        bytes_done: u64,
        /// Bytes of weights in all.
        bytes_total: u64,
    },
    /// Nobody used it.
    Idle,
    /// Somebody asked for another process in its place.
    Restart,
    /// Somebody asked.
    Told,
}

/// One worker.
#[derive(Debug)]
pub struct Worker {
    /// Its id.
    pub id: WorkerId,
    /// What it was started with.
    pub spec: WorkerSpec,
    /// Context that the model itself was trained for.
    pub model_ctx: u32,
    /// Host memory that it was admitted with.
    pub need_bytes: u64,
    /// The model's file; empty when nobody knows it any more.
    pub path: String,
    /// How often it has been started again.
    pub restarts: u32,
    /// How often in a row it was started again without serving for long.
    pub attempts: u32,
    /// Since when its process has served.
    pub serving_since: Option<Moment>,
    /// When its process began, in seconds of Unix time.
    pub started_unix_s: Option<u64>,
    /// How its process before this one ended.
    pub last_end: Option<LastEnd>,
    /// Whether it was found, not started, by this agent, and no process of it was seen yet.
    pub found: bool,
    /// Whether a process that survived SIGKILL may still be there.
    pub left: bool,
    /// Where it is.
    pub life: Life,
    /// Why it is being ended, once it is.
    pub reason: Option<Reason>,
    /// How its engine ended, once it has.
    pub exit: Option<Exit>,
    /// Whether its silence has been noticed.
    pub stale: bool,
    /// The engine's process.
    pub pid: Option<u32>,
    /// Resident bytes of it.
    pub memory_bytes: Option<u64>,
    /// What bounds it.
    pub limit: Option<Limit>,
    /// What came back of its memory.
    pub returned: Back,
    /// When its engine last said anything.
    pub heard: Moment,
    /// When its load last got further.
    pub progressed: Moment,
    /// Requests that the engine itself says it works for.
    pub engine_active: u32,
    /// Its requests.
    pub queue: Queue,
    /// Since when nobody has or wants a slot.
    pub idle_since: Moment,
    /// Until when it waits for the request that it was started or found for.
    pub promised_until: Moment,
    /// What readers of events last heard of it.
    pub published: Option<WorkerInfo>,
}

impl Worker {
    /// A worker whose guard is being started.
    pub fn new(start: Start, now: Moment) -> Self {
        let Start { id, spec, model_ctx, need_bytes, path, restarts, attempts, last_end } = start;
        Self {
            queue: Queue::new(spec.slots),
            id,
            spec,
            model_ctx,
            need_bytes,
            path,
            restarts,
            attempts,
            serving_since: None,
            started_unix_s: None,
            last_end,
            found: false,
            left: false,
            life: Life::Starting,
            reason: None,
            exit: None,
            stale: false,
            pid: None,
            memory_bytes: None,
            limit: None,
            returned: Back::default(),
            heard: now,
            progressed: now,
            engine_active: 0,
            idle_since: now,
            promised_until: now,
            published: None,
        }
    }

    /// Whether a process stands behind it.
    pub fn is_alive(&self) -> bool {
        !matches!(self.life, Life::Finished(_) | Life::Restarting { .. })
    }

    /// Whether it counts: a process stands behind it, or soon will again.
    pub fn is_kept(&self) -> bool {
        !matches!(self.life, Life::Finished(_))
    }

    /// What another start of it takes.
    pub fn start(&self) -> Start {
        Start {
            id: self.id.clone(),
            spec: self.spec.clone(),
            model_ctx: self.model_ctx,
            need_bytes: self.need_bytes,
            path: self.path.clone(),
            restarts: self.restarts,
            attempts: self.attempts,
            last_end: self.last_end.clone(),
        }
    }

    /// Takes it back to where a process is being started, with the requests that wait for it.
    pub fn begin_again(&mut self, now: Moment) {
        self.restarts = self.restarts.saturating_add(1);
        self.life = Life::Starting;
        (self.reason, self.exit, self.stale, self.left) = (None, None, false, false);
        (self.pid, self.started_unix_s, self.memory_bytes) = (None, None, None);
        (self.limit, self.returned) = (None, Back::default());
        (self.heard, self.progressed, self.idle_since) = (now, now, now);
        (self.engine_active, self.serving_since) = (0, None);
    }

    /// Whether a request may be sent to it now.
    pub fn is_routable(&self) -> bool {
        self.life == Life::Serving && !self.stale
    }

    /// Whether it will be routable if nothing goes wrong.
    pub fn is_promising(&self) -> bool {
        match self.life {
            Life::Starting | Life::Loading { .. } | Life::Serving => !self.stale,
            Life::Restarting { .. } => true,
            _ => false,
        }
    }

    /// Host memory that it will still take: weights while it loads, afterwards the part of its
    /// cache that no token has needed yet, which the operating system gives page by page.
    pub fn reserved_bytes(&self) -> u64 {
        if self.is_alive() {
            self.need_bytes.saturating_sub(self.memory_bytes.unwrap_or(0))
        } else {
            0
        }
    }

    /// When it will be unloaded, while it idles with a limit.
    pub fn unload_at(&self) -> Option<Moment> {
        if self.life != Life::Serving || !self.queue.is_empty() {
            return None;
        }
        let limit = u64::try_from(self.spec.keep_alive_s).ok()?;
        let at = self.idle_since.checked_add(Moment::from_secs(limit))?;
        Some(at.max(self.promised_until))
    }

    fn state(&self) -> WorkerState {
        match &self.life {
            Life::Finished(state) => state.clone(),
            Life::Restarting { attempt, .. } => WorkerState::Restarting { attempt: *attempt },
            Life::Stopping { .. } => WorkerState::Stopping,
            Life::Draining(_) => WorkerState::Draining,
            _ if self.stale => WorkerState::Stale,
            Life::Starting => WorkerState::Starting,
            Life::Loading { bytes_done, bytes_total } => {
                WorkerState::Loading { bytes_done: *bytes_done, bytes_total: *bytes_total }
            }
            Life::Serving if self.queue.is_empty() => WorkerState::Ready,
            Life::Serving => WorkerState::Busy,
        }
    }

    /// What the wire says of it.
    pub fn info(&self, now: Moment) -> WorkerInfo {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let alive = self.is_alive();
        WorkerInfo {
            id: self.id.clone(),
            spec: self.spec.clone(),
            state: self.state(),
            pid: self.pid.filter(|_| alive),
            model_ctx: self.model_ctx,
            active: count(self.queue.occupied()),
            queued: count(self.queue.queued()),
            memory_bytes: self.memory_bytes.filter(|_| alive),
            // Whoever passes its answers on knows.
            millitokens_per_s: None,
            unload_in_s: self.unload_at().map(|at| at.saturating_sub(now).as_secs()),
            limit: self.limit,
            supervision: self.supervision(now),
        }
    }

    fn supervision(&self, now: Moment) -> Supervision {
        let restart_in_ms = match self.life {
            Life::Restarting { at, .. } => {
                Some(u64::try_from(at.saturating_sub(now).as_millis()).unwrap_or(u64::MAX))
            }
            _ => None,
        };
        Supervision {
            started_unix_s: self.started_unix_s.filter(|_| self.is_alive()),
            restarts: self.restarts,
            restart_in_ms,
            last_end: self.last_end.clone(),
        }
    }
}
