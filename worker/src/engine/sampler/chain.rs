//! The links of the chain: each leaves a part of the candidates, best first.

/// A token that may be chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    /// Its id.
    pub token: u32,
    /// Its logit, a number.
    pub logit: f32,
}

/// Descending by logit; equal ones by token, so that the order is the same everywhere.
fn descending(a: Candidate, b: Candidate) -> std::cmp::Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

/// The token of the largest logit, the first of equals; none when no token is possible. The logits
/// are numbers, or negative infinity.
pub(super) fn best(logits: &[f32]) -> Option<u32> {
    let most = largest(logits);
    if most == f32::NEG_INFINITY {
        return None;
    }
    // None is larger; zero equals its negative.
    let at = logits.iter().position(|logit| *logit >= most)?;
    u32::try_from(at).ok()
}

fn largest(logits: &[f32]) -> f32 {
    /// Maxima that are kept at once: one after the other would each wait for the one before.
    const LANES: usize = 16;
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    let (chunks, rest) = logits.as_chunks::<LANES>();
    let mut most = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (most, logit) in most.iter_mut().zip(chunk) {
            *most = larger(*logit, *most);
        }
    }
    most.iter().chain(rest).fold(f32::NEG_INFINITY, |most, logit| larger(*logit, most))
}

/// The logarithm of the sum of all exponentials: what a logit is less of in a log-probability.
pub(super) fn log_sum_exp(logits: &[f32]) -> f64 {
    let most = f64::from(largest(logits));
    let sum: f64 = logits.iter().map(|logit| (f64::from(*logit) - most).exp()).sum();
    most + sum.ln()
}

/// Fewest candidates that are held before the worst are sorted out.
const MIN_HELD: usize = 256;

/// What is left of the vocabulary, sorted.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    all: Vec<Candidate>,
}

impl Candidates {
    /// Takes the `k` best of `logits`, all for 0. None that is negative infinity.
    pub(super) fn collect(&mut self, logits: &[f32], k: usize) {
        self.all.clear();
        let k = if k == 0 { logits.len() } else { k };
        let held = k.saturating_mul(2).max(MIN_HELD);
        // A logit at the floor comes behind the equal one that is there already.
        let mut floor = f32::NEG_INFINITY;
        for (token, &logit) in (0u32..).zip(logits) {
            if logit > floor {
                self.all.push(Candidate { token, logit });
                if self.all.len() == held {
                    self.keep_first(k);
                    floor = self.all.last().map_or(floor, |worst| worst.logit);
                }
            }
        }
        self.keep_first(k);
        self.all.sort_unstable_by(|a, b| descending(*a, *b));
    }

    /// Leaves the `k` best, the worst of them last.
    fn keep_first(&mut self, k: usize) {
        if k > 0 && k < self.all.len() {
            self.all.select_nth_unstable_by(k - 1, |a, b| descending(*a, *b));
            self.all.truncate(k);
        }
    }

    /// What is left, best first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Candidate> {
        self.all.iter()
    }

    /// Leaves those whose surprise is nearest to the expected one, until their probability is more
    /// than `p` in sum.
    pub(super) fn keep_typical(&mut self, p: f64) {
        if p >= 1.0 || self.all.is_empty() {
            return;
        }
        let weights = self.weights(1.0);
        let total: f64 = weights.iter().sum();
        let surprise = |weight: f64| total.ln() - weight.ln();
        // What is too improbable for a number has no part in the expectation.
        let possible = |weight: &&f64| **weight > 0.0;
        let expected: f64 =
            weights.iter().filter(possible).map(|weight| weight / total * surprise(*weight)).sum();
        let mut ranked: Vec<(f64, f64, Candidate)> = weights
            .into_iter()
            .zip(&self.all)
            .map(|(weight, one)| ((surprise(weight) - expected).abs(), weight, *one))
            .collect();
        // Equals stay in the order of their probability.
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut reached = 0.0;
        self.all.clear();
        for (_, weight, one) in ranked {
            self.all.push(one);
            reached += weight;
            if reached > p * total {
                break;
            }
        }
        self.all.sort_unstable_by(|a, b| descending(*a, *b));
    }

    /// Leaves the smallest set of the best whose probabilities reach `p`.
    pub(super) fn keep_top(&mut self, p: f64) {
        if p >= 1.0 {
            return;
        }
        let weights = self.weights(1.0);
        let goal = p * weights.iter().sum::<f64>();
        let mut reached = 0.0;
        let is_wanted = |weight: &&f64| {
            let is_wanted = reached < goal;
            reached += **weight;
            is_wanted
        };
        let kept = weights.iter().take_while(is_wanted).count().max(1);
        self.all.truncate(kept);
    }

    /// Leaves those with at least the part `p` of the best one's probability.
    pub(super) fn keep_likely(&mut self, p: f64) {
        if p <= 0.0 {
            return;
        }
        let kept = self.weights(1.0).iter().take_while(|weight| **weight >= p).count().max(1);
        self.all.truncate(kept);
    }

    /// Probabilities at a temperature, as multiples of the best one's.
    pub(super) fn weights(&self, temperature: f64) -> Vec<f64> {
        let best = self.all.first().map_or(0.0, |best| f64::from(best.logit));
        let weight = |one: &Candidate| ((f64::from(one.logit) - best) / temperature).exp();
        self.all.iter().map(weight).collect()
    }

    /// The token that lies at the part `at`, 0 to 1, of all probability; none of nothing.
    pub(super) fn draw(&self, temperature: f64, at: f64) -> Option<u32> {
        let weights = self.weights(temperature);
        let mut left = at * weights.iter().sum::<f64>();
        for (one, weight) in self.all.iter().zip(weights) {
            left -= weight;
            if left < 0.0 {
                return Some(one.token);
            }
        }
        // Rounding may leave a last bit.
        self.all.last().map(|one| one.token)
    }
}
