//! Workers' memory as the executor sees it: what they were let in with, took, and gave back.

use std::collections::HashMap;
use std::sync::Arc;

use wire::device::Device;
use wire::guard::GuardSpec;
use wire::memory::MemoryBack;
use wire::{ModelRef, WorkerId};

use crate::inventory;
use crate::peaks::Peaks;
use crate::platform;
use crate::supervisor::effect::Start;
use crate::supervisor::{End, SpawnAsk};

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

/// What is known of all workers' memory.
#[derive(Debug)]
pub struct Account {
    peaks: Arc<Peaks>,
    admitted: HashMap<WorkerId, Admitted>,
    leaving: HashMap<WorkerId, Leaving>,
}

/// What is known of a worker's memory at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    /// It was not watched on its way.
    Unknown,
    /// This much.
    Known(MemoryBack),
    /// Less than it should be: worth another look in a moment.
    LookAgain,
}

impl Account {
    /// An account that corrects by `peaks`.
    pub fn new(peaks: Arc<Peaks>) -> Self {
        Self { peaks, admitted: HashMap::new(), leaving: HashMap::new() }
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

    /// A worker has ended: what came back of what it had.
    pub fn returned(&mut self, worker: &WorkerId) -> Returned {
        let Some(mut leaving) = self.leaving.remove(worker) else { return Returned::Unknown };
        let Some(free) = inventory::available_bytes() else { return Returned::Unknown };
        let grown = free.saturating_sub(leaving.free_bytes);
        let expected_bytes = leaving.own_bytes;
        let back = MemoryBack { expected_bytes, freed_bytes: grown.min(expected_bytes) };
        if back.missing_bytes().is_some() && !leaving.looked_twice {
            leaving.looked_twice = true;
            self.leaving.insert(worker.clone(), leaving);
            return Returned::LookAgain;
        }
        Returned::Known(back)
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
