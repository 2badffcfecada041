//! What is told on standard output, a line at a time, and how fast it goes.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use tokio::time::Instant;
use wire::pull::PullEvent;
use wire::{Code, Fault, ndjson};

/// The least time between two lines of progress.
const EVERY: Duration = Duration::from_millis(250);
/// Over which time the speed is taken.
const WINDOW: Duration = Duration::from_secs(3);

/// How far it is, and to whom that is told.
pub struct Teller<W> {
    out: W,
    bytes_total: u64,
    /// Bytes that are here of each file.
    here: Vec<u64>,
    /// Bytes that came since this process began.
    received: u64,
    /// What had come when, within [`WINDOW`].
    window: VecDeque<(Instant, u64)>,
    told: Option<Instant>,
}

impl<W: Write> Teller<W> {
    /// Tells it to `out`.
    pub fn new(out: W) -> Self {
        let window = VecDeque::new();
        Self { out, bytes_total: 0, here: Vec::new(), received: 0, window, told: None }
    }

    /// What there is to fetch, and what is here of each file.
    pub fn expect(&mut self, bytes_total: u64, here: Vec<u64>) {
        self.bytes_total = bytes_total;
        self.here = here;
    }

    /// Bytes that are here.
    pub fn bytes_done(&self) -> u64 {
        self.here.iter().fold(0_u64, |sum, bytes| sum.saturating_add(*bytes)).min(self.bytes_total)
    }

    /// Bytes that came since the beginning; never fewer than before.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Notes what is here of a file, and that `came` bytes of it came `now`.
    ///
    /// # Errors
    /// As [`Self::tell`].
    pub fn note(&mut self, file: usize, here: u64, came: u64, now: Instant) -> Result<(), Fault> {
        if let Some(bytes) = self.here.get_mut(file) {
            *bytes = here;
        }
        self.received = self.received.saturating_add(came);
        if self.told.is_some_and(|told| now.duration_since(told) < EVERY) {
            return Ok(());
        }
        self.told = Some(now);
        let bytes_per_s = self.speed(now);
        let (bytes_done, bytes_total) = (self.bytes_done(), self.bytes_total);
        self.tell(&PullEvent::Progress { bytes_done, bytes_total, bytes_per_s })
    }

    /// Writes one line.
    ///
    /// # Errors
    /// `IO_ERROR` when nobody reads it.
    pub fn tell(&mut self, event: &PullEvent) -> Result<(), Fault> {
        let line = ndjson::encode(event)?;
        let written = self.out.write_all(&line).and_then(|()| self.out.flush());
        written.map_err(|error| Fault::new(Code::Io, "nobody is told of it").cause(error))
    }

    fn speed(&mut self, now: Instant) -> u64 {
        self.window.push_back((now, self.received));
        while self.window.front().is_some_and(|(then, _)| now.duration_since(*then) > WINDOW) {
            self.window.pop_front();
        }
        let Some((then, before)) = self.window.front() else { return 0 };
        let ms = now.duration_since(*then).as_millis().max(1);
        let came = u128::from(self.received.saturating_sub(*before));
        u64::try_from(came * 1000 / ms).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_a_few_times_a_second_and_with_the_speed_of_the_last() {
        let (mut lines, start) = (Vec::new(), Instant::now());
        let mut teller = Teller::new(&mut lines);
        teller.expect(10_000, vec![0, 100]);
        for n in 1..=50_u32 {
            let now = start + Duration::from_millis(100) * n;
            teller.note(0, u64::from(n) * 100, 100, now).unwrap();
        }
        assert_eq!((teller.bytes_done(), teller.received()), (5100, 5000));
        let lines = String::from_utf8(lines).unwrap();
        assert!((15..=21).contains(&lines.lines().count()), "{lines}");
        assert!(lines.lines().last().unwrap().contains("\"bytes_per_s\":1000"), "{lines}");
    }
}
