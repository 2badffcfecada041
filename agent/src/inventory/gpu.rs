//! What is known of a hive's GPUs: pure, fed with what sources say and the time.

use std::collections::BTreeMap;

use wire::device::{Backend, Device, DeviceInfo};
use wire::{limits, text};

/// Bytes beyond which a figure of memory is not believed: a thousand times today's largest GPU.
const MOST_MEMORY_BYTES: u64 = 1 << 48;
/// Degrees Celsius between which a temperature is believed.
const BELIEVED_CELSIUS: std::ops::RangeInclusive<i32> = -60..=200;
/// Thousandths of a watt beyond which a power is not believed: ten times today's hungriest GPU.
const MOST_POWER_MILLIWATTS: u64 = 20_000_000;

/// Bytes of memory by process id; absent where the driver does not tell.
pub type Processes = BTreeMap<u32, Option<u64>>;

/// What a source says of one GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What tells it from others as long as the machine runs: its address on the bus or its serial
    /// number. Absent when even that cannot be read.
    pub key: Option<String>,
    /// Its figures. The index is its place in the source's list.
    pub info: DeviceInfo,
    /// Who uses its memory; absent where the source does not tell.
    pub processes: Option<Processes>,
    /// Whether its driver says that it cannot be reached any more.
    pub is_lost: bool,
}

impl Reading {
    /// A GPU of which nothing is known but its place.
    pub fn new(device: Device) -> Self {
        Self { key: None, info: DeviceInfo::new(device), processes: None, is_lost: false }
    }
}

/// One GPU as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    key: String,
    /// Its place in its source's list when it was read last.
    place: u32,
    /// What is known of it.
    pub info: DeviceInfo,
    /// Who uses its memory; absent where that is not told.
    pub processes: Option<Processes>,
}

/// All GPUs that were ever seen, each with the index that it was seen with first.
#[derive(Debug, Clone, Default)]
pub struct Roll(Vec<Gpu>);

impl Roll {
    /// Every GPU, by backend and index.
    pub fn gpus(&self) -> Vec<Gpu> {
        self.0.clone()
    }

    /// Takes what one backend's source says at `now_unix_s`. A GPU that it says nothing of any
    /// more has fallen off its bus.
    pub fn take(&mut self, backend: Backend, readings: Vec<Reading>, now_unix_s: u64) {
        let mut seen = Vec::new();
        for reading in readings.into_iter().take(limits::MAX_DEVICES) {
            let place = reading.info.device.index;
            let at = self.find(backend, reading.key.as_deref(), place, &seen);
            let at = at.or_else(|| self.add(backend, reading.key.as_deref(), place));
            let Some(gpu) = at.and_then(|at| self.0.get_mut(at)) else { continue };
            seen.extend(at);
            gpu.place = place;
            if reading.is_lost {
                gpu.lose(now_unix_s);
            } else {
                let device = gpu.info.device;
                gpu.info = believed(DeviceInfo { device, ..reading.info });
                gpu.processes = reading.processes;
            }
        }
        for (at, gpu) in self.0.iter_mut().enumerate() {
            if gpu.info.device.backend == backend && !seen.contains(&at) {
                gpu.lose(now_unix_s);
            }
        }
        self.0.sort_by_key(|gpu| gpu.info.device);
    }

    /// The source of a backend did not answer as it should: nothing of its GPUs is known now.
    pub fn silence(&mut self, backend: Backend, now_unix_s: u64) {
        for gpu in self.0.iter_mut().filter(|gpu| gpu.info.device.backend == backend) {
            gpu.info = silent(&gpu.info, now_unix_s);
            gpu.processes = None;
        }
    }

    fn find(
        &self,
        backend: Backend,
        key: Option<&str>,
        place: u32,
        seen: &[usize],
    ) -> Option<usize> {
        self.0.iter().enumerate().position(|(at, gpu)| {
            let same = key.map_or(gpu.place == place, |key| gpu.key == key);
            gpu.info.device.backend == backend && same && !seen.contains(&at)
        })
    }

