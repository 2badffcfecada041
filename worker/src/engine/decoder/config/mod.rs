//! What a model's metadata says of its computation; whatever the decoder lacks is refused by name.

mod family;
mod gguf;
mod hugging_face;
#[cfg(test)]
mod tests;

use wire::{Code, Fault, limits};

use super::super::weights::corrupt;
pub(in super::super) use gguf::check_context;
pub(in super::super) use hugging_face::Description;

/// How rotary positions pair a head's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pairing {
    /// Element 2i with 2i+1, as llama.cpp's converter permutes some families' weights for it.
    Interleaved,
    /// Element i with i+n/2 (GPT-NeoX).
    Halves,
}

/// What a feed-forward block's gate goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// x·σ(x) (`SwiGLU`).
    Silu,
    /// The Gaussian error linear unit, by its approximation with tanh (`GeGLU`).
    GeluTanh,
}

/// How a block's queries and keys are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rotation {
    /// Not at all (`NoPE`).
    None,
    /// As [`Config::rope`] says.
    Global,
    /// As [`Config::local_rope`] says.
    Local,
}

/// What may differ from block to block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// Whether it attends to [`Config::window`] positions only.
    pub is_windowed: bool,
    /// How it is rotated.
    pub rotation: Rotation,
}

/// How frequencies are stretched for more positions than a model was first trained with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scaling {
    /// All are divided by this; 1 is none.
    Linear(f64),
    /// Low ones are divided by `factor`, high ones kept, those between are blended (Llama 3.1).
    Llama3 { factor: f64, low: f64, high: f64, original: f64 },
    /// As by `factor` for slow pairs, kept for fast ones (Peng et al. 2023).
    Yarn { factor: f64, original: f64, beta_fast: f64, beta_slow: f64, magnitude: f64 },
    /// Each is divided by a factor of its own; by another one if the context is longer than
    /// `original` tokens (Ding et al. 2024).
    Long { original: usize, magnitude: f64, factors: Option<LongFactors> },
}

/// The divisors of each frequency. A GGUF file has them as tensors instead.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LongFactors {
    /// Up to the original context.
    pub short: Vec<f32>,
    /// Beyond it.
    pub long: Vec<f32>,
}

/// Rotary positions.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RopeConfig {
    /// The base of the frequencies.
    pub base: f64,
    /// Elements of a head that are rotated, from its beginning; even, at most its length.
    pub rotated: usize,
    /// How frequencies are stretched.
    pub scaling: Scaling,
}

/// A mixture of experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Experts {
    /// How many there are in a block.
    pub count: usize,
    /// How many of them see each token.
    pub used: usize,
    /// Elements between the halves of one.
    pub feed_forward: usize,
    /// Whether the weights of those used add up to one.
    pub are_normed: bool,
}

/// A model's figures.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Config {
    /// Transformer blocks, in order.
    pub blocks: Vec<Block>,
    /// Elements of a token's embedding.
    pub embedding: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; they divide `heads`.
    pub kv_heads: usize,
    /// Elements of a head; even.
    pub head_dim: usize,
    /// Elements between the halves of a feed-forward block.
    pub feed_forward: usize,
    /// Tokens of context that it was trained for.
    pub context: u32,
    /// What keeps the root mean square off zero.
    pub epsilon: f32,
    /// How rotary positions pair elements.
    pub pairing: Pairing,
    /// Rotary positions of most blocks.
    pub rope: RopeConfig,
    /// Rotary positions of windowed blocks, where they differ.
    pub local_rope: Option<RopeConfig>,
    /// Positions that a windowed block attends to, its own included.
    pub window: Option<usize>,
    /// Whether each head's query and key is normalised.
    pub norms_heads: bool,
    /// Whether the outputs of attention and feed-forward part are normalised, too.
    pub norms_outputs: bool,
    /// Whether query, key and value are rows of one matrix, and gate and up of another.
    pub is_fused: bool,
    /// What a gate goes through.
    pub activation: Activation,
    /// The mixture of experts that feed-forward parts are.
    pub experts: Option<Experts>,
    /// What products of queries and keys are multiplied with.
    pub attention_scale: f32,
    /// What those products are bent to stay below.
    pub attention_softcap: Option<f32>,
    /// What embeddings are multiplied with.
    pub embedding_scale: Option<f32>,
    /// What the outputs of attention and feed-forward part are multiplied with.
    pub residual_scale: Option<f32>,
    /// What logits are divided by.
    pub logit_divisor: Option<f32>,
    /// What logits are bent to stay below.
    pub logit_softcap: Option<f32>,
    /// Whether the output shares the embedding's weights; absent: when the file has no other.
    pub is_tied: Option<bool>,
    /// What a norm's weights are stored without.
    pub norm_offset: f32,
}

