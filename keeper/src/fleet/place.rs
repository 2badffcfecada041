//! Placement: which hive, which worker or device, and why. Pure.

use std::time::Duration;

use wire::device::{Backend, Device, DeviceInfo};
use wire::text::shell_word;
use wire::worker::{WorkerInfo, WorkerState};
use wire::{Code, Fault, HiveName, ModelRef, WorkerId};

use super::{Fleet, Hive, Moment};

/// What a request needs of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Which model.
    pub model: ModelRef,
    /// Only on this hive.
    pub hive: Option<HiveName>,
    /// Only on this device.
    pub device: Option<Device>,
    /// Exactly this context.
    pub ctx_size: Option<u32>,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// To a worker that is there; it may still be loading.
    Use {
        /// Its hive.
        hive: HiveName,
        /// Which one.
        worker: WorkerId,
        /// One sentence for a person.
        why: String,
    },
    /// To a worker that must be started.
    Spawn {
        /// On this hive.
        hive: HiveName,
        /// On this device.
        device: Device,
        /// One sentence for a person.
        why: String,
    },
}

impl Placement {
    /// The hive that it goes to.
    pub fn hive(&self) -> &HiveName {
        match self {
            Self::Use { hive, .. } | Self::Spawn { hive, .. } => hive,
        }
    }
}

impl Want {
    fn fits(&self, worker: &WorkerInfo) -> bool {
        worker.spec.model == self.model
            && self.device.is_none_or(|device| worker.spec.device == device)
            && self.ctx_size.is_none_or(|size| worker.spec.ctx_size == size)
    }

    fn allows(&self, hive: &HiveName) -> bool {
        self.hive.as_ref().is_none_or(|wanted| wanted == hive)
    }
}

/// The first number of a rank that has a free slot.
const FREE: u8 = 0;

/// How soon a worker can answer: smaller is sooner.
fn rank(worker: &WorkerInfo) -> Option<(u8, u32)> {
    let waiting = worker.active.saturating_add(worker.queued);
    match worker.state {
        _ if worker.state.is_routable() && waiting < worker.spec.slots => Some((FREE, waiting)),
        WorkerState::Ready | WorkerState::Busy => Some((1, waiting)),
        WorkerState::Starting | WorkerState::Loading { .. } => Some((2, waiting)),
        WorkerState::Restarting { .. } => Some((3, waiting)),
        _ => None,
    }
}

/// The hives that may take it: allowed, and heard within `stale`.
fn candidates<'a>(
    fleet: &'a Fleet,
    want: &Want,
    now: Moment,
    stale: Duration,
) -> Vec<(&'a HiveName, &'a Hive)> {
    let heard = |hive: &Hive| now.saturating_sub(hive.heard) < stale;
    fleet.hives().filter(|(name, hive)| want.allows(name) && heard(hive)).collect()
}

/// The worker among them that can answer soonest, and how soon.
fn soonest<'a>(
    hives: &[(&'a HiveName, &'a Hive)],
    want: &Want,
) -> Option<((u8, u32), &'a HiveName, &'a WorkerInfo)> {
    hives
        .iter()
        .flat_map(|&(name, hive)| hive.workers.values().map(move |worker| (name, worker)))
        .filter(|(_, worker)| want.fits(worker))
        .filter_map(|(name, worker)| Some((rank(worker)?, name, worker)))
        .min_by_key(|(rank, name, worker)| (*rank, *name, &worker.id))
}

/// Whether a worker with a free slot is there already, so that no other hive can be sooner.
pub fn takes_it_at_once(fleet: &Fleet, want: &Want, now: Moment, stale: Duration) -> bool {
    let hives = candidates(fleet, want, now, stale);
    soonest(&hives, want).is_some_and(|(rank, ..)| rank.0 == FREE)
}

