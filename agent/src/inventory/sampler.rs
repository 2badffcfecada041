//! Reads GPUs on a thread of its own: a driver may take its time, and may never come back.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use wire::device::Backend;

use super::gpu::{self, Gpu, Reading, Roll};
use super::{amd, nvidia_smi, nvml};

/// How long what was read is good for: a keeper that watches asks once a second.
const FRESH: Duration = Duration::from_millis(900);
/// As long as that where a program must be started to read.
const FRESH_OF_PROGRAM: Duration = Duration::from_secs(5);
/// How long whoever asks waits for a reading; then what was read before must do. A request waits
/// for the picture that it is part of.
const WAIT: Duration = Duration::from_millis(150);
/// How long the first one is waited for: the driver may have to be started for it.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// How long a reading may take before the driver counts as silent.
const SILENT_AFTER: Duration = Duration::from_secs(3);

/// The hive's GPUs.
#[derive(Debug, Clone)]
pub struct Gpus {
    asks: SyncSender<Ask>,
    seen: watch::Receiver<Sample>,
    busy: Busy,
}

/// When the reading began that is not done yet, by both clocks.
type Busy = Arc<Mutex<Option<(Instant, u64)>>>;

/// A wish for a reading.
#[derive(Debug)]
struct Ask {
    /// Processes of this hive's workers.
    own: Vec<u32>,
    /// Whether one that is still good will not do.
    anew: bool,
}

/// What was read at once.
#[derive(Debug, Clone, Default)]
struct Sample {
    /// Grows by one with each; zero before the first.
    number: u64,
    good_until: Option<Instant>,
    gpus: Vec<Gpu>,
    /// Why a source was not used.
    notes: Vec<String>,
}

impl Sample {
    fn is_good(&self) -> bool {
        self.good_until.is_some_and(|until| Instant::now() < until)
    }
}

/// Where GPUs are looked for.
#[derive(Debug)]
pub struct Sources {
    nvml: nvml::Library,
    amd: amd::Roots,
}

impl Sources {
    /// The system's own, and the management library at `nvml` where one is named.
    pub fn new(nvml: Option<PathBuf>) -> Self {
        Self { nvml: nvml::Library::at(nvml), amd: amd::Roots::default() }
    }

    /// Enters into `roll` what all sources say; gives why some were not used, and how long it is
    /// good for.
    fn read(&mut self, own: &[u32], roll: &mut Roll, now_unix_s: u64) -> (Vec<String>, Duration) {
        let mut notes = Vec::new();
        let mut good_for = FRESH;
        let nvidia = self.nvml.read().or_else(|why| {
            good_for = FRESH_OF_PROGRAM;
            notes.push(format!("{}: {why}", self.nvml.path().display()));
            nvidia_smi::read().inspect_err(|why| notes.push(format!("nvidia-smi: {why}")))
        });
        match nvidia {
            Ok(readings) => enter(roll, Backend::Cuda, readings, now_unix_s),
            Err(_) => roll.silence(Backend::Cuda, now_unix_s),
        }
        enter(roll, Backend::Rocm, amd::read(&self.amd, own), now_unix_s);
        (notes, good_for)
    }
}

fn enter(roll: &mut Roll, backend: Backend, readings: Vec<Reading>, now_unix_s: u64) {
    let lost = |roll: &Roll| {
        let gpus = roll.gpus();
        let lost = gpus.iter().filter(|gpu| gpu.info.lost_since_unix_s.is_some());
        lost.map(|gpu| gpu.info.device).collect::<Vec<_>>()
    };
    let before = lost(roll);
    roll.take(backend, readings, now_unix_s);
    for device in lost(roll).into_iter().filter(|device| !before.contains(device)) {
        tracing::warn!(%device, "a GPU cannot be reached any more");
    }
}

impl Gpus {
    /// Starts to read what `sources` has; without a thread for it there are no GPUs.
    pub fn follow(sources: Sources) -> Self {
        let (asks, wishes) = sync_channel(1);
        let (writer, seen) = watch::channel(Sample::default());
        let busy = Busy::default();
        let gpus = Self { asks, seen, busy: Arc::clone(&busy) };
        gpus.ask(Vec::new(), true);
        let thread = std::thread::Builder::new().name("devices".to_owned());
        if let Err(error) = thread.spawn(move || read_on(sources, &wishes, &writer, &busy)) {
            tracing::warn!(%error, "no thread for devices");
        }
        gpus
    }

