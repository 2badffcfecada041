//! Ends: stalled, silent, idle, drained, told, unneeded.

use super::*;

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
