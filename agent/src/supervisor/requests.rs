//! Who may use a worker's slots: requests come, wait, leave and are cancelled.

use wire::worker::WorkerState;
use wire::{Code, Fault, RequestId, WorkerId, limits};

use super::effect::{Answer, Effect};
use super::input::{Moment, Token};
use super::queue::{Joined, Place, Ticket};
use super::worker::{Life, Worker};
use super::{CancelWaiter, Supervisor};

impl Supervisor {
    pub(super) fn take_slot(
        &mut self,
        id: &WorkerId,
        ticket: Ticket,
        now: Moment,
        out: &mut Vec<Effect>,
    ) {
        let token = ticket.token;
        match self.try_take_slot(id, ticket, now) {
            Ok(Joined::Granted) => out.push(Effect::Reply(token, Answer::Granted)),
            Ok(Joined::Queued) => {}
            Ok(Joined::Full { queued, retry_after_s }) => {
                let message = format!("{queued} requests wait at {id} already");
                let fault = Fault::new(Code::QueueFull, message)
                    .detail("queued", queued)
                    .detail("retry_after_s", retry_after_s)
                    .hint("rbee ps  # shows what the workers do");
                out.push(refuse(token, fault));
            }
            Err(fault) => out.push(refuse(token, fault)),
        }
    }

    fn try_take_slot(
        &mut self,
        id: &WorkerId,
        ticket: Ticket,
        now: Moment,
    ) -> Result<Joined, Fault> {
        if self.workers.values().any(|worker| worker.queue.find(ticket.request).is_some()) {
            let message = "a request with this id is already being answered";
            return Err(Fault::new(Code::InvalidArgument, message));
        }
        if self.handover.is_some() {
            return Err(Self::shutting_down());
        }
        let worker = self.workers.get_mut(id).ok_or_else(|| Self::no_such_worker(id))?;
        if !worker.is_routable() {
            return Err(not_routable(worker, now));
        }
        worker.promised_until = now;
        Ok(worker.queue.join(ticket, self.settings.max_queue, now))
    }

    pub(super) fn leave(&mut self, token: Token, done: bool, now: Moment, out: &mut Vec<Effect>) {
        for worker in self.workers.values_mut() {
            if !worker.queue.leave(token, done, worker.engine_active, now) {
                continue;
            }
            let id = worker.id.clone();
            self.unload_if_idle(&id, now, out);
            return;
        }
    }

    pub(super) fn cancel(
        &mut self,
        token: Token,
        request: RequestId,
        now: Moment,
        out: &mut Vec<Effect>,
    ) {
        let cancelled = || Fault::new(Code::Cancelled, "the request was cancelled");
        let place = self.workers.values_mut().find_map(|worker| {
            let place = worker.queue.find(request)?;
            if let Place::Waiting(ticket) = place {
                worker.queue.leave(ticket.token, true, worker.engine_active, now);
            }
            Some(place)
        });
        match place {
            Some(Place::Waiting(ticket)) => out.push(refuse(ticket.token, cancelled())),
            Some(Place::Active(ticket)) => {
                out.push(Effect::Revoke { token: ticket.token, fault: Box::new(cancelled()) });
            }
            Some(Place::Releasing) | None => {}
        }
        self.cancels.push(CancelWaiter { token, since: now, request });
    }

    /// Answers every `cancel` whose request holds no slot any more, or held it for too long.
    pub(super) fn answer_cancels(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let (workers, limit) = (&self.workers, self.timings.cancel_ack);
        self.cancels.retain(|cancel| {
            let holds = workers.values().any(|worker| worker.queue.find(cancel.request).is_some());
            let waits = holds && now.saturating_sub(cancel.since) < limit;
            if !waits {
                out.push(Effect::Reply(cancel.token, Answer::Cancelled));
            }
            waits
        });
    }

    /// Hands free slots to those who wait.
    pub(super) fn grant(&mut self, id: &WorkerId, out: &mut Vec<Effect>) {
        let Some(worker) = self.workers.get_mut(id).filter(|worker| worker.is_routable()) else {
            return;
        };
        // The time of the input that is being taken.
        while let Some(ticket) = worker.queue.grant_next(self.last_input) {
            out.push(Effect::Reply(ticket.token, Answer::Granted));
        }
    }
}

/// The answer "no".
pub(super) fn refuse(token: Token, fault: Fault) -> Effect {
    Effect::Reply(token, Answer::Refused(Box::new(fault)))
}

pub(super) fn not_routable(worker: &Worker, now: Moment) -> Fault {
    let id = &worker.id;
    match &worker.life {
        Life::Finished(WorkerState::Crashed { exit, stderr_tail }) => {
            crashed(id, *exit, stderr_tail)
        }
        Life::Finished(WorkerState::Failed { why, code }) => {
            let code = code.clone().unwrap_or(Code::WorkerCrashed);
            Fault::new(code, format!("worker {id} failed: {why}"))
        }
        Life::Draining(_) | Life::Stopping { .. } | Life::Finished(_) => {
            Fault::new(Code::ShuttingDown, format!("worker {id} is being stopped"))
                .hint("rbee run  # starts a worker for the model again")
        }
        Life::Starting | Life::Loading { .. } | Life::Serving | Life::Restarting { .. } => {
            let state = worker.info(now).state.name();
            Fault::new(Code::WorkerNotReady, format!("worker {id} is {state}, not ready"))
                .detail("state", state)
                .hint("rbee ps  # shows how far it is")
        }
    }
}

/// The fault of a worker that ended by itself.
pub(super) fn crashed(id: &WorkerId, exit: wire::worker::Exit, stderr_tail: &str) -> Fault {
    let fault = Fault::new(Code::WorkerCrashed, format!("worker {id} ended: {exit}"))
        .detail("exit", exit.to_string())
        .hint("rbee run  # starts a worker for the model again");
    let lines = stderr_tail.lines().rev().filter(|line| !line.trim().is_empty());
    lines.take(limits::MAX_FAULT_ITEMS).fold(fault, Fault::cause)
}
