//! The last minutes of a device's figures: one sample each few seconds, bounded. Pure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use wire::Device;
use wire::device::DeviceInfo;

use crate::fleet::Moment;

/// Time of one sample; what comes within it is its highest.
const STEP: Duration = Duration::from_secs(4);
/// Samples that are kept: the last four minutes.
const SAMPLES: usize = 60;

/// A figure in hundredths; none where it was not known.
pub type Percent = Option<u8>;

/// What a device did and held lately.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// How busy it was, and how much of its memory was used; the newest last.
    samples: VecDeque<(Percent, Percent)>,
    /// The number of the newest sample, counted in steps from the moment zero.
    newest: u64,
}

impl Trace {
    fn push(&mut self, now: Moment, busy: Percent, memory: Percent) {
        let step = now.as_secs() / STEP.as_secs();
        if self.samples.is_empty() {
            self.newest = step;
            self.samples.push_back((busy, memory));
            return;
        }
        // Nothing is known of the time in which nothing was heard.
        let missed = step.saturating_sub(self.newest);
        for _ in 0..missed.min(SAMPLES as u64) {
            if self.samples.len() == SAMPLES {
                self.samples.pop_front();
            }
            self.samples.push_back((None, None));
        }
        self.newest = self.newest.max(step);
        if let Some(last) = self.samples.back_mut() {
            *last = (last.0.max(busy), last.1.max(memory));
        }
    }

    /// Its figures as `columns` of equal time, the newest last: how busy it was where that is
    /// known, else how much of its memory was used.
    pub fn columns(&self, columns: usize) -> Vec<Percent> {
        let is_busy_known = self.samples.iter().any(|(busy, _)| busy.is_some());
        let width = SAMPLES.div_ceil(columns.max(1)) as u64;
        let newest = self.newest / width;
        let mut shown = vec![None; columns];
        for (back, (busy, memory)) in (0_u64..).zip(self.samples.iter().rev()) {
            let Some(step) = self.newest.checked_sub(back) else { break };
            // Columns begin at whole multiples, so that a picture moves and does not flicker.
            let column = usize::try_from(newest - step / width).unwrap_or(usize::MAX);
            let place = columns.checked_sub(column + 1).and_then(|at| shown.get_mut(at));
            if let Some(place) = place {
                *place = (*place).max(if is_busy_known { *busy } else { *memory });
            }
        }
        shown
    }

    /// Whether anything was seen.
    pub fn is_empty(&self) -> bool {
        self.samples.iter().all(|(busy, memory)| busy.is_none() && memory.is_none())
    }
}

/// The traces of a hive's devices. Copies are cheap until one of them changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traces(Arc<Vec<(Device, Trace)>>);

impl Traces {
    /// Takes what a hive says of its devices now; those that are gone are forgotten.
    pub fn take(&mut self, devices: &[DeviceInfo], now: Moment) {
        let traces = Arc::make_mut(&mut self.0);
        traces.retain(|(device, _)| devices.iter().any(|info| info.device == *device));
        for info in devices {
            let at = traces.iter().position(|(device, _)| *device == info.device);
            let at = at.unwrap_or_else(|| {
                traces.push((info.device, Trace::default()));
                traces.len() - 1
            });
            if let Some((_, trace)) = traces.get_mut(at) {
                trace.push(now, busy(info), memory(info));
            }
        }
    }

    /// That of one device.
    pub fn of(&self, device: Device) -> Option<&Trace> {
        self.0.iter().find(|(known, _)| *known == device).map(|(_, trace)| trace)
    }
}

fn busy(info: &DeviceInfo) -> Percent {
    info.utilisation_percent.and_then(|percent| u8::try_from(percent.min(100)).ok())
}

fn memory(info: &DeviceInfo) -> Percent {
    let (used, total) = (info.memory_used_bytes?, info.memory_total_bytes?);
    let percent = used.min(total).saturating_mul(100).checked_div(total)?;
    u8::try_from(percent).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_column_is_the_highest_of_its_time_and_a_gap_stays_one() {
        let mut trace = Trace::default();
        for (second, busy) in [(0, 10), (1, 90), (3, 20), (4, 30), (16, 50)] {
            trace.push(at(second), Some(busy), None);
        }
        let columns = trace.columns(SAMPLES);
        let last: Vec<Percent> = columns.into_iter().skip(SAMPLES - 5).collect();
        assert_eq!(last, [Some(90), Some(30), None, None, Some(50)]);
    }

    #[test]
    fn it_is_bounded_and_the_memory_stands_in_where_nothing_else_is_known() {
        let mut traces = Traces::default();
        let mut info = DeviceInfo::new(Device::CPU);
        (info.memory_total_bytes, info.memory_used_bytes) = (Some(200), Some(50));
        for second in 0..4000 {
            traces.take(std::slice::from_ref(&info), at(second));
        }
        let trace = traces.of(Device::CPU).unwrap();
        assert_eq!(trace.samples.len(), SAMPLES);
        assert_eq!(trace.columns(10), [Some(25); 10]);
        traces.take(&[], at(4001));
        assert!(traces.of(Device::CPU).is_none());
    }
}
