//! What was done, how it ended, how long it took at worst, and what must not grow.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::plan::Length;

/// Bytes by which a process may grow after its warm-up: what allocators keep.
const GROWTH_BYTES: f64 = 8.0 * 1024.0 * 1024.0;
/// Descriptors by which it may.
const GROWTH_DESCRIPTORS: f64 = 6.0;
/// Of its samples, this part is warm-up.
const WARM_UP: usize = 3;
/// Fewer samples than this say nothing of a slope.
const FEWEST_SAMPLES: usize = 4;

/// One look at a process.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// Resident bytes.
    pub bytes: u64,
    /// Open files and sockets.
    pub descriptors: usize,
}

/// All figures of a soak.
#[derive(Debug, Default)]
pub struct Tally {
    actions: BTreeMap<&'static str, u64>,
    endings: BTreeMap<String, u64>,
    times: BTreeMap<&'static str, Vec<Duration>>,
    tokens: u64,
    calms: u64,
    samples: BTreeMap<&'static str, Vec<Sample>>,
}

impl Tally {
    /// Something was done.
    pub fn did(&mut self, what: &'static str) {
        *self.actions.entry(what).or_default() += 1;
    }

    /// A request ended.
    pub fn ended(&mut self, how: &str, tokens: usize) {
        *self.endings.entry(how.to_owned()).or_default() += 1;
        self.tokens += tokens as u64;
    }

    /// Something took so long.
    pub fn took(&mut self, what: &'static str, time: Duration) {
        self.times.entry(what).or_default().push(time);
    }

    /// Everything was looked at and was as it must be.
    pub fn calm(&mut self) {
        self.calms += 1;
    }

    /// How often.
    pub fn calms(&self) -> u64 {
        self.calms
    }

    /// A process was looked at.
    pub fn sample(&mut self, whose: &'static str, sample: Sample) {
        self.samples.entry(whose).or_default().push(sample);
    }

    /// Requests that were answered whole.
    pub fn answers(&self) -> u64 {
        self.endings.get("done").copied().unwrap_or_default()
    }

    /// What grew more than it may, if anything did.
    pub fn grown(&self) -> Option<String> {
        self.samples.iter().find_map(|(whose, samples)| {
            let (bytes, descriptors) = growth(samples)?;
            let is_flat = bytes <= GROWTH_BYTES && descriptors <= GROWTH_DESCRIPTORS;
            (!is_flat).then(|| {
                format!("{whose} grew by {bytes:.0} bytes and {descriptors:.1} descriptors")
            })
        })
    }

    /// Everything, for a person.
    pub fn report(&self, length: &Length) -> String {
        let mut out = format!("soak: {length}\n  done: ");
        let counted = |out: &mut String, counts: &mut dyn Iterator<Item = (String, u64)>| {
            let parts: Vec<String> =
                counts.map(|(name, count)| format!("{name} {count}")).collect();
            out.push_str(&parts.join(", "));
        };
        let actions = self.actions.iter().map(|(name, count)| ((*name).to_owned(), *count));
        counted(&mut out, &mut { actions });
        out.push_str("\n  requests: ");
        let endings = self.endings.iter().map(|(name, count)| (name.clone(), *count));
        counted(&mut out, &mut { endings });
        let _ = write!(out, "\n  {} tokens, {} times all was looked at", self.tokens, self.calms);
        for (what, times) in &self.times {
            let worst = times.iter().max().copied().unwrap_or_default();
            let mut sorted = times.clone();
            sorted.sort();
            let middle = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
            let _ = write!(
                out,
                "\n  {what}: {} times, median {:.2} s, worst {:.2} s",
                times.len(),
                middle.as_secs_f64(),
                worst.as_secs_f64()
            );
        }
        for (whose, samples) in &self.samples {
            let (Some(first), Some(last)) = (samples.first(), samples.last()) else { continue };
            let (bytes, descriptors) = growth(samples).unwrap_or_default();
            let _ = write!(
                out,
                "\n  {whose}: {} samples, {} to {} bytes, {} to {} descriptors, after warm-up \
                 {bytes:+.0} bytes and {descriptors:+.1} descriptors",
                samples.len(),
                first.bytes,
                last.bytes,
                first.descriptors,
                last.descriptors
            );
        }
        out
    }
}

/// By how much bytes and descriptors grew after the warm-up, as the line of best fit says; none
/// while there are too few samples.
fn growth(samples: &[Sample]) -> Option<(f64, f64)> {
    let warm = samples.get(samples.len() / WARM_UP..).filter(|it| it.len() >= FEWEST_SAMPLES)?;
    let first = warm.first()?.at;
    let at = |sample: &Sample| sample.at.duration_since(first).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "figures below 2^52")]
    let bytes: Vec<_> = warm.iter().map(|sample| (at(sample), sample.bytes as f64)).collect();
    #[expect(clippy::cast_precision_loss, reason = "figures below 2^52")]
    let open: Vec<_> = warm.iter().map(|sample| (at(sample), sample.descriptors as f64)).collect();
    let time = at(warm.last()?);
    Some((slope(&bytes) * time, slope(&open) * time))
}

/// The slope of the line of best fit (least squares).
fn slope(points: &[(f64, f64)]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand points")]
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|p| p.0), mean(|p| p.1));
    let both: f64 = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let square: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    if square > 0.0 { both / square } else { 0.0 }
}

#[test]
fn a_line_has_its_slope() {
    let points: Vec<(f64, f64)> =
        (0..9).map(|n| (f64::from(n), 3.0 * f64::from(n) + 1.0)).collect();
    assert!((slope(&points) - 3.0).abs() < 1e-9);
    assert!(slope(&[(1.0, 7.0)]).abs() < 1e-9);
}
