//! Keys and values of one slot: written in place, read as views, never copied.

use candle_core::{DType, Device, Result, Tensor};

use super::config::Config;

/// One slot's keys and values, all layers.
pub(super) struct SlotCache {
    layers: Vec<LayerCache>,
}

/// One layer's keys and values, `(ctx_size, kv_heads, head_dim)` each.
pub(super) struct LayerCache {
    keys: Tensor,
    values: Tensor,
}

impl SlotCache {
    /// An empty cache. Zeroes are the kernel's until they are written.
    pub(super) fn new(config: &Config, ctx_size: usize) -> Result<Self> {
        let shape = (ctx_size, config.kv_heads, config.head_dim);
        let empty = || Tensor::zeros(shape, DType::F32, &Device::Cpu);
        let layer = |_| Ok(LayerCache { keys: empty()?, values: empty()? });
        Ok(Self { layers: (0..config.blocks.len()).map(layer).collect::<Result<_>>()? })
    }

    /// One layer's part.
    pub(super) fn layer(&self, index: usize) -> Option<&LayerCache> {
        self.layers.get(index)
    }
}

impl LayerCache {
    /// Writes rows from `position` on, and returns everything up to their end.
    pub(super) fn extend(
        &self,
        position: usize,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        self.keys.slice_set(keys, 0, position)?;
        self.values.slice_set(values, 0, position)?;
        let length = position + keys.dim(0)?;
        Ok((self.keys.narrow(0, 0, length)?, self.values.narrow(0, 0, length)?))
    }
}
