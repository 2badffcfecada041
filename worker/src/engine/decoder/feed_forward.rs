//! The feed-forward part of a block: one gated product, or a mixture of several.

use candle_core::{Device, Result, Tensor};
use candle_nn::ops::silu;
use wire::Fault;

use super::super::weights::Loader;
use super::config::{Activation, Config, Experts};
use super::linear::Linear;

/// A gated product: `down(activation(gate(x)) * up(x))`.
struct Gated {
    activation: Activation,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Gated {
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let gate = self.gate.forward(input)?;
        let gate = match self.activation {
            Activation::Silu => silu(&gate)?,
            Activation::GeluTanh => gate.gelu()?,
        };
        self.down.forward(&(gate * self.up.forward(input)?)?)
    }
}

/// A mixture of experts: each row goes through the few that a router likes best.
struct Mixture {
    router: Linear,
    experts: Vec<Gated>,
    used: usize,
    are_normed: bool,
}

/// One block's feed-forward part.
pub(super) struct FeedForward(Kind);

enum Kind {
    One(Gated),
    Mixture(Mixture),
}

impl FeedForward {
    /// Takes the weights of the block whose tensors `name` names.
    pub(super) fn load(
        config: &Config,
        name: impl Fn(&str) -> String,
        loader: &mut Loader<'_>,
    ) -> std::result::Result<Self, Fault> {
        let (width, inner, activation) = (config.embedding, config.feed_forward, config.activation);
        if let Some(experts) = config.experts {
            let mixture = Mixture::load(config, experts, name, loader)?;
            return Ok(Self(Kind::Mixture(mixture)));
        }
        let (gate, up) = if config.is_fused {
            let (from, dims) = (name("ffn_up.weight"), [2 * inner, width]);
            let gate = Linear::load_rows(loader, &from, &dims, 0..inner)?;
            (gate, Linear::load_rows(loader, &from, &dims, inner..2 * inner)?)
        } else {
            let gate = Linear::load(loader, &name("ffn_gate"), [inner, width])?;
            (gate, Linear::load(loader, &name("ffn_up"), [inner, width])?)
        };
        let down = Linear::load(loader, &name("ffn_down"), [width, inner])?;
        Ok(Self(Kind::One(Gated { activation, gate, up, down })))
    }

    /// Computes `(rows, embedding)`.
    pub(super) fn forward(&self, input: &Tensor) -> Result<Tensor> {
        match &self.0 {
            Kind::One(gated) => gated.forward(input),
            Kind::Mixture(mixture) => mixture.forward(input),
        }
    }
}

impl Mixture {
    fn load(
        config: &Config,
        experts: Experts,
        name: impl Fn(&str) -> String,
        loader: &mut Loader<'_>,
    ) -> std::result::Result<Self, Fault> {
        let Experts { count, used, feed_forward: inner, are_normed } = experts;
        let (width, activation) = (config.embedding, config.activation);
        let router = Linear::load(loader, &name("ffn_gate_inp"), [count, width])?;
        let mut load = |part: &str, expert: usize, [rows, columns]: [usize; 2]| {
            let all = name(&format!("{part}_exps.weight"));
            if loader.has(&all) {
                let dims = [count, rows, columns];
                return Linear::load_rows(loader, &all, &dims, expert * rows..(expert + 1) * rows);
            }
            // Each on its own, as in files of 2023 and in safetensors.
            Linear::load(loader, &name(&format!("{part}.{expert}")), [rows, columns])
        };
        let expert = |expert: usize| {
            let gate = load("ffn_gate", expert, [inner, width])?;
            let up = load("ffn_up", expert, [inner, width])?;
            let down = load("ffn_down", expert, [width, inner])?;
            Ok(Gated { activation, gate, up, down })
        };
        let experts = (0..count).map(expert).collect::<std::result::Result<_, Fault>>()?;
        Ok(Self { router, experts, used, are_normed })
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let scores: Vec<Vec<f32>> = self.router.forward(input)?.to_vec2()?;
        // The rows of each expert, and how much each counts.
        let mut shares: Vec<(Vec<u32>, Vec<f32>)> = vec![Default::default(); self.experts.len()];
        for (row, scores) in (0u32..).zip(&scores) {
            for (expert, share) in self.choose(scores) {
                if let Some((rows, parts)) = shares.get_mut(expert) {
                    rows.push(row);
                    parts.push(share);
                }
            }
        }
        let mut sum = input.zeros_like()?;
        for (expert, (rows, parts)) in self.experts.iter().zip(shares) {
            if rows.is_empty() {
                continue;
            }
            let count = rows.len();
            let rows = Tensor::from_vec(rows, count, &Device::Cpu)?;
            let parts = Tensor::from_vec(parts, (count, 1), &Device::Cpu)?;
            let output = expert.forward(&input.index_select(&rows, 0)?)?;
            sum = sum.index_add(&rows, &output.broadcast_mul(&parts)?, 0)?;
        }
        Ok(sum)
    }

    /// The experts that one row goes through, and how much each counts: the softmax of the scores
    /// of all, or of the best only.
    fn choose(&self, scores: &[f32]) -> Vec<(usize, f32)> {
        let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut chosen: Vec<(usize, f32)> =
            scores.iter().map(|score| (score - best).exp()).enumerate().collect();
        let all: f32 = chosen.iter().map(|(_, weight)| weight).sum();
        chosen.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        chosen.truncate(self.used);
        let sum = if self.are_normed { chosen.iter().map(|(_, weight)| weight).sum() } else { all };
        for (_, weight) in &mut chosen {
            *weight /= sum;
        }
        chosen
    }
}