    /// Gives a new GPU its place as its index, or the first free one.
    fn add(&mut self, backend: Backend, key: Option<&str>, place: u32) -> Option<usize> {
        let is_free = |index: &u32| {
            !self.0.iter().any(|gpu| gpu.info.device == Device { backend, index: *index })
        };
        let fitting = Some(place).filter(|place| *place <= limits::MAX_DEVICE_INDEX);
        let index = fitting
            .filter(is_free)
            .or_else(|| (0..=limits::MAX_DEVICE_INDEX).find(is_free))
            .filter(|_| self.0.len() < limits::MAX_DEVICES)?;
        let key = key.map_or_else(|| format!("place {place}"), str::to_owned);
        let info = DeviceInfo::new(Device { backend, index });
        self.0.push(Gpu { key, place, info, processes: None });
        Some(self.0.len() - 1)
    }
}

impl Gpu {
    /// It cannot be reached since now, or since it was found so first.
    fn lose(&mut self, now_unix_s: u64) {
        let since = self.info.lost_since_unix_s.unwrap_or(now_unix_s);
        self.info = DeviceInfo { lost_since_unix_s: Some(since), ..lasting(&self.info) };
        self.processes = None;
    }
}

/// What of a device does not change.
fn lasting(info: &DeviceInfo) -> DeviceInfo {
    DeviceInfo {
        name: info.name.clone(),
        memory_total_bytes: info.memory_total_bytes,
        driver: info.driver.clone(),
        source: info.source,
        can_compute: info.can_compute,
        lost_since_unix_s: info.lost_since_unix_s,
        ..DeviceInfo::new(info.device)
    }
}

/// A device whose driver does not answer, since now or since that was seen first.
pub fn silent(info: &DeviceInfo, now_unix_s: u64) -> DeviceInfo {
    if info.lost_since_unix_s.is_some() {
        return info.clone();
    }
    let since = info.silent_since_unix_s.unwrap_or(now_unix_s);
    DeviceInfo { silent_since_unix_s: Some(since), ..lasting(info) }
}

/// `info` without figures that cannot be true, and with its texts in one line.
fn believed(info: DeviceInfo) -> DeviceInfo {
    let line = |words: Option<String>| {
        let line = text::one_line(words?.trim(), limits::MAX_DEVICE_NAME_BYTES);
        Some(line).filter(|line| !line.trim().is_empty())
    };
    let total = info.memory_total_bytes.filter(|bytes| (1..=MOST_MEMORY_BYTES).contains(bytes));
    let within = |bytes: &u64| *bytes <= total.unwrap_or(MOST_MEMORY_BYTES);
    let power = |milliwatts: &u64| *milliwatts <= MOST_POWER_MILLIWATTS;
    DeviceInfo {
        name: line(info.name),
        driver: line(info.driver),
        memory_total_bytes: total,
        memory_used_bytes: info.memory_used_bytes.filter(within),
        utilisation_percent: info.utilisation_percent.filter(|percent| *percent <= 100),
        temperature_celsius: info.temperature_celsius.filter(|it| BELIEVED_CELSIUS.contains(it)),
        power_milliwatts: info.power_milliwatts.filter(power),
        // A limit of nothing is no limit.
        power_limit_milliwatts: info.power_limit_milliwatts.filter(|it| *it > 0 && power(it)),
        ..info
    }
}

