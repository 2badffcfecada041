//! The header of a GGUF file: metadata and tensor table, never the weights.
//!
//! Reads versions 2 and 3, little endian (ggml, `docs/gguf.md`). The file is untrusted: every
//! count, length and offset is checked against its limit and against the bytes that are left before
//! anything is allocated for it, so what is allocated is a small multiple of the header's bytes.

mod cursor;
mod error;
mod kind;
mod read;
mod shape;
mod value;

pub use error::GgufError;
pub use kind::TensorKind;
pub use shape::ModelShape;
pub use value::{Array, Metadata, Value};

/// Families (`general.architecture`) that our engine runs: an agent refuses every other before it
/// starts a worker for it.
pub const SUPPORTED_ARCHITECTURES: &[&str] =
    &["llama", "qwen2", "qwen3", "qwen3moe", "gemma2", "gemma3", "phi3", "smollm3", "granite"];

/// Why the engine does not run a family that people ask for, by its word in either format.
pub fn why_unsupported(architecture: &str) -> Option<&'static str> {
    match architecture {
        "gpt-oss" | "gpt_oss" => Some(
            "its weights are MXFP4 blocks, which this engine's kernels (candle) do not read, and \
             its attention has sinks, which it does not compute",
        ),
        _ => None,
    }
}

/// A checked header: names are unique, tensors lie within the file and share no byte.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// 2 or 3; both mean the same layout.
    pub version: u32,
    /// All metadata by key.
    pub metadata: Metadata,
    /// The tensor table in the file's order.
    pub tensors: Vec<TensorInfo>,
    /// Bytes that tensor data is aligned to.
    pub alignment: u64,
    /// Where tensor data begins, in bytes from the file's start.
    pub data_offset: u64,
    /// Positions in `tensors`, ordered by name.
    by_name: Vec<usize>,
}

/// One tensor: what it is and where its data lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, for example `blk.0.attn_q.weight`; untrusted text.
    pub name: String,
    /// Elements in each dimension, innermost (columns) first: the reverse of a row-major shape.
    pub shape: Vec<u64>,
    /// How its elements are stored.
    pub kind: TensorKind,
    /// Where its data begins, in bytes from the file's start.
    pub offset: u64,
    /// Bytes of its data.
    pub bytes: u64,
}

impl Header {
    /// Reads a header. `prefix` is the first bytes of the file (all of it, a mapping, or what an
    /// HTTP range brought), `file_bytes` the whole file's length.
    ///
    /// # Errors
    /// [`GgufError::NeedMore`] when the header goes on behind a prefix that is not the whole file,
    /// every other [`GgufError`] when no longer prefix can help.
    pub fn parse(prefix: &[u8], file_bytes: u64) -> Result<Self, GgufError> {
        read::header(prefix, file_bytes)
    }

    /// The model's family, for example `llama`: the first part of its metadata keys.
    ///
    /// # Errors
    /// `Missing`, `BadType`, or `BadValue` when it is no short lower-case word.
    pub fn architecture(&self) -> Result<&str, GgufError> {
        const KEY: &str = "general.architecture";
        let key = || KEY.to_owned();
        let value = self.metadata.get(KEY).ok_or_else(|| GgufError::Missing { key: key() })?;
        let Value::Text(word) = value else {
            return Err(GgufError::BadType { key: key(), expected: "a text" });
        };
        let is_lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let is_word = word.bytes().all(|b| is_lower(b) || matches!(b, b'-' | b'_' | b'.'));
        if word.is_empty() || word.len() > 64 || !is_word {
            let rule = "is not a word of 1 to 64 lower-case letters, digits and dashes".to_owned();
            return Err(GgufError::BadValue { key: key(), rule });
        }
        Ok(word)
    }

    /// The text of a key.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number of a key with a non-negative integer of any type.
    pub fn unsigned(&self, key: &str) -> Option<u64> {
        self.metadata.get(key)?.unsigned()
    }

    /// The number of a key with a float or an integer.
    pub fn float(&self, key: &str) -> Option<f64> {
        self.metadata.get(key)?.float()
    }

    /// The truth of a key.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.metadata.get(key)? {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The texts of a key.
    pub fn texts(&self, key: &str) -> Option<&[String]> {
        match self.array(key)? {
            Array::Text(texts) => Some(texts),
            _ => None,
        }
    }

    /// The numbers of a key with non-negative integers of any type.
    pub fn unsigneds(&self, key: &str) -> Option<Vec<u64>> {
        self.array(key)?.unsigneds()
    }

    /// The numbers of a key with floats or integers.
    pub fn floats(&self, key: &str) -> Option<Vec<f64>> {
        self.array(key)?.floats()
    }

    fn array(&self, key: &str) -> Option<&Array> {
        match self.metadata.get(key)? {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        let name_at = |position: &usize| self.tensors.get(*position).map(|t| t.name.as_str());
        let found = self.by_name.binary_search_by_key(&Some(name), name_at).ok()?;
        self.tensors.get(*self.by_name.get(found)?)
    }

    /// Bytes of all tensors' data, padding not counted.
    pub fn weight_bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.bytes).fold(0, u64::saturating_add)
    }

    /// Bytes of the data of tensors of 16-bit floats.
    pub fn half_float_bytes(&self) -> u64 {
        let is_half = |kind| matches!(kind, TensorKind::F16 | TensorKind::Bf16);
        let halves = self.tensors.iter().filter(|tensor| is_half(tensor.kind));
        halves.map(|tensor| tensor.bytes).fold(0, u64::saturating_add)
    }
}
