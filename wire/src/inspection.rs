//! What a model's file says of itself, and whether this hive can run it: the answers of
//! `rbee worker inspect` and `rbee agent weigh`, one line of JSON each.

use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// A model's header in short. Texts are the file's own: untrusted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inspection {
    /// Bytes of the file, or of all files of weights in a directory.
    pub file_bytes: u64,
    /// What its makers call it.
    pub name: Option<String>,
    /// The family, `general.architecture` or a config's `model_type`.
    pub architecture: Option<String>,
    /// Numbers in all tensors.
    pub parameters: u64,
    /// The types of its tensors, most bytes first.
    pub types: Vec<TypeShare>,
    /// Figures, if they are those of a decoder.
    pub figures: Option<Figures>,
    /// The kind of its tokenizer, if it has one.
    pub tokenizer: Option<TokenizerKind>,
    /// Its chat template, if it has one.
    pub template: Option<TemplateFacts>,
    /// Its licence, as its makers wrote it.
    pub licence: Option<String>,
    /// Why this build's engine would not load it; empty when nothing in the header speaks against
    /// it.
    pub faults: Vec<Fault>,
}

/// Tensors of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeShare {
    /// The type, for example `Q4_K`.
    pub kind: String,
    /// How many tensors have it.
    pub tensors: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A decoder's figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Transformer blocks.
    pub layers: u32,
    /// Elements of a token's embedding.
    pub embedding: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// Elements between the halves of a feed-forward block.
    pub feed_forward: u32,
    /// Tokens of context that it was trained for.
    pub context: u32,
    /// Tokens of its vocabulary.
    pub vocab: u32,
}

/// What kind of tokenizer a model has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerKind {
    /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE), `llama` (`SentencePiece`) or
    /// `bert` (`WordPiece`); of a `tokenizer.json` its own word: `BPE`, `Unigram`, `WordPiece`.
    pub model: String,
    /// `tokenizer.ggml.pre`: how a text is cut before its pieces are merged.
    pub pre: Option<String>,
}

/// What is known of a chat template without rendering it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TemplateFacts {
    /// Bytes of its text.
    pub bytes: u64,
    /// What it asks for besides messages, in the order of the alphabet: `tools`, a date, a switch
    /// of its own.
    pub asks_for: Vec<String>,
    /// The tags around reasoning.
    pub reasoning: Option<(String, String)>,
    /// The tags around calls of tools; the second may be empty.
    pub tool_call: Option<(String, String)>,
    /// Why it cannot be used, if so; the model still answers raw prompts.
    pub fault: Option<Fault>,
}

/// A worker that this hive would let in now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// Tokens of context.
    pub ctx_size: u32,
    /// Bytes of memory that it would take.
    pub need_bytes: u64,
    /// Bytes that workers may take now.
    pub free_bytes: u64,
}
