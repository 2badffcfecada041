//! How fast a worker decodes now: the tokens that passed lately. Pure; time is passed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What counts as lately.
const WINDOW: Duration = Duration::from_secs(3);
/// Tokens that come within this time of each other are counted together.
const STEP: Duration = Duration::from_millis(250);
/// The first tokens of an answer are no pace yet: they count as what came in this time.
const LEAST: Duration = Duration::from_secs(1);

/// The tokens of one worker, of all its answers.
#[derive(Debug, Default)]
pub struct Tempo {
    /// When a step began, and its tokens; oldest first. Never more than fit into the window.
    steps: VecDeque<(Instant, u32)>,
}

impl Tempo {
    /// So many tokens passed.
    pub fn add(&mut self, tokens: u32, now: Instant) {
        if let Some((began, count)) = self.steps.back_mut()
            && now.saturating_duration_since(*began) < STEP
        {
            *count = count.saturating_add(tokens);
            return;
        }
        while self.steps.front().is_some_and(|(began, _)| !is_late(*began, now)) {
            self.steps.pop_front();
        }
        self.steps.push_back((now, tokens));
    }

    /// Thousandths of tokens a second; none when none passed lately.
    pub fn millitokens_per_s(&self, now: Instant) -> Option<u32> {
        let mut late = self.steps.iter().filter(|(began, _)| is_late(*began, now)).peekable();
        let (first, _) = late.peek()?;
        let time = now.saturating_duration_since(*first).max(LEAST);
        let tokens: u64 = late.map(|(_, count)| u64::from(*count)).sum();
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let rate = tokens.saturating_mul(1_000_000).checked_div(millis).unwrap_or_default();
        (rate > 0).then(|| u32::try_from(rate).unwrap_or(u32::MAX))
    }
}

fn is_late(began: Instant, now: Instant) -> bool {
    now.saturating_duration_since(began) < WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(start: Instant, ms: u64) -> Instant {
        start.checked_add(Duration::from_millis(ms)).unwrap()
    }

    proptest! {
        #[test]
        fn an_even_stream_has_its_pace_and_none_is_left_of_one_that_ended(
            pause_ms in 1..400_u64, seconds in 2..20_u64,
        ) {
            let (start, mut tempo) = (Instant::now(), Tempo::default());
            let count = seconds * 1000 / pause_ms;
            for token in 0..=count {
                tempo.add(1, after(start, token * pause_ms));
            }
            let end = count * pause_ms;
            let rate = u64::from(tempo.millitokens_per_s(after(start, end)).unwrap());
            let expected = 1_000_000 / pause_ms;
            // Two fence posts of the window, and a token that came a moment before it.
            let slack = expected / 4 + 1000;
            prop_assert!(rate.abs_diff(expected) <= slack, "{rate} for {expected}");
            prop_assert!(tempo.steps.len() <= 13);
            let later = tempo.millitokens_per_s(after(start, end + 1500));
            prop_assert!(later.is_none_or(|later| u64::from(later) < rate));
            prop_assert_eq!(tempo.millitokens_per_s(after(start, end + 3000)), None);
        }
    }

    #[test]
    fn the_first_tokens_are_no_burst_and_a_pause_is_forgotten() {
        let (start, mut tempo) = (Instant::now(), Tempo::default());
        assert_eq!(tempo.millitokens_per_s(start), None);
        tempo.add(5, start);
        assert_eq!(tempo.millitokens_per_s(start), Some(5000));
        let again = after(start, 60_000);
        tempo.add(7, again);
        assert_eq!(tempo.millitokens_per_s(after(again, 100)), Some(7000));
        assert_eq!(tempo.steps.len(), 1);
    }
}
