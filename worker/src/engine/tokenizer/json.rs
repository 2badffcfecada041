//! A tokenizer from a `tokenizer.json`, the form of models that do not come as GGUF.
//!
//! The library reads it. Its own search for added tokens is left out: it would find control tokens
//! in what people write, behind the shield too.

use std::collections::HashMap;

use serde::de::IgnoredAny;
use serde_json::Value;
use tokenizers::models::ModelWrapper;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::tokenizer::{AddedVocabulary, Tokenizer as Library};
use wire::{Code, Fault, limits};

use super::super::weights::corrupt;
use super::library::contained;
use super::pieces::{Coding, Kind, Pieces, byte_token};
use super::vocabulary::{Marks, check_special, named_ends};
use super::{Coder, NFC_SHRINKS, Parts, Strip, covered, internal};

/// The files of a model that say what its tokenizer is.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Files<'a> {
    /// Content of `tokenizer.json`.
    pub tokenizer: &'a [u8],
    /// Content of `tokenizer_config.json`, which names the tokens that begin and end a text.
    pub config: Option<&'a [u8]>,
    /// Tokens that end an answer: `eos_token_id` of `generation_config.json` or `config.json`.
    pub ends: &'a [u32],
}

/// Reads the files.
///
/// # Errors
/// `MODEL_UNSUPPORTED` for what this engine does not do as the file says, `MODEL_CORRUPT` for
/// files that cannot be.
pub(super) fn parts(files: &Files<'_>) -> Result<Parts, Fault> {
    let size = files.tokenizer.len();
    if size > limits::MAX_TOKENIZER_JSON_BYTES {
        return Err(corrupt(format!("tokenizer.json has {size} bytes")));
    }
    serde_json::from_slice::<IgnoredAny>(files.tokenizer)
        .map_err(|error| corrupt("tokenizer.json is no JSON").cause(error))?;
    let mut library = contained(|| Library::from_bytes(files.tokenizer)).map_err(unusable)?;
    // The library would cut or fill up what it reads.
    library.with_truncation(None).map_err(|error| internal("the tokenizer", error))?;
    library.with_padding(None);
    let coding = coding(&library)?;
    let (tokens, mut kinds) = tokens(&library, coding)?;
    let strips = added(&library, &mut kinds)?;
    check_special(tokens.iter().zip(&kinds).map(|(token, kind)| (token.as_str(), *kind)))?;
    let (begin, end) = ends(&library)?;
    let ids: HashMap<String, u32> = tokens.iter().cloned().zip(0u32..).collect();
    let marks = marks(files, &ids, &kinds, &begin)?;
    let shrinks = match library.get_normalizer() {
        _ if coding != Coding::ByteLevel || !strips.is_empty() => None,
        None => Some(1),
        Some(NormalizerWrapper::NFC(_)) => Some(NFC_SHRINKS),
        Some(_) => None,
    };
    let covered = (coding == Coding::ByteLevel).then(|| covered(&ids));
    library.with_added_vocabulary(AddedVocabulary::new());
    let mut pieces = Pieces { tokens, kinds, coding, is_prefixed: false };
    pieces.is_prefixed = is_prefixed(&library, &pieces)?;
    let rest = after_the_first(&library).map(Box::new);
    let coder = Coder::Library { whole: Box::new(library), rest, covered };
    Ok(Parts { coder, pieces, marks, begin, end, strips, shrinks })
}

fn unsupported(what: &str) -> Fault {
    Fault::new(Code::ModelUnsupported, format!("tokenizer.json {what}, which this engine lacks"))
        .hint("rbee run -m ./model.gguf")
}

/// How tokens are written, by what the file decodes them with.
fn coding(library: &Library) -> Result<Coding, Fault> {
    let decoder = serde_json::to_value(library.get_decoder());
    let decoder = decoder.map_err(|error| internal("the tokenizer", error))?;
    let mut names = Vec::new();
    let mut steps = vec![&decoder];
    while let Some(step) = steps.pop() {
        names.extend(step.get("type").and_then(Value::as_str));
        steps.extend(step.get("decoders").and_then(Value::as_array).into_iter().flatten());
    }
    let has = |name: &str| names.contains(&name);
    let coding = match library.get_model() {
        ModelWrapper::BPE(model) => {
            if model.dropout.is_some_and(|dropout| dropout > 0.0) {
                return Err(unsupported("merges at random"));
            }
            if model.end_of_word_suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
                return Err(unsupported("marks the ends of words"));
            }
            match (has("ByteLevel"), has("Metaspace") || has("ByteFallback")) {
                (true, false) => Coding::ByteLevel,
                (false, true) if model.byte_fallback || model.unk_token.is_some() => Coding::Spaced,
                _ => return Err(unsupported("has byte pairs of an unknown coding")),
            }
        }
        ModelWrapper::Unigram(_) if has("Metaspace") => Coding::Spaced,
        ModelWrapper::WordPiece(model) if model.continuing_subword_prefix == "##" => Coding::Words,
        _ => return Err(unsupported("has a model of another kind")),
    };
    Ok(coding)
}

