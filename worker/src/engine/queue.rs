//! The jobs that wait for a slot: bounded, swept of those that nobody waits for any more.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use wire::{Code, Fault, limits};

use super::{Job, Occupancy, Piece};

/// The queue between [`super::Engine`]'s handles and its thread.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Taken when the thread ends, so that receivers see that it is gone.
    occupancy: Mutex<Option<watch::Sender<Occupancy>>>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    active: u32,
    closed: bool,
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
}

impl Queue {
    /// An open queue, and its figures.
    pub(super) fn new() -> (Self, watch::Receiver<Occupancy>) {
        let (sender, receiver) = watch::channel(Occupancy::default());
        let queue = Self {
            state: Mutex::default(),
            changed: Condvar::new(),
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
    pub(super) fn submit(&self, job: Job) -> Result<(), Fault> {
        let mut state = self.lock();
        if state.closed {
            let fault = Fault::new(Code::ShuttingDown, "the worker takes no new requests");
            return Err(fault.of_request(job.id));
        }
        if state.waiting.len() >= limits::MAX_QUEUE {
            state.waiting.retain(|waiting| !waiting.pieces.is_closed());
        }
        if state.waiting.len() >= limits::MAX_QUEUE {
            let message = format!("{} requests wait already", state.waiting.len());
            return Err(Fault::new(Code::QueueFull, message)
                .detail("queued", state.waiting.len())
                .hint("rbee ps")
                .of_request(job.id));
        }
        state.waiting.push_back(job);
        self.publish(&state);
        self.changed.notify_one();
        Ok(())
    }

    /// Refuses whatever comes from now on.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Drops waiting jobs that were cancelled, and fails those whose deadline passed.
    pub(super) fn sweep(&self, now: Instant) {
        let mut state = self.lock();
        let before = state.waiting.len();
        state.waiting.retain(|job| {
            if job.is_late(now) {
                // Its channel is empty: it has had no piece yet.
                let _ = job.pieces.try_send(Piece::Failed(deadline_exceeded(job)));
                return false;
            }
            !job.pieces.is_closed()
        });
        if state.waiting.len() != before {
            self.publish(&state);
        }
    }

    /// Waits for the next job and gives it the slot; none when the queue is closed and empty.
    pub(super) fn next(&self) -> Option<Job> {
        loop {
            self.sweep(Instant::now());
            let mut state = self.lock();
            if let Some(job) = state.waiting.pop_front() {
                state.active = 1;
                self.publish(&state);
                return Some(job);
            }
            if state.closed {
                return None;
            }
            // A spurious wake-up only goes round once more.
            drop(self.changed.wait(state).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Takes the slot back.
    pub(super) fn done(&self) {
        let mut state = self.lock();
        state.active = 0;
        self.publish(&state);
    }

    /// The thread is gone: nothing is taken, what waits fails, and the figures end.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.active = 0;
        for job in state.waiting.drain(..) {
            let fault =
                Fault::new(Code::WorkerCrashed, "the engine ended before the request began");
            let _ = job.pieces.try_send(Piece::Failed(fault.of_request(job.id)));
        }
        self.publish(&state);
        *self.occupancy.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
