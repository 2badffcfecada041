//! The hive's truth: which workers there are, who may use them, and when they end.
//!
//! A pure state machine. [`Supervisor::update`] takes one [`Input`] and the time and returns what
//! shall be done; processes, sockets, files and clocks are the executor's.

pub mod carryover;
pub mod effect;
pub mod input;
pub mod queue;
pub mod worker;

mod breakers;
mod ending;
mod handover;
mod lease;
mod requests;
mod restarts;
mod spawning;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use wire::event::Event;
use wire::guard::GuardSpec;
use wire::settings::AgentSettings;
use wire::status::{EnginePhase, EngineStatus};
use wire::worker::{StoppedWorker, WorkerInfo};
use wire::{Code, Fault, RequestId, Timings, WorkerId};

use breakers::Breakers;
use carryover::Carryover;
use effect::Start;
pub use effect::{Answer, Effect};
use handover::Handover;
pub use input::{Ask, Back, Client, End, Input, Moment, SpawnAsk, Token};
use queue::Ticket;
use restarts::{Dice, RestartWaiter};
pub use spawning::SLOTS;
use worker::{Life, Reason, Worker};

/// How long a worker with a short `keep_alive` waits for the request that it was started for.
const FIRST_REQUEST_GRACE: Moment = Moment::from_secs(60);

/// Somebody who waits for workers to end.
#[derive(Debug)]
struct StopWaiter {
    token: Token,
    since: Moment,
    pending: BTreeSet<WorkerId>,
    stopped: Vec<StoppedWorker>,
    left: Vec<WorkerId>,
}

/// Somebody who waits for a cancelled request's slot.
#[derive(Debug)]
struct CancelWaiter {
    token: Token,
    since: Moment,
    request: RequestId,
}

/// All of a hive.
#[derive(Debug)]
pub struct Supervisor {
    timings: Timings,
    settings: AgentSettings,
    workers: BTreeMap<WorkerId, Worker>,
    /// Finished workers, oldest first.
    finished: Vec<WorkerId>,
    stops: Vec<StopWaiter>,
    cancels: Vec<CancelWaiter>,
    restarts: Vec<RestartWaiter>,
    breakers: Breakers,
    /// What is kept for the next agent.
    carried: Carryover,
    dice: Dice,
    revision: u64,
    connections: usize,
    idle_since: Moment,
    /// Since when no keeper is connected.
    alone_since: Moment,
    last_input: Moment,
    down: bool,
    handover: Option<Handover>,
    exited: bool,
}

impl Supervisor {
    /// A hive without workers that begins now. `seed` is any number: it spreads the pauses before
    /// restarts.
    pub fn new(timings: Timings, settings: AgentSettings, seed: u64, now: Moment) -> Self {
        Self {
            timings,
            settings,
            workers: BTreeMap::new(),
            finished: Vec::new(),
            stops: Vec::new(),
            cancels: Vec::new(),
            restarts: Vec::new(),
            breakers: Breakers::default(),
            carried: Carryover::default(),
            dice: Dice(seed),
            revision: 0,
            connections: 0,
            idle_since: now,
            alone_since: now,
            last_input: now,
            down: false,
            handover: None,
            exited: false,
        }
    }

