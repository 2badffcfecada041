//! Devices in messages: one of which nothing is known, one of which all is, and one that is lost.

use wire::Device;
use wire::device::{Backend, DeviceInfo, Source};
use wire::memory::{DeviceMemoryBack, MemoryBack};

/// All of them.
pub fn all() -> Vec<DeviceInfo> {
    vec![DeviceInfo::new(Device::CPU), gpu(), lost_gpu()]
}

/// What came back of two of them.
pub fn memory_back() -> Vec<DeviceMemoryBack> {
    let back = MemoryBack { expected_bytes: 2 << 30, freed_bytes: 2 << 30 };
    let on = |index| DeviceMemoryBack { device: Device { backend: Backend::Cuda, index }, back };
    vec![on(0), on(1)]
}

fn gpu() -> DeviceInfo {
    DeviceInfo {
        device: Device { backend: Backend::Cuda, index: 1 },
        name: Some("a fast one".into()),
        memory_total_bytes: Some(24 << 30),
        memory_used_bytes: Some(1 << 30),
        memory_ours_bytes: Some(1 << 29),
        memory_reserved_bytes: Some(1 << 28),
        utilisation_percent: Some(97),
        temperature_celsius: Some(71),
        power_milliwatts: Some(318_250),
        power_limit_milliwatts: Some(450_000),
        mig_enabled: Some(false),
        lost_since_unix_s: None,
        silent_since_unix_s: None,
        driver: Some("570.86.15".into()),
        source: Some(Source::Nvml),
        can_compute: Some(false),
    }
}

fn lost_gpu() -> DeviceInfo {
    DeviceInfo {
        lost_since_unix_s: Some(1_700_000_000),
        silent_since_unix_s: Some(1_700_000_001),
        ..DeviceInfo::new(Device { backend: Backend::Rocm, index: 0 })
    }
}
