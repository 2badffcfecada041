//! The supervisor under generated streams of events, and its promises one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use wire::device::Device;
use wire::event::Event;
use wire::gguf::ModelShape;
use wire::guard::{EngineCommand, ExitRecord, GuardSpec, RECORD_VERSION};
use wire::memory::{DeviceMemoryBack, Limit, LimitBy, MemoryBack, MemoryUse, Wanted};
use wire::settings::AgentSettings;
use wire::status::{EnginePhase, EngineStatus};
use wire::worker::{Exit, WorkerInfo, WorkerState};
use wire::{Code, Fault, ModelRef, RequestId, Timings, WorkerId, limits};

use super::*;

mod carryover;
mod ending;
mod generated;
mod handover;
mod memory;
mod requests;
mod restarts;
mod spawning;

const GIB: u64 = 1 << 30;
const DRAIN: Duration = Duration::from_secs(30);

/// A supervisor, its clock, and everything that it wanted done.
struct Hive {
    supervisor: Supervisor,
    now: Moment,
    next: u64,
    effects: Vec<Effect>,
    /// What the system says when a worker's pause is over.
    available_bytes: Option<u64>,
    /// What the agent before it left.
    found: Carryover,
}

impl Hive {
    fn new() -> Self {
        Self::with(Timings::default(), AgentSettings::default())
    }

    fn with(timings: Timings, settings: AgentSettings) -> Self {
        let supervisor = Supervisor::new(timings, settings, 7, Moment::ZERO);
        let (now, effects, available_bytes) = (Moment::ZERO, Vec::new(), Some(64 * GIB));
        let found = Carryover::default();
        Self { supervisor, now, next: 0, effects, available_bytes, found }
    }

    /// The next agent, which begins now: it finds the processes that are there, and what this one
    /// left.
    fn next(&self) -> Self {
        let (timings, settings) = (self.supervisor.timings.clone(), AgentSettings::default());
        let supervisor = Supervisor::new(timings, settings, 8, self.now);
        let (now, next, available_bytes) = (self.now, self.next, self.available_bytes);
        let (effects, found) = (Vec::new(), self.left());
        let mut hive = Self { supervisor, now, next, effects, available_bytes, found };
        for worker in
            self.supervisor.workers.values().filter(|worker| worker.is_alive() || worker.left)
        {
            hive.feed(Input::Adopted(Box::new(guard_of(worker))));
            let (worker, pid) = (worker.id.clone(), 7);
            hive.feed(Input::Running { worker, pid, started_unix_s: None });
        }
        hive.feed(Input::CarriedOver(Box::new(hive.found.clone())));
        hive
    }

