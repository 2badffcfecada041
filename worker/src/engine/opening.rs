//! A model's parts from where it lies: one GGUF file, or a directory as Hugging Face has models.

use std::time::Instant;

use serde_json::Value;
use wire::{Code, Fault, limits};

use super::decoder::{Description, Weights, check_context};
use super::template::{Template, failed};
use super::tokenizer::{Files, Tokenizer};
use super::weights::{Directory, MappedModel, corrupt};
use super::{LoadOptions, Model};

/// Reads a model; what is wrong with it does not name its path yet.
pub(super) fn read(
    options: &LoadOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Model, Fault> {
    let started = Instant::now();
    let mut model = if options.path.is_dir() {
        directory(options, progress)?
    } else {
        file(options, progress)?
    };
    let (tokens, embeddings) = (model.tokenizer.len(), model.weights.vocabulary());
    if tokens > embeddings {
        let message = format!(
            "the tokenizer has {tokens} tokens, but the model only {embeddings} embeddings"
        );
        return Err(Fault::new(Code::ModelCorrupt, message));
    }
    model.load_time = started.elapsed();
    Ok(model)
}

fn file(options: &LoadOptions, progress: &mut dyn FnMut(u64, u64)) -> Result<Model, Fault> {
    let file = MappedModel::open(&options.path)?;
    let room = check_context(&file.header, options.ctx_size)?;
    let tokenizer = Tokenizer::from_header(&file.header)?;
    let template = Template::from_header(&file.header, &tokenizer);
    let weights = Weights::load(&file, progress)?;
    Ok(Model { weights, tokenizer, template, room, load_time: std::time::Duration::ZERO })
}

fn directory(options: &LoadOptions, progress: &mut dyn FnMut(u64, u64)) -> Result<Model, Fault> {
    let directory = Directory::open(&options.path)?;
    let description = Description::parse(&directory.config)?;
    let room = description.room(options.ctx_size)?;
    let limit = u64::try_from(limits::MAX_TOKENIZER_JSON_BYTES).unwrap_or(u64::MAX);
    let words = directory.read("tokenizer.json", limit)?.ok_or_else(|| {
        Fault::new(Code::ModelUnsupported, "the model has no tokenizer.json")
            .hint("rbee run -m file:/path/to/another/model.gguf PROMPT")
    })?;
    let config = directory.read("tokenizer_config.json", limits::MAX_MODEL_CONFIG_BYTES)?;
    let generation = directory.read("generation_config.json", limits::MAX_MODEL_CONFIG_BYTES)?;
    let mut ends = ends(&directory.config)?;
    if let Some(generation) = generation {
        ends.extend(self::ends(&generation)?);
    }
    let files = Files { tokenizer: &words, config: config.as_deref(), ends: &ends };
    let tokenizer = Tokenizer::from_json(&files)?;
    let template = match template(&directory, config.as_deref())? {
        Some(source) => Template::compile(&source, tokenizer.bos_text(), tokenizer.eos_text()),
        None => Err(failed("the model has no chat template")),
    };
    let weights = Weights::load_directory(description, &directory, progress)?;
    Ok(Model { weights, tokenizer, template, room, load_time: std::time::Duration::ZERO })
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

/// The chat template: a file of its own, or a text of `tokenizer_config.json`, or one of its list.
fn template(directory: &Directory, config: Option<&[u8]>) -> Result<Option<String>, Fault> {
    let limit = u64::try_from(limits::MAX_TEMPLATE_BYTES).unwrap_or(u64::MAX);
    if let Some(text) = directory.read("chat_template.jinja", limit)? {
        let text = String::from_utf8(text);
        let text = text.map_err(|error| corrupt("chat_template.jinja is no text").cause(error))?;
        return Ok(Some(text));
    }
    let config = match config {
        Some(config) => json(config)?,
        None => return Ok(None),
    };
    let is_default = |entry: &&Value| entry.get("name").is_some_and(|name| name == "default");
    let template = match config.get("chat_template") {
        Some(Value::Array(several)) => {
            several.iter().find(is_default).and_then(|entry| entry.get("template"))
        }
        other => other,
    };
    Ok(template.and_then(Value::as_str).map(str::to_owned))
}
