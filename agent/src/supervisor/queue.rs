//! The requests of one worker: who has a slot, who waits for one, whose slot is coming back.

use std::collections::VecDeque;

use wire::{RequestId, limits};

use super::input::{Client, Moment, Token};

/// A request at a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The question that it came with.
    pub token: Token,
    /// Which request.
    pub request: RequestId,
    /// Whose.
    pub client: Client,
}

/// A request with a slot.
#[derive(Debug, Clone, Copy)]
struct Bearer {
    ticket: Ticket,
    since: Moment,
}

/// A slot whose bearer left before the engine was done with it.
#[derive(Debug, Clone, Copy)]
struct Releasing {
    ticket: Ticket,
    since: Moment,
}

/// The requests of one client that wait, in their order.
#[derive(Debug)]
struct Lane {
    client: Client,
    tickets: VecDeque<Ticket>,
}

/// How a request was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// It has a slot.
    Granted,
    /// It waits.
    Queued,
    /// As many wait as may.
    Full {
        /// How many.
        queued: usize,
        /// Seconds in which those who wait will have had their turn, by what was measured.
        retry_after_s: u64,
    },
}

/// Clients take turns, and each client's requests keep their order; never more bearers than slots.
#[derive(Debug)]
pub struct Queue {
    slots: usize,
    active: Vec<Bearer>,
    releasing: Vec<Releasing>,
    /// One lane a client that waits, the next one whose turn it is first; none is empty.
    lanes: VecDeque<Lane>,
    /// How long the last requests had their slots.
    measured: VecDeque<Moment>,
}

impl Queue {
    /// An empty queue for an engine of `slots` slots.
    pub fn new(slots: u32) -> Self {
        Self {
            slots: usize::try_from(slots).unwrap_or(usize::MAX),
            active: Vec::new(),
            releasing: Vec::new(),
            lanes: VecDeque::new(),
            measured: VecDeque::new(),
        }
    }

    /// Requests that hold a slot, those included whose slot is coming back.
    pub fn occupied(&self) -> usize {
        self.active.len() + self.releasing.len()
    }

    /// Requests that wait.
    pub fn queued(&self) -> usize {
        self.lanes.iter().map(|lane| lane.tickets.len()).sum()
    }

    /// Whether nobody has or wants a slot.
    pub fn is_empty(&self) -> bool {
        self.occupied() == 0 && self.lanes.is_empty()
    }

    /// Whether nobody uses a slot: those on their way back do not count.
    pub fn has_no_bearer(&self) -> bool {
        self.active.is_empty()
    }

    /// Takes a request in, while no more than `most` wait. The last quarter of them is for clients
    /// of which none waits yet: one that asks for much does not turn the others away.
    pub fn join(&mut self, ticket: Ticket, most: usize, now: Moment) -> Joined {
        if self.lanes.is_empty() && self.occupied() < self.slots {
            self.active.push(Bearer { ticket, since: now });
            return Joined::Granted;
        }
        let queued = self.queued();
        let lane = self.lanes.iter_mut().find(|lane| lane.client == ticket.client);
        let most = if lane.is_some() { most - most / 4 } else { most };
        if queued >= most {
            return Joined::Full { queued, retry_after_s: self.retry_after_s(now) };
        }
        if let Some(lane) = lane {
            lane.tickets.push_back(ticket);
        } else {
            let (client, tickets) = (ticket.client, [ticket].into());
            self.lanes.push_back(Lane { client, tickets });
        }
        Joined::Queued
    }

    /// Seconds until everyone who waits now will have had a slot: how long a request had one
    /// lately, for each of them, shared by the slots. When none has ended yet, the time that the
    /// oldest has had its slot is what is known.
    fn retry_after_s(&self, now: Moment) -> u64 {
        let count = u32::try_from(self.measured.len()).unwrap_or(u32::MAX);
        let mean = self.measured.iter().sum::<Moment>().checked_div(count);
        let oldest = || self.active.iter().map(|bearer| now.saturating_sub(bearer.since)).max();
        let each = mean.or_else(oldest).unwrap_or_default();
        let queued = u32::try_from(self.queued()).unwrap_or(u32::MAX);
        let slots = u32::try_from(self.slots).unwrap_or(u32::MAX).max(1);
        let wait = each.saturating_mul(queued) / slots;
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        seconds.clamp(1, limits::MAX_RETRY_AFTER_S)
    }

    /// Lets a request go. A slot that the engine still works for stays taken until
    /// [`Self::engine_says`] or [`Self::expire`]. Whether the request was here.
    pub fn leave(&mut self, token: Token, done: bool, engine_active: u32, now: Moment) -> bool {
        if self.leave_lane(token) {
            return true;
        }
        let Some(at) = self.active.iter().position(|bearer| bearer.ticket.token == token) else {
            return false;
        };
        let Bearer { ticket, since } = self.active.remove(at);
        if self.measured.len() >= limits::MAX_MEASURED_REQUESTS {
            self.measured.pop_front();
        }
        self.measured.push_back(now.saturating_sub(since));
        if !done && self.engine_holds_more(engine_active) {
            self.releasing.push(Releasing { ticket, since: now });
        }
        true
    }

