//! What computes here and how much memory it has.

use std::path::Path;

use sysinfo::{CpuRefreshKind, Pid, Process, ProcessRefreshKind, ProcessesToUpdate, System};
use wire::device::{Device, DeviceInfo, Source};
use wire::{Code, Fault, limits, text};

use crate::platform;
use crate::shortage::Shortages;

/// The hive's devices.
#[derive(Debug, Clone)]
pub struct Inventory {
    cpu_name: Option<String>,
    /// What runs short, as whoever follows it writes it here.
    pub shortages: Shortages,
}

impl Inventory {
    /// Looks at the machine once, for what does not change.
    pub fn look() -> Self {
        let name = System::new().ok().and_then(|mut system| {
            system.refresh_cpu_list(CpuRefreshKind::nothing());
            system.cpus().first().map(|cpu| cpu.brand().trim().to_owned())
        });
        let cpu_name = name.filter(|name| !name.is_empty());
        Self { cpu_name, shortages: Shortages::default() }
    }

    /// Every device as it is now.
    pub fn devices(&self) -> Vec<DeviceInfo> {
        let memory = host_memory();
        vec![DeviceInfo {
            name: self.cpu_name.clone(),
            memory_total_bytes: memory.map(|memory| memory.total),
            memory_used_bytes: memory.map(|memory| memory.total.saturating_sub(memory.available)),
            source: Some(Source::System),
            can_compute: Some(true),
            ..DeviceInfo::new(Device::CPU)
        }]
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_and_uses_some_of_it() {
        let devices = Inventory::look().devices();
        let total = devices[0].memory_total_bytes.unwrap();
        assert!((1..total).contains(&devices[0].memory_used_bytes.unwrap()));
    }
}
