//! The decoder: one implementation for every family, over rows of any slot and position.

mod attention;
mod cache;
mod config;
mod feed_forward;
mod layer;
mod linear;
mod rope;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{Device, Module, Tensor};
use wire::Fault;
use wire::gguf::Header;

use super::internal;
use super::weights::{Directory, Loader, MappedModel, Tensors, matrix};
use cache::SlotCache;
use config::{Config, Rotation};
pub(super) use config::{Description, Room, check_context};
use layer::Layer;
use rope::{Angles, Rope};

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

impl Span {
    /// The position behind the last row's.
    fn end(&self) -> usize {
        self.position + self.len
    }
}

/// What all blocks need to know of the rows that are computed.
struct Pass<'s> {
    spans: &'s [Span],
    angles: Angles,
    local_angles: Option<Angles>,
    /// What each span's rows do not see in windowed blocks; empty when there is no such block.
    masks: Vec<Option<Tensor>>,
}

impl Pass<'_> {
    /// The angles of a kind of rotation.
    fn angles(&self, rotation: Rotation) -> Option<&Angles> {
        match rotation {
            Rotation::None => None,
            Rotation::Global => Some(&self.angles),
            Rotation::Local => self.local_angles.as_ref(),
        }
    }
}

/// All weights of a model.
pub(super) struct Weights {
    config: Config,
    embedding: Arc<QTensor>,
    layers: Vec<Layer>,
    norm: Tensor,
    output: QMatMul,
    rope: Rope,
    local_rope: Option<Rope>,
    vocabulary: usize,
}

impl Weights {
    /// Whether this decoder computes what a header describes.
    ///
    /// # Errors
    /// As [`Self::load`], as far as a header tells.
    pub(super) fn check(header: &Header) -> Result<(), Fault> {
        Config::from_header(header).map(drop)
    }

    /// Copies the weights out of a GGUF file.
    pub(super) fn load(
        file: &MappedModel,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, Fault> {
        Self::take(Config::from_header(&file.header)?, file, progress)
    }

    /// Copies the weights out of a directory of safetensors.
    pub(super) fn load_directory(
        description: Description,
        directory: &Directory,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, Fault> {
        let Description { config, naming, .. } = description;
        Self::take(config, &directory.named(naming), progress)
    }

    fn take(
        config: Config,
        source: &dyn Tensors,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, Fault> {
        const EMBEDDING: &str = "token_embd.weight";
        const OUTPUT: &str = "output.weight";
        let mut loader = Loader::new(source, progress);
        let vocabulary = loader.rows_of(EMBEDDING)?;
        let dims = [vocabulary, config.embedding];
        let embedding = Arc::new(loader.tensor(EMBEDDING, &dims)?);
        let rope = Rope::load(&config.rope, config.pairing, &mut loader)?;
        let local_rope = config.local_rope.as_ref().map(|rope| Rope::plain(rope, config.pairing));
        let blocks = config.blocks.iter().enumerate();
        let layers = blocks.map(|(index, block)| Layer::load(&config, index, *block, &mut loader));
        let layers = layers.collect::<Result<_, _>>()?;
        let norm = attention::norm(&config, &mut loader, "output_norm.weight", config.embedding)?;
        let output = if config.is_tied.unwrap_or(!loader.has(OUTPUT)) {
            // Some files have the same weights again.
            loader.skip(OUTPUT);
            matrix(Arc::clone(&embedding))?
        } else {
            matrix(Arc::new(loader.tensor(OUTPUT, &dims)?))?
        };
        loader.finish()?;
        Ok(Self { config, embedding, layers, norm, output, rope, local_rope, vocabulary })
    }

    /// Tokens that have an embedding.
    pub(super) fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn pass<'s>(&self, rows: &[Row], spans: &'s [Span]) -> candle_core::Result<Pass<'s>> {
        let positions = || rows.iter().map(|row| row.position);
        let local_angles = self.local_rope.as_ref().map(|rope| rope.angles(positions()));
        let masks = match self.config.window {
            Some(window) => {
                let masks = spans.iter().map(|span| attention::mask(span, window));
                masks.collect::<candle_core::Result<_>>()?
            }
            None => Vec::new(),
        };
        let angles = self.rope.angles(positions())?;
        Ok(Pass { spans, angles, local_angles: local_angles.transpose()?, masks })
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
    pub(super) fn new(mut weights: Weights, ctx_size: usize, slots: usize) -> Result<Self, Fault> {
        weights.rope.settle(ctx_size);
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
        let config = &weights.config;
        let tokens: Vec<u32> = rows.iter().map(|row| row.token).collect();
        let tokens = Tensor::from_vec(tokens, rows.len(), &Device::Cpu)?;
        let pass = weights.pass(rows, spans)?;
        let mut hidden = weights.embedding.embedding(&tokens)?;
        if let Some(scale) = config.embedding_scale {
            hidden = (hidden * f64::from(scale))?;
        }
        for (index, layer) in weights.layers.iter().enumerate() {
            hidden = layer.forward(&hidden, &pass, |slot| {
                self.slots.get(slot).and_then(|cache| cache.layer(index))
            })?;
        }
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = wanted.iter().map(|row| hidden.narrow(0, *row, 1));
        let hidden = Tensor::cat(&wanted.collect::<candle_core::Result<Vec<_>>>()?, 0)?;
        let hidden = candle_nn::ops::rms_norm(&hidden, &weights.norm, config.epsilon)?;
        let mut logits = weights.output.forward(&hidden)?;
        if let Some(divisor) = config.logit_divisor {
            logits = (logits / f64::from(divisor))?;
        }
        if let Some(cap) = config.logit_softcap.map(f64::from) {
            logits = ((logits / cap)?.tanh()? * cap)?;
        }
        logits.to_vec2()
    }
}
