//! How many refused requests a second the agent explains in full.

use std::time::Duration;

use wire::limits::MAX_REFUSALS_PER_SECOND;

/// Counts the refusals of the current second. A pure counter: time is passed in.
#[derive(Debug, Default)]
pub struct Refusals {
    second: u64,
    count: u32,
}

impl Refusals {
    /// Counts one refused request at `now`. Whether there were too many in this second.
    pub fn is_one_too_many(&mut self, now: Duration) -> bool {
        if self.second != now.as_secs() {
            *self = Self { second: now.as_secs(), count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count > MAX_REFUSALS_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_hundred_refusals_in_a_second_half_are_rate_limited_and_the_next_second_is_new() {
        let mut refusals = Refusals::default();
        let limited = |refusals: &mut Refusals, at| {
            (0..100).filter(|_| refusals.is_one_too_many(Duration::from_millis(at))).count()
        };
        assert_eq!(limited(&mut refusals, 1_000), 50);
        assert_eq!(limited(&mut refusals, 2_999), 50);
        assert_eq!(limited(&mut refusals, 2_999), 100);
    }
}