/// Tokens that a sequence has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Room {
    /// Here.
    pub ctx_size: usize,
    /// With all the context that the model was trained for.
    pub trained: usize,
}

/// The context that a worker of a model gets, if it can have it.
///
/// # Errors
/// `INVALID_ARGUMENT` for more tokens than the model was trained for, or too few to be of use.
fn room(trained: u32, ctx_size: u32) -> Result<Room, Fault> {
    let lowest = limits::MIN_CTX_SIZE.min(trained);
    if ctx_size < lowest || ctx_size > trained {
        let message = format!("the context is {lowest} to {trained} tokens for this model");
        return Err(Fault::new(Code::InvalidArgument, format!("{message}, not {ctx_size}"))
            .detail("ctx_size", ctx_size)
            .detail("model_ctx", trained)
            .hint(format!("rbee run --ctx-size {trained} …")));
    }
    Ok(Room { ctx_size: size(ctx_size), trained: size(trained) })
}

/// A model that is all right, but not for this decoder.
fn unsupported(message: impl AsRef<str>) -> Fault {
    Fault::new(Code::ModelUnsupported, message)
        .hint("rbee run -m file:/path/to/another/model.gguf PROMPT")
}

fn size(figure: u32) -> usize {
    usize::try_from(figure).unwrap_or(usize::MAX)
}

/// The largest factor of anything that a model is believed to have.
const MAX_FACTOR: f64 = 1e6;

/// A factor from just above nothing to [`MAX_FACTOR`].
fn positive(value: f64, key: &str) -> Result<f64, Fault> {
    if (1e-6..=MAX_FACTOR).contains(&value) {
        Ok(value)
    } else {
        Err(corrupt(format!("{key} is no number from 0.000001 to {MAX_FACTOR}")))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the decoder computes in f32")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// What products of queries and keys with `elements` are divided by to keep their spread.
fn inverse_root(elements: f64) -> f32 {
    narrow(1.0 / elements.sqrt())
}

impl RopeConfig {
    /// Checks what both formats say in their own words.
    fn check(self, head_dim: usize) -> Result<Self, Fault> {
        let Self { base, rotated, scaling } = &self;
        if !(1.0..=1e15).contains(base) {
            return Err(corrupt("the base of the rotary frequencies is no number from 1 up"));
        }
        if !rotated.is_multiple_of(2) || *rotated == 0 || *rotated > head_dim {
            let message = format!("{rotated} of a head's {head_dim} elements cannot be rotated");
            return Err(corrupt(message));
        }
        let is_fine = |values: &[f64]| values.iter().all(|v| (1e-3..=1e9).contains(v));
        let is_sound = match scaling {
            Scaling::Linear(factor) => is_fine(&[*factor]),
            Scaling::Llama3 { factor, low, high, original } => {
                is_fine(&[*factor, *low, *high, *original]) && low < high
            }
            Scaling::Yarn { factor, original, beta_fast, beta_slow, magnitude } => {
                is_fine(&[*factor, *original, *beta_fast, *beta_slow, *magnitude]) && *base > 1.0
            }
            Scaling::Long { original, magnitude, .. } => *original > 0 && is_fine(&[*magnitude]),
        };
        if is_sound { Ok(self) } else { Err(corrupt(format!("no positions are like {scaling:?}"))) }
    }
}

/// The magnitude that `YaRN` gives to what it rotates.
fn yarn_magnitude(factor: f64) -> f64 {
    if factor > 1.0 { 0.1 * factor.ln() + 1.0 } else { 1.0 }
}

impl Config {
    /// Checks what no single figure shows.
    fn check(self) -> Result<Self, Fault> {
        if !self.head_dim.is_multiple_of(2) {
            return Err(corrupt(format!("heads of {} elements cannot be rotated", self.head_dim)));
        }
        if self.window.is_none() && self.blocks.iter().any(|block| block.is_windowed) {
            return Err(corrupt("blocks that attend to a window lack its length"));
        }
        if let Some(Experts { count, used, .. }) = self.experts
            && (used == 0 || used > count)
        {
            return Err(corrupt(format!("{used} of {count} experts cannot be used")));
        }
        Ok(self)
    }
}
