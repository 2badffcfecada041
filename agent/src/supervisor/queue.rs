//! The requests of one worker: who has a slot, who waits for one, whose slot is coming back.

use std::collections::VecDeque;

use wire::{RequestId, limits};

use super::input::{Moment, Token};

/// A request at a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The question that it came with.
    pub token: Token,
    /// Which request.
    pub request: RequestId,
}

/// A slot whose bearer left before the engine was done with it.
#[derive(Debug, Clone, Copy)]
struct Releasing {
    ticket: Ticket,
    since: Moment,
}

/// How a request was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// It has a slot.
    Granted,
    /// It waits.
    Queued,
    /// As many wait as may.
    Full,
}

/// First in, first served; never more bearers than slots.
#[derive(Debug)]
pub struct Queue {
    slots: usize,
    active: Vec<Ticket>,
    releasing: Vec<Releasing>,
    waiting: VecDeque<Ticket>,
}

impl Queue {
    /// An empty queue for an engine of `slots` slots.
    pub fn new(slots: u32) -> Self {
        let slots = usize::try_from(slots).unwrap_or(usize::MAX);
        Self { slots, active: Vec::new(), releasing: Vec::new(), waiting: VecDeque::new() }
    }

    /// Requests that hold a slot, those included whose slot is coming back.
    pub fn occupied(&self) -> usize {
        self.active.len() + self.releasing.len()
    }

    /// Requests that wait.
    pub fn queued(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody has or wants a slot.
    pub fn is_empty(&self) -> bool {
        self.occupied() == 0 && self.waiting.is_empty()
    }

    /// Whether nobody uses a slot: those on their way back do not count.
    pub fn has_no_bearer(&self) -> bool {
        self.active.is_empty()
    }

    /// Takes a request in.
    pub fn join(&mut self, ticket: Ticket) -> Joined {
        if self.waiting.is_empty() && self.occupied() < self.slots {
            self.active.push(ticket);
            Joined::Granted
        } else if self.waiting.len() < limits::MAX_QUEUE {
            self.waiting.push_back(ticket);
            Joined::Queued
        } else {
            Joined::Full
        }
    }

    /// Lets a request go. A slot that the engine still works for stays taken until
    /// [`Self::engine_says`] or [`Self::expire`]. Whether the request was here.
    pub fn leave(&mut self, token: Token, done: bool, engine_active: u32, now: Moment) -> bool {
        if let Some(at) = self.waiting.iter().position(|t| t.token == token) {
            self.waiting.remove(at);
            return true;
        }
        let Some(at) = self.active.iter().position(|t| t.token == token) else { return false };
        let ticket = self.active.remove(at);
        if !done && self.engine_holds_more(engine_active) {
            self.releasing.push(Releasing { ticket, since: now });
        }
        true
    }

    fn engine_holds_more(&self, engine_active: u32) -> bool {
        usize::try_from(engine_active).is_ok_and(|active| active > self.occupied())
    }

    /// The engine said how many requests it works for: slots beyond that are back.
    pub fn engine_says(&mut self, active: u32) {
        let held = usize::try_from(active).unwrap_or(usize::MAX);
        let kept = held.saturating_sub(self.active.len()).min(self.releasing.len());
        let freed = self.releasing.len() - kept;
        self.releasing.drain(..freed);
    }

    /// Stops waiting for slots that did not come back before `since`.
    pub fn expire(&mut self, since: Moment) {
        self.releasing.retain(|slot| slot.since > since);
    }

    /// The next request whose turn it is, if there is a slot.
    pub fn grant_next(&mut self) -> Option<Ticket> {
        if self.occupied() >= self.slots {
            return None;
        }
        let ticket = self.waiting.pop_front()?;
        self.active.push(ticket);
        Some(ticket)
    }

    /// Turns away everyone who waits.
    pub fn take_waiting(&mut self) -> Vec<Ticket> {
        self.waiting.drain(..).collect()
    }

    /// The requests that hold a slot.
    pub fn bearers(&self) -> &[Ticket] {
        &self.active
    }

    /// Takes every slot back, for the engine is gone; who waits goes on waiting.
    pub fn free_slots(&mut self) {
        self.active.clear();
        self.releasing.clear();
    }

    /// Forgets every request: the engine is gone for good.
    pub fn clear(&mut self) {
        self.active.clear();
        self.releasing.clear();
        self.waiting.clear();
    }

    /// Where a request is, if it is here.
    pub fn find(&self, request: RequestId) -> Option<Place> {
        let is = |ticket: &&Ticket| ticket.request == request;
        if let Some(ticket) = self.active.iter().find(is) {
            return Some(Place::Active(*ticket));
        }
        if let Some(ticket) = self.waiting.iter().find(is) {
            return Some(Place::Waiting(*ticket));
        }
        let releasing = self.releasing.iter().any(|slot| slot.ticket.request == request);
        releasing.then_some(Place::Releasing)
    }
}

/// Where a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It has a slot.
    Active(Ticket),
    /// It waits for one.
    Waiting(Ticket),
    /// It left, and the engine has not said so yet.
    Releasing,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ticket(n: u64) -> Ticket {
        Ticket { token: Token(n), request: RequestId::random() }
    }

    #[test]
    fn four_slots_of_which_three_are_taken_let_exactly_one_of_two_in() {
        let mut queue = Queue::new(4);
        let joined: Vec<_> = (0..5).map(|n| queue.join(ticket(n))).collect();
        assert_eq!(joined.iter().filter(|j| **j == Joined::Granted).count(), 4);
        assert_eq!(joined[4], Joined::Queued);
    }

    #[test]
    fn a_cancelled_request_keeps_its_slot_until_the_engine_is_done_with_it() {
        let mut queue = Queue::new(1);
        queue.join(ticket(1));
        queue.join(ticket(2));
        queue.engine_says(1);
        assert!(queue.leave(Token(1), false, 1, Moment::ZERO));
        assert_eq!(queue.grant_next(), None);
        queue.engine_says(0);
        assert_eq!(queue.grant_next().map(|t| t.token), Some(Token(2)));
    }

    #[test]
    fn a_slot_that_never_comes_back_is_given_up_after_its_time() {
        let mut queue = Queue::new(1);
        queue.join(ticket(1));
        queue.leave(Token(1), false, 1, Moment::from_secs(10));
        queue.expire(Moment::from_secs(9));
        assert_eq!(queue.occupied(), 1);
        queue.expire(Moment::from_secs(10));
        assert_eq!(queue.occupied(), 0);
    }

    proptest! {
        #[test]
        fn slots_are_never_exceeded_and_nobody_overtakes(
            slots in 1u32..4,
            steps in proptest::collection::vec((0u8..4, 0u64..40, any::<bool>()), 0..200),
        ) {
            let mut queue = Queue::new(slots);
            let (mut next, mut granted) = (100u64, Vec::new());
            for (step, pick, done) in steps {
                match step {
                    0 | 1 => {
                        next += 1;
                        if queue.join(ticket(next)) == Joined::Granted { granted.push(next); }
                    }
                    2 => {
                        let holder = queue.bearers().get(usize::try_from(pick).unwrap() % 4);
                        let token = holder.map_or(Token(100 + pick), |t| t.token);
                        queue.leave(token, done, slots, Moment::ZERO);
                    }
                    _ => queue.engine_says(u32::try_from(pick).unwrap() % (slots + 1)),
                }
                while let Some(ticket) = queue.grant_next() { granted.push(ticket.token.0); }
                prop_assert!(queue.occupied() <= usize::try_from(slots).unwrap());
                prop_assert!(granted.is_sorted());
            }
        }
    }
}
