//! What a model's directory says of itself. No weight is read.

use std::path::Path;

use serde::Deserialize;
use wire::hugging_face::Config;
use wire::inspection::{Inspection, TokenizerKind};
use wire::{Fault, limits, text};

use super::super::decoder::Description;
use super::super::of_file;
use super::super::texts::Texts;
use super::super::weights::Directory;
use super::{facts, figures_of, shares};

/// Reads the directory at `path`.
///
/// # Errors
/// As [`super::inspect`].
pub(super) fn inspect(path: &Path) -> Result<Inspection, Fault> {
    let directory = Directory::open(path).map_err(|fault| of_file(fault, path))?;
    let all = || directory.tensors.all();
    let elements =
        |shape: &[u64]| shape.iter().fold(1, |count: u64, axis| count.saturating_mul(*axis));
    let description = Description::of(&directory);
    let texts = Texts::read(path);
    let kind = texts.as_ref().ok().and_then(Texts::kind);
    let source = texts.as_ref().ok().and_then(|texts| texts.source(false).ok());
    let config = Config::parse(&directory.config).ok();
    let shape = config.and_then(|file| file.shape(&directory.tensors).ok());
    let smallest = |context: u32| context.min(limits::MIN_CTX_SIZE);
    let room = description.as_ref().map_err(Clone::clone);
    let room = room.and_then(|found| found.room(smallest(found.shape.context)));
    let tokenizer = texts.and_then(|texts| texts.tokenizer());
    let faults = [room.err(), tokenizer.err()].into_iter().flatten();
    Ok(Inspection {
        file_bytes: directory.bytes(),
        name: None,
        architecture: model_type(&directory.config),
        parameters: all().map(|info| elements(&info.shape)).fold(0, u64::saturating_add),
        types: shares(all().map(|info| (info.dtype.as_str(), info.bytes))),
        figures: shape.as_ref().map(figures_of),
        tokenizer: kind.map(|model| TokenizerKind {
            model: text::one_line(&model, limits::MAX_MODEL_TEXT_BYTES),
            pre: None,
        }),
        template: source.as_deref().map(facts),
        licence: None,
        faults: faults.map(|fault| of_file(fault, path)).collect(),
    })
}

/// The family in the config's own word, also one that this engine does not compute.
fn model_type(config: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        model_type: String,
    }
    let named: Named = serde_json::from_slice(config).ok()?;
    Some(text::one_line(&named.model_type, limits::MAX_MODEL_TEXT_BYTES))
}
