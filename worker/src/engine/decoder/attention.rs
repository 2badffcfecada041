//! Attention of one block: to everything in a slot's cache, or to a window of it.

use candle_core::{Device, Error, Result, Tensor};
use candle_nn::attention::{AttnMask, flash_attn};
use candle_nn::ops::rms_norm;
use wire::Fault;

use super::super::weights::Loader;
use super::cache::LayerCache;
use super::config::{Block, Config, Rotation};
use super::linear::Linear;
use super::{Pass, Span};

/// One block's attention.
pub(super) struct Attention {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    epsilon: f32,
    scale: f32,
    softcap: Option<f32>,
    window: Option<usize>,
    rotation: Rotation,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    /// Of each head's query and key, in the families that have them.
    head_norms: Option<(Tensor, Tensor)>,
}

impl Attention {
    /// Takes the weights of the block whose tensors `name` names.
    pub(super) fn load(
        config: &Config,
        block: Block,
        name: impl Fn(&str) -> String,
        loader: &mut Loader<'_>,
    ) -> std::result::Result<Self, Fault> {
        let width = config.embedding;
        let queries = config.heads * config.head_dim;
        let keys = config.kv_heads * config.head_dim;
        let (query, key, value) = if config.is_fused {
            let (from, dims) = (name("attn_qkv.weight"), [queries + 2 * keys, width]);
            let mut part =
                |start, rows| Linear::load_rows(loader, &from, &dims, start..start + rows);
            (part(0, queries)?, part(queries, keys)?, part(queries + keys, keys)?)
        } else {
            let mut load = |part: &str, rows| Linear::load(loader, &name(part), [rows, width]);
            (load("attn_q", queries)?, load("attn_k", keys)?, load("attn_v", keys)?)
        };
        let head_norms = if config.norms_heads {
            let mut load = |part: &str| norm(config, loader, &name(part), config.head_dim);
            Some((load("attn_q_norm.weight")?, load("attn_k_norm.weight")?))
        } else {
            None
        };
        Ok(Self {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            epsilon: config.epsilon,
            scale: config.attention_scale,
            softcap: config.attention_softcap,
            window: config.window.filter(|_| block.is_windowed),
            rotation: block.rotation,
            query,
            key,
            value,
            output: Linear::load(loader, &name("attn_output"), [width, queries])?,
            head_norms,
        })
    }

    /// Computes `(rows, embedding)`; `cache` gives this block's part of a slot's cache.
    pub(super) fn forward<'c>(
        &self,
        input: &Tensor,
        pass: &Pass<'_>,
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
        let (query, key) = match pass.angles(self.rotation) {
            Some(angles) => (angles.rotate(&query)?, angles.rotate(&key)?),
            None => (query, key),
        };
        let seen = pass.spans.iter().enumerate().map(|(index, span)| {
            let part = |rows: &Tensor| rows.narrow(0, span.start, span.len);
            let cache = cache(span.slot).ok_or_else(|| Error::msg("no cache for this slot"))?;
            let (keys, values) = cache.extend(span.position, &part(&key)?, &part(&value)?)?;
            self.look(&part(&query)?, (&keys, &values), span, pass.masks.get(index))
        });
        let seen = seen.collect::<Result<Vec<_>>>()?;
        let seen = if let [only] = seen.as_slice() { only.clone() } else { Tensor::cat(&seen, 0)? };
        self.output.forward(&seen)
    }

    /// Attention of one sequence's rows to what is before them and themselves: causal, grouped
    /// heads, no copy of keys or values and no matrix of scores.
    fn look(
        &self,
        query: &Tensor,
        (keys, values): (&Tensor, &Tensor),
        span: &Span,
        mask: Option<&Option<Tensor>>,
    ) -> Result<Tensor> {
        let first = self.window.map_or(0, |window| first_seen(span, window));
        let seen = |cached: &Tensor| {
            if first == 0 {
                Ok(cached.clone())
            } else {
                cached.narrow(0, first, span.end() - first)
            }
        };
        let mask = match (self.window, mask) {
            (Some(_), Some(Some(mask))) => AttnMask::Mask(mask.clone()),
            // One row sees all that is left; candle's causal kernel for one row with a soft-cap
            // adds a bias by distance that nobody asked for.
            _ if self.softcap.is_some() && span.len == 1 => AttnMask::None,
            _ => AttnMask::causal_with_offset(span.position - first),
        };
        let seen = flash_attn::<f32>(
            &query.unsqueeze(0)?,
            &seen(keys)?.unsqueeze(0)?,
            &seen(values)?.unsqueeze(0)?,
            self.scale,
            mask,
            None,
            self.softcap,
        )?;
        let rows = query.dim(0)?;
        seen.squeeze(0)?.transpose(0, 1)?.contiguous()?.reshape((rows, self.heads * self.head_dim))
    }
}

/// The first position that any row of `span` attends to.
fn first_seen(span: &Span, window: usize) -> usize {
    (span.position + 1).saturating_sub(window)
}

/// What each of a span's rows does not see of the positions from [`first_seen`] on; none when a
/// window leaves out nothing that some other row of the span sees.
pub(super) fn mask(span: &Span, window: usize) -> Result<Option<Tensor>> {
    if span.len == 1 || span.end() <= window {
        return Ok(None);
    }
    let first = first_seen(span, window);
    let columns = span.end() - first;
    let mut mask = Vec::with_capacity(span.len * columns);
    for row in span.position..span.end() {
        let is_seen = |position: usize| position <= row && position + window > row;
        let value = |position| if is_seen(position) { 0.0f32 } else { f32::NEG_INFINITY };
        mask.extend((first..span.end()).map(value));
    }
    Tensor::from_vec(mask, (span.len, columns), &Device::Cpu).map(Some)
}

/// The weights of a norm, to which the offset that they are stored without is added.
pub(super) fn norm(
    config: &Config,
    loader: &mut Loader<'_>,
    name: &str,
    length: usize,
) -> std::result::Result<Tensor, Fault> {
    let weights = loader.vector(name, length)?;
    if config.norm_offset == 0.0 {
        return Ok(weights);
    }
    (weights + f64::from(config.norm_offset))
        .map_err(|error| super::super::internal("adding to a norm", error))
}
