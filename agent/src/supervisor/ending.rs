//! Ends: drained, stopped, idle, stalled, silent, crashed.

use std::time::Duration;

use wire::event::Event;
use wire::worker::{Exit, StopReply, StoppedWorker, WorkerState};
use wire::{Code, Fault, WorkerId, limits};

use super::effect::{Answer, Effect};
use super::input::{End, Moment, Token};
use super::requests::{crashed, not_routable, refuse};
use super::worker::{Life, Reason, Worker};
use super::{StopWaiter, Supervisor};

/// What a guard gets on top of its ladder before it is taken for dead, and what the kernel gets
/// to end what was killed.
const LADDER_MARGIN: Duration = Duration::from_secs(1);

impl Supervisor {
    pub(super) fn stop_one(
        &mut self,
        token: Token,
        id: &WorkerId,
        drain: Duration,
        now: Moment,
        out: &mut Vec<Effect>,
    ) {
        let Some(worker) = self.workers.get(id) else {
            out.push(refuse(token, Self::no_such_worker(id)));
            return;
        };
        if !worker.is_alive() {
            let exit = worker.exit.unwrap_or(Exit::Unseen);
            let (is_kept, left) = (worker.is_kept(), worker.left);
            let (id_of, killed, took_ms) = (id.clone(), false, 0);
            let (memory, device_memory) = (None, Vec::new());
            let stopped = StoppedWorker { id: id_of, exit, killed, took_ms, memory, device_memory };
            let reply = StopReply { stopped: vec![stopped], left: Vec::new() };
            out.push(Effect::Reply(token, Answer::Stopped(reply)));
            if is_kept {
                self.finish(id, WorkerState::Stopped, now, out);
            }
            // Its id must not be given to another while its process may live.
            if !left && !self.breakers.is_held_by(id) {
                self.forget(id, out);
            }
            return;
        }
        self.begin_end(id, Reason::Told, now + drain, out);
        self.wait_for_ends(token, now, [id.clone()].into());
    }

    pub(super) fn stop_all(
        &mut self,
        token: Token,
        drain: Duration,
        now: Moment,
        out: &mut Vec<Effect>,
    ) {
        let ids = self.begin_down(now + drain, out);
        self.wait_for_ends(token, now, ids.into_iter().collect());
        self.answer_stops(out);
    }

    /// Takes nothing new and ends every worker; the agent follows when the last one has ended.
    pub(super) fn begin_down(&mut self, until: Moment, out: &mut Vec<Effect>) -> Vec<WorkerId> {
        self.down = true;
        let alive = |worker: &&Worker| worker.is_alive();
        let ids: Vec<WorkerId> =
            self.workers.values().filter(alive).map(|worker| worker.id.clone()).collect();
        for id in &ids {
            self.begin_end(id, Reason::Told, until, out);
        }
        self.give_up_restarts(out);
        ids
    }

    fn wait_for_ends(
        &mut self,
        token: Token,
        since: Moment,
        pending: std::collections::BTreeSet<WorkerId>,
    ) {
        let (stopped, left) = (Vec::new(), Vec::new());
        self.stops.push(StopWaiter { token, since, pending, stopped, left });
    }

    /// Lets a worker take nothing new; it is stopped when it has nothing left, or at `until`.
    pub(super) fn begin_end(
        &mut self,
        id: &WorkerId,
        reason: Reason,
        until: Moment,
        out: &mut Vec<Effect>,
    ) {
        let Some(worker) = self.workers.get_mut(id).filter(|worker| worker.is_alive()) else {
            return;
        };
        // What a person says outweighs what was noticed, and an end outweighs another start.
        let reason = worker.reason.map_or(reason, |before| before.max(reason));
        worker.reason = Some(reason);
        match &mut worker.life {
            Life::Stopping { .. } => {}
            // The more impatient of two wins.
            Life::Draining(before) => *before = (*before).min(until),
            life => *life = Life::Draining(until),
        }
        if self.may_start_again(id) {
            return;
        }
        let Some(worker) = self.workers.get_mut(id) else { return };
        for ticket in worker.queue.take_waiting() {
            let message = format!("worker {id} is being stopped");
            out.push(refuse(ticket.token, Fault::new(Code::ShuttingDown, message)));
        }
    }