    /// What this agent leaves to the next one.
    fn left(&self) -> Carryover {
        let left = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::CarryOver(carryover) => Some((**carryover).clone()),
            _ => None,
        });
        left.unwrap_or_else(|| self.found.clone())
    }

    fn feed(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = self.supervisor.update(input, self.now);
        self.effects.extend(effects.clone());
        for effect in effects.clone() {
            if let Effect::Measure(worker) = effect {
                let available_bytes = self.available_bytes;
                let free = Input::Free { worker, available_bytes, obstacle: None };
                effects.extend(self.feed(free));
            }
        }
        effects
    }

    fn ask(&mut self, ask: Ask) -> Token {
        self.next += 1;
        let token = Token(self.next);
        self.feed(Input::Ask(token, ask));
        token
    }

    /// The answer to a question, if there is one yet.
    fn answer(&self, token: Token) -> Option<&Answer> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Reply(to, answer) if *to == token => Some(answer),
            _ => None,
        })
    }

    fn refusal(&self, token: Token) -> &Fault {
        match self.answer(token) {
            Some(Answer::Refused(fault)) => fault,
            other => panic!("{other:?} is no refusal"),
        }
    }

    fn spawn(&mut self, change: impl FnOnce(&mut SpawnAsk)) -> Token {
        let mut ask = ask(GIB);
        change(&mut ask);
        self.ask(Ask::Spawn(Box::new(ask)))
    }

    fn spawned(&mut self) -> WorkerId {
        let token = self.spawn(|_| {});
        match self.answer(token) {
            Some(Answer::Spawned(reply)) => reply.worker.id.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn serving(&mut self) -> WorkerId {
        let id = self.spawned();
        self.engine(&id, EnginePhase::Serving, 0);
        id
    }

    fn engine(&mut self, id: &WorkerId, phase: EnginePhase, active: u32) {
        let status = EngineStatus {
            phase,
            pid: 7,
            ctx_size: 512,
            slots: 1,
            active,
            queued: 0,
            load_ms: None,
        };
        self.feed(Input::Engine { worker: id.clone(), status });
    }

    fn ended(&mut self, id: &WorkerId, exit: Exit, told: bool) {
        let record = ExitRecord {
            version: RECORD_VERSION,
            id: id.clone(),
            exit,
            told,
            killed: false,
            stderr_tail: "the last line".to_owned(),
            fault: None,
            memory: None,
        };
        let end = Box::new(End::Recorded(record));
        self.feed(Input::Ended { worker: id.clone(), end });
    }

    /// Its engine ended and said why.
    fn broken(&mut self, id: &WorkerId, code: Code) {
        let record = ExitRecord {
            version: RECORD_VERSION,
            id: id.clone(),
            exit: Exit::Code(1),
            told: false,
            killed: false,
            stderr_tail: String::new(),
            fault: Some(Fault::new(code, "the engine's own words")),
            memory: None,
        };
        let end = Box::new(End::Recorded(record));
        self.feed(Input::Ended { worker: id.clone(), end });
    }

    fn slot(&mut self, id: &WorkerId) -> (Token, RequestId) {
        let request = RequestId::random();
        let client = Client::default();
        (self.ask(Ask::Slot { worker: id.clone(), request, client }), request)
    }

    /// Lets time pass in ticks, while every engine keeps its heartbeat.
    fn pass(&mut self, time: Duration) {
        self.pass_with(time, true);
    }

    fn pass_with(&mut self, time: Duration, heartbeats: bool) {
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_millis(500);
            if heartbeats {
                let ids: Vec<_> = self.supervisor.workers.keys().cloned().collect();
                for id in ids {
                    let worker = &self.supervisor.workers[&id];
                    let (active, life) = (worker.engine_active, worker.life.clone());
                    if life == Life::Serving {
                        self.engine(&id, EnginePhase::Serving, active);
                    }
                }
            }
            self.feed(Input::Tick);
        }
    }

    fn info(&self, id: &WorkerId) -> Option<WorkerInfo> {
        self.supervisor.workers.get(id).map(|worker| worker.info(self.now))
    }

    fn state(&self, id: &WorkerId) -> Option<&'static str> {
        self.info(id).map(|info| info.state.name())
    }

    fn wants(&self, wanted: impl Fn(&Effect) -> bool) -> bool {
        self.effects.iter().any(wanted)
    }
}

/// Crashes it, and lets its pause pass.
fn crash(hive: &mut Hive, id: &WorkerId) {
    hive.ended(id, Exit::Signal(9), false);
    hive.pass(Duration::from_secs(5));
}

/// What lies beside a worker's process.
fn guard_of(worker: &Worker) -> GuardSpec {
    let start = worker.start();
    let engine = EngineCommand { program: String::new(), args: Vec::new(), can_be_asked: true };
    GuardSpec {
        version: RECORD_VERSION,
        id: start.id,
        nonce: String::new(),
        spec: start.spec,
        model_ctx: start.model_ctx,
        need_bytes: start.need_bytes,
        wanted: Wanted::default(),
        restarts: start.restarts,
        attempts: start.attempts,
        last_end: start.last_end,
        model_path: start.path,
        engine,
        timings: Timings::default(),
    }
}

fn ask(weight_bytes: u64) -> SpawnAsk {
    SpawnAsk {
        model: ModelRef::File("/m/a.gguf".to_owned()),
        device: None,
        ctx_size: None,
        keep_alive_s: None,
        reuse: false,
        path: "/m/a.gguf".to_owned(),
        shape: ModelShape {
            architecture: "llama".to_owned(),
            layers: 1,
            embedding: 8,
            heads: 1,
            kv_heads: 1,
            head_dim: 8,
            value_dim: 8,
            feed_forward: 8,
            context: 512,
            vocab: 8,
            weight_bytes,
            half_float_bytes: 0,
        },
        available_bytes: 64 * GIB,
        overrun_bytes: 0,
        obstacle: None,
        seed: 0x00ff_ffff,
    }
}
