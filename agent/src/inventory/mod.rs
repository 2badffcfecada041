//! What computes here, how much memory it has, and who uses it.

mod amd;
mod cpu;
mod gpu;
mod nvidia_smi;
mod nvml;
mod sampler;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use wire::device::{Device, DeviceInfo};
use wire::worker::WorkerInfo;
use wire::{Code, Fault, limits, text};

pub use self::cpu::available_bytes;
pub use self::gpu::Gpu;
pub use self::sampler::{Gpus, Sources};

use self::cpu::Cpu;
use crate::platform;
use crate::shortage::Shortages;

/// The hive's devices.
#[derive(Debug, Clone)]
pub struct Inventory {
    cpu: Arc<Cpu>,
    gpus: Gpus,
    /// What runs short, as whoever follows it writes it here.
    pub shortages: Shortages,
}

impl Inventory {
    /// Looks at the machine once, for what does not change.
    pub fn look(gpus: Gpus) -> Self {
        Self { cpu: Arc::new(Cpu::look()), gpus, shortages: Shortages::default() }
    }

    /// Every device as it is now, with what `workers` have of it and what is promised to them.
    pub async fn devices(
        &self,
        workers: &[WorkerInfo],
        promised: &BTreeMap<Device, u64>,
    ) -> Vec<DeviceInfo> {
        let promised = |device: Device| promised.get(&device).copied().unwrap_or(0);
        let own = workers.iter().filter_map(|worker| worker.pid).collect();
        let gpus = self.gpus.look(own).await;
        let gpus = gpus.into_iter().map(|gpu| DeviceInfo {
            memory_ours_bytes: own_bytes(&gpu, workers),
            memory_reserved_bytes: Some(promised(gpu.info.device)).filter(|bytes| *bytes > 0),
            ..gpu.info
        });
        let cpu = self.cpu.info(workers, promised(Device::CPU));
        std::iter::once(cpu).chain(gpus).collect()
    }

    /// Why a source of figures was not used, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        self.gpus.notes()
    }
}

/// Bytes of a GPU that `workers` use. A driver in another namespace of processes lists none of
/// them by its number: then a worker that must be there is not, and nothing is known.
fn own_bytes(gpu: &Gpu, workers: &[WorkerInfo]) -> Option<u64> {
    let processes = gpu.processes.as_ref()?;
    let on_it = workers.iter().filter(|worker| worker.spec.device == gpu.info.device);
    let mut there = on_it.filter_map(|worker| worker.pid);
    if !there.all(|pid| processes.contains_key(&pid)) {
        return None;
    }
    let own: Vec<u32> = workers.iter().filter_map(|worker| worker.pid).collect();
    gpu::bytes_of(processes, &own)
}

/// Why the disk has no room for a worker's own directory below `workers`, if it has none.
pub fn full_disk(workers: &Path) -> Option<Fault> {
    // What cannot be looked at will say so itself.
    let disk = platform::disk(workers).ok()?;
    let needed = limits::WORKER_DISK_BYTES;
    if disk.free_bytes >= needed {
        return None;
    }
    let message = format!(
        "a worker needs {} KiB of disk for its records; {} KiB are free at {}",
        needed >> 10,
        disk.free_bytes >> 10,
        workers.display()
    );
    let fault = Fault::new(Code::DiskFull, message)
        .detail("required_bytes", needed)
        .detail("available_bytes", disk.free_bytes);
    Some(fault.hint(format!("df -h {}", text::shell_word(&workers.to_string_lossy()))))
}
