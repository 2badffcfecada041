//! Rotary positions (Su et al. 2021), computed for the rows at hand: no table, no longest position.

use candle_core::{Device, Result, Tensor};
use wire::Fault;

use super::super::internal;
use super::super::weights::{Loader, corrupt};
use super::config::{Config, Pairing};

/// The frequencies of a model's heads.
pub(super) struct Rope {
    pairing: Pairing,
    /// Radians for each position, one for each pair of elements.
    frequencies: Vec<f64>,
}

/// Cosine and sine of each row's angles, `(rows, 1, head_dim / 2)` each.
pub(super) struct Angles {
    cos: Tensor,
    sin: Tensor,
    pairing: Pairing,
}

impl Rope {
    /// The frequencies that `config` and the file's `rope_freqs.weight`, if it has one, say.
    pub(super) fn load(
        config: &Config,
        loader: &mut Loader<'_>,
    ) -> std::result::Result<Self, Fault> {
        let pairs = config.head_dim / 2;
        let factors = match loader.optional_vector("rope_freqs.weight", pairs)? {
            Some(factors) => {
                factors.to_vec1().map_err(|error| internal("reading factors", error))?
            }
            None => vec![1.0f32; pairs],
        };
        if factors.iter().any(|factor| !factor.is_finite() || *factor <= 0.0) {
            return Err(corrupt("rope_freqs.weight has a factor that is no positive number"));
        }
        let step = (-config.rope_base.ln() / index_to_f64(pairs)).exp();
        let mut frequency = 1.0 / config.rope_scale;
        let frequencies = factors.iter().map(|factor| {
            let scaled = frequency / f64::from(*factor);
            frequency *= step;
            scaled
        });
        Ok(Self { pairing: config.pairing, frequencies: frequencies.collect() })
    }

    /// The angles of rows at `positions`.
    pub(super) fn angles(&self, positions: impl ExactSizeIterator<Item = usize>) -> Result<Angles> {
        let (rows, pairs) = (positions.len(), self.frequencies.len());
        let mut cos = Vec::with_capacity(rows * pairs);
        let mut sin = Vec::with_capacity(rows * pairs);
        for position in positions {
            let position = index_to_f64(position);
            for frequency in &self.frequencies {
                let (s, c) = (position * frequency).sin_cos();
                cos.push(to_f32(c));
                sin.push(to_f32(s));
            }
        }
        let shape = (rows, 1, pairs);
        Ok(Angles {
            cos: Tensor::from_vec(cos, shape, &Device::Cpu)?,
            sin: Tensor::from_vec(sin, shape, &Device::Cpu)?,
            pairing: self.pairing,
        })
    }
}

impl Angles {
    /// Rotates `heads`, `(rows, heads, head_dim)`: each row by its own position.
    pub(super) fn rotate(&self, heads: &Tensor) -> Result<Tensor> {
        let rows = heads.unsqueeze(2)?;
        let rotated = match self.pairing {
            Pairing::Interleaved => candle_nn::rotary_emb::rope_i(&rows, &self.cos, &self.sin),
            Pairing::Halves => candle_nn::rotary_emb::rope(&rows, &self.cos, &self.sin),
        };
        rotated?.squeeze(2)
    }
}

#[expect(clippy::cast_precision_loss, reason = "positions and sizes are far below 2^52")]
fn index_to_f64(index: usize) -> f64 {
    index as f64
}

#[expect(clippy::cast_possible_truncation, reason = "a cosine needs no more than f32")]
fn to_f32(value: f64) -> f32 {
    value as f32
}
