//! The figures of a `config.json` that a model's memory depends on.

use serde_json::{Map, Value};

use super::error::{DirectoryError, shown};
use super::{CONFIG, MODEL_TYPES, Tensors};
use crate::gguf::{ModelShape, SUPPORTED_ARCHITECTURES, why_unsupported};
use crate::{limits, text};

/// A `config.json` of a model of a family that the engine computes.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    values: Map<String, Value>,
    architecture: &'static str,
}

/// The number of a key, from 1 to `most`, if the config has it; `null` is as one that is missing.
///
/// # Errors
/// `BadFigure` for everything else.
pub fn count(
    values: &Map<String, Value>,
    key: &str,
    most: u32,
) -> Result<Option<u32>, DirectoryError> {
    let Some(value) = values.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
    match value.as_u64().and_then(|count| u32::try_from(count).ok()) {
        Some(count) if (1..=most).contains(&count) => Ok(Some(count)),
        _ => Err(DirectoryError::BadFigure { key: key.to_owned(), most }),
    }
}

impl Config {
    /// Reads a config. Whoever has the file bounds it by [`limits::MAX_MODEL_CONFIG_BYTES`].
    ///
    /// # Errors
    /// `NotJson`, `UnknownType` for a family that the engine does not compute, and `Quantized`.
    pub fn parse(json: &[u8]) -> Result<Self, DirectoryError> {
        let values: Map<String, Value> = serde_json::from_slice(json).map_err(|error| {
            let why = text::one_line(&error.to_string(), 200);
            DirectoryError::NotJson { file: CONFIG, why }
        })?;
        let model_type = values.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let found = MODEL_TYPES.iter().find(|(known, _)| *known == model_type);
        let Some((_, architecture)) = found else {
            let known = SUPPORTED_ARCHITECTURES.join(", ");
            let why = why_unsupported(model_type);
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            return Err(DirectoryError::UnknownType { model_type: shown(model_type), known, why });
        };
        if values.get("quantization_config").is_some_and(|value| !value.is_null()) {
            return Err(DirectoryError::Quantized);
        }
        Ok(Self { values, architecture })
    }

    /// Everything that it says.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// Its family, for example `llama`.
    pub fn architecture(&self) -> &'static str {
        self.architecture
    }

    /// The family by its own word, for example `mistral`.
    pub fn model_type(&self) -> &str {
        self.values.get("model_type").and_then(Value::as_str).unwrap_or_default()
    }

    fn needed(&self, key: &'static str, most: u32) -> Result<u32, DirectoryError> {
        count(&self.values, key, most)?.ok_or(DirectoryError::Missing { key })
    }

    fn head_dim(&self, width: u32, heads: u32) -> Result<u32, DirectoryError> {
        match count(&self.values, "head_dim", limits::MAX_MODEL_WIDTH)? {
            Some(head_dim) => Ok(head_dim),
            // transformers' default of both families.
            None if matches!(self.architecture, "gemma2" | "gemma3") => Ok(256),
            None if width.is_multiple_of(heads) => Ok(width / heads),
            None => {
                let rule = "hidden_size is no multiple of num_attention_heads".to_owned();
                Err(DirectoryError::Unfit(rule))
            }
        }
    }

    /// The model's figures, with the bytes of `tensors`.
    ///
    /// # Errors
    /// `Missing`, `BadFigure` and `Unfit` for figures that no model has.
    pub fn shape(&self, tensors: &Tensors) -> Result<ModelShape, DirectoryError> {
        let heads = self.needed("num_attention_heads", limits::MAX_MODEL_HEADS)?;
        let kv_heads = count(&self.values, "num_key_value_heads", limits::MAX_MODEL_HEADS)?;
        let kv_heads = kv_heads.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            let rule = format!("{kv_heads} heads of keys do not divide {heads} of queries");
            return Err(DirectoryError::Unfit(rule));
        }
        let embedding = self.needed("hidden_size", limits::MAX_MODEL_WIDTH)?;
        let head_dim = self.head_dim(embedding, heads)?;
        Ok(ModelShape {
            architecture: self.architecture.to_owned(),
            layers: self.needed("num_hidden_layers", limits::MAX_MODEL_LAYERS)?,
            embedding,
            heads,
            kv_heads,
            head_dim,
            value_dim: head_dim,
            feed_forward: self.needed("intermediate_size", limits::MAX_MODEL_WIDTH)?,
            context: self.needed("max_position_embeddings", limits::MAX_CTX_SIZE)?,
            vocab: self.needed("vocab_size", limits::MAX_MODEL_WIDTH)?,
            weight_bytes: tensors.bytes(),
            half_float_bytes: tensors.half_float_bytes(),
        })
    }
}
