//! What an agent leaves to the next one beside processes: failures that were counted, and workers
//! that no process stands behind and that are not to be forgotten.

use serde::{Deserialize, Serialize};
use wire::worker::WorkerState;
use wire::{Code, Device, ModelRef, WorkerId, limits};

use super::Supervisor;
use super::effect::{Effect, Start};
use super::input::Moment;
use super::worker::{Life, Worker};

/// All of it. Times are milliseconds of one clock: a [`Moment`] inside an agent, Unix time on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carryover {
    /// What failed lately.
    pub failures: Vec<Failures>,
    /// Workers without a process.
    pub workers: Vec<Absent>,
}

/// The failures of one model on one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// Which model.
    pub model: ModelRef,
    /// On which device.
    pub device: Device,
    /// When, at most [`limits::BREAKER_FAILURES`] of them, in milliseconds, oldest first.
    pub at_ms: Vec<u64>,
    /// The worker whose restart closes the breaker, once that is open.
    pub holder: Option<WorkerId>,
}

/// A worker that no process stands behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// What another start of it takes.
    pub start: Start,
    /// Why it has no process.
    pub stage: Stage,
}

/// Why a worker has no process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// It waits for its next one.
    Waiting {
        /// The how manieth start in a row that will be.
        attempt: u32,
        /// When, in milliseconds.
        at_ms: u64,
    },
    /// It failed, and holds its model's breaker open.
    Failed {
        /// Why.
        why: String,
        /// The kind of failure, if it is known.
        code: Option<Code>,
    },
}

impl Carryover {
    /// The same with every time shown to `change`, in milliseconds.
    #[must_use]
    pub fn timed(mut self, change: impl Fn(u64) -> u64) -> Self {
        let failures = self.failures.iter_mut().flat_map(|failures| &mut failures.at_ms);
        let pauses = self.workers.iter_mut().filter_map(|absent| match &mut absent.stage {
            Stage::Waiting { at_ms, .. } => Some(at_ms),
            Stage::Failed { .. } => None,
        });
        failures.chain(pauses).for_each(|at_ms| *at_ms = change(*at_ms));
        self
    }
}

/// A moment in milliseconds.
pub(super) fn in_ms(moment: Moment) -> u64 {
    u64::try_from(moment.as_millis()).unwrap_or(u64::MAX)
}

impl Supervisor {
    /// What the next agent shall know. A hive that was told to end leaves nothing.
    pub(super) fn carryover(&self) -> Carryover {
        if self.down && self.handover.is_none() {
            return Carryover::default();
        }
        let absent = |worker: &Worker| {
            let stage = match &worker.life {
                Life::Restarting { attempt, at, .. } => {
                    Stage::Waiting { attempt: *attempt, at_ms: in_ms(*at) }
                }
                Life::Finished(WorkerState::Failed { why, code })
                    if self.breakers.is_held_by(&worker.id) =>
                {
                    Stage::Failed { why: why.clone(), code: code.clone() }
                }
                _ => return None,
            };
            Some(Absent { start: worker.start(), stage })
        };
        Carryover {
            failures: self.breakers.carried(),
            workers: self.workers.values().filter_map(absent).collect(),
        }
    }

    /// Has it kept whenever it changes.
    pub(super) fn carry_over(&mut self, out: &mut Vec<Effect>) {
        // An agent that ends because nobody needs it has said already what it leaves.
        if self.exited {
            return;
        }
        let carryover = self.carryover();
        if carryover != self.carried {
            self.carried = carryover.clone();
            out.push(Effect::CarryOver(Box::new(carryover)));
        }
    }

    /// Takes over what an earlier agent left.
    pub(super) fn carried_over(&mut self, carryover: Carryover, now: Moment) {
        for absent in carryover.workers.into_iter().take(limits::MAX_BREAKERS) {
            // A process is more than a word of one.
            if !self.workers.contains_key(&absent.start.id) {
                self.take_absent(absent, now);
            }
        }
        for failures in carryover.failures {
            let workers = &self.workers;
            self.breakers.take(failures, |id| workers.contains_key(id));
        }
    }

    fn take_absent(&mut self, absent: Absent, now: Moment) {
        let id = absent.start.id.clone();
        let life = match absent.stage {
            Stage::Waiting { attempt, at_ms } => {
                // By a clock that somebody may have set since.
                let latest = now + self.dice.pause(self.timings.restart_first, attempt);
                let at = Moment::from_millis(at_ms).min(latest);
                Life::Restarting { attempt, at, measuring: false }
            }
            Stage::Failed { why, code } => {
                self.finished.push(id.clone());
                Life::Finished(WorkerState::Failed { why, code })
            }
        };
        let worker = Worker { life, ..Worker::new(absent.start, now) };
        self.workers.insert(id, worker);
    }
}
