//! A device of a hive: the CPU or one GPU.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::limits;

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// The host's processors.
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
    /// An AMD GPU.
    Rocm,
    /// An Apple GPU.
    Metal,
}

impl Backend {
    /// Every backend that a device can name.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Cuda, Self::Rocm, Self::Metal];

    /// The word used in `--device`, in `ps` and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Rocm => "rocm",
            Self::Metal => "metal",
        }
    }
}

/// A device by backend and index, written `cpu`, `cuda:0`, `rocm:0`, `metal:0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Device {
    /// What computes.
    pub backend: Backend,
    /// Which one of that backend, from 0.
    pub index: u32,
}

impl Device {
    /// The host's processors.
    pub const CPU: Self = Self { backend: Backend::Cpu, index: 0 };
}

/// Why a device was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDevice {
    /// The word before the colon is no backend.
    #[error("unknown device; a device is cpu, cuda:N, rocm:N or metal:N, for example cuda:0")]
    Backend,
    /// The index is no small non-negative integer.
    #[error("a device's index is a whole number from 0 to {}", limits::MAX_DEVICE_INDEX)]
    Index,
}

impl FromStr for Device {
    type Err = InvalidDevice;
    fn from_str(text: &str) -> Result<Self, InvalidDevice> {
        let (word, index) = match text.split_once(':') {
            Some((word, index)) => (word, Some(index)),
            None => (text, None),
        };
        let backend = Backend::ALL
            .into_iter()
            .find(|backend| backend.as_str() == word)
            .ok_or(InvalidDevice::Backend)?;
        let index = match index {
            None => 0,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| InvalidDevice::Index)?
            }
            Some(_) => return Err(InvalidDevice::Index),
        };
        let highest = if backend == Backend::Cpu { 0 } else { limits::MAX_DEVICE_INDEX };
        if index > highest {
            return Err(InvalidDevice::Index);
        }
        Ok(Self { backend, index })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.backend {
            Backend::Cpu => f.write_str("cpu"),
            other => write!(f, "{}:{}", other.as_str(), self.index),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = InvalidDevice;
    fn try_from(text: String) -> Result<Self, InvalidDevice> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

/// What a device's figures were read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The operating system.
    System,
    /// NVIDIA's management library.
    Nvml,
    /// The program `nvidia-smi`.
    NvidiaSmi,
    /// Files of the kernel's driver (sysfs).
    Sysfs,
    /// A source of a newer hive.
    #[serde(other)]
    Unknown,
}

impl Source {
    /// The word in `hive list --json` and in a sentence.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Nvml => "nvml",
            Self::NvidiaSmi => "nvidia_smi",
            Self::Sysfs => "sysfs",
            Self::Unknown => "unknown",
        }
    }
}

/// A device as its hive sees it now. What could not be read is absent, never invented.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// Which one.
    pub device: Device,
    /// The maker's name for it; untrusted text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Bytes of its memory (the host's RAM for the CPU).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_total_bytes: Option<u64>,
    /// Bytes of it in use by anyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<u64>,
    /// Bytes of it in use by this hive's own workers; part of [`Self::memory_used_bytes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_ours_bytes: Option<u64>,
    /// Bytes of it promised to workers that have not taken them yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_reserved_bytes: Option<u64>,
    /// How much of the time it computed lately, in hundredths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilisation_percent: Option<u32>,
    /// Its temperature, in degrees Celsius.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_celsius: Option<i32>,
    /// The power that it draws, in thousandths of a watt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_milliwatts: Option<u64>,
    /// The power that it may draw, in thousandths of a watt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_limit_milliwatts: Option<u64>,
    /// Whether it is divided into instances (NVIDIA's MIG), on which then everything runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig_enabled: Option<bool>,
    /// Since when it cannot be reached any more, in seconds of Unix time; a GPU can fall off its
    /// bus. It has no figures then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_since_unix_s: Option<u64>,
    /// Since when its driver has not answered, in seconds of Unix time. It has no figures then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_since_unix_s: Option<u64>,
    /// The version of its driver; untrusted text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// What its figures were read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Whether the hive's build can compute on it. See [`Self::computes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub can_compute: Option<bool>,
}