/// Bytes of a GPU that the processes `own` use; nothing where one of them is not told of.
pub fn bytes_of(processes: &Processes, own: &[u32]) -> Option<u64> {
    own.iter().try_fold(0_u64, |sum, pid| match processes.get(pid) {
        None => Some(sum),
        Some(bytes) => Some(sum.saturating_add((*bytes)?)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reading(key: &str, index: u32, used: u64) -> Reading {
        let device = Device { backend: Backend::Cuda, index };
        let info = DeviceInfo {
            memory_total_bytes: Some(1000),
            memory_used_bytes: Some(used),
            ..DeviceInfo::new(device)
        };
        Reading { key: Some(key.to_owned()), info, ..Reading::new(device) }
    }

    fn shown(roll: &Roll) -> Vec<(u32, Option<u64>, Option<u64>)> {
        let figures = |gpu: Gpu| {
            (gpu.info.device.index, gpu.info.memory_used_bytes, gpu.info.lost_since_unix_s)
        };
        roll.gpus().into_iter().map(figures).collect()
    }

    #[test]
    fn a_gpu_that_falls_off_the_bus_stays_in_the_list_without_figures_and_may_come_back() {
        let mut roll = Roll::default();
        roll.take(Backend::Cuda, vec![reading("a", 0, 1), reading("b", 1, 2)], 10);
        let lost = Reading { key: None, is_lost: true, ..reading("", 0, 0) };
        roll.take(Backend::Cuda, vec![lost.clone(), reading("b", 1, 3)], 20);
        roll.take(Backend::Cuda, vec![lost, reading("b", 1, 4)], 30);
        assert_eq!(shown(&roll), [(0, None, Some(20)), (1, Some(4), None)]);
        assert_eq!(roll.gpus()[0].info.memory_total_bytes, Some(1000), "what does not change");
        roll.take(Backend::Cuda, vec![reading("a", 0, 5), reading("b", 1, 4)], 40);
        assert_eq!(shown(&roll), [(0, Some(5), None), (1, Some(4), None)]);
    }

    #[test]
    fn a_gpu_that_is_listed_no_more_is_lost_and_the_others_keep_their_index() {
        let mut roll = Roll::default();
        roll.take(Backend::Cuda, vec![reading("a", 0, 1), reading("b", 1, 2)], 10);
        roll.take(Backend::Cuda, vec![reading("b", 0, 2)], 20);
        assert_eq!(shown(&roll), [(0, None, Some(20)), (1, Some(2), None)]);
        roll.take(Backend::Rocm, Vec::new(), 30);
        assert_eq!(shown(&roll).len(), 2, "another backend's list says nothing of these");
    }

    #[test]
    fn a_driver_that_does_not_answer_takes_the_figures_and_not_the_device() {
        let mut roll = Roll::default();
        roll.take(Backend::Cuda, vec![reading("a", 0, 1)], 10);
        roll.silence(Backend::Cuda, 20);
        roll.silence(Backend::Cuda, 30);
        let info = &roll.gpus()[0].info;
        assert_eq!((info.silent_since_unix_s, info.memory_used_bytes), (Some(20), None));
        roll.take(Backend::Cuda, vec![reading("a", 0, 1)], 40);
        assert_eq!(roll.gpus()[0].info.silent_since_unix_s, None);
    }

    #[test]
    fn what_cannot_be_true_is_absent() {
        let absurd = DeviceInfo {
            name: Some("\u{1b}[2Jx\n".repeat(100)),
            memory_total_bytes: Some(u64::MAX),
            memory_used_bytes: Some(u64::MAX),
            utilisation_percent: Some(4_000_000_000),
            temperature_celsius: Some(i32::MIN),
            power_milliwatts: Some(u64::MAX),
            power_limit_milliwatts: Some(0),
            driver: Some("  ".to_owned()),
            ..DeviceInfo::new("cuda:0".parse().unwrap())
        };
        let info = believed(absurd);
        let name = info.name.clone().unwrap();
        assert!(!name.contains(char::is_control), "{name:?}");
        assert!(name.len() <= limits::MAX_DEVICE_NAME_BYTES + '…'.len_utf8());
        assert_eq!(DeviceInfo { name: None, ..info }, DeviceInfo::new("cuda:0".parse().unwrap()));
    }

    #[test]
    fn memory_of_own_processes_is_counted_only_where_it_is_told() {
        let told: Processes = [(7, Some(5)), (8, None), (9, Some(2))].into();
        assert_eq!(bytes_of(&told, &[7, 9, 10]), Some(7));
        assert_eq!(bytes_of(&told, &[7, 8]), None);
    }

    proptest! {
        #[test]
        fn however_gpus_come_and_go_indices_are_bounded_and_never_shared(
            lists in proptest::collection::vec(
                proptest::collection::vec((0u32..400, 0u32..400), 0..300), 0..6),
        ) {
            let mut roll = Roll::default();
            for (now, list) in lists.into_iter().enumerate() {
                let readings = list
                    .into_iter()
                    .map(|(key, place)| reading(&format!("{key}"), place, 1))
                    .collect();
                roll.take(Backend::Cuda, readings, u64::try_from(now).unwrap());
                let mut indices: Vec<u32> = shown(&roll).iter().map(|it| it.0).collect();
                let count = indices.len();
                indices.dedup();
                prop_assert_eq!(indices.len(), count);
                prop_assert!(indices.iter().all(|index| *index <= limits::MAX_DEVICE_INDEX));
            }
        }
    }
}
