//! Handing over to another agent, and what it leaves to one.

use super::*;

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