impl DeviceInfo {
    /// A device of which nothing else is known.
    pub fn new(device: Device) -> Self {
        Self {
            device,
            name: None,
            memory_total_bytes: None,
            memory_used_bytes: None,
            memory_ours_bytes: None,
            memory_reserved_bytes: None,
            utilisation_percent: None,
            temperature_celsius: None,
            power_milliwatts: None,
            power_limit_milliwatts: None,
            mig_enabled: None,
            lost_since_unix_s: None,
            silent_since_unix_s: None,
            driver: None,
            source: None,
            can_compute: None,
        }
    }

    /// Whether a worker may be placed on it. A hive that does not say computes on its CPU alone.
    pub fn computes(&self) -> bool {
        let can = self.can_compute.unwrap_or(self.device.backend == Backend::Cpu);
        can && self.lost_since_unix_s.is_none()
    }
}

/// Reads a hive's devices: at most [`limits::MAX_DEVICES`], and those of a kind that this build
/// does not know left out, so that a newer hive can be talked to.
///
/// # Errors
/// When it is no list of devices.
pub fn read_list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<DeviceInfo>, D::Error> {
    /// One of them.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Entry {
        Known(Box<DeviceInfo>),
        Unknown(serde::de::IgnoredAny),
    }
    let entries = Vec::<Entry>::deserialize(from)?;
    let known = entries.into_iter().filter_map(|entry| match entry {
        Entry::Known(info) => Some(*info),
        Entry::Unknown(_) => None,
    });
    Ok(known.take(limits::MAX_DEVICES).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_writes_every_backend() {
        for (text, shown) in [
            ("cpu", "cpu"),
            ("cuda", "cuda:0"),
            ("cuda:1", "cuda:1"),
            ("rocm:3", "rocm:3"),
            ("metal:0", "metal:0"),
        ] {
            assert_eq!(text.parse::<Device>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn refuses_unknown_backends_and_indices() {
        for text in [
            "quantum",
            "",
            "CPU",
            "cuda:",
            "cuda:-1",
            "cuda:+1",
            "cuda:256",
            "cuda:1:2",
            "cpu:1",
            "cuda:99999999999",
        ] {
            assert!(text.parse::<Device>().is_err(), "{text:?}");
        }
    }

    fn listed(json: &str) -> Vec<String> {
        #[derive(Deserialize)]
        struct Listed(#[serde(deserialize_with = "read_list")] Vec<DeviceInfo>);
        let Listed(infos) = serde_json::from_str(json).unwrap();
        infos.iter().map(|info| info.device.to_string()).collect()
    }

    #[test]
    fn devices_of_an_unknown_kind_are_left_out_and_the_rest_is_read() {
        let json = r#"[{"device":"cpu"},{"device":"npu:0","power":"much"},{"device":"cuda:1"},7]"#;
        assert_eq!(listed(json), ["cpu", "cuda:1"]);
    }

    #[test]
    fn of_ten_thousand_devices_as_many_are_read_as_a_hive_may_have() {
        let one = r#"{"device":"cuda:0"}"#;
        let many = format!("[{}]", vec![one; 10_000].join(","));
        assert_eq!(listed(&many).len(), limits::MAX_DEVICES);
    }

    #[test]
    fn a_gpu_computes_only_where_the_hive_says_so_and_it_is_not_lost() {
        let gpu = DeviceInfo::new("cuda:0".parse().unwrap());
        assert!(!gpu.computes() && DeviceInfo::new(Device::CPU).computes());
        let able = DeviceInfo { can_compute: Some(true), ..gpu };
        assert!(able.computes());
        assert!(!DeviceInfo { lost_since_unix_s: Some(1), ..able }.computes());
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_written_back_to_itself(
            text in "(cpu|cuda|rocm|metal|\\PC{0,4})(:\\PC{0,4}|:[0-9]{1,4})?",
        ) {
            if let Ok(device) = text.parse::<Device>() {
                prop_assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
            }
        }
    }
}
