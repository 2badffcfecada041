//! What a model's files say of themselves, judged by the code that would load them. No weight is
//! read.

mod directory;

use std::collections::BTreeMap;
use std::path::Path;

use wire::gguf::{Header, ModelShape};
use wire::inspection::{Figures, Inspection, TemplateFacts, TokenizerKind, TypeShare};
use wire::{Fault, limits, text};

use super::decoder::{self, Weights};
use super::markers::{self, Tags};
use super::of_file;
use super::template::{self, Template};
use super::tokenizer::Tokenizer;
use super::weights::{self, MappedModel, Tensors};

/// Reads the header of the file at `path`, or those of the files in a directory.
///
/// # Errors
/// `MODEL_NOT_FOUND`, or `MODEL_CORRUPT` for a file that is no model at all.
pub fn inspect(path: &Path) -> Result<Inspection, Fault> {
    if path.is_dir() {
        return directory::inspect(path);
    }
    let file = MappedModel::open(path).map_err(|fault| of_file(fault, path))?;
    let header = &file.header;
    let own = |key: &str| Some(text::one_line(header.text(key)?, limits::MAX_MODEL_TEXT_BYTES));
    let tokenizer = own("tokenizer.ggml.model")
        .map(|model| TokenizerKind { model, pre: own("tokenizer.ggml.pre") });
    let faults = faults(&file).into_iter().map(|fault| of_file(fault, path)).collect();
    Ok(Inspection {
        file_bytes: std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
        name: own("general.name"),
        architecture: own("general.architecture"),
        parameters: parameters(header),
        types: shares(header.tensors.iter().map(|tensor| (tensor.kind.name(), tensor.bytes))),
        figures: header.shape().ok().as_ref().map(figures_of),
        tokenizer,
        template: template::source_of(header, false).ok().map(facts),
        licence: own("general.license"),
        faults,
    })
}

/// Everything in a header that a load would fail at, in the order of a load.
fn faults(file: &MappedModel) -> Vec<Fault> {
    let header = &file.header;
    let smallest = limits::MIN_CTX_SIZE;
    let ctx_size = header.shape().map_or(smallest, |shape| shape.context.min(smallest));
    let checks = [
        decoder::check_context(header, ctx_size).map(drop),
        Weights::check(header),
        Tokenizer::from_header(header).map(drop),
        types_are_readable(file),
    ];
    let mut faults: Vec<Fault> = checks.into_iter().filter_map(Result::err).collect();
    faults.dedup_by(|a, b| a.message == b.message);
    faults
}

fn types_are_readable(file: &MappedModel) -> Result<(), Fault> {
    let names = file.names();
    if names.is_empty() {
        return Err(weights::corrupt("the file has no tensors"));
    }
    let mut found = names.into_iter().filter_map(|name| file.find(name));
    found.try_for_each(|found| {
        weights::readable(found.name, found.kind, found.stored, file.remedy()).map(drop)
    })
}

fn parameters(header: &Header) -> u64 {
    let elements = |shape: &[u64]| shape.iter().fold(1, |n: u64, axis| n.saturating_mul(*axis));
    let all = header.tensors.iter().map(|tensor| elements(&tensor.shape));
    all.fold(0, u64::saturating_add)
}

/// The types of tensors by their names and bytes, most bytes first.
fn shares<'t>(tensors: impl Iterator<Item = (&'t str, u64)>) -> Vec<TypeShare> {
    let mut shares: BTreeMap<String, TypeShare> = BTreeMap::new();
    for (kind, bytes) in tensors {
        let kind = text::one_line(kind, limits::MAX_MODEL_TEXT_BYTES);
        let new = TypeShare { kind: kind.clone(), tensors: 0, bytes: 0 };
        let share = shares.entry(kind).or_insert(new);
        share.tensors += 1;
        share.bytes = share.bytes.saturating_add(bytes);
    }
    let mut shares: Vec<TypeShare> = shares.into_values().collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.bytes));
    shares
}