    /// Takes one input and says what shall be done, in this order.
    pub fn update(&mut self, input: Input, now: Moment) -> Vec<Effect> {
        let mut out = Vec::new();
        self.forgive_own_absence(now);
        match input {
            Input::Ask(token, ask) => self.answer(token, ask, now, &mut out),
            Input::Left { token, done } => self.leave(token, done, now, &mut out),
            Input::Adopted(spec) => self.adopt(*spec, now),
            Input::CarriedOver(carryover) => {
                self.carried = (*carryover).clone();
                self.carried_over(*carryover, now);
            }
            Input::Running { worker, pid, started_unix_s } => {
                self.running(&worker, pid, started_unix_s);
            }
            Input::Engine { worker, status } => self.heard(&worker, &status, now, &mut out),
            Input::Ended { worker, end } => self.ended(&worker, &end, now, &mut out),
            Input::Free { worker, available_bytes, obstacle } => {
                let room = obstacle.map_or(Ok(available_bytes.unwrap_or(0)), |fault| Err(*fault));
                self.start_again(&worker, room, now, &mut out);
            }
            Input::Memory { worker, bytes } => {
                if let Some(worker) = self.workers.get_mut(&worker) {
                    worker.memory_bytes = Some(bytes);
                }
            }
            Input::Limited { worker, limit } => {
                if let Some(worker) = self.workers.get_mut(&worker) {
                    worker.limit = Some(limit);
                }
            }
            Input::Returned { worker, back } => {
                if let Some(worker) = self.workers.get_mut(&worker) {
                    worker.returned = back;
                }
            }
            Input::Connected => self.connections += 1,
            Input::Disconnected => self.connections = self.connections.saturating_sub(1),
            Input::Tick => self.tick(now, &mut out),
        }
        self.settle(now, &mut out);
        out
    }

    /// Whether nothing is on its way that a tick could move on within a second.
    pub fn is_calm(&self) -> bool {
        let calm = |worker: &Worker| matches!(worker.life, Life::Serving | Life::Finished(_));
        self.stops.is_empty()
            && self.cancels.is_empty()
            && self.handover.is_none()
            && self.workers.values().all(calm)
    }

    fn answer(&mut self, token: Token, ask: Ask, now: Moment, out: &mut Vec<Effect>) {
        match ask {
            Ask::Look => out.push(Effect::Reply(token, self.look(now))),
            Ask::Spawn(ask) => {
                let answer = self.spawn(*ask, now, out);
                out.push(Effect::Reply(token, answer));
            }
            Ask::Slot { worker, request, client } => {
                self.take_slot(&worker, Ticket { token, request, client }, now, out);
            }
            Ask::Ahead(request) => {
                let ahead = self.workers.values().find_map(|worker| worker.queue.ahead(request));
                out.push(Effect::Reply(token, Answer::Ahead(ahead)));
            }
            Ask::Cancel(request) => self.cancel(token, request, now, out),
            Ask::Stop { worker, drain } => self.stop_one(token, &worker, drain, now, out),
            Ask::Restart { worker, drain } => self.restart(token, &worker, drain, now, out),
            Ask::Down { drain } => self.stop_all(token, drain, now, out),
            Ask::Leave => self.leave_hive(token, now, out),
            Ask::HandOver { drain } => self.hand_over(token, now + drain, out),
        }
    }

    fn look(&self, now: Moment) -> Answer {
        let workers = self.workers.values().map(|worker| worker.info(now)).collect();
        let mut promised = BTreeMap::new();
        for worker in self.workers.values() {
            let bytes: &mut u64 = promised.entry(worker.spec.device).or_default();
            *bytes = bytes.saturating_add(worker.reserved_bytes());
        }
        Answer::Look { revision: self.revision, workers, promised, accepting: !self.down }
    }

    /// When this process itself did not run (a stopped process, a suspended machine), its silence
    /// is not the workers'.
    fn forgive_own_absence(&mut self, now: Moment) {
        let absent = now.saturating_sub(self.last_input);
        self.last_input = now;
        if absent < self.timings.stale / 2 {
            return;
        }
        // Keepers may have come and gone unheard.
        self.alone_since = now;
        for worker in self.workers.values_mut() {
            worker.heard = worker.heard.max(now);
            worker.progressed = worker.progressed.max(now);
        }
    }

    fn adopt(&mut self, guard: GuardSpec, now: Moment) {
        let start = Start {
            id: guard.id.clone(),
            spec: guard.spec,
            model_ctx: guard.model_ctx,
            need_bytes: guard.need_bytes,
            path: guard.model_path,
            restarts: guard.restarts,
            attempts: guard.attempts,
            last_end: guard.last_end,
        };
        let worker = Worker { found: true, ..Worker::new(start, now) };
        self.workers.entry(guard.id).or_insert(worker);
    }

