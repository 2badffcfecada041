//! How often something is tried again, and when.

use std::time::Duration;

use wire::pull::PullEvent;
use wire::{Fault, Timings, limits};

use super::hub::Trouble;

/// Attempts of one file in all. A peer that gives a byte each time must come to an end some day.
const MAX_ATTEMPTS_IN_ALL: u32 = 100;
/// How often the pause doubles.
const MAX_DOUBLINGS: u32 = 5;
/// The longest that a hub may ask to be left alone.
const MAX_ASKED_PAUSE: Duration = Duration::from_secs(60);
/// Parts of a pause that are added by chance, so that many do not come back at once.
const JITTER: f64 = 0.2;

/// Attempts of one thing.
#[derive(Debug)]
pub struct Patience {
    first: Duration,
    in_a_row: u32,
    in_all: u32,
}

impl Patience {
    /// None was made yet.
    pub fn new(timings: &Timings) -> Self {
        Self { first: timings.download_retry, in_a_row: 0, in_all: 0 }
    }

    /// What to do after an attempt failed: the pause, and what is told of it.
    ///
    /// # Errors
    /// The fault, when it is given up.
    pub fn after(
        &mut self,
        trouble: Trouble,
        brought: u64,
    ) -> Result<(Duration, PullEvent), Fault> {
        let (fault, asked) = match trouble {
            Trouble::Lasting(fault) => return Err(fault),
            Trouble::Passing { fault, after_s } => (fault, Duration::from_secs(after_s.into())),
        };
        self.in_a_row = if brought > 0 { 1 } else { self.in_a_row.saturating_add(1) };
        self.in_all = self.in_all.saturating_add(1);
        let attempts = limits::MAX_DOWNLOAD_ATTEMPTS;
        if self.in_a_row >= attempts || self.in_all >= MAX_ATTEMPTS_IN_ALL {
            return Err(fault);
        }
        let doublings = self.in_a_row.saturating_sub(1).min(MAX_DOUBLINGS);
        let pause = self.first.saturating_mul(1 << doublings);
        let pause = pause.mul_f64(1.0 + JITTER * rand::random::<f64>());
        let pause = pause.max(asked.min(MAX_ASKED_PAUSE));
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let attempt = self.in_a_row.saturating_add(1);
        Ok((pause, PullEvent::Retrying { attempt, attempts, pause_ms, why: fault }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Code;

    fn trouble(after_s: u32) -> Trouble {
        Trouble::Passing { fault: Fault::new(Code::DownloadFailed, "x"), after_s }
    }

    #[test]
    fn it_is_given_up_after_some_attempts_without_a_byte() {
        let mut patience = Patience::new(&Timings::default());
        let pauses: Vec<Duration> = (1..limits::MAX_DOWNLOAD_ATTEMPTS)
            .map(|_| patience.after(trouble(0), 0).unwrap().0)
            .collect();
        assert!(patience.after(trouble(0), 0).is_err());
        for (n, pause) in pauses.iter().enumerate() {
            let least = Duration::from_millis(100 << n);
            assert!(*pause >= least && *pause <= least.mul_f64(1.21), "{pauses:?}");
        }
    }

    #[test]
    fn bytes_renew_it_but_not_for_ever() {
        let mut patience = Patience::new(&Timings::default());
        let tries = (0..1000).take_while(|_| patience.after(trouble(0), 1).is_ok()).count();
        assert_eq!(tries, 99);
    }

    #[test]
    fn a_hub_is_left_alone_for_as_long_as_it_asks_within_bounds() {
        for (asked, expected) in [(7, 7), (3600, 60)] {
            let mut patience = Patience::new(&Timings::default());
            let asked = trouble(asked);
            assert_eq!(patience.after(asked, 0).unwrap().0.as_secs(), expected);
        }
        let lasting = Trouble::Lasting(Fault::new(Code::AccessDenied, "x"));
        assert!(Patience::new(&Timings::default()).after(lasting, 0).is_err());
    }
}
