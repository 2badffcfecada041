//! The supervisor under generated streams of events, and its promises one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use wire::device::Device;
use wire::event::Event;
use wire::gguf::ModelShape;
use wire::guard::{ExitRecord, RECORD_VERSION};
use wire::memory::{DeviceMemoryBack, Limit, LimitBy, MemoryBack, MemoryUse};
use wire::settings::AgentSettings;
use wire::status::{EnginePhase, EngineStatus};
use wire::worker::{Exit, WorkerInfo, WorkerState};
use wire::{Code, Fault, ModelRef, RequestId, Timings, WorkerId, limits};

use super::*;

mod restarts;

const GIB: u64 = 1 << 30;

/// A supervisor, its clock, and everything that it wanted done.
struct Hive {
    supervisor: Supervisor,
    now: Moment,
    next: u64,
    effects: Vec<Effect>,
    /// What the system says when a worker's pause is over.
    available_bytes: Option<u64>,
}

impl Hive {
    fn new() -> Self {
        Self::with(Timings::default(), AgentSettings::default())
    }

    fn with(timings: Timings, settings: AgentSettings) -> Self {
        let supervisor = Supervisor::new(timings, settings, 7);
        let (now, effects, available_bytes) = (Moment::ZERO, Vec::new(), Some(64 * GIB));
        Self { supervisor, now, next: 0, effects, available_bytes }
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

#[test]
fn a_worker_starts_loads_serves_and_each_change_has_its_own_revision() {
    let mut hive = Hive::new();
    let id = hive.spawned();
    assert!(hive.wants(|e| matches!(e, Effect::Start(start) if start.id == id)));
    hive.engine(&id, EnginePhase::Loading { bytes_done: 1, bytes_total: 2 }, 0);
    hive.engine(&id, EnginePhase::Serving, 0);
    hive.engine(&id, EnginePhase::Serving, 0);
    let published: Vec<(u64, &str)> = hive
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Publish(Event::Worker { revision, worker }) => {
                Some((*revision, worker.state.name()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(published, [(1, "starting"), (2, "loading"), (3, "ready")]);
}

#[test]
fn a_worker_that_runs_or_loads_or_comes_back_is_reused_and_a_broken_one_is_not() {
    let mut hive = Hive::new();
    let id = hive.spawned();
    let reused = |hive: &mut Hive| {
        let token = hive.spawn(|ask| ask.reuse = true);
        match hive.answer(token) {
            Some(Answer::Spawned(reply)) => (reply.worker.id.clone(), reply.reused),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reused(&mut hive), (id.clone(), true));
    hive.engine(&id, EnginePhase::Serving, 0);
    assert_eq!(reused(&mut hive), (id.clone(), true));
    let other = hive.spawn(|ask| (ask.reuse, ask.ctx_size) = (true, Some(100)));
    let Some(Answer::Spawned(other)) = hive.answer(other).cloned() else { panic!() };
    assert!(!other.reused);
    hive.broken(&other.worker.id, Code::ModelCorrupt);
    hive.ended(&id, Exit::Signal(11), false);
    assert_eq!(hive.state(&id), Some("restarting"));
    assert_eq!(reused(&mut hive), (id.clone(), true));
    hive.broken(&id, Code::ModelCorrupt);
    hive.pass(Duration::from_secs(2));
    hive.broken(&id, Code::ModelCorrupt);
    assert_eq!(hive.state(&id), Some("failed"));
    assert_ne!(reused(&mut hive).0, id);
}

#[test]
fn memory_promised_to_a_loading_worker_is_not_promised_twice() {
    let mut hive = Hive::new();
    let available = |ask: &mut SpawnAsk| ask.available_bytes = 4 * GIB;
    let first = hive.spawn(available);
    assert!(matches!(hive.answer(first), Some(Answer::Spawned(_))));
    let second = hive.spawn(available);
    let fault = hive.refusal(second);
    assert_eq!(fault.code, Code::InsufficientRam);
    assert_eq!(fault.details["available_bytes"], 4 * GIB);
    // What the first one has taken meanwhile is missing from the free memory by itself.
    let id = hive.supervisor.workers.keys().next().unwrap().clone();
    hive.feed(Input::Memory { worker: id.clone(), bytes: GIB });
    let third = hive.spawn(available);
    assert!(matches!(hive.answer(third), Some(Answer::Spawned(_))));
}

#[test]
fn the_promise_holds_until_the_memory_is_taken_also_after_the_load() {
    let mut hive = Hive::new();
    let id = hive.serving();
    let need = hive.supervisor.workers[&id].need_bytes;
    assert!(need > GIB);
    hive.feed(Input::Memory { worker: id.clone(), bytes: GIB });
    assert_eq!(hive.supervisor.workers[&id].reserved_bytes(), need - GIB);
    hive.feed(Input::Memory { worker: id.clone(), bytes: 2 * need });
    assert_eq!(hive.supervisor.workers[&id].reserved_bytes(), 0);
}

#[test]
fn an_obstacle_keeps_new_workers_out_and_leaves_those_that_are_there() {
    let mut hive = Hive::new();
    let id = hive.serving();
    let full = |ask: &mut SpawnAsk| ask.obstacle = Some(Fault::new(Code::DiskFull, "full"));
    let kept_out = hive.spawn(full);
    assert_eq!(hive.refusal(kept_out).code, Code::DiskFull);
    let reused = hive.spawn(|ask| {
        full(ask);
        ask.reuse = true;
    });
    assert!(matches!(hive.answer(reused), Some(Answer::Spawned(r)) if r.worker.id == id));
}

#[test]
fn what_was_measured_is_promised_and_what_bounds_a_worker_is_published() {
    let mut hive = Hive::new();
    let plain = hive.spawned();
    let token = hive.spawn(|ask| ask.overrun_bytes = GIB);
    let Some(Answer::Spawned(reply)) = hive.answer(token) else { panic!("{:?}", hive.effects) };
    let corrected = reply.worker.id.clone();
    let need = |id: &WorkerId| hive.supervisor.workers[id].need_bytes;
    assert_eq!(need(&corrected), need(&plain) + GIB);
    let limit = Limit { bytes: Some(3 * GIB), by: LimitBy::Cgroup2, cpu_percent: None };
    let told = hive.feed(Input::Limited { worker: plain.clone(), limit });
    assert!(
        matches!(&told[..], [Effect::Publish(Event::Worker { worker, .. })]
            if worker.limit == Some(limit)),
        "{told:?}"
    );
    assert_eq!(hive.feed(Input::Limited { worker: plain, limit }), []);
}

#[test]
fn a_worker_that_ran_out_of_memory_ends_its_requests_with_the_figures_and_the_hint() {
    let mut hive = Hive::new();
    let id = hive.serving();
    let (token, _) = hive.slot(&id);
    let said = Fault::new(Code::OutOfMemory, "the worker ran out of memory")
        .detail("limit_bytes", GIB)
        .hint("rbee run --ctx-size 256");
    let record = ExitRecord {
        version: RECORD_VERSION,
        id: id.clone(),
        exit: Exit::Signal(9),
        told: false,
        killed: false,
        stderr_tail: String::new(),
        fault: Some(said.clone()),
        memory: Some(MemoryUse { peak_bytes: Some(GIB), out_of_memory: true }),
    };
    hive.feed(Input::Ended { worker: id.clone(), end: Box::new(End::Recorded(record)) });
    let revoked = hive.effects.iter().find_map(|effect| match effect {
        Effect::Revoke { token: to, fault } if *to == token => Some(fault),
        _ => None,
    });
    let fault = revoked.expect("its request ends");
    assert_eq!((&fault.code, &fault.details), (&Code::OutOfMemory, &said.details));
    assert_eq!(fault.hints, said.hints);
    assert_eq!(hive.state(&id), Some("failed"));
}

#[test]
fn a_stop_says_what_came_back_of_the_workers_memory() {
    let mut hive = Hive::new();
    let id = hive.serving();
    let token = hive.ask(Ask::Stop { worker: id.clone(), drain: Duration::ZERO });
    let back = MemoryBack { expected_bytes: 3 * GIB, freed_bytes: GIB };
    let device = "cuda:1".parse().unwrap();
    let devices = vec![DeviceMemoryBack { device, back }];
    let of_both = Back { host: Some(back), devices: devices.clone() };
    hive.feed(Input::Returned { worker: id.clone(), back: of_both });
    hive.ended(&id, Exit::Code(0), true);
    let Some(Answer::Stopped(reply)) = hive.answer(token) else { panic!("{:?}", hive.effects) };
    assert_eq!(reply.stopped[0].memory, Some(back));
    assert_eq!(reply.stopped[0].device_memory, devices);
}

#[test]
fn the_demo_may_use_the_reserve_and_others_may_not() {
    let mut hive = Hive::new();
    let little = |ask: &mut SpawnAsk| (ask.available_bytes, ask.shape.weight_bytes) = (GIB, 1);
    let refused = hive.spawn(little);
    assert_eq!(hive.refusal(refused).code, Code::InsufficientRam);
    let demo = hive.spawn(|ask| {
        little(ask);
        ask.model = ModelRef::Demo;
    });
    assert!(matches!(hive.answer(demo), Some(Answer::Spawned(_))));
}

#[test]
fn requests_are_served_in_their_order_and_a_cancel_is_acknowledged_with_the_slot() {
    let mut hive = Hive::new();
    let id = hive.serving();
    let (first, request) = hive.slot(&id);
    let (second, _) = hive.slot(&id);
    assert_eq!(hive.answer(first), Some(&Answer::Granted));
    assert_eq!(hive.answer(second), None);
    hive.engine(&id, EnginePhase::Serving, 1);
    let info = hive.info(&id).unwrap();
    assert_eq!((info.state, info.active, info.queued), (WorkerState::Busy, 1, 1));
    let cancel = hive.ask(Ask::Cancel(request));
    assert!(hive.wants(|e| matches!(e, Effect::Revoke { token, .. } if *token == first)));
    hive.feed(Input::Left { token: first, done: false });
    assert_eq!((hive.answer(cancel), hive.answer(second)), (None, None));
    hive.engine(&id, EnginePhase::Serving, 0);
    assert_eq!(hive.answer(cancel), Some(&Answer::Cancelled));
    assert_eq!(hive.answer(second), Some(&Answer::Granted));
    let again = hive.ask(Ask::Cancel(request));
    assert_eq!(hive.answer(again), Some(&Answer::Cancelled), "repeating it is harmless");
}

fn handed_over(kept: &[&WorkerId]) -> Answer {
    let kept = kept.iter().map(|id| (*id).clone()).collect();
    Answer::HandedOver(wire::worker::HandoverReply { kept })
}

#[test]
fn a_handover_refuses_what_is_new_lets_run_what_runs_and_stops_no_worker() {
    let mut hive = Hive::new();
    let id = hive.serving();
    hive.feed(Input::Running { worker: id.clone(), pid: 7, started_unix_s: None });
    let (running, _) = hive.slot(&id);
    let (waiting, _) = hive.slot(&id);
    let handover = hive.ask(Ask::HandOver { drain: Duration::from_secs(30) });
    assert_eq!(hive.refusal(waiting).code, Code::ShuttingDown);
    let (late, _) = hive.slot(&id);
    assert_eq!(hive.refusal(late).code, Code::ShuttingDown);
    let spawn = hive.spawn(|_| {});
    assert_eq!(hive.refusal(spawn).code, Code::ShuttingDown);
    hive.pass(Duration::from_secs(5));
    assert_eq!(hive.answer(handover), None);
    hive.feed(Input::Left { token: running, done: true });
    assert_eq!(hive.answer(handover), Some(&handed_over(&[&id])));
    assert_eq!(hive.effects.last(), Some(&Effect::Exit));
    assert!(!hive.wants(|e| matches!(e, Effect::StopGuard(_) | Effect::Revoke { .. })));
}

#[test]
fn a_handover_takes_back_what_outlasts_it_and_waits_for_a_guard_that_is_being_started() {
    let mut hive = Hive::new();
    let (busy, starting) = (hive.serving(), hive.spawned());
    hive.feed(Input::Running { worker: busy.clone(), pid: 7, started_unix_s: None });
    let (running, _) = hive.slot(&busy);
    let handover = hive.ask(Ask::HandOver { drain: Duration::from_secs(2) });
    hive.pass(Duration::from_secs(3));
    assert_eq!(hive.answer(handover), None, "nobody could find that guard yet");
    hive.feed(Input::Running { worker: starting.clone(), pid: 8, started_unix_s: None });
    assert!(hive.wants(|e| matches!(e, Effect::Revoke { token, .. } if *token == running)));
    let mut both = [&busy, &starting];
    both.sort();
    assert_eq!(hive.answer(handover), Some(&handed_over(&both)));
}

#[test]
fn a_handover_keeps_no_worker_that_was_told_to_end() {
    let mut hive = Hive::new();
    let id = hive.serving();
    hive.feed(Input::Running { worker: id.clone(), pid: 7, started_unix_s: None });
    let (token, _) = hive.slot(&id);
    let stop = hive.ask(Ask::Stop { worker: id.clone(), drain: Duration::from_secs(600) });
    let handover = hive.ask(Ask::HandOver { drain: Duration::from_secs(1) });
    hive.pass(Duration::from_secs(2));
    assert!(hive.wants(|e| matches!(e, Effect::StopGuard(stopped) if *stopped == id)));
    hive.feed(Input::Left { token, done: false });
    assert_eq!(hive.answer(handover), None);
    hive.ended(&id, Exit::Code(0), true);
    assert!(matches!(hive.answer(stop), Some(Answer::Stopped(_))));
    assert_eq!(hive.answer(handover), Some(&handed_over(&[])));
}

#[test]
fn a_cancel_is_answered_in_time_even_when_the_engine_does_not_let_go() {
    let mut hive = Hive::new();
    let id = hive.serving();
    let (token, request) = hive.slot(&id);
    hive.engine(&id, EnginePhase::Serving, 1);
    let cancel = hive.ask(Ask::Cancel(request));
    hive.feed(Input::Left { token, done: false });
    hive.pass(Timings::default().cancel_ack + Duration::from_secs(1));
    assert_eq!(hive.answer(cancel), Some(&Answer::Cancelled));
}

#[test]
fn a_full_queue_refuses_with_a_time_to_come_back() {
    let mut hive = Hive::new();
    let id = hive.serving();
    for _ in 0..=limits::MAX_QUEUE {
        hive.slot(&id);
    }
    let (token, _) = hive.slot(&id);
    let fault = hive.refusal(token);
    assert_eq!(fault.code, Code::QueueFull);
    assert!(fault.details.contains_key("retry_after_s"));
}

#[test]
fn a_crash_ends_active_requests_with_its_cause_and_keeps_those_that_wait() {
    let mut hive = Hive::new();
    let id = hive.serving();
    let ((active, _), (waiting, _)) = (hive.slot(&id), hive.slot(&id));
    hive.ended(&id, Exit::Signal(9), false);
    assert!(hive.wants(|effect| matches!(effect, Effect::Revoke { token, fault }
        if *token == active && fault.code == Code::WorkerCrashed
            && fault.causes == ["the last line"])));
    let (late, _) = hive.slot(&id);
    assert_eq!(hive.refusal(late).code, Code::WorkerNotReady);
    assert_eq!(hive.answer(waiting), None);
    hive.pass(Duration::from_secs(2));
    hive.engine(&id, EnginePhase::Serving, 0);
    assert_eq!(hive.answer(waiting), Some(&Answer::Granted));
}

#[test]
fn a_load_without_progress_is_ended_and_one_with_progress_never() {
    let stall = Timings::default().load_stall;
    let mut hive = Hive::new();
    let id = hive.spawned();
    for bytes_done in 1..20 {
        hive.engine(&id, EnginePhase::Loading { bytes_done, bytes_total: 99 }, 0);
        hive.pass(stall / 2);
        hive.engine(&id, EnginePhase::Loading { bytes_done, bytes_total: 99 }, 0);
        assert_eq!(hive.state(&id), Some("loading"), "{bytes_done}");
    }
    for _ in 0..3 {
        hive.pass(stall / 5);
        hive.engine(&id, EnginePhase::Loading { bytes_done: 19, bytes_total: 99 }, 0);
    }
    assert!(hive.wants(|effect| *effect == Effect::StopGuard(id.clone())));
    hive.ended(&id, Exit::Signal(15), true);
    let info = hive.info(&id).unwrap();
    assert_eq!(info.state, WorkerState::Restarting { attempt: 1 });
    let cause = info.supervision.last_end.unwrap().cause;
    assert!(cause.contains("19 of 99"), "{cause}");
}

#[test]
fn a_silent_worker_is_stale_then_back_or_ended() {
    let timings = Timings::default();
    let mut hive = Hive::new();
    let id = hive.serving();
    hive.pass_with(timings.stale + Duration::from_secs(1), false);
    assert_eq!(hive.state(&id), Some("stale"));
    let (token, _) = hive.slot(&id);
    assert_eq!(hive.refusal(token).code, Code::WorkerNotReady);
    hive.engine(&id, EnginePhase::Serving, 0);
    assert_eq!(hive.state(&id), Some("ready"));
    hive.pass_with(timings.dead + Duration::from_secs(1), false);
    assert_eq!(hive.state(&id), Some("stopping"));
}

#[test]
fn the_agents_own_absence_is_not_the_workers_silence() {
    let mut hive = Hive::new();
    let id = hive.serving();
    hive.now += Duration::from_secs(3600);
    hive.feed(Input::Tick);
    assert_eq!(hive.state(&id), Some("stopping"), "its keep_alive of half an hour is over");
    let mut hive = Hive::with(
        Timings::default(),
        AgentSettings { keep_alive_s: -1, ..AgentSettings::default() },
    );
    let id = hive.serving();
    hive.now += Duration::from_secs(3600);
    hive.feed(Input::Tick);
    assert_eq!(hive.state(&id), Some("ready"));
}

#[test]
fn an_idle_worker_is_unloaded_after_its_keep_alive_and_zero_means_after_the_request() {
    for (keep_alive_s, idles) in [(5, 70), (100, 110)] {
        let mut hive = Hive::new();
        let token = hive.spawn(|ask| ask.keep_alive_s = Some(keep_alive_s));
        let Some(Answer::Spawned(reply)) = hive.answer(token) else { panic!() };
        let id = reply.worker.id.clone();
        hive.engine(&id, EnginePhase::Serving, 0);
        hive.pass(Duration::from_secs(50));
        assert_eq!(hive.state(&id), Some("ready"), "it waits for its first request");
        hive.pass(Duration::from_secs(idles - 50));
        assert_eq!(hive.state(&id), Some("stopping"));
        hive.ended(&id, Exit::Code(0), true);
        assert_eq!(hive.state(&id), None, "a worker that was stopped is forgotten");
    }
    let mut hive = Hive::new();
    let token = hive.spawn(|ask| ask.keep_alive_s = Some(0));
    let Some(Answer::Spawned(reply)) = hive.answer(token) else { panic!() };
    let id = reply.worker.id.clone();
    hive.engine(&id, EnginePhase::Serving, 0);
    let (token, _) = hive.slot(&id);
    hive.pass(Duration::from_secs(100));
    assert_eq!(hive.state(&id), Some("busy"));
    hive.feed(Input::Left { token, done: true });
    assert_eq!(hive.state(&id), Some("stopping"));
}

#[test]
fn draining_finishes_what_is_active_and_refuses_what_waits_or_comes() {
    let mut hive = Hive::new();
    let id = hive.serving();
    let ((active, _), (waiting, _)) = (hive.slot(&id), hive.slot(&id));
    let drain = Duration::from_secs(30);
    let stop = hive.ask(Ask::Stop { worker: id.clone(), drain });
    assert_eq!(hive.state(&id), Some("draining"));
    assert_eq!(hive.refusal(waiting).code, Code::ShuttingDown);
    let (late, _) = hive.slot(&id);
    assert_eq!(hive.refusal(late).code, Code::ShuttingDown);
    hive.feed(Input::Left { token: active, done: true });
    assert!(hive.wants(|effect| *effect == Effect::StopGuard(id.clone())));
    hive.ended(&id, Exit::Code(0), true);
    let Some(Answer::Stopped(reply)) = hive.answer(stop) else { panic!() };
    assert_eq!((reply.stopped.len(), reply.left.len()), (1, 0));
}

#[test]
fn a_guard_that_does_not_answer_is_killed_and_what_stays_is_reported() {
    let mut hive = Hive::new();
    let id = hive.serving();
    let (token, _) = hive.slot(&id);
    let stop = hive.ask(Ask::Stop { worker: id.clone(), drain: Duration::from_secs(2) });
    hive.pass(Duration::from_secs(3));
    assert!(hive.wants(|e| matches!(e, Effect::Revoke { token: to, .. } if *to == token)));
    hive.pass(Duration::from_secs(11));
    assert!(hive.wants(|effect| *effect == Effect::Kill(id.clone())));
    assert_eq!(hive.answer(stop), None);
    hive.pass(Duration::from_secs(3));
    let Some(Answer::Stopped(reply)) = hive.answer(stop) else { panic!() };
    assert_eq!(reply.left, [id]);
}

#[test]
fn down_ends_all_workers_answers_and_exits_once() {
    let mut hive = Hive::new();
    let ids = [hive.serving(), hive.spawned(), hive.serving()];
    let down = hive.ask(Ask::Down { drain: Duration::ZERO });
    for id in &ids {
        assert!(hive.wants(|effect| *effect == Effect::StopGuard(id.clone())), "{id}");
    }
    let refused = hive.spawn(|_| {});
    assert_eq!(hive.refusal(refused).code, Code::ShuttingDown);
    for id in &ids {
        assert!(!hive.wants(|effect| *effect == Effect::Exit));
        hive.ended(id, Exit::Code(0), true);
    }
    let Some(Answer::Stopped(reply)) = hive.answer(down) else { panic!() };
    assert_eq!(reply.stopped.len(), 3);
    hive.pass(Duration::from_secs(5));
    assert_eq!(hive.effects.iter().filter(|effect| **effect == Effect::Exit).count(), 1);
}

#[test]
fn an_agent_that_nobody_needs_exits_and_one_with_a_connection_stays() {
    let idle = Timings::default().idle_exit;
    let mut hive = Hive::new();
    hive.feed(Input::Connected);
    hive.pass(idle * 2);
    assert!(!hive.wants(|effect| *effect == Effect::Exit));
    hive.feed(Input::Disconnected);
    hive.pass(idle.saturating_sub(Duration::from_secs(1)));
    assert!(!hive.wants(|effect| *effect == Effect::Exit));
    hive.pass(Duration::from_secs(2));
    assert!(hive.wants(|effect| *effect == Effect::Exit));
}

/// One generated event; numbers pick among what there is.
#[derive(Debug, Clone)]
enum Step {
    Spawn { reuse: bool, keep_alive_s: i64 },
    Slot(usize),
    Leave(usize, bool),
    Cancel(usize),
    Status(usize, u8, u32),
    End(usize, bool),
    Stop(usize),
    Restart(usize),
    Less(u64),
    Down,
    HandOver,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (any::<bool>(), -1i64..100).prop_map(|(reuse, keep_alive_s)| {
            Step::Spawn { reuse, keep_alive_s }
        }),
        8 => (0usize..9).prop_map(Step::Slot),
        5 => (0usize..9, any::<bool>()).prop_map(|(n, done)| Step::Leave(n, done)),
        2 => (0usize..9).prop_map(Step::Cancel),
        9 => (0usize..9, 0u8..3, 0u32..3).prop_map(|(n, phase, active)| {
            Step::Status(n, phase, active)
        }),
        5 => (0usize..9, 0u8..8).prop_map(|(n, told)| Step::End(n, told == 0)),
        1 => (0usize..9).prop_map(Step::Restart),
        1 => (0u64..5).prop_map(Step::Less),
        1 => (0usize..9).prop_map(Step::Stop),
        1 => Just(Step::Down),
        1 => Just(Step::HandOver),
        4 => (0u64..40).prop_map(Step::Pass),
    ]
}

/// What happened so far, from outside.
#[derive(Default)]
struct Seen {
    asked: BTreeSet<Token>,
    answered: BTreeMap<Token, usize>,
    slots: Vec<(Token, RequestId)>,
    revision: u64,
    exits: usize,
    /// Workers with a process that nobody saw end.
    processes: BTreeSet<WorkerId>,
    /// Whether the breaker of the one model was open after the last step.
    open: bool,
}

impl Seen {
    fn take(&mut self, effects: &[Effect]) -> Result<(), TestCaseError> {
        for effect in effects {
            match effect {
                Effect::Reply(token, _) => *self.answered.entry(*token).or_default() += 1,
                Effect::Publish(
                    Event::Worker { revision, .. } | Event::WorkerGone { revision, .. },
                ) => {
                    self.revision += 1;
                    prop_assert_eq!(*revision, self.revision);
                }
                Effect::Exit => self.exits += 1,
                Effect::Start(start) => {
                    prop_assert!(self.processes.insert(start.id.clone()), "{:?} twice", start.id);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn perform(hive: &mut Hive, seen: &mut Seen, step: &Step) {
    let ids: Vec<WorkerId> = hive.supervisor.workers.keys().cloned().collect();
    let id = |n: &usize| ids.get(n % ids.len().max(1)).cloned();
    let slot = |n: &usize, seen: &Seen| seen.slots.get(n % seen.slots.len().max(1)).copied();
    match step {
        Step::Spawn { reuse, keep_alive_s } => {
            let token = hive.spawn(|ask| {
                (ask.reuse, ask.keep_alive_s) = (*reuse, Some(*keep_alive_s));
            });
            seen.asked.insert(token);
        }
        Step::Slot(n) => {
            let Some(id) = id(n) else { return };
            let (token, request) = hive.slot(&id);
            seen.asked.insert(token);
            seen.slots.push((token, request));
        }
        Step::Leave(n, done) => {
            let Some((token, _)) = slot(n, seen) else { return };
            // Whoever leaves does not wait for an answer any more.
            seen.asked.remove(&token);
            hive.feed(Input::Left { token, done: *done });
        }
        Step::Cancel(n) => {
            let Some((_, request)) = slot(n, seen) else { return };
            seen.asked.insert(hive.ask(Ask::Cancel(request)));
        }
        Step::Status(n, phase, active) => {
            let Some(id) = id(n) else { return };
            let phase = match phase {
                0 => EnginePhase::Loading { bytes_done: u64::from(*active), bytes_total: 9 },
                1 => EnginePhase::Draining,
                _ => EnginePhase::Serving,
            };
            hive.engine(&id, phase, *active);
        }
        Step::End(n, told) => {
            let Some(id) = id(n).filter(|id| seen.processes.remove(id)) else { return };
            hive.ended(&id, Exit::Code(1), *told);
        }
        Step::Restart(n) => {
            let Some(worker) = id(n) else { return };
            let drain = Duration::from_secs(3);
            seen.asked.insert(hive.ask(Ask::Restart { worker, drain }));
        }
        Step::Less(gib) => hive.available_bytes = (*gib > 0).then_some(gib * 2 * GIB),
        Step::Stop(n) => {
            let Some(worker) = id(n) else { return };
            let drain = Duration::from_secs(3);
            seen.asked.insert(hive.ask(Ask::Stop { worker, drain }));
        }
        Step::Down => {
            seen.asked.insert(hive.ask(Ask::Down { drain: Duration::from_secs(1) }));
        }
        Step::HandOver => {
            seen.asked.insert(hive.ask(Ask::HandOver { drain: Duration::from_secs(1) }));
        }
        Step::Pass(seconds) => hive.pass_with(Duration::from_secs(*seconds), *seconds % 2 == 0),
    }
}

fn check(hive: &Hive) -> Result<(), TestCaseError> {
    for worker in hive.supervisor.workers.values() {
        let slots = usize::try_from(worker.spec.slots).unwrap();
        prop_assert!(worker.queue.occupied() <= slots);
        prop_assert!(worker.queue.queued() <= limits::MAX_QUEUE);
        prop_assert!(worker.is_alive() || worker.queue.occupied() == 0);
        prop_assert!(worker.is_kept() || worker.queue.is_empty());
        prop_assert!(worker.is_alive() || worker.reserved_bytes() == 0);
        if let Life::Restarting { at, attempt, .. } = worker.life {
            // The longest pause is 4 s and a fifth, and time is seen to pass every half second.
            prop_assert!(at <= hive.now + Duration::from_millis(4800), "{:?}", at);
            prop_assert!(hive.now <= at + Duration::from_millis(500), "it waits for ever");
            prop_assert!(attempt <= limits::MAX_RESTART_ATTEMPTS);
        }
        let waits_for_nothing =
            worker.is_routable() && worker.queue.occupied() == 0 && worker.queue.queued() > 0;
        prop_assert!(!waits_for_nothing, "a free slot and somebody who waits for it");
    }
    prop_assert!(hive.supervisor.finished.len() <= limits::MAX_FINISHED_WORKERS);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn whatever_happens_bounds_hold_revisions_have_no_gap_and_every_question_gets_one_answer(
        steps in proptest::collection::vec(step(), 0..120),
    ) {
        let (mut hive, mut seen) = (Hive::new(), Seen::default());
        for step in &steps {
            let before = hive.effects.len();
            perform(&mut hive, &mut seen, step);
            seen.take(&hive.effects[before..])?;
            check(&hive)?;
            let open = hive.supervisor.breakers.check(&ask(0).model, Device::CPU).is_err();
            prop_assert!(open || !seen.open || matches!(step, Step::Restart(_)), "it forgot");
            seen.open = open;
        }
        // The end of everything: whatever still lives is told to end and does.
        let before = hive.effects.len();
        seen.asked.insert(hive.ask(Ask::Down { drain: Duration::ZERO }));
        hive.pass(Duration::from_secs(60));
        seen.take(&hive.effects[before..])?;
        for token in &seen.asked {
            prop_assert_eq!(seen.answered.get(token), Some(&1), "{:?}", token);
        }
        prop_assert!(seen.answered.values().all(|count| *count == 1));
        prop_assert_eq!(seen.exits, 1);
    }
}
