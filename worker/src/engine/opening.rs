//! A model's parts from where it lies: one GGUF file, or a directory as Hugging Face has models.

use std::time::{Duration, Instant};

use wire::{Code, Fault};

use super::decoder::{Description, Weights, check_context};
use super::template::{Template, source_of};
use super::texts::Texts;
use super::tokenizer::Tokenizer;
use super::weights::{Directory, MappedModel};
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
    let source = || source_of(&file.header, true);
    let tool_template = template.as_ref().ok().and_then(|t| t.for_tools(source(), &tokenizer));
    let weights = Weights::load(&file, progress)?;
    let load_time = Duration::ZERO;
    Ok(Model { weights, tokenizer, template, tool_template, room, load_time })
}

fn directory(options: &LoadOptions, progress: &mut dyn FnMut(u64, u64)) -> Result<Model, Fault> {
    let directory = Directory::open(&options.path)?;
    let description = Description::of(&directory)?;
    let room = description.room(options.ctx_size)?;
    let texts = Texts::read(&options.path)?;
    let tokenizer = texts.tokenizer()?;
    let template = texts.template(&tokenizer);
    let source = texts.source(true);
    let source = source.as_deref().map_err(Clone::clone);
    let tool_template = template.as_ref().ok().and_then(|t| t.for_tools(source, &tokenizer));
    let weights = Weights::load_directory(description, &directory, progress)?;
    let load_time = Duration::ZERO;
    Ok(Model { weights, tokenizer, template, tool_template, room, load_time })
}