    /// No GPUs.
    #[cfg(test)]
    pub fn none() -> Self {
        let (asks, _nobody) = sync_channel(1);
        Self { asks, seen: watch::channel(Sample::default()).1, busy: Busy::default() }
    }

    /// Every GPU as it is now, as far as its driver answers in time. `own` are the processes whose
    /// memory shall be told.
    pub async fn look(&self, own: Vec<u32>) -> Vec<Gpu> {
        let mut seen = self.seen.clone();
        let known = {
            let sample = seen.borrow_and_update();
            if sample.is_good() {
                return sample.gpus.clone();
            }
            sample.number
        };
        if self.ask(own, false) && self.silent_since().is_none() {
            let wait = if known == 0 { FIRST_WAIT } else { WAIT };
            let fresh = seen.wait_for(|sample| sample.number > known);
            // What comes late is there for the next one who asks.
            let _late = tokio::time::timeout(wait, fresh).await;
        }
        self.latest()
    }

    /// What was read last, without its figures when the driver has been silent since.
    fn latest(&self) -> Vec<Gpu> {
        let mut gpus = self.seen.borrow().gpus.clone();
        if let Some(since) = self.silent_since() {
            for gpu in &mut gpus {
                gpu.info = gpu::silent(&gpu.info, since);
                gpu.processes = None;
            }
        }
        gpus
    }

    /// Asks for a reading that begins after now; gives the number of the last one before it.
    pub fn look_anew(&self, own: Vec<u32>) -> u64 {
        // One that is being done may have begun before.
        let began = self.busy.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let number = self.seen.borrow().number + u64::from(began);
        self.ask(own, true);
        number
    }

    /// Every GPU as a reading after the one of `number` saw it, once there is one.
    pub fn later_than(&self, number: u64) -> Option<Vec<Gpu>> {
        let sample = self.seen.borrow();
        (sample.number > number).then(|| sample.gpus.clone())
    }

    /// Why a source of figures was not used, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.seen.borrow().notes.clone();
        if self.silent_since().is_some() {
            notes.push("a driver of the GPUs does not answer".to_owned());
        }
        notes
    }

    /// Since when a reading hangs, in Unix time.
    fn silent_since(&self) -> Option<u64> {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.filter(|(began, _)| began.elapsed() >= SILENT_AFTER).map(|(_, unix_s)| unix_s)
    }

    /// Whether somebody is there to read.
    fn ask(&self, own: Vec<u32>, anew: bool) -> bool {
        let asked = self.asks.try_send(Ask { own, anew });
        !matches!(asked, Err(TrySendError::Disconnected(_)))
    }
}

/// Reads whenever somebody asks, until nobody can any more.
fn read_on(
    mut sources: Sources,
    wishes: &Receiver<Ask>,
    writer: &watch::Sender<Sample>,
    busy: &Busy,
) {
    let mut roll = Roll::default();
    while let Ok(ask) = wishes.recv() {
        let (number, was_good, before) = {
            let last = writer.borrow();
            (last.number, last.is_good(), last.notes.clone())
        };
        if was_good && !ask.anew {
            continue;
        }
        let now_unix_s = unix_s();
        mark(busy, Some((Instant::now(), now_unix_s)));
        let (notes, good_for) = sources.read(&ask.own, &mut roll, now_unix_s);
        mark(busy, None);
        for note in notes.iter().filter(|note| !before.contains(note)) {
            tracing::info!("{note}");
        }
        let good_until = Instant::now().checked_add(good_for);
        let gpus = roll.gpus();
        writer.send_replace(Sample { number: number + 1, good_until, gpus, notes });
    }
}

fn mark(busy: &Busy, began: Option<(Instant, u64)>) {
    *busy.lock().unwrap_or_else(PoisonError::into_inner) = began;
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_machine_without_a_driver_has_no_gpu_and_says_why() {
        let sources = Sources {
            nvml: nvml::Library::at(Some("/nowhere/libnvidia-ml.so.1".into())),
            amd: amd::Roots { drm: "/nowhere".into(), proc: "/nowhere".into() },
        };
        let gpus = Gpus::follow(sources);
        let _ = gpus.look(Vec::new()).await;
        let mut seen = gpus.seen.clone();
        seen.wait_for(|sample| sample.number > 0).await.unwrap();
        assert!(gpus.notes()[0].starts_with("/nowhere/libnvidia-ml.so.1: "), "{:?}", gpus.notes());
        assert_eq!(Gpus::none().look(Vec::new()).await, []);
    }
}
