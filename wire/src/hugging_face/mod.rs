//! A model as Hugging Face has it: a directory with `config.json`, one or many safetensors files
//! and, where there are many, an index of them. Pure: whoever has the files reads them.
//!
//! The files are untrusted: every count and size is checked against its limit, and what the config
//! says against the tensors that are there, before anything is believed.

mod config;
mod error;
mod tensors;

pub use config::{Config, count};
pub use error::DirectoryError;
pub use tensors::{Index, Tensors};

/// The file with a model's figures.
pub const CONFIG: &str = "config.json";
/// The file of the weights of a model of one file.
pub const SINGLE: &str = "model.safetensors";
/// What models of more than one file list their tensors in.
pub const INDEX: &str = "model.safetensors.index.json";
/// The file with a model's tokenizer.
pub const TOKENIZER: &str = "tokenizer.json";

/// `model_type` of a config, and the family that it is of: one of
/// [`crate::gguf::SUPPORTED_ARCHITECTURES`].
pub const MODEL_TYPES: &[(&str, &str)] = &[
    ("llama", "llama"),
    ("mistral", "llama"),
    ("mixtral", "llama"),
    ("qwen2", "qwen2"),
    ("qwen3", "qwen3"),
    ("qwen3_moe", "qwen3moe"),
    ("gemma2", "gemma2"),
    ("gemma3_text", "gemma3"),
    ("phi3", "phi3"),
    ("smollm3", "smollm3"),
    ("granite", "granite"),
];

#[cfg(test)]
mod tests;
