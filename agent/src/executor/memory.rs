//! Workers' memory as the executor sees it: what they were let in with, took, and gave back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use wire::device::Device;
use wire::guard::GuardSpec;
use wire::memory::{DeviceMemoryBack, MemoryBack};
use wire::{ModelRef, WorkerId};

use crate::inventory::{self, Gpu, Gpus};
use crate::peaks::Peaks;
use crate::platform;
use crate::supervisor::effect::Start;
use crate::supervisor::{Back, End, SpawnAsk};

/// What a worker was let in with.
#[derive(Debug)]
struct Admitted {
    model: ModelRef,
    device: Device,
    need_bytes: u64,
}

/// A worker on its way to its end.
#[derive(Debug)]
struct Leaving {
    own_bytes: u64,
    free_bytes: u64,
    looked_twice: bool,
}

/// What a worker on its way to its end has of a GPU.
#[derive(Debug, Clone, Copy)]
struct Held {
    device: Device,
    /// Bytes of the process.
    own_bytes: u64,
    /// Bytes of all.
    used_bytes: Option<u64>,
}

/// A worker with memory of GPUs on its way to its end.
#[derive(Debug)]
struct OnGpus {
    pid: u32,
    held: Vec<Held>,
    /// The last reading before the one that was asked for after its end.
    asked: Option<u64>,
    looks: u32,
}

/// Looks at the memory of GPUs after a worker's end before something is said to be missing: a
/// driver takes its time to clear it.
const GPU_LOOKS: u32 = 2;

/// What is known of all workers' memory.
#[derive(Debug)]
pub struct Account {
    peaks: Arc<Peaks>,
    gpus: Gpus,
    on_gpus: Arc<Mutex<HashMap<WorkerId, OnGpus>>>,
    admitted: HashMap<WorkerId, Admitted>,
    leaving: HashMap<WorkerId, Leaving>,
}

/// What is known of a worker's memory at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Returned {
    /// It was not watched on its way.
    Unknown,
    /// This much.
    Known(Back),
    /// Less than it should be: worth another look in a moment.
    LookAgain,
}

impl Account {
    /// An account that corrects by `peaks` and looks at `gpus`.
    pub fn new(peaks: Arc<Peaks>, gpus: Gpus) -> Self {
        let (admitted, leaving) = (HashMap::new(), HashMap::new());
        Self { peaks, gpus, on_gpus: Arc::default(), admitted, leaving }
    }

    /// Adds to a wish what its model took beyond its need.
    pub fn correct(&self, ask: &mut SpawnAsk) {
        let device = ask.device.unwrap_or(Device::CPU);
        ask.overrun_bytes = self.peaks.overrun_bytes(&ask.model, device);
    }

    /// A worker is started.
    pub fn starts(&mut self, start: &Start) {
        let (model, device) = (start.spec.model.clone(), start.spec.device);
        let admitted = Admitted { model, device, need_bytes: start.need_bytes };
        self.admitted.insert(start.id.clone(), admitted);
    }

    /// A worker of an earlier agent was found.
    pub fn adopts(&mut self, spec: &GuardSpec) {
        let (model, device) = (spec.spec.model.clone(), spec.spec.device);
        let admitted = Admitted { model, device, need_bytes: spec.need_bytes };
        self.admitted.insert(spec.id.clone(), admitted);
    }

    /// A worker goes down its guard's ladder.
    pub fn leaves(&mut self, worker: &WorkerId, pid: Option<u32>) {
        let own = pid.and_then(platform::own_bytes);
        if let Some((own_bytes, free_bytes)) = own.zip(inventory::available_bytes()) {
            let leaving = Leaving { own_bytes, free_bytes, looked_twice: false };
            self.leaving.insert(worker.clone(), leaving);
        }
    }

    /// Sees what a worker has of GPUs before it goes down its guard's ladder.
    pub fn gpus_before(
        &self,
        worker: &WorkerId,
        pid: Option<u32>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (gpus, all, worker) = (self.gpus.clone(), Arc::clone(&self.on_gpus), worker.clone());
        async move {
            let Some(pid) = pid else { return };
            let seen = gpus.look(vec![pid]).await;
            let held: Vec<Held> = seen.iter().filter_map(|gpu| held(gpu, pid)).collect();
            if !held.is_empty() {
                let on_gpus = OnGpus { pid, held, asked: None, looks: 0 };
                all.lock().unwrap_or_else(PoisonError::into_inner).insert(worker, on_gpus);
            }
        }
    }

