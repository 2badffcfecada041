//! What ended by itself comes back, in time, not for ever, and not against anybody's will.

use super::*;

fn attempt(hive: &Hive, id: &WorkerId) -> Option<u32> {
    match hive.info(id)?.state {
        WorkerState::Restarting { attempt } => Some(attempt),
        _ => None,
    }
}

fn starts(hive: &Hive, id: &WorkerId) -> usize {
    hive.effects.iter().filter(|e| matches!(e, Effect::Start(start) if start.id == *id)).count()
}

fn restart(hive: &mut Hive, id: &WorkerId) -> Token {
    hive.ask(Ask::Restart { worker: id.clone(), drain: DRAIN })
}

#[test]
fn pauses_double_and_chance_spreads_them_by_a_fifth() {
    let first = Duration::from_secs(1);
    for attempt in 1..=3u32 {
        let whole = first * 2u32.pow(attempt - 1);
        let pauses: Vec<_> = (0..1000).map(|seed| Dice(seed).pause(first, attempt)).collect();
        let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(*least >= whole * 8 / 10 && *least < whole * 85 / 100, "{least:?}");
        assert!(*most <= whole * 12 / 10 && *most > whole * 115 / 100, "{most:?}");
    }
}

#[test]
fn a_crash_is_followed_by_another_process_with_the_same_spec_and_the_countdown_is_shown() {
    let mut hive = Hive::new();
    let id = hive.serving();
    hive.ended(&id, Exit::Signal(9), false);
    let info = hive.info(&id).unwrap();
    assert_eq!(info.state, WorkerState::Restarting { attempt: 1 });
    assert!((800..=1200).contains(&info.supervision.restart_in_ms.unwrap()), "{info:?}");
    let last = info.supervision.last_end.unwrap();
    assert_eq!((last.cause.as_str(), last.stderr_tail.as_str()), ("signal 9", "the last line"));
    hive.pass(Duration::from_secs(2));
    assert_eq!(starts(&hive, &id), 2);
    hive.engine(&id, EnginePhase::Serving, 0);
    let after = hive.info(&id).unwrap();
    assert_eq!((after.state, after.spec), (WorkerState::Ready, info.spec));
    assert_eq!((after.supervision.restarts, after.supervision.restart_in_ms), (1, None));
}

#[test]
fn three_attempts_in_a_row_are_made_and_serving_for_long_forgives_them() {
    let mut hive = Hive::with(
        Timings { breaker_window: Duration::from_secs(1), ..Timings::default() },
        AgentSettings::default(),
    );
    let id = hive.serving();
    for expected in 1..=3 {
        hive.ended(&id, Exit::Signal(9), false);
        assert_eq!(attempt(&hive, &id), Some(expected));
        hive.pass(Duration::from_secs(5));
    }
    hive.engine(&id, EnginePhase::Serving, 0);
    hive.pass(Timings::default().restart_reset);
    crash(&mut hive, &id);
    assert_eq!(starts(&hive, &id), 5, "the count began anew");
    for _ in 0..3 {
        crash(&mut hive, &id);
    }
    assert_eq!(hive.state(&id), Some("crashed"));
}

#[test]
fn five_failures_open_the_breaker_and_only_a_restart_closes_it() {
    let mut hive = Hive::new();
    hive.feed(Input::Connected);
    let first = hive.serving();
    for _ in 0..4 {
        crash(&mut hive, &first);
    }
    assert_eq!(hive.state(&first), Some("crashed"));
    let second = hive.serving();
    assert_ne!(first, second);
    crash(&mut hive, &second);
    let state = hive.info(&second).unwrap().state;
    assert!(
        matches!(&state, WorkerState::Failed { why, .. } if why.contains("5 times")),
        "{state:?}"
    );
    hive.pass(Duration::from_secs(3600));
    let refused = hive.spawn(|_| {});
    let fault = hive.refusal(refused).clone();
    assert_eq!(fault.code, Code::WorkerCrashed);
    assert_eq!(fault.hints, [format!("rbee worker restart {second}")]);
    let other = hive.spawn(|ask| ask.model = ModelRef::Demo);
    assert!(matches!(hive.answer(other), Some(Answer::Spawned(_))), "another model is not meant");
    // Looking after it does not close it.
    hive.ask(Ask::Stop { worker: second.clone(), drain: DRAIN });
    let token = restart(&mut hive, &second);
    assert!(
        matches!(hive.answer(token), Some(Answer::Spawned(reply)) if reply.worker.id == second)
    );
    let again = hive.spawn(|_| {});
    assert!(matches!(hive.answer(again), Some(Answer::Spawned(_))));
}

