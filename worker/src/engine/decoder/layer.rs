//! One transformer block: attention over the cache, then the feed-forward part.

use std::sync::Arc;

use candle_core::quantized::QMatMul;
use candle_core::{Error, Module, Result, Tensor};
use candle_nn::attention::{AttnMask, flash_attn};
use candle_nn::ops::{rms_norm, silu};
use wire::Fault;

use super::super::weights::{Loader, matrix};
use super::Span;
use super::cache::LayerCache;
use super::config::Config;
use super::rope::Angles;

/// A matrix and what is added after it.
struct Linear {
    weight: QMatMul,
    bias: Option<Tensor>,
}

impl Linear {
    fn load(
        loader: &mut Loader<'_>,
        name: &str,
        dims: [usize; 2],
    ) -> std::result::Result<Self, Fault> {
        let weight = matrix(Arc::new(loader.tensor(&format!("{name}.weight"), &dims)?))?;
        let [rows, _] = dims;
        let bias = loader.optional_vector(&format!("{name}.bias"), rows)?;
        Ok(Self { weight, bias })
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let output = self.weight.forward(input)?;
        match &self.bias {
            Some(bias) => output.broadcast_add(bias),
            None => Ok(output),
        }
    }
}

/// One block's weights.
pub(super) struct Layer {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    epsilon: f32,
    attention_norm: Tensor,
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    /// Of each head's query and key, in the families that have them.
    head_norms: Option<(Tensor, Tensor)>,
    feed_forward_norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Layer {
    /// Takes block `index` out of the file.
    pub(super) fn load(
        config: &Config,
        index: usize,
        loader: &mut Loader<'_>,
    ) -> std::result::Result<Self, Fault> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let (width, inner) = (config.embedding, config.feed_forward);
        let queries = config.heads * config.head_dim;
        let keys = config.kv_heads * config.head_dim;
        let head_norms = if config.norms_heads {
            let query = loader.vector(&name("attn_q_norm.weight"), config.head_dim)?;
            let key = loader.vector(&name("attn_k_norm.weight"), config.head_dim)?;
            Some((query, key))
        } else {
            None
        };
        Ok(Self {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            epsilon: config.epsilon,
            attention_norm: loader.vector(&name("attn_norm.weight"), width)?,
            query: Linear::load(loader, &name("attn_q"), [queries, width])?,
            key: Linear::load(loader, &name("attn_k"), [keys, width])?,
            value: Linear::load(loader, &name("attn_v"), [keys, width])?,
            attention_output: Linear::load(loader, &name("attn_output"), [width, queries])?,
            head_norms,
            feed_forward_norm: loader.vector(&name("ffn_norm.weight"), width)?,
            gate: Linear::load(loader, &name("ffn_gate"), [inner, width])?,
            up: Linear::load(loader, &name("ffn_up"), [inner, width])?,
            down: Linear::load(loader, &name("ffn_down"), [width, inner])?,
        })
    }

    /// Computes `(rows, embedding)`; `cache` gives this block's part of a slot's cache.
    pub(super) fn forward<'c>(
        &self,
        hidden: &Tensor,
        angles: &Angles,
        spans: &[Span],
        cache: impl Fn(usize) -> Option<&'c LayerCache>,
    ) -> Result<Tensor> {
        let normed = rms_norm(hidden, &self.attention_norm, self.epsilon)?;
        let hidden = (hidden + self.attend(&normed, angles, spans, cache)?)?;
        let normed = rms_norm(&hidden, &self.feed_forward_norm, self.epsilon)?;
        let gated = (silu(&self.gate.forward(&normed)?)? * self.up.forward(&normed)?)?;
        hidden + self.down.forward(&gated)?
    }

    fn attend<'c>(
        &self,
        input: &Tensor,
        angles: &Angles,
        spans: &[Span],
        cache: impl Fn(usize) -> Option<&'c LayerCache>,
    ) -> Result<Tensor> {
        let rows = input.dim(0)?;
        let query = self.query.forward(input)?.reshape((rows, self.heads, self.head_dim))?;
        let key = self.key.forward(input)?.reshape((rows, self.kv_heads, self.head_dim))?;
        let value = self.value.forward(input)?.reshape((rows, self.kv_heads, self.head_dim))?;
        let (query, key) = match &self.head_norms {
            Some((of_query, of_key)) => {
                (rms_norm(&query, of_query, self.epsilon)?, rms_norm(&key, of_key, self.epsilon)?)
            }
            None => (query, key),
        };
        let (query, key) = (angles.rotate(&query)?, angles.rotate(&key)?);
        let seen = spans.iter().map(|span| {
            let part = |rows: &Tensor| rows.narrow(0, span.start, span.len);
            let cache = cache(span.slot).ok_or_else(|| Error::msg("no cache for this slot"))?;
            let (keys, values) = cache.extend(span.position, &part(&key)?, &part(&value)?)?;
            self.look(&part(&query)?, &keys, &values, span.position)
        });
        let seen = seen.collect::<Result<Vec<_>>>()?;
        let seen = if let [only] = seen.as_slice() { only.clone() } else { Tensor::cat(&seen, 0)? };
        self.attention_output.forward(&seen)
    }

    /// Attention of one sequence's rows to everything before them and themselves: causal, grouped
    /// heads, no copy of keys or values and no matrix of scores.
    fn look(
        &self,
        query: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        position: usize,
    ) -> Result<Tensor> {
        let rows = query.dim(0)?;
        let seen = flash_attn::<f32>(
            &query.unsqueeze(0)?,
            &keys.unsqueeze(0)?,
            &values.unsqueeze(0)?,
            1.0 / head_scale(self.head_dim),
            AttnMask::causal_with_offset(position),
            None,
            None,
        )?;
        seen.squeeze(0)?.transpose(0, 1)?.contiguous()?.reshape((rows, self.heads * self.head_dim))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a head has far fewer than 2^24 elements")]
fn head_scale(head_dim: usize) -> f32 {
    (head_dim as f32).sqrt()
}
