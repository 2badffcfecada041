//! The decoder: one implementation for llama, qwen2 and qwen3, over rows of any slot and position.

mod cache;
mod config;
mod layer;
mod rope;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{Device, Module, Tensor};
use wire::Fault;

use super::internal;
use super::weights::{Loader, MappedModel, matrix};
use cache::SlotCache;
use config::Config;
pub(super) use config::{Room, check_context};
use layer::Layer;
use rope::Rope;

/// One token to compute: where it stands in which sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// The token.
    pub token: u32,
    /// Its place in its sequence, from 0.
    pub position: usize,
    /// Whose cache holds what came before it.
    pub slot: usize,
}

/// Consecutive rows of one sequence.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// The first row's index.
    start: usize,
    /// How many rows.
    len: usize,
    /// Whose they are.
    slot: usize,
    /// The first row's position.
    position: usize,
}

/// All weights of a model.
pub(super) struct Weights {
    config: Config,
    embedding: Arc<QTensor>,
    layers: Vec<Layer>,
    norm: Tensor,
    output: QMatMul,
    rope: Rope,
    vocabulary: usize,
}

impl Weights {
    /// Copies the weights out of `file`.
    pub(super) fn load(
        file: &MappedModel,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, Fault> {
        const EMBEDDING: &str = "token_embd.weight";
        const OUTPUT: &str = "output.weight";
        let config = Config::from_header(&file.header)?;
        let mut loader = Loader::new(file, progress);
        let vocabulary = loader.rows_of(EMBEDDING)?;
        let dims = [vocabulary, config.embedding];
        let embedding = Arc::new(loader.tensor(EMBEDDING, &dims)?);
        let rope = Rope::load(&config, &mut loader)?;
        let layers = (0..config.layers).map(|index| Layer::load(&config, index, &mut loader));
        let layers = layers.collect::<Result<_, _>>()?;
        let norm = loader.vector("output_norm.weight", config.embedding)?;
        let output = if loader.has(OUTPUT) {
            matrix(Arc::new(loader.tensor(OUTPUT, &dims)?))?
        } else {
            matrix(Arc::clone(&embedding))?
        };
        loader.finish()?;
        Ok(Self { config, embedding, layers, norm, output, rope, vocabulary })
    }

    /// Tokens that have an embedding.
    pub(super) fn vocabulary(&self) -> usize {
        self.vocabulary
    }
}

/// A model with the caches of its slots.
pub(super) struct Decoder {
    weights: Weights,
    slots: Vec<SlotCache>,
    ctx_size: usize,
}

impl Decoder {
    /// A decoder with `slots` caches of `ctx_size` tokens. Their memory is taken by the operating
    /// system page by page, as tokens come.
    pub(super) fn new(weights: Weights, ctx_size: usize, slots: usize) -> Result<Self, Fault> {
        let caches = (0..slots).map(|_| SlotCache::new(&weights.config, ctx_size));
        let slots = caches.collect::<candle_core::Result<_>>();
        let slots = slots.map_err(|error| internal("allocating the cache", error))?;
        Ok(Self { weights, slots, ctx_size })
    }

    /// Computes `rows`, writes their keys and values into their slots' caches, and returns the
    /// logits of the rows named in `wanted`, in that order.
    ///
    /// Rows of one slot follow each other with consecutive positions; what lies before the first of
    /// them must have been computed before. A slot is reused by starting again at position 0.
    ///
    /// # Errors
    /// `INTERNAL` for rows that break these rules, and when candle fails.
    pub(super) fn forward(
        &mut self,
        rows: &[Row],
        wanted: &[usize],
    ) -> Result<Vec<Vec<f32>>, Fault> {
        let spans = self.spans(rows)?;
        if wanted.iter().any(|row| *row >= rows.len()) {
            return Err(internal("the decoder", "logits of a row that is not there"));
        }
        self.compute(rows, &spans, wanted).map_err(|error| internal("the decoder", error))
    }

    /// Groups rows by sequence, and checks them.
    fn spans(&self, rows: &[Row]) -> Result<Vec<Span>, Fault> {
        let mut spans: Vec<Span> = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let known = usize::try_from(row.token).is_ok_and(|t| t < self.weights.vocabulary);
            if !known || row.slot >= self.slots.len() || row.position >= self.ctx_size {
                return Err(internal("the decoder", format!("{row:?} is out of range")));
            }
            match spans.last_mut() {
                Some(span) if span.slot == row.slot => {
                    if span.position + span.len != row.position {
                        let why = format!("{row:?} does not follow the row before it");
                        return Err(internal("the decoder", why));
                    }
                    span.len += 1;
                }
                _ => {
                    let (slot, position) = (row.slot, row.position);
                    spans.push(Span { start: index, len: 1, slot, position });
                }
            }
        }
        if spans.is_empty() {
            return Err(internal("the decoder", "no rows"));
        }
        Ok(spans)
    }

    fn compute(
        &mut self,
        rows: &[Row],
        spans: &[Span],
        wanted: &[usize],
    ) -> candle_core::Result<Vec<Vec<f32>>> {
        let weights = &self.weights;
        let tokens: Vec<u32> = rows.iter().map(|row| row.token).collect();
        let tokens = Tensor::from_vec(tokens, rows.len(), &Device::Cpu)?;
        let angles = weights.rope.angles(rows.iter().map(|row| row.position))?;
        let mut hidden = weights.embedding.embedding(&tokens)?;
        for (index, layer) in weights.layers.iter().enumerate() {
            hidden = layer.forward(&hidden, &angles, spans, |slot| {
                self.slots.get(slot).and_then(|cache| cache.layer(index))
            })?;
        }
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = wanted.iter().map(|row| hidden.narrow(0, *row, 1));
        let hidden = Tensor::cat(&wanted.collect::<candle_core::Result<Vec<_>>>()?, 0)?;
        let hidden = candle_nn::ops::rms_norm(&hidden, &weights.norm, weights.config.epsilon)?;
        weights.output.forward(&hidden)?.to_vec2()
    }
}
