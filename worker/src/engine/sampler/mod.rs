//! Chooses the next token: biases → penalties → top-k → typical-p → top-p → min-p → temperature →
//! draw.
//!
//! That is the order of llama.cpp's default chain (`common_params_sampling::samplers`), whose other
//! links are off by default. Each filter sees the probabilities of what the one before it left.
//! At temperature 0 the most probable token of those that are left is taken; only typical-p ever
//! leaves out the most probable one of all.

mod chain;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wire::sampling::Sampling;
use wire::{Code, Fault};

use chain::Candidates;

/// The smallest divisor of a repeat penalty: 0 is allowed, and must not make a logit infinite.
const MIN_REPEAT_PENALTY: f64 = 1e-6;

/// One sequence's sampler. Same seed, build and device: same tokens.
#[derive(Debug)]
pub(super) struct Sampler {
    sampling: Sampling,
    rng: StdRng,
    history: Option<History>,
    candidates: Candidates,
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pick {
    /// The token.
    pub token: u32,
    /// Its probability and its rivals', when they were asked for.
    pub odds: Option<Odds>,
}

/// Natural logarithms of probabilities, as the model gives them: before anything of the chain.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Odds {
    /// Of the chosen token.
    pub chosen: f64,
    /// Of the most probable tokens, best first.
    pub top: Vec<(u32, f64)>,
}

/// How often each token occurs in the penalties' window.
#[derive(Debug)]
struct History {
    /// Tokens that the window holds; absent: all.
    window: Option<usize>,
    recent: VecDeque<u32>,
    counts: HashMap<u32, f64>,
}

impl History {
    /// The history that a sampling needs; none when nothing is penalised.
    fn of(sampling: &Sampling) -> Option<Self> {
        let off =
            [sampling.repeat_penalty - 1.0, sampling.presence_penalty, sampling.frequency_penalty];
        let is_off = off.iter().all(|amount| amount.abs() < f64::EPSILON);
        let window = sampling.repeat_last_n;
        let recent = VecDeque::new();
        (!is_off && window != Some(0)).then(|| Self { window, recent, counts: HashMap::new() })
    }

    fn observe(&mut self, token: u32) {
        *self.counts.entry(token).or_default() += 1.0;
        let Some(window) = self.window else { return };
        self.recent.push_back(token);
        if self.recent.len() <= window {
            return;
        }
        let forgotten = self.recent.pop_front();
        if let Some(oldest) = forgotten
            && let Some(count) = self.counts.get_mut(&oldest)
        {
            *count -= 1.0;
            if *count < 1.0 {
                self.counts.remove(&oldest);
            }
        }
    }
}

/// A fault of logits that nothing can be chosen from.
fn unusable(message: &str) -> Fault {
    Fault::new(Code::Internal, message).hint("rbee doctor")
}

fn logit_of(logits: &mut [f32], token: u32) -> Option<&mut f32> {
    usize::try_from(token).ok().and_then(|at| logits.get_mut(at))
}

impl Sampler {
    /// A sampler for one sequence of a model with `vocabulary` tokens; without a seed, a random
    /// one.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a bias of a token that the model does not have.
    pub(super) fn new(sampling: Sampling, vocabulary: usize) -> Result<Self, Fault> {
        let is_beyond = |token: u32| usize::try_from(token).is_ok_and(|at| at >= vocabulary);
        if let Some((token, _)) = sampling.logit_bias.iter().find(|(token, _)| is_beyond(*token)) {
            let message =
                format!("logit_bias names token {token}, but the model has {vocabulary} tokens");
            return Err(Fault::new(Code::InvalidArgument, message)
                .detail("parameter", "logit_bias")
                .detail("vocabulary", vocabulary));
        }
        let rng = StdRng::seed_from_u64(sampling.seed.unwrap_or_else(rand::random));
        let history = History::of(&sampling);
        Ok(Self { sampling, rng, history, candidates: Candidates::default() })
    }

    /// Notes a token of the prompt or of the answer, for the penalties.
    pub(super) fn observe(&mut self, token: u32) {
        if let Some(history) = &mut self.history {
            history.observe(token);
        }
    }

    /// The next token. `banned` tokens are never taken.
    ///
    /// # Errors
    /// `INTERNAL` when no logit is a number that can be compared, or one is not a number.
    pub(super) fn pick(&mut self, logits: &mut [f32], banned: &[u32]) -> Result<Pick, Fault> {
        // Counted to the end, so that it is done for many at once.
        let is_unusable = |logit: &f32| u32::from(logit.is_nan() || *logit == f32::INFINITY);
        if logits.iter().map(is_unusable).sum::<u32>() > 0 {
            return Err(unusable("the model computed logits that are no numbers"));
        }
        let Some(top) = self.sampling.top_logprobs else {
            let token = self.choose(logits, banned)?;
            return Ok(Pick { token, odds: None });
        };
        let mut raw = logits.to_vec();
        let token = self.choose(logits, banned)?;
        let chosen = logit_of(&mut raw, token).map_or(f32::NEG_INFINITY, |logit| *logit);
        let total = chain::log_sum_exp(&raw);
        let of = |logit: f32| f64::from(logit) - total;
        let mut best = Candidates::default();
        if top > 0 {
            best.collect(&raw, top);
        }
        let top = best.iter().map(|one| (one.token, of(one.logit))).collect();
        Ok(Pick { token, odds: Some(Odds { chosen: of(chosen), top }) })
    }

    fn choose(&mut self, logits: &mut [f32], banned: &[u32]) -> Result<u32, Fault> {
        for (token, bias) in &self.sampling.logit_bias {
            if let Some(logit) = logit_of(logits, *token) {
                *logit = to_f32(f64::from(*logit) + bias);
            }
        }
        self.penalise(logits);
        for token in banned {
            if let Some(logit) = logit_of(logits, *token) {
                *logit = f32::NEG_INFINITY;
            }
        }
        let impossible = || unusable("the model computed no possible token");
        let is_greedy = self.sampling.temperature == 0.0;
        if is_greedy && self.sampling.typical_p >= 1.0 {
            return chain::best(logits).ok_or_else(impossible);
        }
        self.candidates.collect(logits, self.sampling.top_k);
        self.candidates.keep_typical(self.sampling.typical_p);
        if is_greedy {
            return self.candidates.iter().next().map(|best| best.token).ok_or_else(impossible);
        }
        self.candidates.keep_top(self.sampling.top_p);
        self.candidates.keep_likely(self.sampling.min_p);
        let at = self.rng.random::<f64>();
        self.candidates.draw(self.sampling.temperature, at).ok_or_else(impossible)
    }

    fn penalise(&self, logits: &mut [f32]) {
        let Some(History { counts, .. }) = &self.history else { return };
        let repeat = self.sampling.repeat_penalty.max(MIN_REPEAT_PENALTY);
        for (token, count) in counts {
            let Some(logit) = logit_of(logits, *token) else { continue };
            // A token that cannot be has nothing to lose, and must not become a number.
            if *logit == f32::NEG_INFINITY {
                continue;
            }
            let value = f64::from(*logit);
            let value = if value > 0.0 { value / repeat } else { value * repeat };
            let often = count * self.sampling.frequency_penalty;
            *logit = to_f32(value - often - self.sampling.presence_penalty);
        }
    }
}

/// The nearest f32; beyond its range, its bounds.
#[expect(clippy::cast_possible_truncation, reason = "clamped to f32's range; precision may go")]
fn to_f32(value: f64) -> f32 {
    if value == f64::NEG_INFINITY {
        return f32::NEG_INFINITY;
    }
    value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}