    /// Sends a drained worker, or one whose time to drain is over, down its guard's ladder.
    pub(super) fn finish_draining(&mut self, id: &WorkerId, now: Moment, out: &mut Vec<Effect>) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        let Life::Draining(until) = worker.life else { return };
        if !worker.queue.has_no_bearer() && now < until {
            return;
        }
        worker.life = Life::Stopping { since: now, killed: None };
        let fault = if worker.reason == Some(Reason::Silent) {
            let message = format!("worker {id} said nothing for too long and is ended");
            Fault::new(Code::Stalled, message).hint("rbee ps  # shows when it is back")
        } else {
            let message = format!("worker {id} was stopped before the answer was complete");
            Fault::new(Code::ShuttingDown, message)
        };
        for ticket in worker.queue.bearers() {
            let fault = Box::new(fault.clone());
            out.push(Effect::Revoke { token: ticket.token, fault });
        }
        out.push(Effect::StopGuard(id.clone()));
    }

    pub(super) fn ended(&mut self, id: &WorkerId, end: &End, now: Moment, out: &mut Vec<Effect>) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        // Also when it was given up: what was left of it is gone now.
        worker.left = false;
        if !worker.is_alive() {
            return;
        }
        let (exit, killed) = match end {
            End::Recorded(record) => (Some(record.exit), record.killed),
            End::Unseen { .. } => (Some(Exit::Unseen), true),
            End::NotStarted { .. } => (None, false),
        };
        let state = final_state(worker, end);
        let fault = match &state {
            WorkerState::Crashed { exit, stderr_tail } => crashed(id, *exit, stderr_tail),
            WorkerState::Failed { why, code } => failed(id, why, code.clone(), end),
            _ => Fault::new(Code::ShuttingDown, format!("worker {id} was stopped")),
        };
        for ticket in worker.queue.bearers() {
            let fault = Box::new(fault.clone());
            out.push(Effect::Revoke { token: ticket.token, fault });
        }
        worker.queue.free_slots();
        worker.exit = exit;
        match self.after_end(id, state, end, now) {
            Life::Finished(state) => {
                let stopped = state == WorkerState::Stopped;
                self.finish(id, state, now, out);
                self.note_end(id, exit.unwrap_or(Exit::Unseen), killed, now, out);
                if stopped {
                    self.forget(id, out);
                }
            }
            // Who waits has had nothing computed, keeps its place, and has a deadline of its own.
            life => {
                if let Some(worker) = self.workers.get_mut(id) {
                    worker.life = life;
                }
            }
        }
    }

    /// Takes a worker to its end, where no request is left with it.
    pub(super) fn finish(
        &mut self,
        id: &WorkerId,
        state: WorkerState,
        now: Moment,
        out: &mut Vec<Effect>,
    ) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        worker.life = Life::Finished(state);
        let fault = not_routable(worker, now);
        for ticket in worker.queue.take_waiting() {
            out.push(refuse(ticket.token, fault.clone()));
        }
        worker.queue.clear();
        self.finished.push(id.clone());
        self.publish(id, now, out);
    }

    fn note_end(
        &mut self,
        id: &WorkerId,
        exit: Exit,
        killed: bool,
        now: Moment,
        out: &mut Vec<Effect>,
    ) {
        let back = self.workers.get(id).map(|worker| worker.returned.clone()).unwrap_or_default();
        for stop in &mut self.stops {
            if stop.pending.remove(id) {
                let took = now.saturating_sub(stop.since).as_millis();
                let took_ms = u64::try_from(took).unwrap_or(u64::MAX);
                let id = id.clone();
                let (memory, device_memory) = (back.host, back.devices.clone());
                let stopped = StoppedWorker { id, exit, killed, took_ms, memory, device_memory };
                stop.stopped.push(stopped);
            }
        }
        self.answer_stops(out);
    }

    fn answer_stops(&mut self, out: &mut Vec<Effect>) {
        self.stops.retain_mut(|stop| {
            if !stop.pending.is_empty() {
                return true;
            }
            let reply = StopReply {
                stopped: std::mem::take(&mut stop.stopped),
                left: std::mem::take(&mut stop.left),
            };
            out.push(Effect::Reply(stop.token, Answer::Stopped(reply)));
            false
        });
    }

    pub(super) fn tick(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let ids: Vec<WorkerId> = self.workers.keys().cloned().collect();
        for id in &ids {
            self.watch_voice(id, now, out);
            self.watch_load(id, now, out);
            self.watch_ladder(id, now, out);
            self.unload_if_idle(id, now, out);
            if let Some(worker) = self.workers.get_mut(id) {
                worker.queue.expire(now.saturating_sub(self.timings.cancel_ack));
            }
        }
    }

    fn watch_voice(&mut self, id: &WorkerId, now: Moment, out: &mut Vec<Effect>) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        if !matches!(worker.life, Life::Loading { .. } | Life::Serving | Life::Draining(_)) {
            return;
        }
        let silence = now.saturating_sub(worker.heard);
        worker.stale = silence >= self.timings.stale;
        if silence >= self.timings.dead {
            self.begin_end(id, Reason::Silent, now, out);
        }
    }

    fn watch_load(&mut self, id: &WorkerId, now: Moment, out: &mut Vec<Effect>) {
        let Some(worker) = self.workers.get(id) else { return };
        let reason = match worker.life {
            Life::Starting => Reason::LoadStalled { bytes_done: 0, bytes_total: 0 },
            Life::Loading { bytes_done, bytes_total } => {
                Reason::LoadStalled { bytes_done, bytes_total }
            }
            _ => return,
        };
        if now.saturating_sub(worker.progressed) >= self.timings.load_stall {
            self.begin_end(id, reason, now, out);
        }
    }

    /// A guard that does not end its engine in its ladder's time is killed with it; what even
    /// then does not end is reported as left.
    fn watch_ladder(&mut self, id: &WorkerId, now: Moment, out: &mut Vec<Effect>) {
        let ladder = self.timings.stop_ask + self.timings.stop_term + LADDER_MARGIN;
        let Some(worker) = self.workers.get_mut(id) else { return };
        let Life::Stopping { since, killed } = &mut worker.life else { return };
        match killed {
            None if now.saturating_sub(*since) >= ladder => {
                *killed = Some(now);
                out.push(Effect::Kill(id.clone()));
            }
            Some(at) if now.saturating_sub(*at) >= 2 * LADDER_MARGIN => {
                let why = "its process did not end after SIGKILL".to_owned();
                worker.left = true;
                self.finish(id, WorkerState::Failed { why, code: None }, now, out);
                for stop in &mut self.stops {
                    if stop.pending.remove(id) {
                        stop.left.push(id.clone());
                    }
                }
                self.answer_stops(out);
            }
            _ => {}
        }
    }

    /// Ends a worker that nobody used for its `keep_alive`.
    pub(super) fn unload_if_idle(&mut self, id: &WorkerId, now: Moment, out: &mut Vec<Effect>) {
        let unload_at = self.workers.get(id).and_then(Worker::unload_at);
        if unload_at.is_some_and(|at| now >= at) {
            self.begin_end(id, Reason::Idle, now, out);
        }
    }

    /// Forgets the oldest finished workers beyond what is remembered.
    pub(super) fn forget_old(&mut self, out: &mut Vec<Effect>) {
        while self.finished.len() > limits::MAX_FINISHED_WORKERS {
            let free = self.finished.iter().find(|id| !self.breakers.is_held_by(id));
            let Some(oldest) = free.or(self.finished.first()).cloned() else { return };
            self.breakers.release(&oldest);
            self.forget(&oldest, out);
        }
    }

    pub(super) fn forget(&mut self, id: &WorkerId, out: &mut Vec<Effect>) {
        self.finished.retain(|other| other != id);
        if self.workers.remove(id).is_some() {
            self.revision += 1;
            let event = Event::WorkerGone { revision: self.revision, id: id.clone() };
            out.push(Effect::Publish(event));
        }
    }
}

