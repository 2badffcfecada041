//! The jobs that wait for a slot: bounded, prepared beside the engine, swept of those that nobody
//! waits for any more.
//!
//! A job waits, is prepared by one of the preparers' threads, waits until the engine takes it,
//! and leaves. Whoever prepares it owns nothing of it: a job that is cancelled or late is gone from
//! the queue at once, and its preparer learns it by its [`Claim`].

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use wire::generate::Prompt;
use wire::{Code, Fault, limits};

use super::sequence::Prepared;
use super::{Job, Occupancy, Piece};

/// Between two looks of an idle engine at the jobs that are being prepared: within one of them a
/// deadline is told, and a job is gone whose reader is.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The queue between [`super::Engine`]'s handles and its threads.
pub(super) struct Queue {
    state: Mutex<State>,
    /// For the engine: a job is prepared, or there will be none.
    ready: Condvar,
    /// For the preparers: a job has come, or there will be none.
    arrived: Condvar,
    /// Taken when the thread ends, so that receivers see that it is gone.
    occupancy: Mutex<Option<watch::Sender<Occupancy>>>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    active: u32,
    closed: bool,
    /// Jobs that have come so far: the next one's number.
    count: u64,
}

/// A job without a slot.
struct Waiting {
    number: u64,
    job: Job,
    stage: Stage,
    /// The other end of its claim.
    wanted: Arc<()>,
}

/// How far a job without a slot is.
enum Stage {
    Arrived(Prompt),
    Preparing,
    Prepared(Box<Prepared>),
}

/// Whether a job is still wanted, asked by whoever works for it.
#[derive(Debug, Clone)]
pub(super) struct Claim(Weak<()>);

impl Claim {
    /// Whether its job has left the queue, and nobody will use what is made for it.
    pub(super) fn is_void(&self) -> bool {
        self.0.strong_count() == 0
    }

    /// A claim for as long as `wanted` lives.
    pub(super) fn of(wanted: &Arc<()>) -> Self {
        Self(Arc::downgrade(wanted))
    }
}

/// A job to prepare.
pub(super) struct Errand {
    /// The job's number, to be given back with what comes of it.
    pub number: u64,
    /// What to make tokens of.
    pub prompt: Prompt,
    /// Whether that is still wanted.
    pub claim: Claim,
}

/// The fault of a job whose time is over.
pub(super) fn deadline_exceeded(job: &Job) -> Fault {
    Fault::new(Code::DeadlineExceeded, "the request's deadline passed")
        .hint("rbee run --deadline 10m …")
        .of_request(job.id)
}

impl Job {
    /// Whether its deadline has passed at `now`.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// Ends a job that has had no piece yet, so that its channel has room.
    fn fail(&self, fault: Fault) {
        let _ = self.pieces.try_send(Piece::Failed(fault.of_request(self.id)));
    }
}

impl Queue {
    /// An open queue, and its figures.
    pub(super) fn new() -> (Self, watch::Receiver<Occupancy>) {
        let (sender, receiver) = watch::channel(Occupancy::default());
        let queue = Self {
            state: Mutex::default(),
            ready: Condvar::new(),
            arrived: Condvar::new(),
            occupancy: Mutex::new(Some(sender)),
        };
        (queue, receiver)
    }