    /// A worker has ended: what came back of what it had.
    pub fn returned(&mut self, worker: &WorkerId) -> Returned {
        let devices = self.returned_of_gpus(worker);
        let host = self.returned_of_host(worker, devices.is_none());
        match (host, devices) {
            (Returned::Known(back), Some(devices)) => Returned::Known(Back { devices, ..back }),
            (Returned::Unknown, Some(devices)) if !devices.is_empty() => {
                Returned::Known(Back { host: None, devices })
            }
            (_, None) => Returned::LookAgain,
            (host, _) => host,
        }
    }

    fn returned_of_host(&mut self, worker: &WorkerId, comes_again: bool) -> Returned {
        let Some(mut leaving) = self.leaving.remove(worker) else { return Returned::Unknown };
        let Some(free) = inventory::available_bytes() else { return Returned::Unknown };
        let grown = free.saturating_sub(leaving.free_bytes);
        let expected_bytes = leaving.own_bytes;
        let back = MemoryBack { expected_bytes, freed_bytes: grown.min(expected_bytes) };
        if comes_again || back.missing_bytes().is_some() && !leaving.looked_twice {
            leaving.looked_twice = true;
            self.leaving.insert(worker.clone(), leaving);
            return Returned::LookAgain;
        }
        Returned::Known(Back { host: Some(back), devices: Vec::new() })
    }

    /// What came back of GPUs' memory; nothing when that is worth another look in a moment.
    fn returned_of_gpus(&self, worker: &WorkerId) -> Option<Vec<DeviceMemoryBack>> {
        let mut all = self.on_gpus.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(on_gpus) = all.get_mut(worker) else { return Some(Vec::new()) };
        let seen = on_gpus.asked.and_then(|number| self.gpus.later_than(number));
        let back: Vec<DeviceMemoryBack> = seen
            .iter()
            .flatten()
            .filter_map(|gpu| {
                let held = on_gpus.held.iter().find(|held| held.device == gpu.info.device)?;
                came_back(*held, gpu, on_gpus.pid)
            })
            .collect();
        let is_missing = back.iter().any(|on| on.back.missing_bytes().is_some());
        if on_gpus.looks < GPU_LOOKS && (seen.is_none() || is_missing) {
            on_gpus.looks += 1;
            on_gpus.asked = Some(self.gpus.look_anew(vec![on_gpus.pid]));
            return None;
        }
        all.remove(worker);
        Some(back)
    }

    /// Learns from a worker's end.
    pub fn ended(&mut self, worker: &WorkerId, end: &End) {
        let Some(admitted) = self.admitted.remove(worker) else { return };
        let End::Recorded(record) = end else { return };
        let Some(peak) = record.memory.and_then(|memory| memory.peak_bytes) else { return };
        let Admitted { model, device, need_bytes } = admitted;
        if !self.peaks.note(&model, device, need_bytes, peak) {
            return;
        }
        tracing::info!(%worker, need_bytes, peak, "a worker's memory was not as computed");
        let peaks = Arc::clone(&self.peaks);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = peaks.save() {
                tracing::warn!(%error, "measured memory could not be written down");
            }
        });
    }
}

/// What a process has of a GPU.
fn held(gpu: &Gpu, pid: u32) -> Option<Held> {
    let own_bytes = (*gpu.processes.as_ref()?.get(&pid)?)?;
    let (device, used_bytes) = (gpu.info.device, gpu.info.memory_used_bytes);
    Some(Held { device, own_bytes, used_bytes })
}

/// What came back of what `pid` had, by what is in use now and by whose it is.
fn came_back(before: Held, now: &Gpu, pid: u32) -> Option<DeviceMemoryBack> {
    let expected_bytes = before.own_bytes;
    let used = before.used_bytes.zip(now.info.memory_used_bytes);
    let grown = used.map(|(before, now)| before.saturating_sub(now));
    let let_go = now.processes.as_ref().map(|all| match all.get(&pid) {
        None => expected_bytes,
        Some(held) => expected_bytes.saturating_sub(held.unwrap_or(expected_bytes)),
    });
    let freed_bytes = grown.into_iter().chain(let_go).min()?.min(expected_bytes);
    let back = MemoryBack { expected_bytes, freed_bytes };
    Some(DeviceMemoryBack { device: before.device, back })
}
