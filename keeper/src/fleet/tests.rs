//! What the picture shows after any stream of events.

use proptest::prelude::*;
use wire::hello::{Role, agent_protocol};
use wire::worker::{WorkerSpec, WorkerState};
use wire::{Device, ModelRef};

use super::*;

pub fn worker(id: &str, state: WorkerState) -> WorkerInfo {
    WorkerInfo {
        id: id.parse().unwrap(),
        spec: WorkerSpec {
            model: ModelRef::Demo,
            device: Device::CPU,
            ctx_size: 2048,
            slots: 1,
            keep_alive_s: 1800,
        },
        state,
        pid: Some(7),
        model_ctx: 2048,
        active: 0,
        queued: 0,
        memory_bytes: None,
        millitokens_per_s: None,
        unload_in_s: None,
        limit: None,
        supervision: wire::worker::Supervision::default(),
    }
}

pub fn snapshot(revision: u64, workers: Vec<WorkerInfo>) -> Event {
    let cpu = DeviceInfo::new(Device::CPU);
    Event::Snapshot(Snapshot {
        revision,
        hello: Hello {
            role: Role::Agent,
            protocol: agent_protocol::SPOKEN,
            build: "0123456789abcdef".parse().unwrap(),
            version: "0.1.0".into(),
            pid: 1,
            features: Vec::new(),
        },
        devices: vec![cpu],
        workers,
        warnings: Vec::new(),
    })
}

fn local() -> HiveName {
    HiveName::local()
}

#[test]
fn a_gap_in_the_revisions_asks_for_a_snapshot_and_changes_nothing() {
    let mut fleet = Fleet::default();
    fleet.update(&local(), snapshot(5, Vec::new()), Moment::ZERO);
    let event = Event::Worker { revision: 7, worker: worker("a-1", WorkerState::Ready) };
    let before = fleet.hive(&local()).unwrap().workers.clone();
    assert_eq!(fleet.update(&local(), event, Moment::ZERO), Picture::Torn);
    assert_eq!(fleet.hive(&local()).unwrap().workers, before);
    let beat = Event::Heartbeat { revision: 6 };
    assert_eq!(fleet.update(&local(), beat, Moment::ZERO), Picture::Torn);
}

#[test]
fn a_spawn_reply_counts_only_while_it_is_news() {
    let mut fleet = Fleet::default();
    fleet.update(&local(), snapshot(5, vec![worker("a-1", WorkerState::Ready)]), Moment::ZERO);
    let reply = |revision| SpawnReply {
        worker: worker("a-1", WorkerState::Starting),
        reused: false,
        revision,
    };
    let id = "a-1".parse().unwrap();
    fleet.adopt(&local(), &reply(4));
    assert_eq!(fleet.worker(&local(), &id).unwrap().state, WorkerState::Ready);
    fleet.adopt(&local(), &reply(6));
    assert_eq!(fleet.worker(&local(), &id).unwrap().state, WorkerState::Starting);
}

#[test]
fn telemetry_changes_figures_and_never_which_workers_there_are() {
    let mut fleet = Fleet::default();
    fleet.update(&local(), snapshot(1, vec![worker("a-1", WorkerState::Ready)]), Moment::ZERO);
    let mut seen = worker("a-1", WorkerState::Starting);
    (seen.memory_bytes, seen.millitokens_per_s) = (Some(9), Some(1500));
    let workers = vec![seen, worker("ghost-1", WorkerState::Ready)];
    let event = Event::Telemetry { devices: Vec::new(), workers };
    assert_eq!(fleet.update(&local(), event, Moment::from_secs(3)), Picture::Whole);
    let hive = fleet.hive(&local()).unwrap();
    assert_eq!(hive.workers.len(), 1);
    let known = hive.workers.values().next().unwrap();
    assert_eq!((known.memory_bytes, &known.state), (Some(9), &WorkerState::Ready));
    assert_eq!(known.tokens_per_s(), Some(1.5));
    assert_eq!(hive.heard, Moment::from_secs(3));
    // A change of a worker has no pace in it: that of before counts until the next telemetry.
    let event = Event::Worker { revision: 2, worker: worker("a-1", WorkerState::Busy) };
    fleet.update(&local(), event, Moment::from_secs(4));
    let known = fleet.worker(&local(), &"a-1".parse().unwrap()).unwrap();
    assert_eq!((known.tokens_per_s(), &known.state), (Some(1.5), &WorkerState::Busy));
}