    /// A panic elsewhere leaves nothing half done in here, so poison is passed over.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: &State) {
        let now = Occupancy {
            active: state.active,
            queued: u32::try_from(state.waiting.len()).unwrap_or(u32::MAX),
        };
        let sender = self.occupancy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = sender.as_ref() {
            sender.send_if_modified(|seen| std::mem::replace(seen, now) != now);
        }
    }

    /// Appends `job`, or says why not.
    pub(super) fn submit(&self, mut job: Job) -> Result<(), Fault> {
        let mut state = self.lock();
        if state.closed {
            let fault = Fault::new(Code::ShuttingDown, "the worker takes no new requests");
            return Err(fault.of_request(job.id));
        }
        if state.waiting.len() >= limits::MAX_QUEUE {
            state.waiting.retain(|waiting| !waiting.job.pieces.is_closed());
        }
        if state.waiting.len() >= limits::MAX_QUEUE {
            let message = format!("{} requests wait already", state.waiting.len());
            return Err(Fault::new(Code::QueueFull, message)
                .detail("queued", state.waiting.len())
                .hint("rbee ps")
                .of_request(job.id));
        }
        let number = state.count;
        state.count += 1;
        // The prompt goes to whoever prepares it, and is gone as soon as that is done.
        let prompt = std::mem::replace(&mut job.prompt, Prompt::Raw(String::new()));
        let wanted = Arc::new(());
        let waiting = Waiting { number, job, stage: Stage::Arrived(prompt), wanted };
        state.waiting.push_back(waiting);
        self.publish(&state);
        self.arrived.notify_one();
        // The engine begins to look after it: its reader may leave, its deadline may pass.
        self.ready.notify_one();
        Ok(())
    }

    /// Refuses whatever comes from now on.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_all();
        self.arrived.notify_all();
    }

    /// Drops waiting jobs that were cancelled, and fails those whose deadline passed.
    pub(super) fn sweep(&self, now: Instant) {
        let mut state = self.lock();
        let before = state.waiting.len();
        state.waiting.retain(|Waiting { job, .. }| {
            if job.is_late(now) {
                job.fail(deadline_exceeded(job));
                return false;
            }
            !job.pieces.is_closed()
        });
        if state.waiting.len() != before {
            self.publish(&state);
        }
    }

    /// Waits for a job that nobody prepares yet; none when the queue is closed and has none.
    pub(super) fn next_errand(&self) -> Option<Errand> {
        let mut state = self.lock();
        loop {
            let arrived = |waiting: &&mut Waiting| matches!(waiting.stage, Stage::Arrived(_));
            if let Some(waiting) = state.waiting.iter_mut().find(arrived)
                && let Stage::Arrived(prompt) =
                    std::mem::replace(&mut waiting.stage, Stage::Preparing)
            {
                let claim = Claim::of(&waiting.wanted);
                return Some(Errand { number: waiting.number, prompt, claim });
            }
            if state.closed {
                return None;
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes what came of an errand, unless its job is gone.
    pub(super) fn done_errand(&self, number: u64, result: Result<Prepared, Fault>) {
        let mut state = self.lock();
        let is_it = |waiting: &Waiting| waiting.number == number;
        let Some(at) = state.waiting.iter().position(is_it) else { return };
        match result {
            Ok(prepared) => {
                if let Some(waiting) = state.waiting.get_mut(at) {
                    waiting.stage = Stage::Prepared(Box::new(prepared));
                }
            }
            Err(fault) => {
                if let Some(Waiting { job, .. }) = state.waiting.remove(at) {
                    let code = fault.code.as_str();
                    tracing::warn!(request = %job.id, code, "request refused");
                    job.fail(fault);
                    self.publish(&state);
                }
            }
        }
        self.ready.notify_one();
    }

    /// Waits for the next prepared job and gives it the slot; none when the queue is closed and
    /// empty. A job whose preparation takes long is overtaken.
    pub(super) fn next(&self) -> Option<(Job, Prepared)> {
        loop {
            self.sweep(Instant::now());
            let mut state = self.lock();
            if let Some(next) = take_prepared(&mut state.waiting) {
                state.active = 1;
                self.publish(&state);
                return Some(next);
            }
            // A spurious wake-up only goes round once more.
            if !state.waiting.is_empty() {
                drop(self.ready.wait_timeout(state, LOOK_AGAIN));
            } else if state.closed {
                return None;
            } else {
                drop(self.ready.wait(state).unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Takes the slot back.
    pub(super) fn done(&self) {
        let mut state = self.lock();
        state.active = 0;
        self.publish(&state);
    }

    /// A thread is gone: nothing is taken, what waits fails, and the figures end.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.active = 0;
        for Waiting { job, .. } in state.waiting.drain(..) {
            job.fail(Fault::new(Code::WorkerCrashed, "the engine ended before the request began"));
        }
        self.publish(&state);
        *self.occupancy.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.ready.notify_all();
        self.arrived.notify_all();
    }
}

fn take_prepared(waiting: &mut VecDeque<Waiting>) -> Option<(Job, Prepared)> {
    let is_prepared = |waiting: &Waiting| matches!(waiting.stage, Stage::Prepared(_));
    let at = waiting.iter().position(is_prepared)?;
    let Waiting { job, stage, .. } = waiting.remove(at)?;
    match stage {
        Stage::Prepared(prepared) => Some((job, *prepared)),
        Stage::Arrived(_) | Stage::Preparing => None,
    }
}
