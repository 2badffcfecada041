//! A device of a hive: the CPU or one GPU.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits;

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// The host's processors.
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
    /// An Apple GPU.
    Metal,
}

impl Backend {
    /// Every backend that a device can name.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Cuda, Self::Metal];

    /// The word used in `--device`, in `ps` and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Metal => "metal",
        }
    }
}

/// A device by backend and index, written `cpu`, `cuda:0`, `metal:0`.
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
    #[error("unknown device; a device is cpu, cuda:N or metal:N, for example cuda:0")]
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_writes_the_three_backends() {
        for (text, shown) in
            [("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("metal:0", "metal:0")]
        {
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

    proptest! {
        #[test]
        fn what_is_accepted_is_written_back_to_itself(
            text in "(cpu|cuda|metal|\\PC{0,4})(:\\PC{0,4}|:[0-9]{1,4})?",
        ) {
            if let Ok(device) = text.parse::<Device>() {
                prop_assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
            }
        }
    }
}