/// The fault of a worker that failed, with what its own last word says beyond the sentence.
fn failed(id: &WorkerId, why: &str, code: Option<Code>, end: &End) -> Fault {
    let code = code.unwrap_or(Code::WorkerCrashed);
    let fault = Fault::new(code, format!("worker {id} failed: {why}"));
    let said = match end {
        End::Recorded(record) => record.fault.as_ref().filter(|said| said.code == fault.code),
        _ => None,
    };
    let Some(said) = said else { return fault };
    let (details, hints, causes) = (said.details.clone(), said.hints.clone(), said.causes.clone());
    Fault { details, hints, causes, ..fault }
}

/// What a worker is once its engine has ended, by what was wanted and what was seen.
fn final_state(worker: &Worker, end: &End) -> WorkerState {
    let failed = |why: &str, code| WorkerState::Failed { why: why.to_owned(), code };
    let on_ladder = matches!(worker.life, Life::Stopping { .. });
    match worker.reason {
        Some(Reason::LoadStalled { bytes_done, bytes_total }) => {
            let why = format!(
                "its load made no progress at {bytes_done} of {bytes_total} bytes and was ended"
            );
            return failed(&why, Some(Code::Stalled));
        }
        Some(Reason::Silent) => {
            return failed("it said nothing for too long and was ended", Some(Code::Stalled));
        }
        Some(Reason::Told | Reason::Idle) if on_ladder => return WorkerState::Stopped,
        _ => {}
    }
    match end {
        End::NotStarted { why } => failed(why, Some(Code::WorkerCrashed)),
        End::Unseen { stderr_tail } => {
            WorkerState::Crashed { exit: Exit::Unseen, stderr_tail: stderr_tail.clone() }
        }
        End::Recorded(record) if record.told => WorkerState::Stopped,
        End::Recorded(record) => match &record.fault {
            Some(fault) => failed(&fault.message, Some(fault.code.clone())),
            None => {
                WorkerState::Crashed { exit: record.exit, stderr_tail: record.stderr_tail.clone() }
            }
        },
    }
}