    fn running(&mut self, id: &WorkerId, pid: u32, started_unix_s: Option<u64>) {
        if let Some(worker) = self.workers.get_mut(id).filter(|worker| worker.is_alive()) {
            (worker.pid, worker.started_unix_s) = (Some(pid), started_unix_s);
            worker.found = false;
        }
    }

    fn heard(&mut self, id: &WorkerId, status: &EngineStatus, now: Moment, out: &mut Vec<Effect>) {
        let Some(worker) = self.workers.get_mut(id).filter(|worker| worker.is_alive()) else {
            return;
        };
        worker.heard = now;
        worker.stale = false;
        worker.engine_active = status.active;
        worker.queue.engine_says(status.active);
        match (&worker.life, &status.phase) {
            (
                Life::Starting | Life::Loading { .. },
                EnginePhase::Loading { bytes_done, bytes_total },
            ) => {
                let loading = Life::Loading { bytes_done: *bytes_done, bytes_total: *bytes_total };
                if worker.life != loading {
                    worker.progressed = now;
                    worker.life = loading;
                }
            }
            (Life::Starting | Life::Loading { .. }, EnginePhase::Serving) => {
                worker.life = Life::Serving;
                worker.idle_since = now;
                worker.serving_since = Some(now);
                worker.promised_until = now + FIRST_REQUEST_GRACE;
            }
            // Somebody else told the engine to end: nothing new goes there.
            (Life::Serving, EnginePhase::Draining) => {
                self.begin_end(id, Reason::Told, now + self.timings.drain, out);
            }
            _ => {}
        }
    }

    /// Everything that follows from the state alone, after every input.
    fn settle(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let ids: Vec<WorkerId> = self.workers.keys().cloned().collect();
        for id in &ids {
            self.grant(id, out);
            if let Some(worker) = self.workers.get_mut(id).filter(|w| !w.queue.is_empty()) {
                worker.idle_since = now;
            }
            self.finish_draining(id, now, out);
            self.end_pause(id, now, out);
            self.publish(id, now, out);
        }
        self.watch_lease(now, out);
        self.answer_cancels(now, out);
        self.answer_restarts(now, out);
        self.finish_handover(now, out);
        self.forget_old(out);
        self.carry_over(out);
        let busy = self.connections > 0 || self.workers.values().any(Worker::is_kept);
        if busy {
            self.idle_since = now;
        }
        let idle = now.saturating_sub(self.idle_since) >= self.timings.idle_exit;
        let ended = self.down && !self.workers.values().any(Worker::is_kept);
        if (idle || ended) && !self.exited {
            self.exited = true;
            self.down = true;
            out.push(Effect::Exit);
        }
    }

    /// Tells readers of events of a worker that changed. Memory and countdowns are telemetry.
    fn publish(&mut self, id: &WorkerId, now: Moment, out: &mut Vec<Effect>) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        let info = worker.info(now);
        let told = worker.published.as_ref().is_some_and(|old| same_but_telemetry(old, &info));
        if !told {
            self.revision += 1;
            worker.published = Some(info.clone());
            out.push(Effect::Publish(Event::Worker { revision: self.revision, worker: info }));
        }
    }

    fn shutting_down() -> Fault {
        Fault::new(Code::ShuttingDown, "the agent is shutting down")
            .hint("rbee ps  # starts a new agent once this one has ended")
    }

    fn no_such_worker(id: &WorkerId) -> Fault {
        Fault::new(Code::WorkerNotFound, format!("there is no worker {id}"))
            .hint("rbee ps  # lists the workers")
    }
}

fn same_but_telemetry(a: &WorkerInfo, b: &WorkerInfo) -> bool {
    let past = |of: &WorkerInfo| (of.supervision.restarts, of.supervision.started_unix_s);
    (&a.id, &a.spec, &a.state, a.pid, a.model_ctx, a.active, a.queued, a.limit, past(a))
        == (&b.id, &b.spec, &b.state, b.pid, b.model_ctx, b.active, b.queued, b.limit, past(b))
}
