//! Chooses the next token: penalties → top-k → top-p → min-p → temperature → draw.
//!
//! That is the order of llama.cpp's default chain.

use std::collections::{HashMap, VecDeque};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wire::sampling::Sampling;
use wire::{Code, Fault};

/// Tokens that the penalties look back on (llama.cpp's default).
const PENALTY_WINDOW: usize = 64;
/// The smallest divisor of a repeat penalty: 0 is allowed, and must not make a logit infinite.
const MIN_REPEAT_PENALTY: f64 = 1e-6;

/// One sequence's sampler. Same seed, build and device: same tokens.
#[derive(Debug)]
pub(super) struct Sampler {
    sampling: Sampling,
    rng: StdRng,
    recent: VecDeque<u32>,
    candidates: Vec<Candidate>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    token: u32,
    logit: f32,
}

/// Descending by logit; equal ones by token, so that the order is the same everywhere.
fn descending(a: Candidate, b: Candidate) -> std::cmp::Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

impl Sampler {
    /// A sampler for one sequence; without a seed, a random one.
    pub(super) fn new(sampling: Sampling) -> Self {
        let rng = StdRng::seed_from_u64(sampling.seed.unwrap_or_else(rand::random));
        Self { sampling, rng, recent: VecDeque::new(), candidates: Vec::new() }
    }

    /// Notes a token of the prompt or of the answer, for the penalties.
    pub(super) fn observe(&mut self, token: u32) {
        if self.recent.len() == PENALTY_WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(token);
    }

    /// The next token. `banned` tokens are never taken.
    ///
    /// # Errors
    /// `INTERNAL` when no logit is a number that can be compared, or one is not a number.
    pub(super) fn pick(&mut self, logits: &mut [f32], banned: &[u32]) -> Result<u32, Fault> {
        if logits.iter().any(|logit| logit.is_nan() || *logit == f32::INFINITY) {
            let message = "the model computed logits that are no numbers";
            return Err(Fault::new(Code::Internal, message).hint("rbee doctor"));
        }
        self.penalise(logits);
        for token in banned {
            if let Some(logit) = usize::try_from(*token).ok().and_then(|at| logits.get_mut(at)) {
                *logit = f32::NEG_INFINITY;
            }
        }
        self.collect(logits);
        if self.candidates.is_empty() {
            return Err(Fault::new(Code::Internal, "the model computed no possible token"));
        }
        if self.sampling.temperature == 0.0 {
            let best = self.candidates.iter().min_by(|a, b| descending(**a, **b));
            return Ok(best.map_or(0, |best| best.token));
        }
        self.keep_top_k();
        self.keep_top_p();
        self.keep_min_p();
        Ok(self.draw())
    }

