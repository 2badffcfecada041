//! What `rbee worker template` is asked: one JSON text on its standard input. It answers with the
//! rendered text.

use serde::{Deserialize, Serialize};

/// A conversation to render.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateRequest {
    /// The template; absent: the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// A JSON array of messages, unparsed: the order of their fields is part of it.
    pub messages: String,
    /// A JSON array of tools, unparsed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<String>,
    /// The time that the template sees, in seconds since the epoch.
    pub now_s: u64,
    /// Whether the text goes up to where the model's answer begins.
    #[serde(default)]
    pub add_generation_prompt: bool,
    /// The text of the token that begins a text; absent: the model's own, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bos: Option<String>,
    /// The text of the token that ends one; absent: the model's own, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eos: Option<String>,
}
