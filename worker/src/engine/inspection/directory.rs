//! What a model's directory says of itself. No weight is read.

use std::path::Path;

use serde::Deserialize;
use wire::hugging_face::Config;
use wire::inspection::{Inspection, TokenizerKind};
use wire::{Fault, limits, text};

use super::super::decoder::Description;
use super::super::of_file;
use super::super::texts::Texts;
use super::super::weights::{Directory, optional};
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
        licence: licence(path),
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

/// The licence that the model's card names in the lines between its first two rulers; a licence of
/// its makers' own has its name beside `other`.
fn licence(path: &Path) -> Option<String> {
    let card = optional(&path.join("README.md"), limits::MAX_MODEL_CARD_BYTES).ok()??;
    let card = String::from_utf8_lossy(&card);
    let mut lines = card.lines();
    (lines.next()?.trim_end() == "---").then_some(())?;
    let facts: Vec<&str> = lines.take_while(|line| line.trim_end() != "---").collect();
    let fact = |name: &str| {
        let value = facts.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let value = value.trim().trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| text::one_line(value, limits::MAX_MODEL_TEXT_BYTES))
    };
    match fact("license") {
        Some(other) if other == "other" => Some(fact("license_name").unwrap_or(other)),
        licence => licence,
    }
}

#[cfg(test)]
mod tests {
    use super::licence;

    #[test]
    fn a_models_card_names_its_licence() {
        let dir = tempfile::tempdir().unwrap();
        let of = |card: &str| {
            std::fs::write(dir.path().join("README.md"), card).unwrap();
            licence(dir.path())
        };
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(licence(dir.path()), None);
        assert_eq!(
            of("---\nlanguage:\n- en\nlicense: apache-2.0\n---\n# M\n"),
            named("apache-2.0")
        );
        assert_eq!(of("---\r\nlicense: \"mit\"\r\n---\r\n"), named("mit"));
        let own = "---\nlicense: other\nlicense_name: qwen-research\nlicense_link: x\n---\n";
        assert_eq!(of(own), named("qwen-research"));
        assert_eq!(of("---\nlicense: other\n---\n"), named("other"));
        for none in
            ["", "# M\nlicense: mit\n", "---\ntags:\n---\nlicense: mit\n", "---\nlicense:\n"]
        {
            assert_eq!(of(none), None, "{none:?}");
        }
        assert!(!of("---\nlicense: a\u{1b}[2J\n---\n").unwrap().contains('\u{1b}'));
        let large = format!("---\nlicense: mit\n---\n{}", "x".repeat(1 << 20));
        assert_eq!(of(&large), None);
    }
}