fn figures_of(shape: &ModelShape) -> Figures {
    Figures {
        layers: shape.layers,
        embedding: shape.embedding,
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        head_dim: shape.head_dim,
        feed_forward: shape.feed_forward,
        context: shape.context,
        vocab: shape.vocab,
    }
}

fn facts(source: &str) -> TemplateFacts {
    let pair = |tags: Tags| (tags.open.to_owned(), tags.close.to_owned());
    let compiled = Template::compile(source, "", "");
    let asks_for = compiled.as_ref().map(Template::asks_for).unwrap_or_default();
    TemplateFacts {
        bytes: u64::try_from(source.len()).unwrap_or(u64::MAX),
        asks_for,
        reasoning: markers::reasoning(source).map(pair),
        tool_call: markers::tool_call(source).map(pair),
        fault: compiled.err(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TestModel, text};
    use super::*;
    use candle_core::quantized::GgmlDType;
    use candle_core::quantized::gguf_file::Value;
    use wire::Code;

    fn small() -> TestModel {
        TestModel::new("qwen3", GgmlDType::Q8_0)
    }

    fn of(model: &TestModel) -> Inspection {
        inspect(&model.write()).unwrap()
    }

    #[test]
    fn a_model_that_loads_is_described_and_has_no_fault() {
        let template = "{{ '<think>' }}{% if tools %}<tool_call>{% endif %}{% if thinking %}\
                        {% set ns = namespace(x=1) %}{{ strftime_now('%Y') }}{% endif %}";
        let model = TestModel { template: Some(template.to_owned()), ..small() }
            .set("general.license", text("apache-2.0\u{1b}[2J"));
        let seen = of(&model);
        assert!(seen.faults.is_empty(), "{:?}", seen.faults);
        assert_eq!(seen.architecture.as_deref(), Some("qwen3"));
        assert_eq!(seen.figures.map(|all| (all.layers, all.context)), Some((2, 2048)));
        assert!(!seen.licence.unwrap().contains('\u{1b}'));
        let kinds: Vec<&str> = seen.types.iter().map(|share| share.kind.as_str()).collect();
        assert_eq!(kinds, ["Q8_0", "F32"]);
        let elements: usize =
            model.tensors().iter().map(|(_, tensor)| tensor.shape().elem_count()).sum();
        assert_eq!(seen.parameters, u64::try_from(elements).unwrap());
        let facts = seen.template.unwrap();
        assert_eq!(facts.asks_for, ["strftime_now", "thinking", "tools"]);
        assert_eq!(facts.reasoning, Some(("<think>".to_owned(), "</think>".to_owned())));
        assert_eq!(facts.tool_call, Some(("<tool_call>".to_owned(), "</tool_call>".to_owned())));
    }

    /// Whatever is said to be refused is refused by a load with the same words.
    #[test]
    fn what_a_load_would_refuse_is_said_before() {
        let refused = [
            small().set("general.architecture", text("mamba")),
            small().set("tokenizer.ggml.pre", text("unheard-of")),
            small().set("qwen3.rope.scaling.type", text("unheard-of")),
            small().set("qwen3.attention.head_count_kv", Value::U32(3)),
        ];
        for model in refused {
            let path = model.write();
            let seen = inspect(&path).unwrap();
            let options =
                super::super::LoadOptions { path: path.to_path_buf(), ctx_size: 64, threads: None };
            let fault = super::super::load(&options, &mut |_, _| {}).err().unwrap();
            let messages: Vec<&str> = seen.faults.iter().map(|f| f.message.as_str()).collect();
            assert!(messages.contains(&fault.message.as_str()), "{fault:?}: {messages:?}");
        }
        let broken = TestModel { template: Some("{% for".to_owned()), ..small() };
        let fault = of(&broken).template.unwrap().fault.unwrap();
        assert_eq!(fault.code, Code::TemplateFailed);
        assert!(of(&TestModel { template: None, ..small() }).template.is_none());
    }
}
