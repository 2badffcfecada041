//! Starting again what ended by itself: when, how often, and when not any more.

use std::time::Duration;

use wire::worker::{LastEnd, WorkerState};
use wire::{Code, Fault, WorkerId, limits, text};

use super::Supervisor;
use super::breakers::given_up;
use super::effect::{Answer, Effect};
use super::input::{End, Moment, Token};
use super::requests::{not_routable, refuse};
use super::worker::{Life, Reason, Worker};

/// A pause before a restart is this many thousandths of what it is in the table, at least.
const LEAST_JITTER: u64 = 800;
/// Thousandths that chance adds to [`LEAST_JITTER`], at most: ±20 % in all.
const JITTER_RANGE: u64 = 400;

/// Somebody who waits for a worker's next process.
#[derive(Debug)]
pub(super) struct RestartWaiter {
    token: Token,
    worker: WorkerId,
    /// How often the worker had been started again when this one asked.
    restarts: u32,
}

/// Reproducible chance: the same seed gives the same numbers (`SplitMix64`, Steele et al. 2014).
#[derive(Debug)]
pub(super) struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The pause before the `attempt`th start in a row: `first`, doubled each time, ±20 %.
    pub(super) fn pause(&mut self, first: Duration, attempt: u32) -> Duration {
        let doubled = 1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let thousandths = LEAST_JITTER + self.next() % (JITTER_RANGE + 1);
        let thousandths = u32::try_from(thousandths).unwrap_or(1000);
        first.saturating_mul(doubled).saturating_mul(thousandths) / 1000
    }
}

impl Supervisor {
    /// Whether another process may follow the one that is being ended.
    pub(super) fn may_start_again(&self, id: &WorkerId) -> bool {
        let may = |worker: &Worker| {
            let reason = worker.reason;
            !matches!(reason, Some(Reason::Told | Reason::Idle)) && !worker.path.is_empty()
        };
        !self.down && self.workers.get(id).is_some_and(may)
    }

    /// What a worker is now that its process has ended and would leave it in `state`: that, or on
    /// its way to another process.
    pub(super) fn after_end(
        &mut self,
        id: &WorkerId,
        state: WorkerState,
        end: &End,
        now: Moment,
    ) -> Life {
        let again = self.may_start_again(id);
        let Some(worker) = self.workers.get_mut(id) else { return Life::Finished(state) };
        if again && worker.reason == Some(Reason::Restart) {
            worker.last_end = Some(last_end("it was to be started again", end));
            worker.attempts = 0;
            return Life::Restarting { attempt: 0, at: now, measuring: false };
        }
        let Some(cause) = passing_cause(&state) else { return Life::Finished(state) };
        // What ended under no agent's eyes, a reboot perhaps, is started when it is wanted.
        // What never began is named at once to whoever wanted it.
        let never_began = worker.restarts == 0 && matches!(end, End::NotStarted { .. });
        if !again || worker.found || never_began {
            return Life::Finished(state);
        }
        let long = self.timings.restart_reset;
        if worker.serving_since.is_some_and(|since| now.saturating_sub(since) >= long) {
            worker.attempts = 0;
        }
        let model = worker.spec.model.clone();
        if self.breakers.count(worker, now, self.timings.breaker_window) {
            let why = format!("{}: {cause}", given_up(&model, worker.spec.device));
            return failed(why, Code::WorkerCrashed);
        }
        if worker.attempts >= limits::MAX_RESTART_ATTEMPTS {
            return Life::Finished(state);
        }
        worker.attempts += 1;
        worker.last_end = Some(last_end(&cause, end));
        let attempt = worker.attempts;
        let at = now + self.dice.pause(self.timings.restart_first, attempt);
        Life::Restarting { attempt, at, measuring: false }
    }

    /// Has the memory measured for a worker whose pause is over.
    pub(super) fn end_pause(&mut self, id: &WorkerId, now: Moment, out: &mut Vec<Effect>) {
        // The next agent starts it.
        if self.down {
            return;
        }
        let life = self.workers.get_mut(id).map(|worker| &mut worker.life);
        if let Some(Life::Restarting { at, measuring, .. }) = life
            && !*measuring
            && now >= *at
        {
            *measuring = true;
            out.push(Effect::Measure(id.clone()));
        }
    }

    /// Starts a worker again, if it is still wanted and fits what is free now: that many bytes, or
    /// nothing can be started.
    pub(super) fn start_again(
        &mut self,
        id: &WorkerId,
        room: Result<u64, Fault>,
        now: Moment,
        out: &mut Vec<Effect>,
    ) {
        let Some(worker) = self.workers.get(id).filter(|_| !self.down) else { return };
        let Life::Restarting { measuring: true, .. } = worker.life else { return };
        let spec = &worker.spec;
        let closed = self.breakers.check(&spec.model, spec.device);
        let admitted = closed.and(room).and_then(|available_bytes| {
            let memory = self.memory(available_bytes, &spec.model);
            if worker.need_bytes <= memory.free_bytes() {
                Ok(())
            } else {
                Err(full(worker, memory))
            }
        });
        if let Err(fault) = admitted {
            let state = WorkerState::Failed { why: fault.message, code: Some(fault.code) };
            return self.finish(id, state, now, out);
        }
        let Some(worker) = self.workers.get_mut(id) else { return };
        worker.begin_again(now);
        let start = worker.start();
        self.publish(id, now, out);
        out.push(Effect::Start(start));
    }

