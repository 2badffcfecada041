//! Rotary positions (Su et al. 2021), computed for the rows at hand: no table, no longest position.

use std::f64::consts::PI;

use candle_core::{D, Device, Result, Tensor};
use wire::Fault;

use super::super::internal;
use super::super::weights::{Loader, corrupt};
use super::config::{LongFactors, Pairing, RopeConfig, Scaling};

/// The frequencies of a model's heads.
#[derive(Debug)]
pub(super) struct Rope {
    pairing: Pairing,
    /// Elements of a head that are rotated.
    rotated: usize,
    /// Radians for each position, one for each pair of elements.
    frequencies: Vec<f64>,
    /// Those of contexts longer than the first number of tokens, where they differ.
    long: Option<(usize, Vec<f64>)>,
    /// What rotated elements are multiplied with.
    magnitude: f64,
}

/// Cosine and sine of each row's angles, `(rows, 1, rotated / 2)` each.
pub(super) struct Angles {
    cos: Tensor,
    sin: Tensor,
    rotated: usize,
    pairing: Pairing,
}

impl Rope {
    /// The frequencies that `config` and the file's factors, if it has any, say.
    ///
    /// # Errors
    /// `MODEL_CORRUPT` for factors that no model has.
    pub(super) fn load(
        config: &RopeConfig,
        pairing: Pairing,
        loader: &mut Loader<'_>,
    ) -> std::result::Result<Self, Fault> {
        let pairs = config.rotated / 2;
        let divisors = match loader.optional_vector("rope_freqs.weight", pairs)? {
            Some(divisors) => Some(checked("rope_freqs.weight", &divisors)?),
            None => None,
        };
        let long = match &config.scaling {
            Scaling::Long { original, factors: Some(factors), .. } => {
                Some((*original, factors.clone()))
            }
            Scaling::Long { original, factors: None, .. } => {
                let mut factors = |name: &str| checked(name, &loader.vector(name, pairs)?);
                let short = factors("rope_factors_short.weight")?;
                let long = factors("rope_factors_long.weight")?;
                Some((*original, LongFactors { short, long }))
            }
            _ => None,
        };
        if divisors.is_some() && !matches!(config.scaling, Scaling::Linear(_)) {
            return Err(corrupt("the model has rope_freqs.weight and another scaling as well"));
        }
        Ok(Self::new(config, pairing, divisors.as_deref(), long))
    }

    /// The frequencies that `config` alone says.
    pub(super) fn plain(config: &RopeConfig, pairing: Pairing) -> Self {
        Self::new(config, pairing, None, None)
    }

    fn new(
        config: &RopeConfig,
        pairing: Pairing,
        divisors: Option<&[f32]>,
        long: Option<(usize, LongFactors)>,
    ) -> Self {
        let base = frequencies(config);
        let over = |factors: &[f32]| {
            let pairs = base.iter().zip(factors);
            pairs.map(|(frequency, factor)| frequency / f64::from(*factor)).collect()
        };
        let magnitude = match config.scaling {
            Scaling::Yarn { magnitude, .. } | Scaling::Long { magnitude, .. } => magnitude,
            _ => 1.0,
        };
        let (frequencies, long) = match (divisors, long) {
            (_, Some((original, factors))) => {
                (over(&factors.short), Some((original, over(&factors.long))))
            }
            (Some(divisors), None) => (over(divisors), None),
            (None, None) => (base, None),
        };
        Self { pairing, rotated: config.rotated, frequencies, long, magnitude }
    }

    /// Takes the frequencies for contexts of `ctx_size` tokens. They cannot change within a
    /// sequence: what is in its cache was rotated by them.
    pub(super) fn settle(&mut self, ctx_size: usize) {
        if let Some((original, long)) = self.long.take()
            && ctx_size > original
        {
            self.frequencies = long;
        }
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
                cos.push(to_f32(c * self.magnitude));
                sin.push(to_f32(s * self.magnitude));
            }
        }
        let shape = (rows, 1, pairs);
        Ok(Angles {
            cos: Tensor::from_vec(cos, shape, &Device::Cpu)?,
            sin: Tensor::from_vec(sin, shape, &Device::Cpu)?,
            rotated: self.rotated,
            pairing: self.pairing,
        })
    }
}

fn checked(name: &str, factors: &Tensor) -> std::result::Result<Vec<f32>, Fault> {
    let factors: Vec<f32> =
        factors.to_vec1().map_err(|error| internal("reading factors", error))?;
    if factors.iter().all(|factor| factor.is_finite() && *factor > 0.0) {
        return Ok(factors);
    }
    Err(corrupt(format!("{name} has a factor that is no positive number")))
}

/// Radians for each position and pair, before factors of the pairs' own.
fn frequencies(config: &RopeConfig) -> Vec<f64> {
    let RopeConfig { base, rotated, scaling } = config;
    let pairs = index_to_f64(rotated / 2);
    let frequency = |pair: f64| (-base.ln() * pair / pairs).exp();
    let scaled = |pair: f64| match scaling {
        Scaling::Linear(factor) => frequency(pair) / factor,
        Scaling::Llama3 { factor, low, high, original } => {
            // Turns within the original context.
            let turns = original * frequency(pair) / (2.0 * PI);
            let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            frequency(pair) * (kept + (1.0 - kept) / factor)
        }
        Scaling::Yarn { factor, original, beta_fast, beta_slow, .. } => {
            let pair_of = |turns: f64| (original / (turns * 2.0 * PI)).ln() / base.ln() * pairs;
            let low = pair_of(*beta_fast).floor().max(0.0);
            let high = pair_of(*beta_slow).ceil().min(pairs * 2.0 - 1.0);
            let stretched = ((pair - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
            frequency(pair) * (1.0 - stretched + stretched / factor)
        }
        Scaling::Long { .. } => frequency(pair),
    };
    (0..rotated / 2).map(|pair| scaled(index_to_f64(pair))).collect()
}

impl Angles {
    /// Rotates `heads`, `(rows, heads, head_dim)`: each row by its own position.
    pub(super) fn rotate(&self, heads: &Tensor) -> Result<Tensor> {
        let head_dim = heads.dim(D::Minus1)?;
        if self.rotated == head_dim {
            return self.rotate_all(heads);
        }
        let turned = self.rotate_all(&heads.narrow(D::Minus1, 0, self.rotated)?.contiguous()?)?;
        let rest = heads.narrow(D::Minus1, self.rotated, head_dim - self.rotated)?;
        Tensor::cat(&[turned, rest], D::Minus1)
    }

    fn rotate_all(&self, heads: &Tensor) -> Result<Tensor> {
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
