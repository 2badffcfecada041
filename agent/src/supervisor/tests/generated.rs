//! Generated streams of events: what holds whatever happens.

use super::*;

/// One generated event; numbers pick among what there is.
#[derive(Debug, Clone)]
enum Step {
    Spawn {
        reuse: bool,
        keep_alive_s: i64,
    },
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
    /// The agent dies, and another takes its place.
    Replace,
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
        1 => Just(Step::Replace),
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
        Step::Replace => replace(hive, seen),
        Step::Pass(seconds) => hive.pass_with(Duration::from_secs(*seconds), *seconds % 2 == 0),
    }
}

/// The agent dies, and the next one takes its place: it loses nobody who waits for a process.
fn replace(hive: &mut Hive, seen: &mut Seen) {
    let workers = hive.supervisor.workers.values();
    let waits = |worker: &&Worker| matches!(worker.life, Life::Restarting { .. });
    let waiting: Vec<_> = workers.filter(waits).map(|worker| worker.id.clone()).collect();
    let was_down = hive.supervisor.down;
    *hive = hive.next();
    let is_there = |id| hive.supervisor.workers.contains_key(id);
    assert!(was_down || waiting.iter().all(is_there), "one was lost");
    // Nobody hears an answer of an agent that is gone.
    let processes = std::mem::take(&mut seen.processes);
    let open = seen.open && !was_down;
    *seen = Seen { processes, open, ..Seen::default() };
}

fn check(hive: &Hive) -> Result<(), TestCaseError> {
    for worker in hive.supervisor.workers.values() {
        let slots = usize::try_from(worker.spec.slots).unwrap();
        prop_assert!(worker.queue.occupied() <= slots);
        prop_assert!(worker.queue.queued() <= limits::MAX_QUEUE);
        prop_assert!(worker.is_alive() || worker.queue.occupied() == 0);
        prop_assert!(worker.is_kept() || worker.queue.is_empty());
        prop_assert!(worker.is_alive() || worker.reserved_bytes() == 0);
        if let Life::Restarting { at, attempt, .. } = worker.life
            && !hive.supervisor.down
        {
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
            let from = if matches!(step, Step::Replace) { 0 } else { before };
            seen.take(&hive.effects[from..])?;
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
