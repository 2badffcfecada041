//! Handing over to another agent: requests finish, workers stay, and this agent ends.

use wire::worker::HandoverReply;
use wire::{Code, Fault};

use super::effect::{Answer, Effect};
use super::input::{Moment, Token};
use super::requests::refuse;
use super::worker::{Life, Worker};
use super::{Reason, Supervisor};

/// A handover that has begun.
#[derive(Debug)]
pub struct Handover {
    /// Until when active requests may go on.
    until: Moment,
    /// Who waits for its end.
    waiters: Vec<Token>,
}

impl Supervisor {
    /// Begins to hand over. The more impatient of several calls wins.
    pub(super) fn hand_over(&mut self, token: Token, until: Moment, out: &mut Vec<Effect>) {
        self.down = true;
        let handover = self.handover.get_or_insert(Handover { until, waiters: Vec::new() });
        handover.until = handover.until.min(until);
        handover.waiters.push(token);
        for worker in self.workers.values_mut() {
            for ticket in worker.queue.take_waiting() {
                out.push(refuse(ticket.token, Self::shutting_down()));
            }
        }
        // Whoever is on its way to its end must not forget it: the next agent would keep it.
        let ending = |worker: &&Worker| matches!(worker.life, Life::Draining(_));
        let ids: Vec<_> = self.workers.values().filter(ending).map(|w| w.id.clone()).collect();
        for id in ids {
            self.begin_end(&id, Reason::Told, until, out);
        }
    }

    /// Ends this agent once the next one can take everything as it is.
    pub(super) fn finish_handover(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(handover) = &mut self.handover else { return };
        let alive = || self.workers.values().filter(|worker| worker.is_alive());
        let is_late = now >= handover.until;
        if !alive().all(|worker| is_adoptable(worker) && (is_late || worker.queue.has_no_bearer()))
        {
            return;
        }
        for ticket in alive().flat_map(|worker| worker.queue.bearers()) {
            let message = "the agent was replaced before the answer was complete";
            let fault = Box::new(Fault::new(Code::ShuttingDown, message));
            out.push(Effect::Revoke { token: ticket.token, fault });
        }
        let kept: Vec<_> = alive().map(|worker| worker.id.clone()).collect();
        for token in std::mem::take(&mut handover.waiters) {
            out.push(Effect::Reply(
                token,
                Answer::HandedOver(HandoverReply { kept: kept.clone() }),
            ));
        }
        if !self.exited {
            self.exited = true;
            out.push(Effect::Exit);
        }
    }
}

/// Whether another agent would find it as this one knows it: its guard has left its record, and
/// nobody has told it to end.
fn is_adoptable(worker: &Worker) -> bool {
    let stays = matches!(worker.life, Life::Starting | Life::Loading { .. } | Life::Serving);
    stays && worker.pid.is_some()
}
