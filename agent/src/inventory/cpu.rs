//! The CPU and the host's memory as a device.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use sysinfo::{
    CpuRefreshKind, MINIMUM_CPU_UPDATE_INTERVAL, Pid, Process, ProcessRefreshKind,
    ProcessesToUpdate, System,
};
use wire::device::{Backend, Device, DeviceInfo, Source};
use wire::worker::WorkerInfo;
use wire::{limits, text};

use crate::platform;

/// The host's processors.
#[derive(Debug)]
pub struct Cpu {
    name: Option<String>,
    work: Mutex<Work>,
}

/// How busy the processors were between two looks.
#[derive(Debug, Default)]
struct Work {
    system: Option<System>,
    looked: Option<Instant>,
    percent: Option<u32>,
}

impl Cpu {
    /// Looks once for what does not change.
    pub fn look() -> Self {
        let mut system = System::new().ok();
        let name = system.as_mut().and_then(|system| {
            system.refresh_cpu_list(CpuRefreshKind::nothing());
            let brand = system.cpus().first()?.brand().trim();
            Some(text::one_line(brand, limits::MAX_DEVICE_NAME_BYTES))
        });
        let name = name.filter(|name| !name.is_empty());
        let work = Work { system, ..Work::default() };
        let cpu = Self { name, work: Mutex::new(work) };
        // The first look is what the next one is compared with.
        cpu.busy_percent();
        cpu
    }

    /// As it is now, with what `workers` have of the host's memory.
    pub fn info(&self, workers: &[WorkerInfo], reserved_bytes: u64) -> DeviceInfo {
        let memory = host_memory();
        DeviceInfo {
            name: self.name.clone(),
            memory_total_bytes: memory.map(|memory| memory.total),
            memory_used_bytes: memory.map(|memory| memory.total.saturating_sub(memory.available)),
            memory_ours_bytes: own_bytes(workers),
            memory_reserved_bytes: Some(reserved_bytes),
            utilisation_percent: self.busy_percent(),
            source: Some(Source::System),
            can_compute: Some(true),
            ..DeviceInfo::new(Device::CPU)
        }
    }

    /// Hundredths of all processors' time that were used since the look before.
    fn busy_percent(&self) -> Option<u32> {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let is_early = |looked: Instant| looked.elapsed() < MINIMUM_CPU_UPDATE_INTERVAL;
        if work.looked.is_some_and(is_early) {
            return work.percent;
        }
        let is_first = work.looked.replace(Instant::now()).is_none();
        let system = work.system.as_mut()?;
        system.refresh_cpu_usage();
        let usage = system.global_cpu_usage();
        work.percent = (!is_first).then(|| whole(usage)).flatten();
        work.percent
    }
}

fn whole(percent: f32) -> Option<u32> {
    (0..=100).find(|whole: &u16| f32::from(*whole) + 0.5 > percent).map(u32::from)
}

/// Bytes that workers on the CPU have of their own; nothing where one is not told of.
fn own_bytes(workers: &[WorkerInfo]) -> Option<u64> {
    let on_cpu = workers.iter().filter(|worker| worker.spec.device.backend == Backend::Cpu);
    on_cpu
        .filter_map(|worker| worker.pid)
        .try_fold(0_u64, |sum, pid| Some(sum.saturating_add(platform::own_bytes(pid)?)))
}

/// Bytes of host memory that nobody uses; nothing when the system does not say.
pub fn available_bytes() -> Option<u64> {
    host_memory().map(|memory| memory.available)
}

#[derive(Debug, Clone, Copy)]
struct HostMemory {
    total: u64,
    available: u64,
}

/// The host's memory, or this process's control group's when that is less.
fn host_memory() -> Option<HostMemory> {
    let mut system = System::new().ok()?;
    system.refresh_memory();
    let (total, available) = (system.total_memory(), system.available_memory());
    if total == 0 {
        return None;
    }
    let own = Pid::from_u32(std::process::id());
    let of_own = ProcessesToUpdate::Some(&[own]);
    system.refresh_processes_specifics(of_own, false, ProcessRefreshKind::nothing());
    let limits = system.process(own).and_then(Process::cgroup_limits);
    Some(match limits.or_else(|| system.cgroup_limits()) {
        // The group's own "free" counts cached files as used; the kernel gives those back.
        Some(group) => HostMemory {
            total: total.min(group.total_memory),
            available: available.min(group.total_memory.saturating_sub(group.rss)),
        },
        None => HostMemory { total, available },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_and_uses_some_of_it() {
        let info = Cpu::look().info(&[], 7);
        let total = info.memory_total_bytes.unwrap();
        assert!((1..total).contains(&info.memory_used_bytes.unwrap()));
        assert_eq!((info.memory_ours_bytes, info.memory_reserved_bytes), (Some(0), Some(7)));
        assert_eq!(info.utilisation_percent, None, "nothing to compare with yet");
    }

    #[test]
    fn a_share_is_rounded_and_one_beyond_all_is_none() {
        assert_eq!([0.2, 36.6, 100.0, 240.0].map(whole), [Some(0), Some(37), Some(100), None]);
    }
}