#[test]
fn what_does_not_fit_any_more_fails_with_the_figures() {
    let mut hive = Hive::new();
    let id = hive.serving();
    let (waiting, _) = (hive.slot(&id), hive.slot(&id)).1;
    hive.available_bytes = Some(2 * GIB + 5);
    crash(&mut hive, &id);
    let state = hive.info(&id).unwrap().state;
    assert!(
        matches!(&state, WorkerState::Failed { why, code: Some(Code::InsufficientRam) }
            if why.contains("MiB of memory, 0 are free")),
        "{state:?}"
    );
    assert_eq!(hive.refusal(waiting).code, Code::InsufficientRam);
    assert_eq!(starts(&hive, &id), 1);
}

#[test]
fn a_worker_that_named_its_fault_or_was_told_or_was_found_dead_stays_ended() {
    let mut hive = Hive::new();
    let broken = hive.spawned();
    hive.broken(&broken, Code::ModelCorrupt);
    assert_eq!(hive.state(&broken), Some("failed"));
    let told = hive.serving();
    hive.ask(Ask::Stop { worker: told.clone(), drain: DRAIN });
    hive.ended(&told, Exit::Signal(9), false);
    assert_eq!(hive.state(&told), None);
    let id = hive.serving();
    let worker = &hive.supervisor.workers[&id];
    let spec = worker.spec.clone();
    let mut found = Worker { found: true, ..Worker::new(worker.start(), hive.now) };
    found.id = "found-1".parse().unwrap();
    found.spec = spec;
    let found_id = found.id.clone();
    hive.supervisor.workers.insert(found_id.clone(), found);
    hive.ended(&found_id, Exit::Signal(9), false);
    assert_eq!(hive.state(&found_id), Some("crashed"));
}

#[test]
fn a_restart_drains_stops_and_starts_and_who_waits_keeps_its_place() {
    let mut hive = Hive::new();
    let id = hive.serving();
    let ((active, _), (waiting, _)) = (hive.slot(&id), hive.slot(&id));
    let token = restart(&mut hive, &id);
    assert_eq!(hive.state(&id), Some("draining"));
    hive.feed(Input::Left { token: active, done: true });
    assert!(hive.wants(|effect| *effect == Effect::StopGuard(id.clone())));
    assert_eq!((hive.answer(token), starts(&hive, &id)), (None, 1));
    hive.ended(&id, Exit::Code(0), true);
    assert_eq!(starts(&hive, &id), 2, "at once, not after a pause");
    assert!(matches!(hive.answer(token), Some(Answer::Spawned(_))));
    hive.engine(&id, EnginePhase::Serving, 0);
    assert_eq!(hive.answer(waiting), Some(&Answer::Granted));
}

#[test]
fn a_stop_ends_a_worker_that_waits_for_its_next_process_and_everyone_who_waits_for_it() {
    let mut hive = Hive::new();
    let id = hive.serving();
    let (waiting, _) = (hive.slot(&id), hive.slot(&id)).1;
    hive.ended(&id, Exit::Signal(9), false);
    let stop = hive.ask(Ask::Stop { worker: id.clone(), drain: DRAIN });
    assert!(matches!(hive.answer(stop), Some(Answer::Stopped(reply)) if reply.left.is_empty()));
    assert_eq!(hive.refusal(waiting).code, Code::ShuttingDown);
    hive.pass(Duration::from_secs(10));
    assert_eq!((hive.state(&id), starts(&hive, &id)), (None, 1));
}

#[test]
fn a_silent_worker_is_replaced_and_an_end_outweighs_a_restart() {
    let timings = Timings::default();
    let mut hive = Hive::new();
    let id = hive.serving();
    hive.pass_with(timings.dead + Duration::from_secs(1), false);
    hive.ended(&id, Exit::Signal(9), true);
    assert_eq!(attempt(&hive, &id), Some(1));
    hive.pass(Duration::from_secs(2));
    hive.engine(&id, EnginePhase::Serving, 0);
    let token = restart(&mut hive, &id);
    let stop = hive.ask(Ask::Stop { worker: id.clone(), drain: DRAIN });
    hive.ended(&id, Exit::Code(0), true);
    assert_eq!(hive.refusal(token).code, Code::ShuttingDown);
    assert!(matches!(hive.answer(stop), Some(Answer::Stopped(_))));
    assert_eq!(hive.state(&id), None);
}
