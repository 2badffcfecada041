//! Memory: promised, measured, run out of, given back.

use super::*;

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
