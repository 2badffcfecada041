//! One transformer block: attention over the cache, then the feed-forward part.

use candle_core::{Result, Tensor};
use candle_nn::ops::rms_norm;
use wire::Fault;

use super::super::weights::Loader;
use super::Pass;
use super::attention::{Attention, norm};
use super::cache::LayerCache;
use super::config::{Block, Config};
use super::feed_forward::FeedForward;

/// One block's weights.
pub(super) struct Layer {
    epsilon: f32,
    residual_scale: Option<f32>,
    attention_norm: Tensor,
    attention: Attention,
    feed_forward_norm: Tensor,
    feed_forward: FeedForward,
    /// Of what attention and feed-forward part give, in the families that have them.
    output_norms: Option<(Tensor, Tensor)>,
}

impl Layer {
    /// Takes block `index` out of the file.
    pub(super) fn load(
        config: &Config,
        index: usize,
        block: Block,
        loader: &mut Loader<'_>,
    ) -> std::result::Result<Self, Fault> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let width = config.embedding;
        let output_norms = if config.norms_outputs {
            let mut load = |part: &str| norm(config, loader, &name(part), width);
            Some((load("post_attention_norm.weight")?, load("post_ffw_norm.weight")?))
        } else {
            None
        };
        Ok(Self {
            epsilon: config.epsilon,
            residual_scale: config.residual_scale,
            attention_norm: norm(config, loader, &name("attn_norm.weight"), width)?,
            attention: Attention::load(config, block, name, loader)?,
            feed_forward_norm: norm(config, loader, &name("ffn_norm.weight"), width)?,
            feed_forward: FeedForward::load(config, name, loader)?,
            output_norms,
        })
    }

    /// Computes `(rows, embedding)`; `cache` gives this block's part of a slot's cache.
    pub(super) fn forward<'c>(
        &self,
        hidden: &Tensor,
        pass: &Pass<'_>,
        cache: impl Fn(usize) -> Option<&'c LayerCache>,
    ) -> Result<Tensor> {
        let (of_attention, of_feed_forward) = match &self.output_norms {
            Some((of_attention, of_feed_forward)) => (Some(of_attention), Some(of_feed_forward)),
            None => (None, None),
        };
        let normed = rms_norm(hidden, &self.attention_norm, self.epsilon)?;
        let seen = self.attention.forward(&normed, pass, cache)?;
        let hidden = (hidden + self.settle(seen, of_attention)?)?;
        let normed = rms_norm(&hidden, &self.feed_forward_norm, self.epsilon)?;
        let fed = self.feed_forward.forward(&normed)?;
        hidden + self.settle(fed, of_feed_forward)?
    }

    /// What is added to the row that goes through all blocks.
    fn settle(&self, output: Tensor, norm: Option<&Tensor>) -> Result<Tensor> {
        let output = match norm {
            Some(norm) => rms_norm(&output, norm, self.epsilon)?,
            None => output,
        };
        match self.residual_scale {
            Some(scale) => output * f64::from(scale),
            None => Ok(output),
        }
    }
}
