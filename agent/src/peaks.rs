//! What models really took, where that was more than was computed: kept over the agent's life.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use wire::device::Device;
use wire::{ModelRef, limits};

use crate::kept::Kept;

/// Version of the file.
const VERSION: u32 = 1;
/// A run that took less takes this part of the difference away: one short answer does not undo
/// what a long one has shown.
const FORGETTING_DIVISOR: u64 = 4;
/// The most that is ever added to a computed need: a worker that one hostile prompt made large must
/// not shut its model out.
const MAX_OVERRUN_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// One model's bytes beyond its computed need, on one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Overrun {
    model: ModelRef,
    device: Device,
    bytes: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Stored {
    overruns: Vec<Overrun>,
}

/// All that were measured, the one that changed last at the end.
#[derive(Debug, Default)]
pub struct Peaks {
    file: Kept,
    known: Mutex<Stored>,
}

impl Peaks {
    /// Reads the file; a missing or damaged one means that nothing was measured.
    pub fn open(path: PathBuf) -> Self {
        let (file, stored) = Kept::open::<Stored>(path, VERSION, limits::MAX_PEAKS_BYTES);
        let mut known = stored.unwrap_or_default();
        known.overruns.truncate(limits::MAX_REMEMBERED_PEAKS);
        for one in &mut known.overruns {
            one.bytes = one.bytes.min(MAX_OVERRUN_BYTES);
        }
        Self { file, known: Mutex::new(known) }
    }

    /// Bytes to add to the computed need of a model on a device.
    pub fn overrun_bytes(&self, model: &ModelRef, device: Device) -> u64 {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.overruns.iter().find(|one| one.model == *model && one.device == device);
        found.map_or(0, |one| one.bytes)
    }

    /// Takes what a worker had at the most, that was admitted with `need_bytes`, the overrun of
    /// then included. Whether that changed anything.
    pub fn note(&self, model: &ModelRef, device: Device, need_bytes: u64, peak_bytes: u64) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut known.overruns;
        let place = known.iter().position(|one| one.model == *model && one.device == device);
        let before = place.and_then(|place| known.get(place)).map_or(0, |one| one.bytes);
        let bytes = corrected(before, need_bytes, peak_bytes);
        if bytes == before {
            return false;
        }
        if let Some(place) = place {
            known.remove(place);
        }
        if bytes > 0 {
            known.push(Overrun { model: model.clone(), device, bytes });
        }
        let excess = known.len().saturating_sub(limits::MAX_REMEMBERED_PEAKS);
        known.drain(..excess);
        true
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// Whatever the operating system refuses.
    pub fn save(&self) -> io::Result<()> {
        // Held while it is written: the last one to save has the last word.
        self.file.save(&*self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The overrun after a run with `need_bytes`, of which `before` was the overrun of then, that took
/// `peak_bytes`.
fn corrected(before: u64, need_bytes: u64, peak_bytes: u64) -> u64 {
    let computed = need_bytes.saturating_sub(before);
    let seen = peak_bytes.saturating_sub(computed);
    let next =
        if seen >= before { seen } else { before - (before - seen).div_ceil(FORGETTING_DIVISOR) };
    next.min(MAX_OVERRUN_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1024 * 1024;

    fn file(n: usize) -> ModelRef {
        ModelRef::File(format!("/m/{n}.gguf"))
    }

    #[test]
    fn what_was_taken_beyond_the_need_is_added_the_next_time_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peaks.json");
        let peaks = Peaks::open(path.clone());
        assert!(peaks.note(&file(1), Device::CPU, 100 * MIB, 130 * MIB));
        assert!(!peaks.note(&file(2), Device::CPU, 100 * MIB, 90 * MIB));
        peaks.save().unwrap();
        let again = Peaks::open(path);
        assert_eq!(again.overrun_bytes(&file(1), Device::CPU), 30 * MIB);
        assert_eq!(again.overrun_bytes(&file(2), Device::CPU), 0);
        assert_eq!(again.overrun_bytes(&file(1), "cuda:0".parse().unwrap()), 0);
        // Admitted with 130 of which 30 were the overrun, it took 110: a quarter is forgotten.
        assert!(again.note(&file(1), Device::CPU, 130 * MIB, 110 * MIB));
        assert_eq!(again.overrun_bytes(&file(1), Device::CPU), 25 * MIB);
    }

    #[test]
    fn a_newer_file_is_neither_read_nor_replaced_and_a_damaged_one_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peaks.json");
        std::fs::write(&path, r#"{"version": 2, "overruns": "elsewhere"}"#).unwrap();
        let peaks = Peaks::open(path.clone());
        peaks.note(&file(1), Device::CPU, 0, MIB);
        peaks.save().unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("elsewhere"));
        std::fs::write(&path, "{").unwrap();
        let peaks = Peaks::open(path.clone());
        peaks.note(&file(1), Device::CPU, 0, MIB);
        peaks.save().unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("/m/1.gguf"));
    }

    #[test]
    fn the_oldest_is_forgotten_beyond_what_is_remembered() {
        let peaks = Peaks::open(PathBuf::from("/nonexistent/peaks.json"));
        for n in 0..=limits::MAX_REMEMBERED_PEAKS {
            peaks.note(&file(n), Device::CPU, 0, MIB);
        }
        assert_eq!(peaks.overrun_bytes(&file(0), Device::CPU), 0);
        assert_eq!(peaks.overrun_bytes(&file(1), Device::CPU), MIB);
        assert!(peaks.save().is_err());
    }

    proptest! {
        #[test]
        fn the_correction_is_bounded_and_follows_what_is_seen(
            computed in 0u64..1 << 36, runs in proptest::collection::vec(0u64..1 << 38, 1..20),
        ) {
            let mut overrun = 0;
            for peak in runs {
                let next = corrected(overrun, computed + overrun, peak);
                prop_assert!(next <= MAX_OVERRUN_BYTES);
                let seen = peak.saturating_sub(computed).min(MAX_OVERRUN_BYTES);
                prop_assert!(next >= seen && next <= seen.max(overrun));
                overrun = next;
            }
        }
    }
}