    fn leave_lane(&mut self, token: Token) -> bool {
        let waits = |ticket: &Ticket| ticket.token == token;
        let Some(at) = self.lanes.iter().position(|lane| lane.tickets.iter().any(waits)) else {
            return false;
        };
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.tickets.retain(|ticket| !waits(ticket));
            if lane.tickets.is_empty() {
                self.lanes.remove(at);
            }
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

    /// The next request whose turn it is, if there is a slot: the first one of the client that has
    /// had none for longest.
    pub fn grant_next(&mut self, now: Moment) -> Option<Ticket> {
        if self.occupied() >= self.slots {
            return None;
        }
        let mut lane = self.lanes.pop_front()?;
        let ticket = lane.tickets.pop_front()?;
        if !lane.tickets.is_empty() {
            self.lanes.push_back(lane);
        }
        self.active.push(Bearer { ticket, since: now });
        Some(ticket)
    }

    /// Turns away everyone who waits.
    pub fn take_waiting(&mut self) -> Vec<Ticket> {
        self.lanes.drain(..).flat_map(|lane| lane.tickets).collect()
    }

    /// The requests that hold a slot.
    pub fn bearers(&self) -> impl Iterator<Item = Ticket> {
        self.active.iter().map(|bearer| bearer.ticket)
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
        self.lanes.clear();
    }

    /// How many get a slot before a request that waits here, if nobody leaves and nobody comes.
    pub fn ahead(&self, request: RequestId) -> Option<u64> {
        let in_lane = |lane: &Lane| lane.tickets.iter().position(|t| t.request == request);
        let (own, before) =
            self.lanes.iter().enumerate().find_map(|(at, lane)| Some((at, in_lane(lane)?)))?;
        // In each round every lane has one turn, those in front of ours before it.
        let turns = self.lanes.iter().enumerate().map(|(at, lane)| {
            let rounds = if at < own { before + 1 } else { before };
            lane.tickets.len().min(rounds)
        });
        u64::try_from(turns.sum::<usize>()).ok()
    }

    /// Where a request is, if it is here.
    pub fn find(&self, request: RequestId) -> Option<Place> {
        let is = |ticket: &Ticket| ticket.request == request;
        if let Some(ticket) = self.bearers().find(is) {
            return Some(Place::Active(ticket));
        }
        let mut waiting = self.lanes.iter().flat_map(|lane| &lane.tickets);
        if let Some(ticket) = waiting.find(|ticket| is(ticket)) {
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

    const MOST: usize = limits::MAX_QUEUE;

    fn of(client: u64, n: u64) -> Ticket {
        Ticket { token: Token(n), request: RequestId::random(), client: Client(client) }
    }

    fn ticket(n: u64) -> Ticket {
        of(0, n)
    }

    fn join(queue: &mut Queue, ticket: Ticket) -> Joined {
        queue.join(ticket, MOST, Moment::ZERO)
    }

    #[test]
    fn four_slots_of_which_three_are_taken_let_exactly_one_of_two_in() {
        let mut queue = Queue::new(4);
        let joined: Vec<_> = (0..5).map(|n| join(&mut queue, ticket(n))).collect();
        assert_eq!(joined.iter().filter(|j| **j == Joined::Granted).count(), 4);
        assert_eq!(joined[4], Joined::Queued);
    }

    #[test]
    fn a_cancelled_request_keeps_its_slot_until_the_engine_is_done_with_it() {
        let mut queue = Queue::new(1);
        join(&mut queue, ticket(1));
        join(&mut queue, ticket(2));
        queue.engine_says(1);
        assert!(queue.leave(Token(1), false, 1, Moment::ZERO));
        assert_eq!(queue.grant_next(Moment::ZERO), None);
        queue.engine_says(0);
        assert_eq!(queue.grant_next(Moment::ZERO).map(|t| t.token), Some(Token(2)));
    }

    #[test]
    fn a_slot_that_never_comes_back_is_given_up_after_its_time() {
        let mut queue = Queue::new(1);
        join(&mut queue, ticket(1));
        queue.leave(Token(1), false, 1, Moment::from_secs(10));
        queue.expire(Moment::from_secs(9));
        assert_eq!(queue.occupied(), 1);
        queue.expire(Moment::from_secs(10));
        assert_eq!(queue.occupied(), 0);
    }

    #[test]
    fn a_client_with_one_request_waits_for_one_of_each_other_and_not_for_all() {
        let mut queue = Queue::new(1);
        join(&mut queue, of(7, 0));
        for n in 1..=50 {
            join(&mut queue, of(7, n));
        }
        let late = of(8, 100);
        join(&mut queue, late);
        assert_eq!(queue.ahead(late.request), Some(1));
        let mut order = Vec::new();
        for _ in 0..4 {
            let holder = queue.bearers().next().unwrap();
            queue.leave(holder.token, true, 0, Moment::ZERO);
            order.extend(queue.grant_next(Moment::ZERO).map(|ticket| ticket.token.0));
        }
        assert_eq!(order, [1, 100, 2, 3]);
    }

    #[test]
    fn a_client_that_fills_the_queue_leaves_room_for_the_others() {
        let mut queue = Queue::new(1);
        let most = 8;
        let joined: Vec<_> = (0..9).map(|n| queue.join(of(1, n), most, Moment::ZERO)).collect();
        assert_eq!(joined.iter().filter(|j| **j == Joined::Queued).count(), 6);
        assert!(matches!(joined[8], Joined::Full { queued: 6, .. }));
        assert_eq!(queue.join(of(2, 20), most, Moment::ZERO), Joined::Queued);
        assert_eq!(queue.join(of(3, 21), most, Moment::ZERO), Joined::Queued);
        assert!(matches!(queue.join(of(4, 22), most, Moment::ZERO), Joined::Full { .. }));
    }

    #[test]
    fn a_full_queue_says_when_it_will_have_been_served_by_what_was_measured() {
        let mut queue = Queue::new(2);
        let at = Moment::from_secs;
        let retry = |queue: &mut Queue, now| match queue.join(of(99, 99), 0, now) {
            Joined::Full { retry_after_s, .. } => retry_after_s,
            other => panic!("{other:?}"),
        };
        for n in 0..6 {
            join(&mut queue, of(n, n));
        }
        assert_eq!(retry(&mut queue, at(3)), 6, "4 wait, each for 3 s at least, at 2 slots");
        queue.leave(Token(0), true, 0, at(10));
        queue.leave(Token(1), true, 0, at(20));
        queue.grant_next(at(20));
        queue.grant_next(at(20));
        assert_eq!(retry(&mut queue, at(20)), 15, "2 wait, 15 s each, at 2 slots");
    }

    /// Clients of the property below.
    const CLIENTS: u64 = 5;

    proptest! {
        #[test]
        fn slots_are_never_exceeded_nobody_starves_and_each_clients_order_holds(
            slots in 1u32..4,
            steps in proptest::collection::vec((0u8..5, 0u64..40, any::<bool>()), 0..200),
        ) {
            let mut queue = Queue::new(slots);
            let mut granted = vec![Vec::new(); usize::try_from(CLIENTS).unwrap()];
            // Of each client that waits: the turns of others since its own, or since it came.
            let mut passed = std::collections::BTreeMap::<Client, u64>::new();
            let (mut next, mut waiting) = (100u64, 0);
            for (step, pick, done) in steps {
                match step {
                    0..3 => {
                        next += 1;
                        let ticket = of(pick % CLIENTS, next);
                        match join(&mut queue, ticket) {
                            Joined::Granted => {
                                granted[usize::try_from(ticket.client.0).unwrap()].push(next);
                            }
                            Joined::Queued => {
                                waiting += 1;
                                prop_assert!(queue.ahead(ticket.request).unwrap() < waiting);
                                passed.entry(ticket.client).or_default();
                            }
                            Joined::Full { .. } => prop_assert!(false, "there is room"),
                        }
                    }
                    3 => {
                        let holder = queue.bearers().nth(usize::try_from(pick).unwrap() % 4);
                        let token = holder.map_or(Token(100 + pick), |t| t.token);
                        queue.leave(token, done, slots, Moment::ZERO);
                    }
                    _ => queue.engine_says(u32::try_from(pick).unwrap() % (slots + 1)),
                }
                while let Some(ticket) = queue.grant_next(Moment::ZERO) {
                    granted[usize::try_from(ticket.client.0).unwrap()].push(ticket.token.0);
                    for (client, turns) in &mut passed {
                        *turns = if *client == ticket.client { 0 } else { *turns + 1 };
                        prop_assert!(*turns < CLIENTS, "{client:?} starves");
                    }
                }
                let waits = |client: &Client| queue.lanes.iter().any(|l| l.client == *client);
                passed.retain(|client, _| waits(client));
                waiting = u64::try_from(queue.queued()).unwrap();
                prop_assert!(queue.occupied() <= usize::try_from(slots).unwrap());
                prop_assert!(queue.lanes.iter().all(|lane| !lane.tickets.is_empty()));
                prop_assert!(granted.iter().all(|order| order.is_sorted()));
            }
        }
    }
}
