//! Letting workers in.

use super::*;

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