    fn penalise(&self, logits: &mut [f32]) {
        let Sampling { repeat_penalty, presence_penalty, frequency_penalty, .. } = self.sampling;
        let off = [repeat_penalty - 1.0, presence_penalty, frequency_penalty];
        if off.iter().all(|amount| amount.abs() < f64::EPSILON) {
            return;
        }
        let repeat = repeat_penalty.max(MIN_REPEAT_PENALTY);
        let mut counts: HashMap<u32, f64> = HashMap::with_capacity(PENALTY_WINDOW);
        for token in &self.recent {
            *counts.entry(*token).or_default() += 1.0;
        }
        for (token, count) in counts {
            let Some(logit) = usize::try_from(token).ok().and_then(|at| logits.get_mut(at)) else {
                continue;
            };
            let value = f64::from(*logit);
            let value = if value > 0.0 { value / repeat } else { value * repeat };
            let value = value - count * frequency_penalty - presence_penalty;
            *logit = to_f32(value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)));
        }
    }

    fn collect(&mut self, logits: &[f32]) {
        self.candidates.clear();
        let possible = (0u32..).zip(logits).filter(|(_, logit)| **logit > f32::NEG_INFINITY);
        self.candidates.extend(possible.map(|(token, &logit)| Candidate { token, logit }));
    }

    /// Leaves the `top_k` best, sorted.
    fn keep_top_k(&mut self) {
        let k = self.sampling.top_k;
        if k > 0 && k < self.candidates.len() {
            self.candidates.select_nth_unstable_by(k - 1, |a, b| descending(*a, *b));
            self.candidates.truncate(k);
        }
        self.candidates.sort_unstable_by(|a, b| descending(*a, *b));
    }

    /// Leaves the smallest set of best candidates whose probabilities reach `top_p`.
    fn keep_top_p(&mut self) {
        if self.sampling.top_p >= 1.0 {
            return;
        }
        let weights = self.weights(1.0);
        let goal = self.sampling.top_p * weights.iter().sum::<f64>();
        let mut reached = 0.0;
        let kept = weights.iter().take_while(|weight| {
            let wanted = reached < goal;
            reached += **weight;
            wanted
        });
        let kept = kept.count().max(1);
        self.candidates.truncate(kept);
    }

    /// Leaves candidates with at least `min_p` of the best one's probability.
    fn keep_min_p(&mut self) {
        if self.sampling.min_p <= 0.0 {
            return;
        }
        let min_p = self.sampling.min_p;
        let kept = self.weights(1.0).iter().take_while(|weight| **weight >= min_p).count().max(1);
        self.candidates.truncate(kept);
    }

    /// Probabilities of the sorted candidates, as multiples of the best one's.
    fn weights(&self, temperature: f64) -> Vec<f64> {
        let best = self.candidates.first().map_or(0.0, |best| f64::from(best.logit));
        let weight = |c: &Candidate| ((f64::from(c.logit) - best) / temperature).exp();
        self.candidates.iter().map(weight).collect()
    }

    fn draw(&mut self) -> u32 {
        let weights = self.weights(self.sampling.temperature);
        let mut left = self.rng.random::<f64>() * weights.iter().sum::<f64>();
        let mut chosen = 0;
        for (candidate, weight) in self.candidates.iter().zip(weights) {
            chosen = candidate.token;
            left -= weight;
            if left < 0.0 {
                break;
            }
        }
        chosen
    }
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to f32's range; precision may go")]
fn to_f32(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn open() -> Sampling {
        Sampling {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: Some(7),
            ..Sampling::default()
        }
    }

    fn draws(sampling: Sampling, logits: &[f32], count: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling);
        (0..count).map(|_| sampler.pick(&mut logits.to_vec(), &[]).unwrap()).collect()
    }

    #[test]
    fn temperature_zero_takes_the_best_and_the_first_of_equals() {
        let greedy = Sampling { temperature: 0.0, ..open() };
        assert_eq!(draws(greedy.clone(), &[0.0, 3.0, -1.0, 3.0], 5), [1; 5]);
        let mut sampler = Sampler::new(greedy);
        assert_eq!(sampler.pick(&mut [0.0, 3.0, 2.0], &[1]).unwrap(), 2);
    }

    #[test]
    fn the_same_seed_draws_the_same_tokens_and_another_does_not() {
        let logits: Vec<f32> = (0u8..50).map(|n| f32::from(n % 7)).collect();
        let first = draws(open(), &logits, 64);
        assert_eq!(first, draws(open(), &logits, 64));
        assert_ne!(first, draws(Sampling { seed: Some(8), ..open() }, &logits, 64));
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [0.7f32.ln(), 0.2f32.ln(), 0.1f32.ln()];
        let drawn = draws(open(), &logits, 20_000);
        for (token, expected) in [(0, 14_000usize), (1, 4_000), (2, 2_000)] {
            let seen = drawn.iter().filter(|t| **t == token).count();
            assert!(seen.abs_diff(expected) < 300, "token {token}: {seen}");
        }
    }

    #[test]
    fn each_filter_keeps_what_its_definition_says() {
        let logits = [0.5f32.ln(), 0.25f32.ln(), 0.15f32.ln(), 0.1f32.ln()];
        let seen = |sampling| {
            let mut tokens = draws(sampling, &logits, 2_000);
            tokens.sort_unstable();
            tokens.dedup();
            tokens
        };
        assert_eq!(seen(Sampling { top_k: 2, ..open() }), [0, 1]);
        assert_eq!(seen(Sampling { top_k: 99, ..open() }), [0, 1, 2, 3]);
        assert_eq!(seen(Sampling { top_p: 0.0, ..open() }), [0]);
        assert_eq!(seen(Sampling { top_p: 0.6, ..open() }), [0, 1]);
        assert_eq!(seen(Sampling { min_p: 0.29, ..open() }), [0, 1, 2]);
        assert_eq!(seen(Sampling { min_p: 1.0, ..open() }), [0]);
    }

    #[test]
    fn penalties_lower_recent_tokens_and_forget_old_ones() {
        let greedy = Sampling { temperature: 0.0, ..open() };
        let pick = |sampling: Sampling, history: &[u32]| {
            let mut sampler = Sampler::new(sampling);
            for token in history {
                sampler.observe(*token);
            }
            sampler.pick(&mut [2.0, 1.5, -9.0], &[]).unwrap()
        };
        assert_eq!(pick(greedy.clone(), &[0]), 0);
        assert_eq!(pick(Sampling { repeat_penalty: 1.5, ..greedy.clone() }, &[0]), 1);
        assert_eq!(pick(Sampling { presence_penalty: 0.6, ..greedy.clone() }, &[0]), 1);
        assert_eq!(pick(Sampling { frequency_penalty: 0.3, ..greedy.clone() }, &[0]), 0);
        assert_eq!(pick(Sampling { frequency_penalty: 0.3, ..greedy.clone() }, &[0, 0]), 1);
        let mut long = vec![0];
        long.extend([2; PENALTY_WINDOW]);
        assert_eq!(pick(Sampling { presence_penalty: 0.6, ..greedy.clone() }, &long), 0);
        assert_eq!(pick(Sampling { repeat_penalty: 0.0, ..greedy }, &[2]), 0);
    }

    #[test]
    fn logits_that_are_no_numbers_are_a_fault() {
        for logits in [[0.0, f32::NAN], [f32::INFINITY, 0.0], [f32::NEG_INFINITY; 2]] {
            let fault = Sampler::new(open()).pick(&mut logits.clone(), &[]).unwrap_err();
            assert_eq!(fault.code, Code::Internal);
        }
        assert!(Sampler::new(open()).pick(&mut [], &[]).is_err());
    }

    proptest! {
        #[test]
        fn any_setting_picks_a_possible_token(
            logits in prop::collection::vec(-1e30f32..1e30, 1..50),
            temperature in 0.0f64..=2.0, top_p in 0.0f64..=1.0, min_p in 0.0f64..=1.0,
            top_k in 0usize..60, repeat_penalty in 0.0f64..=2.0, seed: u64,
            history in prop::collection::vec(0u32..60, 0..80),
        ) {
            let sampling = Sampling {
                temperature, top_p, min_p, top_k, repeat_penalty, seed: Some(seed),
                frequency_penalty: -2.0, presence_penalty: 2.0, ..Sampling::default()
            };
            let mut sampler = Sampler::new(sampling);
            for token in history {
                sampler.observe(token);
            }
            let token = sampler.pick(&mut logits.clone(), &[0]);
            if logits.len() == 1 {
                prop_assert!(token.is_err());
            } else {
                let token = usize::try_from(token.unwrap()).unwrap();
                prop_assert!(token > 0 && token < logits.len());
            }
        }
    }
}