/// Places a request. Hives that have been silent for `stale` get nothing new.
///
/// # Errors
/// `HIVE_UNREACHABLE` when no hive was heard, `BACKEND_UNAVAILABLE` when none has the device.
pub fn place(fleet: &Fleet, want: &Want, now: Moment, stale: Duration) -> Result<Placement, Fault> {
    let hives = candidates(fleet, want, now, stale);
    if hives.is_empty() {
        return Err(Fault::new(Code::HiveUnreachable, "no hive answers").hint("rbee doctor"));
    }
    let soonest = soonest(&hives, want);
    if let Some((rank, hive, worker)) = soonest {
        let why = match rank {
            (FREE, _) => "it runs there and has a free slot".to_owned(),
            (1, waiting) => format!("it runs there; {waiting} before this one"),
            (3, _) => "it ended there by itself and is started again".to_owned(),
            _ => "it is being loaded there".to_owned(),
        };
        return Ok(Placement::Use { hive: hive.clone(), worker: worker.id.clone(), why });
    }
    let device = hives
        .iter()
        .flat_map(|(name, hive)| computing(hive).map(move |device| (*name, device)))
        .filter(|(_, device)| want.device.is_none_or(|wanted| wanted == *device))
        .min_by_key(|(name, device)| (device.backend == Backend::Cpu, *name, *device));
    match device {
        Some((hive, device)) => {
            let why = if want.device.is_some() {
                format!("no worker has it loaded; {device} was asked for")
            } else {
                let idle =
                    hives.iter().find(|(name, _)| *name == hive).and_then(|(_, it)| unused(it));
                let idle = idle.map(|idle| format!("; this build does not compute on its {idle}"));
                let idle = idle.unwrap_or_default();
                format!("no worker has it loaded; {device} is the first choice of {hive}{idle}")
            };
            Ok(Placement::Spawn { hive: hive.clone(), device, why })
        }
        None => Err(no_device(want, &hives)),
    }
}

/// The devices of a hive that a worker can be placed on.
fn computing(hive: &Hive) -> impl Iterator<Item = Device> {
    hive.devices.iter().filter(|info| info.computes()).map(|info| info.device)
}

/// A device of a hive that is there and idle because its build does not compute on it.
fn unused(hive: &Hive) -> Option<Device> {
    let idle = |info: &&DeviceInfo| !info.computes() && info.lost_since_unix_s.is_none();
    hive.devices.iter().find(idle).map(|info| info.device)
}