fn any_event() -> impl Strategy<Value = Event> {
    let ids = prop::sample::select(vec!["a-1", "b-2", "c-3"]);
    let states =
        prop::sample::select(vec![WorkerState::Starting, WorkerState::Ready, WorkerState::Stopped]);
    prop_oneof![
        (0u64..12, ids.clone(), states).prop_map(|(revision, id, state)| Event::Worker {
            revision,
            worker: worker(id, state)
        }),
        (0u64..12, ids)
            .prop_map(|(revision, id)| Event::WorkerGone { revision, id: id.parse().unwrap() }),
        (0u64..12).prop_map(|revision| Event::Heartbeat { revision }),
        (0u64..12).prop_map(|revision| snapshot(revision, Vec::new())),
        Just(Event::Unknown),
    ]
}

proptest! {
    #[test]
    fn revisions_only_grow_by_one_until_a_snapshot(
        events in proptest::collection::vec(any_event(), 0..40),
    ) {
        let mut fleet = Fleet::default();
        for event in events {
            let before = fleet.hive(&local()).map(|hive| hive.revision);
            let is_snapshot = matches!(event, Event::Snapshot(_));
            let picture = fleet.update(&local(), event, Moment::ZERO);
            let after = fleet.hive(&local()).map(|hive| hive.revision);
            if !is_snapshot {
                prop_assert!(after == before || after == before.map(|r| r + 1));
            }
            if before.is_none() && !is_snapshot {
                prop_assert_eq!(picture, Picture::Torn);
            }
        }
    }

    #[test]
    fn a_whole_stream_gives_the_last_word_on_every_worker(
        changes in proptest::collection::vec(("[abc]-1", any::<bool>()), 0..30),
    ) {
        let mut fleet = Fleet::default();
        fleet.update(&local(), snapshot(0, Vec::new()), Moment::ZERO);
        let mut expected = std::collections::BTreeSet::new();
        for (n, (id, lives)) in changes.into_iter().enumerate() {
            let revision = n as u64 + 1;
            let event = if lives {
                expected.insert(id.clone());
                Event::Worker { revision, worker: worker(&id, WorkerState::Ready) }
            } else {
                expected.remove(&id);
                Event::WorkerGone { revision, id: id.parse().unwrap() }
            };
            prop_assert_eq!(fleet.update(&local(), event, Moment::ZERO), Picture::Whole);
        }
        let shown: Vec<String> =
            fleet.hive(&local()).unwrap().workers.keys().map(ToString::to_string).collect();
        prop_assert_eq!(shown, expected.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn lost_doubled_and_swapped_events_are_noticed_and_never_believed(
        changes in proptest::collection::vec(("[abc]-1", any::<bool>()), 1..30),
        mishaps in proptest::collection::vec((0u8..4, 0usize..30), 0..6),
    ) {
        // What was true at each revision, and the events that led there.
        let mut truth = vec![std::collections::BTreeSet::new()];
        let mut events = Vec::new();
        for (n, (id, lives)) in changes.into_iter().enumerate() {
            let (revision, mut now) = (n as u64 + 1, truth[n].clone());
            if lives {
                now.insert(id.clone());
                events.push(Event::Worker { revision, worker: worker(&id, WorkerState::Ready) });
            } else {
                now.remove(&id);
                events.push(Event::WorkerGone { revision, id: id.parse().unwrap() });
            }
            truth.push(now);
        }
        events.push(Event::Heartbeat { revision: truth.len() as u64 - 1 });
        for (what, at) in mishaps {
            let at = at % events.len();
            match what {
                0 if events.len() > 1 => drop(events.remove(at)),
                1 => events.insert(at, events[at].clone()),
                _ if at > 0 => events.swap(at - 1, at),
                _ => {}
            }
        }
        let mut fleet = Fleet::default();
        fleet.update(&local(), snapshot(0, Vec::new()), Moment::ZERO);
        for event in events {
            let picture = fleet.update(&local(), event, Moment::ZERO);
            let hive = fleet.hive(&local()).unwrap();
            let shown = hive.workers.keys().map(ToString::to_string).collect();
            let revision = usize::try_from(hive.revision).unwrap();
            prop_assert_eq!(&truth[revision], &shown, "at revision {}", revision);
            if picture == Picture::Torn {
                return Ok(());
            }
        }
    }
}
