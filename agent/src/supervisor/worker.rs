//! One worker as the supervisor knows it.

use wire::WorkerId;
use wire::memory::{Limit, MemoryBack};
use wire::worker::{Exit, WorkerInfo, WorkerSpec, WorkerState};

use super::input::Moment;
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
    /// No process stands behind it.
    Finished(WorkerState),
}

/// Why a worker is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Somebody asked.
    Told,
    /// Nobody used it.
    Idle,
    /// Its load made no progress.
    LoadStalled {
        /// Bytes of weights read.
        bytes_done: u64,
        /// Bytes of weights in all.
        bytes_total: u64,
    },
    /// It said nothing for too long.
    Silent,
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
    pub returned: Option<MemoryBack>,
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
    pub fn new(
        id: WorkerId,
        spec: WorkerSpec,
        model_ctx: u32,
        need_bytes: u64,
        now: Moment,
    ) -> Self {
        Self {
            queue: Queue::new(spec.slots),
            id,
            spec,
            model_ctx,
            need_bytes,
            life: Life::Starting,
            reason: None,
            exit: None,
            stale: false,
            pid: None,
            memory_bytes: None,
            limit: None,
            returned: None,
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
        !matches!(self.life, Life::Finished(_))
    }

    /// Whether a request may be sent to it now.
    pub fn is_routable(&self) -> bool {
        self.life == Life::Serving && !self.stale
    }

    /// Whether it will be routable if nothing goes wrong.
    pub fn is_promising(&self) -> bool {
        !self.stale && matches!(self.life, Life::Starting | Life::Loading { .. } | Life::Serving)
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
            unload_in_s: self.unload_at().map(|at| at.saturating_sub(now).as_secs()),
            limit: self.limit,
        }
    }
}
