//! What outlives an agent beside processes.

use super::super::carryover::{Absent, Failures, Stage};
use super::*;

#[test]
fn an_open_breaker_stays_open_under_the_next_agent_and_a_restart_closes_it_for_good() {
    let mut hive = Hive::new();
    let first = hive.serving();
    for _ in 0..4 {
        crash(&mut hive, &first);
    }
    let second = hive.serving();
    crash(&mut hive, &second);
    let mut next = hive.next();
    assert_eq!(next.state(&second), Some("failed"), "or nobody could name it");
    let refused = next.spawn(|_| {});
    assert_eq!(next.refusal(refused).hints, [format!("rbee worker restart {second}")]);
    let token = next.ask(Ask::Restart { worker: second.clone(), drain: DRAIN });
    assert!(matches!(next.answer(token), Some(Answer::Spawned(_))));
    assert_eq!(next.left(), Carryover::default());
    let mut last = next.next();
    let spawned = last.spawn(|_| {});
    assert!(matches!(last.answer(spawned), Some(Answer::Spawned(_))));
}

#[test]
fn failures_of_two_agents_count_together_and_old_ones_do_not() {
    let mut hive = Hive::new();
    let id = hive.serving();
    for _ in 0..3 {
        crash(&mut hive, &id);
    }
    hive.engine(&id, EnginePhase::Serving, 0);
    let mut next = hive.next();
    next.engine(&id, EnginePhase::Serving, 0);
    crash(&mut next, &id);
    assert_eq!(next.state(&id), Some("crashed"), "its three attempts were made before");
    let again = next.serving();
    crash(&mut next, &again);
    assert!(matches!(next.info(&again).unwrap().state, WorkerState::Failed { .. }));

    let mut late = hive.next();
    late.engine(&id, EnginePhase::Serving, 0);
    late.pass(Timings::default().breaker_window + Duration::from_secs(1));
    crash(&mut late, &id);
    assert_eq!(late.state(&id), Some("starting"), "it served for long, and began to count anew");
}

#[test]
fn a_worker_between_two_processes_is_started_by_the_next_agent() {
    for handed_over in [false, true] {
        let mut hive = Hive::new();
        let id = hive.serving();
        hive.ended(&id, Exit::Signal(9), false);
        if handed_over {
            hive.ask(Ask::Restart { worker: id.clone(), drain: DRAIN });
            hive.effects.clear();
            hive.ended(&id, Exit::Signal(9), false);
            let token = hive.ask(Ask::HandOver { drain: DRAIN });
            assert!(matches!(hive.answer(token), Some(Answer::HandedOver(_))));
            hive.pass(Duration::from_secs(10));
            assert!(!hive.wants(|effect| matches!(effect, Effect::Start(_))), "two would start it");
        }
        let mut next = hive.next();
        assert_eq!(next.info(&id).unwrap().supervision.restarts, u32::from(handed_over) * 2);
        assert!(next.info(&id).unwrap().supervision.last_end.is_some());
        next.pass(Duration::from_secs(2));
        assert!(next.wants(|effect| matches!(effect, Effect::Start(start) if start.id == id)));
        assert_eq!(next.left().workers, []);
    }
}

#[test]
fn who_waits_for_a_process_is_told_that_this_agent_starts_none_any_more() {
    let mut hive = Hive::new();
    let id = hive.serving();
    hive.ended(&id, Exit::Signal(9), false);
    let (restart, handover) = (Token(98), Token(99));
    let now = hive.now;
    let mut update = |input| hive.supervisor.update(input, now);
    let asked = update(Input::Ask(restart, Ask::Restart { worker: id.clone(), drain: DRAIN }));
    assert!(asked.contains(&Effect::Measure(id.clone())), "{asked:?}");
    let told = update(Input::Ask(handover, Ask::HandOver { drain: DRAIN }));
    let is_refused =
        |effect: &Effect| matches!(effect, Effect::Reply(to, Answer::Refused(_)) if *to == restart);
    assert!(told.iter().any(is_refused), "{told:?}");
    let free = Input::Free { worker: id, available_bytes: Some(64 * GIB), obstacle: None };
    let measured = update(free);
    assert!(!measured.iter().any(|effect| matches!(effect, Effect::Start(_))), "{measured:?}");
}

#[test]
fn a_hive_that_was_told_to_end_leaves_nothing() {
    let mut hive = Hive::new();
    let id = hive.serving();
    hive.ended(&id, Exit::Signal(9), false);
    assert_ne!(hive.left(), Carryover::default());
    hive.ask(Ask::Down { drain: Duration::ZERO });
    assert_eq!(hive.left(), Carryover::default());
}

#[test]
fn an_agent_that_ends_because_nobody_needs_it_leaves_its_open_breaker() {
    let mut hive = Hive::new();
    for _ in 0..2 {
        let id = hive.serving();
        for _ in 0..4 {
            crash(&mut hive, &id);
        }
    }
    let left = hive.left();
    assert!(left.failures.iter().any(|failures| failures.holder.is_some()), "{left:?}");
    hive.pass(Timings::default().idle_exit * 2);
    assert!(hive.wants(|effect| *effect == Effect::Exit));
    assert_eq!(hive.left(), left);
}

#[test]
fn words_of_a_set_clock_or_a_strange_hand_make_no_worker_wait_for_ever_and_no_breaker_stuck() {
    let mut hive = Hive::new();
    let id = hive.serving();
    let start = hive.supervisor.workers[&id].start();
    let mut other = start.clone();
    other.id = "other-1".parse().unwrap();
    let absent = |start: &Start| Absent {
        start: start.clone(),
        stage: Stage::Waiting { attempt: 2, at_ms: u64::MAX },
    };
    let failures = Failures {
        model: start.spec.model.clone(),
        device: start.spec.device,
        at_ms: vec![u64::MAX; 1000],
        holder: Some("gone-1".parse().unwrap()),
    };
    let carryover =
        Carryover { failures: vec![failures], workers: vec![absent(&start), absent(&other)] };
    hive.feed(Input::CarriedOver(Box::new(carryover)));
    assert_eq!(hive.state(&id), Some("ready"), "a process is more than a word of one");
    hive.pass(Duration::from_secs(5));
    assert_eq!(hive.state(&other.id), Some("starting"));
    assert!(hive.supervisor.breakers.check(&start.spec.model, start.spec.device).is_ok());
}