fn no_device(want: &Want, hives: &[(&HiveName, &Hive)]) -> Fault {
    let devices: Vec<Device> = hives.iter().flat_map(|(_, hive)| computing(hive)).collect();
    let there: Vec<String> = devices.iter().map(ToString::to_string).collect();
    let there = if there.is_empty() {
        "no device".to_owned()
    } else {
        format!("only {}", there.join(", "))
    };
    let fault = match want.device {
        Some(device) => Fault::new(
            Code::BackendUnavailable,
            format!("there is no device {device} that this build can use, {there}"),
        )
        .detail("device", device.to_string()),
        None => Fault::new(Code::BackendUnavailable, "no hive has a device that can compute"),
    };
    match devices.first() {
        Some(device) => {
            let model = shell_word(&want.model.to_string());
            fault.hint(format!("rbee run -m {model} --device {device} \"Hello\""))
        }
        None => fault.hint("rbee doctor"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{snapshot, worker};
    use super::*;
    use proptest::prelude::*;
    use wire::event::Event;

    const STALE: Duration = Duration::from_secs(10);

    fn want() -> Want {
        Want { model: ModelRef::Demo, hive: None, device: None, ctx_size: None }
    }

    fn fleet(workers: Vec<WorkerInfo>) -> Fleet {
        let mut fleet = Fleet::default();
        fleet.update(&HiveName::local(), snapshot(1, workers), Moment::ZERO);
        fleet
    }

    fn used(placement: Placement) -> String {
        match placement {
            Placement::Use { worker, .. } => worker.to_string(),
            Placement::Spawn { .. } => "spawn".to_owned(),
        }
    }

    fn choose(workers: Vec<WorkerInfo>, want: &Want) -> String {
        used(place(&fleet(workers), want, Moment::ZERO, STALE).unwrap())
    }

    fn busy(id: &str, active: u32, queued: u32) -> WorkerInfo {
        WorkerInfo { active, queued, ..worker(id, WorkerState::Busy) }
    }

    #[test]
    fn a_free_slot_beats_a_short_queue_beats_a_load_beats_a_start() {
        let loading = worker("d-1", WorkerState::Loading { bytes_done: 1, bytes_total: 2 });
        let all =
            [loading, busy("c-1", 1, 3), busy("b-1", 1, 0), worker("a-1", WorkerState::Ready)];
        let choices: Vec<String> =
            (1..=4).rev().map(|n| choose(all[..n].to_vec(), &want())).collect();
        assert_eq!(choices, ["a-1", "b-1", "c-1", "d-1"]);
        assert_eq!(choose(Vec::new(), &want()), "spawn");
    }

    #[test]
    fn what_ended_or_is_silent_or_differs_is_not_used() {
        let mut other = worker("x-1", WorkerState::Ready);
        other.spec.model = ModelRef::File("/x.gguf".into());
        let useless = vec![
            other,
            worker("a-1", WorkerState::Stopped),
            worker("b-1", WorkerState::Stale),
            worker("c-1", WorkerState::Draining),
            worker("d-1", WorkerState::Failed { why: String::new(), code: None }),
        ];
        assert_eq!(choose(useless, &want()), "spawn");
        let smaller = Want { ctx_size: Some(512), ..want() };
        assert_eq!(choose(vec![worker("a-1", WorkerState::Ready)], &smaller), "spawn");
    }

    #[test]
    fn a_device_that_is_not_there_is_named_beside_those_that_are() {
        let want = Want { device: Some("cuda:1".parse().unwrap()), ..want() };
        let fault = place(&fleet(Vec::new()), &want, Moment::ZERO, STALE).unwrap_err();
        assert_eq!(fault.code, Code::BackendUnavailable);
        assert!(fault.message.contains("cuda:1") && fault.message.contains("cpu"), "{fault}");
    }

    #[test]
    fn a_gpu_that_nothing_computes_on_is_shown_and_never_placed_on() {
        let Event::Snapshot(mut picture) = snapshot(1, Vec::new()) else { unreachable!() };
        let gpu = DeviceInfo::new("cuda:0".parse().unwrap());
        let able = DeviceInfo { can_compute: Some(true), ..gpu.clone() };
        picture.devices.push(gpu.clone());
        let mut fleet = Fleet::default();
        fleet.update(&HiveName::local(), Event::Snapshot(picture.clone()), Moment::ZERO);
        let placed = place(&fleet, &want(), Moment::ZERO, STALE).unwrap();
        let Placement::Spawn { device, why, .. } = placed else { panic!("{placed:?}") };
        assert_eq!(device, Device::CPU);
        assert!(why.contains("does not compute on its cuda:0"), "{why}");
        let asked = Want { device: Some(gpu.device), ..want() };
        let fault = place(&fleet, &asked, Moment::ZERO, STALE).unwrap_err();
        assert_eq!(fault.code, Code::BackendUnavailable);
        picture.revision += 1;
        picture.devices[1] = able;
        fleet.update(&HiveName::local(), Event::Snapshot(picture), Moment::ZERO);
        let placed = place(&fleet, &want(), Moment::ZERO, STALE).unwrap();
        assert!(matches!(placed, Placement::Spawn { device, .. } if device == gpu.device));
    }

    #[test]
    fn a_silent_hive_gets_nothing_new() {
        let fault = place(&fleet(Vec::new()), &want(), STALE, STALE).unwrap_err();
        assert_eq!(fault.code, Code::HiveUnreachable);
    }

    proptest! {
        #[test]
        fn a_worker_that_is_used_fits_and_will_answer(
            states in proptest::collection::vec((0usize..7, 0u32..3, 64u32..66), 0..8),
            ctx in proptest::option::of(64u32..66),
        ) {
            let all = [
                WorkerState::Starting, WorkerState::Ready, WorkerState::Busy, WorkerState::Stale,
                WorkerState::Stopping, WorkerState::Stopped, WorkerState::Unknown,
            ];
            let workers: Vec<WorkerInfo> = states
                .into_iter()
                .enumerate()
                .map(|(n, (state, active, ctx_size))| {
                    let mut info = worker(&format!("w-{n}"), all[state].clone());
                    info.active = active;
                    info.spec.ctx_size = ctx_size;
                    info
                })
                .collect();
            let want = Want { ctx_size: ctx, ..want() };
            let fits = |w: &WorkerInfo| {
                w.state.is_promising() && ctx.is_none_or(|size| w.spec.ctx_size == size)
            };
            match place(&fleet(workers.clone()), &want, Moment::ZERO, STALE).unwrap() {
                Placement::Use { worker, why, .. } => {
                    prop_assert!(!why.is_empty());
                    let chosen = workers.iter().find(|w| w.id == worker).unwrap();
                    prop_assert!(fits(chosen));
                }
                Placement::Spawn { .. } => prop_assert!(!workers.iter().any(fits)),
            }
        }
    }
}
