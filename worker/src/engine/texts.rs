//! The tokenizer and the chat template of a model's directory, which lie beside its weights.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use wire::hugging_face::{CONFIG, TOKENIZER};
use wire::{Code, Fault, limits};

use super::template::{Template, failed};
use super::tokenizer::{Files, Tokenizer};
use super::weights::{corrupt, optional};

/// What a directory has of texts.
pub(super) struct Texts {
    tokenizer: Vec<u8>,
    /// `tokenizer_config.json`.
    config: Option<Vec<u8>>,
    /// The tokens that end an answer.
    ends: Vec<u32>,
    /// `chat_template.jinja`.
    template: Option<String>,
}

impl Texts {
    /// Reads the directory at `path`.
    ///
    /// # Errors
    /// `MODEL_UNSUPPORTED` without a `tokenizer.json`, `MODEL_CORRUPT` and `IO_ERROR` for a file
    /// that is not as it should be.
    pub(super) fn read(path: &Path) -> Result<Self, Fault> {
        let wide = |limit| u64::try_from(limit).unwrap_or(u64::MAX);
        let of = |name: &str, limit| optional(&path.join(name), limit);
        let tokenizer =
            of(TOKENIZER, wide(limits::MAX_TOKENIZER_JSON_BYTES))?.ok_or_else(|| {
                Fault::new(Code::ModelUnsupported, format!("the model has no {TOKENIZER}"))
                    .hint("rbee run -m file:/path/to/another/model.gguf PROMPT")
            })?;
        let mut ends = Vec::new();
        for name in [CONFIG, "generation_config.json"] {
            if let Some(config) = of(name, limits::MAX_MODEL_CONFIG_BYTES)? {
                ends.extend(self::ends(&config)?);
            }
        }
        let template = of("chat_template.jinja", wide(limits::MAX_TEMPLATE_BYTES))?;
        let template = template.map(String::from_utf8).transpose();
        let template =
            template.map_err(|error| corrupt("chat_template.jinja is no text").cause(error))?;
        let config = of("tokenizer_config.json", limits::MAX_MODEL_CONFIG_BYTES)?;
        Ok(Self { tokenizer, config, ends, template })
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// As [`Tokenizer::from_json`].
    pub(super) fn tokenizer(&self) -> Result<Tokenizer, Fault> {
        let config = self.config.as_deref();
        Tokenizer::from_json(&Files { tokenizer: &self.tokenizer, config, ends: &self.ends })
    }

    /// The kind of the tokenizer in the file's own word, for example `BPE`.
    pub(super) fn kind(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Head {
            model: Typed,
        }
        #[derive(Deserialize)]
        struct Typed {
            r#type: String,
        }
        serde_json::from_slice::<Head>(&self.tokenizer).ok().map(|head| head.model.r#type)
    }

    /// The chat template: a file of its own, or a text of `tokenizer_config.json`, or one of its
    /// list, which may have another one for requests with tools.
    ///
    /// # Errors
    /// `TEMPLATE_FAILED` when there is none, `MODEL_CORRUPT` for a config that is no JSON.
    pub(super) fn source(&self, has_tools: bool) -> Result<String, Fault> {
        let none = || failed("the model has no chat template");
        if let Some(template) = &self.template {
            return Ok(template.clone());
        }
        let config = json(self.config.as_deref().ok_or_else(none)?)?;
        let named = |several: &[Value], wanted: &str| {
            let is_it = |entry: &&Value| entry.get("name").is_some_and(|name| name == wanted);
            several.iter().find(is_it).and_then(|entry| entry.get("template")).cloned()
        };
        let template = match config.get("chat_template") {
            Some(Value::Array(several)) => {
                let for_tools = named(several, "tool_use").filter(|_| has_tools);
                for_tools.or_else(|| named(several, "default"))
            }
            other => other.cloned(),
        };
        template.as_ref().and_then(Value::as_str).map(str::to_owned).ok_or_else(none)
    }

    /// The chat template, compiled.
    ///
    /// # Errors
    /// As [`Self::source`] and [`Template::compile`].
    pub(super) fn template(&self, tokenizer: &Tokenizer) -> Result<Template, Fault> {
        let source = self.source(false)?;
        Template::compile(&source, tokenizer.bos_text(), tokenizer.eos_text())
    }
}

fn json(text: &[u8]) -> Result<Value, Fault> {
    serde_json::from_slice(text).map_err(|error| corrupt("a config is no JSON").cause(error))
}

/// The tokens that end an answer, by a config that names one or several.
fn ends(config: &[u8]) -> Result<Vec<u32>, Fault> {
    let config = json(config)?;
    let named = match config.get("eos_token_id") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(several)) => several.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = named.iter().map(id).collect::<Option<Vec<u32>>>();
    ids.ok_or_else(|| corrupt("eos_token_id is no token"))
}