/// All tokens by their numbers, none of them special yet; what no token has is empty.
fn tokens(library: &Library, coding: Coding) -> Result<(Vec<String>, Vec<Kind>), Fault> {
    let vocabulary = library.get_vocab(true);
    let highest = vocabulary.values().copied().max().unwrap_or(0);
    let count = usize::try_from(highest).unwrap_or(usize::MAX).saturating_add(1);
    if count > vocabulary.len().saturating_mul(2).saturating_add(1024) {
        return Err(corrupt(format!("{} tokens have numbers up to {highest}", vocabulary.len())));
    }
    let mut tokens = vec![String::new(); count];
    let mut kinds = vec![Kind::Normal; count];
    for (text, id) in vocabulary {
        let at = usize::try_from(id).unwrap_or(usize::MAX);
        if let (Some(token), Some(kind)) = (tokens.get_mut(at), kinds.get_mut(at)) {
            if !token.is_empty() {
                return Err(corrupt(format!("two tokens have the number {id}")));
            }
            if coding == Coding::Spaced {
                *kind = byte_token(&text).map_or(Kind::Normal, Kind::Byte);
            }
            *token = text;
        }
    }
    Ok((tokens, kinds))
}

/// Marks the tokens that are found before anything else, and tells which swallow white space.
fn added(library: &Library, kinds: &mut [Kind]) -> Result<HashMap<u32, Strip>, Fault> {
    let mut strips = HashMap::new();
    for (id, token) in library.get_added_vocabulary().get_added_tokens_decoder() {
        if token.single_word {
            return Err(unsupported("has a token that must be a word of its own"));
        }
        if token.lstrip || token.rstrip {
            strips.insert(*id, Strip { left: token.lstrip, right: token.rstrip });
        }
        if let Some(kind) = usize::try_from(*id).ok().and_then(|at| kinds.get_mut(at)) {
            *kind = if token.special { Kind::Control } else { Kind::UserDefined };
        }
    }
    Ok(strips)
}

fn unusable(error: String) -> Fault {
    corrupt("tokenizer.json is unusable").cause(error)
}

fn encode(library: &Library, text: &str, with_ends: bool) -> Result<Vec<u32>, Fault> {
    let encoded = contained(|| library.encode_fast(text, with_ends)).map_err(unusable)?;
    Ok(encoded.get_ids().to_vec())
}

/// What the file puts before and behind every text.
fn ends(library: &Library) -> Result<(Vec<u32>, Vec<u32>), Fault> {
    let (plain, whole) = (encode(library, "a", false)?, encode(library, "a", true)?);
    let at = whole.windows(plain.len().max(1)).position(|window| window == plain);
    let (Some(at), false) = (at, plain.is_empty()) else {
        return Err(unsupported("changes a text after it was cut"));
    };
    let (begin, rest) = whole.split_at_checked(at).unwrap_or_default();
    Ok((begin.to_vec(), rest.get(plain.len()..).unwrap_or_default().to_vec()))
}

/// Whether the tokenizer puts a blank of its own before a text.
fn is_prefixed(library: &Library, pieces: &Pieces) -> Result<bool, Fault> {
    let first = encode(library, "a", false)?.first().and_then(|id| pieces.bytes(*id));
    Ok(first.is_some_and(|bytes| bytes.starts_with(b" ")))
}

/// The same for the parts of a text behind a special token, when only the text's beginning gets a
/// blank.
fn after_the_first(library: &Library) -> Option<Library> {
    let never = |step: &mut PreTokenizerWrapper| match step {
        PreTokenizerWrapper::Metaspace(Metaspace { prepend_scheme, .. })
            if *prepend_scheme == PrependScheme::First =>
        {
            *prepend_scheme = PrependScheme::Never;
            true
        }
        _ => false,
    };
    let mut cutter = library.get_pre_tokenizer()?.clone();
    let is_changed = match &mut cutter {
        PreTokenizerWrapper::Sequence(steps) => steps.as_mut().iter_mut().any(never),
        step => never(step),
    };
    is_changed.then(|| {
        let mut rest = library.clone();
        rest.with_pre_tokenizer(Some(cutter));
        rest
    })
}

/// The tokens with a meaning of their own, by `tokenizer_config.json` where it says.
fn marks(
    files: &Files<'_>,
    ids: &HashMap<String, u32>,
    kinds: &[Kind],
    begin: &[u32],
) -> Result<Marks, Fault> {
    let config = match files.config {
        Some(config) => serde_json::from_slice(config)
            .map_err(|error| corrupt("tokenizer_config.json is no JSON").cause(error))?,
        None => Value::Null,
    };
    let named = |name: &str| {
        let token = config.get(name)?;
        let text = token.as_str().or_else(|| token.get("content")?.as_str())?;
        ids.get(text).copied()
    };
    let (bos, eos) = (named("bos_token").or(begin.first().copied()), named("eos_token"));
    if let Some(id) =
        files.ends.iter().find(|id| u32::try_from(kinds.len()).is_ok_and(|n| **id >= n))
    {
        return Err(corrupt(format!("the end token {id} is no token")));
    }
    let mut ends = named_ends(ids, kinds);
    ends.extend(eos.iter().chain(files.ends));
    ends.sort_unstable();
    ends.dedup();
    Ok(Marks { bos, eos, unknown: None, separator: None, ends })
}
