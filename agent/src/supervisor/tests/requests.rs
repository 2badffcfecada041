//! Requests: their order, their cancel, their end.

use super::*;

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
