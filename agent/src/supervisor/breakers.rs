//! What failed again and again is not started again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use wire::{Code, Device, Fault, ModelRef, WorkerId, limits};

use super::carryover::{Failures, in_ms};
use super::input::Moment;
use super::worker::Worker;

/// The failures of one model on one device.
#[derive(Debug, Default)]
struct Breaker {
    failures: VecDeque<Moment>,
    /// The worker whose failure opened it, once one has.
    holder: Option<WorkerId>,
}

/// What fails again and again is not started any more until somebody says so.
#[derive(Debug, Default)]
pub(super) struct Breakers(BTreeMap<(ModelRef, Device), Breaker>);

impl Breakers {
    /// Counts one failure of `worker`. Whether its model's breaker is open now.
    pub(super) fn count(&mut self, worker: &Worker, now: Moment, window: Duration) -> bool {
        let recent = |at: &Moment| now.saturating_sub(*at) <= window;
        self.0.retain(|_, breaker| {
            breaker.holder.is_some() || breaker.failures.back().is_some_and(recent)
        });
        let key = (worker.spec.model.clone(), worker.spec.device);
        if self.0.len() >= limits::MAX_BREAKERS && !self.0.contains_key(&key) {
            let closed = self.0.iter().filter(|(_, breaker)| breaker.holder.is_none());
            let oldest = closed.min_by_key(|(_, b)| b.failures.back().copied());
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.and_then(|key| self.0.remove(&key));
        }
        let breaker = self.0.entry(key).or_default();
        breaker.failures.push_back(now);
        while breaker.failures.front().is_some_and(|at| !recent(at))
            || breaker.failures.len() > limits::BREAKER_FAILURES
        {
            breaker.failures.pop_front();
        }
        if breaker.failures.len() >= limits::BREAKER_FAILURES {
            breaker.holder.get_or_insert_with(|| worker.id.clone());
        }
        breaker.holder.is_some()
    }

    /// Refuses what fails again and again.
    pub(super) fn check(&self, model: &ModelRef, device: Device) -> Result<(), Fault> {
        let holder = |breaker: &Breaker| breaker.holder.clone();
        match self.0.get(&(model.clone(), device)).and_then(holder) {
            None => Ok(()),
            Some(holder) => Err(Fault::new(Code::WorkerCrashed, given_up(model, device))
                .detail("breaker", "open")
                .detail("failures", limits::BREAKER_FAILURES)
                .detail("worker", holder.as_str())
                .hint(format!("rbee worker restart {holder}"))),
        }
    }

    pub(super) fn close(&mut self, worker: &Worker) {
        self.0.remove(&(worker.spec.model.clone(), worker.spec.device));
    }

    /// Whether a breaker is open that names this worker: then it must not be forgotten, or nobody
    /// could close it.
    pub(super) fn is_held_by(&self, id: &WorkerId) -> bool {
        self.0.values().any(|breaker| breaker.holder.as_ref() == Some(id))
    }

    /// Closes the breaker that names a worker which is forgotten all the same.
    pub(super) fn release(&mut self, id: &WorkerId) {
        self.0.retain(|_, breaker| breaker.holder.as_ref() != Some(id));
    }

    /// What another agent has to know of them.
    pub(super) fn carried(&self) -> Vec<Failures> {
        let of = |((model, device), breaker): (&(ModelRef, Device), &Breaker)| Failures {
            model: model.clone(),
            device: *device,
            at_ms: breaker.failures.iter().map(|at| in_ms(*at)).collect(),
            holder: breaker.holder.clone(),
        };
        self.0.iter().map(of).collect()
    }

    /// Takes what an earlier agent counted. What nobody could close is not open.
    pub(super) fn take(&mut self, failures: Failures, is_there: impl Fn(&WorkerId) -> bool) {
        let Failures { model, device, at_ms, holder } = failures;
        if self.0.len() >= limits::MAX_BREAKERS {
            return;
        }
        let breaker = self.0.entry((model, device)).or_default();
        let holder = holder.filter(is_there);
        if breaker.holder.is_none() {
            breaker.holder = holder;
        }
        let from = at_ms.len().saturating_sub(limits::BREAKER_FAILURES);
        let at = at_ms.into_iter().skip(from).map(Moment::from_millis);
        breaker.failures = at.chain(std::mem::take(&mut breaker.failures)).collect();
    }
}

/// Why nothing is started any more.
pub(super) fn given_up(model: &ModelRef, device: Device) -> String {
    let failures = limits::BREAKER_FAILURES;
    format!("{model} on {device} failed {failures} times in a short time and is not started again")
}
