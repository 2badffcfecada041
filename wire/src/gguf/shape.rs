//! The figures of a decoder model that its memory and its engine depend on.

use std::ops::RangeInclusive;

use super::error::{GgufError, shown};
use super::value::{Array, Value};
use super::{Header, cursor};
use crate::limits;

/// A decoder model in numbers, each within its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelShape {
    /// The family, for example `llama`.
    pub architecture: String,
    /// Transformer blocks; 1 to [`limits::MAX_MODEL_LAYERS`].
    pub layers: u32,
    /// Elements of a token's embedding.
    pub embedding: u32,
    /// Query heads; 1 to [`limits::MAX_MODEL_HEADS`].
    pub heads: u32,
    /// Key and value heads; they divide `heads`.
    pub kv_heads: u32,
    /// Elements of a query's or key's head.
    pub head_dim: u32,
    /// Elements of a value's head.
    pub value_dim: u32,
    /// Elements between the two halves of a feed-forward block.
    pub feed_forward: u32,
    /// Tokens of context that it was trained for.
    pub context: u32,
    /// Tokens of its vocabulary.
    pub vocab: u32,
    /// Bytes of all weights in the file.
    pub weight_bytes: u64,
    /// Bytes of those that are 16-bit floats; a CPU worker holds them as 32-bit ones.
    pub half_float_bytes: u64,
}

impl ModelShape {
    /// Bytes of the keys and values of `slots` sequences of `ctx` tokens each, `bytes_per_element`
    /// for each number; [`u64::MAX`] when there is no such number.
    pub fn kv_cache_bytes(&self, ctx: u32, slots: u32, bytes_per_element: u32) -> u64 {
        let head = u64::from(self.head_dim) + u64::from(self.value_dim);
        [self.layers, self.kv_heads, ctx, slots, bytes_per_element]
            .into_iter()
            .fold(head, |bytes, factor| bytes.saturating_mul(u64::from(factor)))
    }
}

/// A size that fits every known model with room to spare, and every product of two in 64 bits.
const WIDTH: RangeInclusive<u32> = 1..=limits::MAX_MODEL_WIDTH;

impl Header {
    /// The model's figures.
    ///
    /// # Errors
    /// `Missing`, `BadType` or `BadValue` naming the key, `LayersDiffer` when a figure is not the
    /// same in each layer.
    pub fn shape(&self) -> Result<ModelShape, GgufError> {
        let architecture = self.architecture()?.to_owned();
        let key = |name: &str| format!("{architecture}.{name}");
        let layers = self.figure(&key("block_count"), 1..=limits::MAX_MODEL_LAYERS)?;
        let embedding = self.figure(&key("embedding_length"), WIDTH)?;
        let heads = self.figure(&key("attention.head_count"), 1..=limits::MAX_MODEL_HEADS)?;
        let kv_heads = self.optional_figure(&key("attention.head_count_kv"), 1..=heads)?;
        let kv_heads = kv_heads.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            let rule = format!("is {kv_heads}, which does not divide the {heads} heads");
            return Err(GgufError::BadValue { key: key("attention.head_count_kv"), rule });
        }
        let head = |name: &str| match self.optional_figure(&key(name), WIDTH)? {
            Some(elements) => Ok(elements),
            None if embedding.is_multiple_of(heads) => Ok(embedding / heads),
            None => Err(GgufError::Missing { key: key(name) }),
        };
        Ok(ModelShape {
            layers,
            embedding,
            heads,
            kv_heads,
            head_dim: head("attention.key_length")?,
            value_dim: head("attention.value_length")?,
            feed_forward: self.figure(&key("feed_forward_length"), WIDTH)?,
            context: self.figure(&key("context_length"), 1..=limits::MAX_CTX_SIZE)?,
            vocab: self.vocab(&key("vocab_size"))?,
            weight_bytes: self.weight_bytes(),
            half_float_bytes: self.half_float_bytes(),
            architecture,
        })
    }

    /// The length of the token list, which is what an engine can name, else the figure of `key`.
    fn vocab(&self, key: &str) -> Result<u32, GgufError> {
        const TOKENS: &str = "tokenizer.ggml.tokens";
        match self.texts(TOKENS).map(<[String]>::len) {
            None => self.figure(key, WIDTH),
            Some(0) => {
                Err(GgufError::BadValue { key: TOKENS.to_owned(), rule: "is empty".to_owned() })
            }
            // An array's length is already bounded far below 32 bits.
            Some(length) => Ok(u32::try_from(cursor::wide(length)).unwrap_or(u32::MAX)),
        }
    }

    fn figure(&self, key: &str, range: RangeInclusive<u32>) -> Result<u32, GgufError> {
        let figure = self.optional_figure(key, range)?;
        figure.ok_or_else(|| GgufError::Missing { key: shown(key) })
    }

    /// A number within `range`: one for the model, or the same for each layer.
    fn optional_figure(
        &self,
        key: &str,
        range: RangeInclusive<u32>,
    ) -> Result<Option<u32>, GgufError> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        let bad_type =
            || GgufError::BadType { key: shown(key), expected: "a non-negative integer" };
        let number = match value {
            Value::Array(array) => same_in_each_layer(array, key)?,
            value => value.unsigned(),
        };
        let number = number.ok_or_else(bad_type)?;
        match u32::try_from(number) {
            Ok(figure) if range.contains(&figure) => Ok(Some(figure)),
            _ => {
                let rule = format!("is {number}, not {} to {}", range.start(), range.end());
                Err(GgufError::BadValue { key: shown(key), rule })
            }
        }
    }
}

fn same_in_each_layer(array: &Array, key: &str) -> Result<Option<u64>, GgufError> {
    let Some(all) = array.unsigneds() else { return Ok(None) };
    let first = all.first().copied();
    if all.iter().any(|number| Some(*number) != first) {
        return Err(GgufError::LayersDiffer { key: shown(key) });
    }
    Ok(first)
}
