//! Waiting for a named condition, within a bound.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until `condition` gives a value.
///
/// # Panics
/// When it did not within `bound`; the message names the condition.
#[track_caller]
pub fn wait_until<T>(name: &str, bound: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < bound, "waited {bound:?} in vain for: {name}");
        std::thread::park_timeout(LOOK_EVERY);
    }
}
