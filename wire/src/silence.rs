//! How long a peer has said nothing. Pure: what was heard, and the time, come from outside.

use std::time::Duration;

/// Looks within the time after which a peer counts as silent: so exact is the measure.
const LOOKS: u32 = 20;
/// Signs of life within that time: so many may be late before the one after them is missed.
const SIGNS: u32 = 10;

/// Between two signs of life to a peer that takes a silence of `limit` for an end.
pub fn sign_pause(limit: Duration) -> Duration {
    (limit / SIGNS).max(Duration::from_millis(1))
}

/// A peer's silence, measured in looks.
///
/// One look adds at most twice its own length: a program that was stopped, or a machine that slept,
/// heard nothing meanwhile, and that was nobody's silence.
#[derive(Debug, Clone)]
pub struct Silence {
    pause: Duration,
    quiet: Duration,
    heard: u64,
    looked: Duration,
}

impl Silence {
    /// The measure for whom a silence of `limit` matters.
    pub fn of(limit: Duration) -> Self {
        let pause = (limit / LOOKS).max(Duration::from_millis(1));
        Self { pause, quiet: Duration::ZERO, heard: 0, looked: Duration::ZERO }
    }

    /// Between two looks.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Looks at `now`: `heard` grows with whatever the peer says. How long it has been silent.
    pub fn look(&mut self, heard: u64, now: Duration) -> Duration {
        let passed = now.saturating_sub(self.looked).min(self.pause.saturating_mul(2));
        self.looked = now;
        if self.heard == heard {
            self.quiet = self.quiet.saturating_add(passed);
        } else {
            (self.heard, self.quiet) = (heard, Duration::ZERO);
        }
        self.quiet
    }

    /// Whether the peer is silent for `limit`, or will be before the next look.
    pub fn lasts(&self, limit: Duration) -> bool {
        self.quiet.saturating_add(self.pause) >= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_peer_is_silent_once_it_has_said_nothing_for_the_whole_time() {
        let mut silence = Silence::of(LIMIT);
        let pause = silence.pause();
        let mut quiet = Duration::ZERO;
        for look in 1..=LOOKS {
            assert!(quiet < LIMIT);
            assert_eq!(silence.lasts(LIMIT), look == LOOKS, "known one look before it is too late");
            quiet = silence.look(0, pause * look);
        }
        assert_eq!(quiet, LIMIT);
        assert_eq!(silence.look(1, pause * (LOOKS + 1)), Duration::ZERO);
        assert!(!silence.lasts(LIMIT));
    }

    #[test]
    fn the_sleep_of_who_listens_is_nobodys_silence() {
        let mut silence = Silence::of(LIMIT);
        assert!(silence.look(0, Duration::from_secs(3600)) <= 2 * silence.pause());
    }

    proptest! {
        #[test]
        fn silence_never_exceeds_the_time_since_the_last_word(
            looks in proptest::collection::vec((any::<bool>(), 0u64..2000), 1..60),
        ) {
            let mut silence = Silence::of(LIMIT);
            let (mut now, mut said, mut heard) = (Duration::ZERO, Duration::ZERO, 0);
            for (speaks, passed) in looks {
                now += Duration::from_millis(passed);
                if speaks {
                    heard += 1;
                    said = now;
                }
                prop_assert!(silence.look(heard, now) <= now.saturating_sub(said));
            }
        }
    }
}