    /// Takes a wish for another process of a worker. It closes the breaker of its model.
    pub(super) fn restart(
        &mut self,
        token: Token,
        id: &WorkerId,
        drain: Duration,
        now: Moment,
        out: &mut Vec<Effect>,
    ) {
        if let Err(fault) = self.try_restart(id, drain, now, out) {
            out.push(refuse(token, fault));
            return;
        }
        let restarts = self.workers.get(id).map_or(0, |worker| worker.restarts);
        self.restarts.push(RestartWaiter { token, worker: id.clone(), restarts });
    }

    fn try_restart(
        &mut self,
        id: &WorkerId,
        drain: Duration,
        now: Moment,
        out: &mut Vec<Effect>,
    ) -> Result<(), Fault> {
        if self.down {
            return Err(Self::shutting_down());
        }
        let worker = self.workers.get(id).ok_or_else(|| Self::no_such_worker(id))?;
        check_restartable(worker)?;
        if !worker.is_kept() {
            self.check_room()?;
        }
        self.breakers.close(worker);
        if worker.is_alive() {
            self.begin_end(id, Reason::Restart, now + drain, out);
            return Ok(());
        }
        self.finished.retain(|finished| finished != id);
        if let Some(worker) = self.workers.get_mut(id) {
            worker.attempts = 0;
            let measuring = matches!(worker.life, Life::Restarting { measuring: true, .. });
            worker.life = Life::Restarting { attempt: 0, at: now, measuring };
        }
        Ok(())
    }

    /// Answers everyone whose worker has another process by now, or never will.
    pub(super) fn answer_restarts(&mut self, now: Moment, out: &mut Vec<Effect>) {
        for waiter in std::mem::take(&mut self.restarts) {
            let id = &waiter.worker;
            match self.workers.get(id) {
                Some(worker) if self.down && !worker.is_alive() => {
                    out.push(refuse(waiter.token, Self::shutting_down()));
                }
                None => {
                    let message = format!("worker {id} was stopped before it was started again");
                    out.push(refuse(waiter.token, Fault::new(Code::ShuttingDown, message)));
                }
                Some(worker) if worker.restarts > waiter.restarts => {
                    let answer = match self.spawn_reply(id, false, now, out) {
                        Ok(reply) => Answer::Spawned(Box::new(reply)),
                        Err(fault) => Answer::Refused(Box::new(fault)),
                    };
                    out.push(Effect::Reply(waiter.token, answer));
                }
                Some(worker) if !worker.is_kept() => {
                    out.push(refuse(waiter.token, not_routable(worker, now)));
                }
                Some(_) => self.restarts.push(waiter),
            }
        }
    }

    /// Forgets everything that waits for another process: nothing is started any more.
    pub(super) fn give_up_restarts(&mut self, out: &mut Vec<Effect>) {
        let waits = |worker: &&mut Worker| matches!(worker.life, Life::Restarting { .. });
        let mut ids = Vec::new();
        for worker in self.workers.values_mut().filter(waits) {
            for ticket in worker.queue.take_waiting() {
                out.push(refuse(ticket.token, Self::shutting_down()));
            }
            ids.push(worker.id.clone());
        }
        for id in ids {
            self.forget(&id, out);
        }
    }
}

fn check_restartable(worker: &Worker) -> Result<(), Fault> {
    let id = &worker.id;
    let refused = |why: &str| {
        Err(Fault::new(Code::WorkerNotReady, format!("worker {id} {why}"))
            .hint("rbee ps  # shows the workers"))
    };
    match worker.life {
        _ if worker.left => refused("has a process that does not end"),
        _ if worker.path.is_empty() => refused("was started by an agent that kept no path of it"),
        Life::Draining(_) | Life::Stopping { .. } if worker.reason == Some(Reason::Told) => {
            refused("is being stopped")
        }
        _ => Ok(()),
    }
}

/// Why a worker ended, if another try may end otherwise: not when it was told to, and not when it
/// named a fault of its model, its context or its memory.
fn passing_cause(state: &WorkerState) -> Option<String> {
    match state {
        WorkerState::Crashed { exit, .. } => Some(exit.to_string()),
        WorkerState::Failed { why, code } => {
            let passing = [Code::WorkerCrashed, Code::Stalled, Code::Io, Code::Internal];
            code.as_ref().is_none_or(|code| passing.contains(code)).then(|| why.clone())
        }
        _ => None,
    }
}

fn last_end(cause: &str, end: &End) -> LastEnd {
    let tail = match end {
        End::Recorded(record) => record.stderr_tail.as_str(),
        End::Unseen { stderr_tail } => stderr_tail,
        End::NotStarted { .. } => "",
    };
    let cause = text::one_line(cause, limits::MAX_LAST_WORDS_BYTES);
    let from = tail.len().saturating_sub(limits::MAX_LAST_WORDS_BYTES);
    let from = (from..=tail.len()).find(|at| tail.is_char_boundary(*at)).unwrap_or(tail.len());
    LastEnd { cause, stderr_tail: tail.get(from..).unwrap_or_default().to_owned() }
}

fn failed(why: String, code: Code) -> Life {
    Life::Finished(WorkerState::Failed { why, code: Some(code) })
}

fn full(worker: &Worker, memory: crate::admission::Memory) -> Fault {
    let (need, free) = (worker.need_bytes.div_ceil(1 << 20), memory.free_bytes() >> 20);
    let message =
        format!("it was not started again: it needs {need} MiB of memory, {free} are free");
    Fault::new(Code::InsufficientRam, message)
}
