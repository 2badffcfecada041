//! One device of a hive, in a few words and for scripts.

use serde::Serialize;
use wire::device::{Backend, DeviceInfo, Source};

use crate::output::progress::bytes;

/// One device for scripts. What could not be read is null.
#[derive(Debug, Serialize)]
pub struct DeviceRow {
    /// What it is.
    pub kind: Backend,
    /// Which one of its kind.
    pub index: u32,
    /// The maker's name for it.
    pub name: Option<String>,
    /// Bytes of its memory.
    pub memory_total_bytes: Option<u64>,
    /// Bytes of it in use by anyone.
    pub memory_used_bytes: Option<u64>,
    /// Bytes of it in use by workers of rbee.
    pub memory_ours_bytes: Option<u64>,
    /// Bytes of it promised to workers that have not taken them yet.
    pub memory_reserved_bytes: Option<u64>,
    /// Hundredths of the time in which it computed.
    pub utilisation_percent: Option<u32>,
    /// Its temperature.
    pub temperature_celsius: Option<i32>,
    /// Thousandths of a watt that it draws.
    pub power_milliwatts: Option<u64>,
    /// Thousandths of a watt that it may draw.
    pub power_limit_milliwatts: Option<u64>,
    /// Whether it is divided into instances.
    pub mig_enabled: Option<bool>,
    /// Since when it cannot be reached, in seconds since 1970.
    pub lost_since_unix_s: Option<u64>,
    /// Since when its driver does not answer, in seconds since 1970.
    pub silent_since_unix_s: Option<u64>,
    /// The version of its driver.
    pub driver: Option<String>,
    /// What the figures were read from.
    pub source: Option<Source>,
    /// Whether a worker can be placed on it.
    pub computes: bool,
}

impl From<&DeviceInfo> for DeviceRow {
    fn from(info: &DeviceInfo) -> Self {
        Self {
            kind: info.device.backend,
            index: info.device.index,
            name: info.name.clone(),
            memory_total_bytes: info.memory_total_bytes,
            memory_used_bytes: info.memory_used_bytes,
            memory_ours_bytes: info.memory_ours_bytes,
            memory_reserved_bytes: info.memory_reserved_bytes,
            utilisation_percent: info.utilisation_percent,
            temperature_celsius: info.temperature_celsius,
            power_milliwatts: info.power_milliwatts,
            power_limit_milliwatts: info.power_limit_milliwatts,
            mig_enabled: info.mig_enabled,
            lost_since_unix_s: info.lost_since_unix_s,
            silent_since_unix_s: info.silent_since_unix_s,
            driver: info.driver.clone(),
            source: info.source,
            computes: info.computes(),
        }
    }
}

impl DeviceRow {
    /// The device in a few words: what is known of it, and nothing for what is not.
    pub fn words(&self) -> String {
        let device = wire::Device { backend: self.kind, index: self.index };
        let name = self.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        let mut words = vec![format!("{device}{name}")];
        if self.lost_since_unix_s.is_some() {
            words.push("lost: it cannot be reached any more".to_owned());
        } else if self.silent_since_unix_s.is_some() {
            words.push("its driver does not answer".to_owned());
        }
        words.extend(self.memory());
        words.extend(self.utilisation_percent.map(|percent| format!("{percent} % busy")));
        words.extend(self.temperature_celsius.map(|celsius| format!("{celsius} °C")));
        words.extend(self.power());
        if self.mig_enabled == Some(true) {
            words.push("MIG".to_owned());
        }
        if !self.computes && self.lost_since_unix_s.is_none() {
            words.push("this build does not compute on it".to_owned());
        }
        words.join(", ")
    }

    fn memory(&self) -> Option<String> {
        let whose = [(self.memory_ours_bytes, "by rbee"), (self.memory_reserved_bytes, "promised")]
            .into_iter()
            .filter_map(|(count, what)| Some((count.filter(|count| *count > 0)?, what)))
            .map(|(count, what)| format!("{} {what}", bytes(count)))
            .collect::<Vec<_>>()
            .join(", ");
        let whose = if whose.is_empty() { whose } else { format!(" ({whose})") };
        match (self.memory_used_bytes, self.memory_total_bytes) {
            (Some(used), Some(total)) => {
                Some(format!("{} of {} used{whose}", bytes(used), bytes(total)))
            }
            (None, Some(total)) => Some(format!("{}{whose}", bytes(total))),
            _ => None,
        }
    }

    fn power(&self) -> Option<String> {
        let watts = |milliwatts: u64| milliwatts.saturating_add(500) / 1000;
        let drawn = watts(self.power_milliwatts?);
        Some(match self.power_limit_milliwatts {
            Some(limit) => format!("{drawn} of {} W", watts(limit)),
            None => format!("{drawn} W"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu() -> DeviceInfo {
        DeviceInfo {
            name: Some("A100".to_owned()),
            memory_total_bytes: Some(40 << 30),
            memory_used_bytes: Some(3 << 30),
            ..DeviceInfo::new("cuda:1".parse().unwrap())
        }
    }

    fn words(info: &DeviceInfo) -> String {
        DeviceRow::from(info).words()
    }

    #[test]
    fn what_is_known_is_said_and_what_is_not_is_left_out() {
        let known = DeviceInfo {
            memory_ours_bytes: Some(1 << 30),
            memory_reserved_bytes: Some(0),
            utilisation_percent: Some(97),
            temperature_celsius: Some(71),
            power_milliwatts: Some(318_500),
            power_limit_milliwatts: Some(400_000),
            mig_enabled: Some(true),
            can_compute: Some(true),
            ..gpu()
        };
        let all = "cuda:1 A100, 3.0 GiB of 40.0 GiB used (1.0 GiB by rbee), 97 % busy, 71 °C, \
                   319 of 400 W, MIG";
        assert_eq!(words(&known), all);
        assert_eq!(words(&DeviceInfo::new(wire::Device::CPU)), "cpu");
    }

    #[test]
    fn a_gpu_that_is_lost_or_that_nothing_computes_on_says_so() {
        assert!(
            words(&gpu()).ends_with(", this build does not compute on it"),
            "{}",
            words(&gpu())
        );
        let lost = DeviceInfo { lost_since_unix_s: Some(9), ..DeviceInfo::new(gpu().device) };
        assert_eq!(words(&lost), "cuda:1, lost: it cannot be reached any more");
        let silent = DeviceInfo { silent_since_unix_s: Some(9), ..gpu() };
        assert!(words(&silent).contains("its driver does not answer"));
    }
}
