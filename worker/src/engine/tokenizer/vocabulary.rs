//! The tokenizer's part of a GGUF header, checked: it comes from whoever made the file.

use std::collections::{HashMap, HashSet};

use wire::gguf::Header;
use wire::{Code, Fault};

use super::super::weights::corrupt;
use super::patterns::MAX_PATTERN_BYTES;

/// What a token is (ggml's `llama_token_type`, as far as it matters here).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text.
    Normal,
    /// A mark of the model's own, never text.
    Control,
    /// Text that is always this one token.
    UserDefined,
}

/// A checked vocabulary.
#[derive(Debug)]
pub(super) struct Vocabulary {
    /// Each token's text by id; byte-level characters, but for control and user-defined tokens.
    pub tokens: Vec<String>,
    /// Each token's kind by id.
    pub kinds: Vec<Kind>,
    /// Ids by text.
    pub ids: HashMap<String, u32>,
    /// Pairs in the order of their rank.
    pub merges: Vec<(String, String)>,
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// The token that ends one.
    pub eos: Option<u32>,
    /// Whether a text begins with `bos`, if the file says.
    pub adds_bos: Option<bool>,
    /// Every token with which the model ends its answer.
    pub ends: Vec<u32>,
}

/// Bytes of all special tokens' texts: each message of a conversation is compared with them.
const MAX_SPECIAL_BYTES: usize = 1024 * 1024;

/// Control tokens that end an answer, by their names in the families' own configurations.
const END_NAMES: [&str; 9] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot|>",
    "<end_of_turn>",
    "</s>",
];

fn key(name: &str) -> String {
    format!("tokenizer.ggml.{name}")
}

impl Vocabulary {
    /// Reads and checks it. Every pass is linear in the header's own bytes.
    ///
    /// # Errors
    /// `MODEL_UNSUPPORTED` for a tokenizer of another kind than byte-level BPE, `MODEL_CORRUPT` for
    /// what no tokenizer has.
    pub(super) fn from_header(header: &Header) -> Result<Self, Fault> {
        check_kind(header)?;
        let missing = |name: &str| corrupt(format!("the metadata lacks {}", key(name)));
        let tokens = header.texts(&key("tokens")).ok_or_else(|| missing("tokens"))?.to_vec();
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in (0u32..).zip(&tokens) {
            if ids.insert(token.clone(), id).is_some() {
                let token = wire::text::one_line(token, 60);
                return Err(corrupt(format!("token {token:?} occurs twice")));
            }
        }
        let kinds = kinds(header, &tokens)?;
        let merges = header.texts(&key("merges")).ok_or_else(|| missing("merges"))?;
        let merges = check_merges(merges, &ids)?;
        let token = |name: &str| special(header, name, tokens.len());
        let (bos, eos) = (token("bos_token_id")?, token("eos_token_id")?);
        let is_named_end = |name: &&str| {
            let id = ids.get(*name).copied()?;
            let kind = usize::try_from(id).ok().and_then(|at| kinds.get(at))?;
            (*kind == Kind::Control).then_some(id)
        };
        let mut ends: Vec<u32> = END_NAMES.iter().filter_map(is_named_end).collect();
        ends.extend([eos, token("eot_token_id")?, token("eom_token_id")?].into_iter().flatten());
        ends.sort_unstable();
        ends.dedup();
        let adds_bos = header.flag(&key("add_bos_token"));
        if adds_bos == Some(true) && bos.is_none() {
            return Err(corrupt("the tokenizer adds a beginning token that it does not have"));
        }
        Ok(Self { tokens, kinds, ids, merges, bos, eos, adds_bos, ends })
    }
}

fn check_kind(header: &Header) -> Result<(), Fault> {
    let model = header.text(&key("model")).unwrap_or("none");
    if model == "gpt2" {
        return Ok(());
    }
    let model = wire::text::one_line(model, 40);
    let message = format!("this engine knows the tokenizer gpt2 (byte-level BPE), not {model}");
    Err(Fault::new(Code::ModelUnsupported, message)
        .detail("tokenizer", model)
        .hint("rbee run -m file:/path/to/another/model.gguf PROMPT"))
}

fn kinds(header: &Header, tokens: &[String]) -> Result<Vec<Kind>, Fault> {
    let Some(types) = header.unsigneds(&key("token_type")) else {
        return Ok(vec![Kind::Normal; tokens.len()]);
    };
    if types.len() != tokens.len() {
        let message = format!("{} tokens have {} types", tokens.len(), types.len());
        return Err(corrupt(message));
    }
    let kind = |(token, number): (&String, u64)| {
        let kind = match number {
            3 => Kind::Control,
            4 => Kind::UserDefined,
            1 | 2 | 5 | 6 => return Ok(Kind::Normal),
            _ => return Err(corrupt(format!("a token has the unknown type {number}"))),
        };
        if token.is_empty() || token.len() > MAX_PATTERN_BYTES {
            return Err(corrupt(format!("a special token has {} bytes", token.len())));
        }
        Ok(kind)
    };
    let kinds: Vec<Kind> = tokens.iter().zip(types).map(kind).collect::<Result<_, _>>()?;
    let special = tokens.iter().zip(&kinds).filter(|(_, kind)| **kind != Kind::Normal);
    let bytes: usize = special.map(|(token, _)| token.len()).sum();
    if bytes > MAX_SPECIAL_BYTES {
        return Err(corrupt(format!("the special tokens have {bytes} bytes")));
    }
    Ok(kinds)
}

/// Splits merges, and checks that both parts and the whole are tokens. The whole is longer than its
/// parts, so merges cannot go round in a circle.
fn check_merges(
    merges: &[String],
    ids: &HashMap<String, u32>,
) -> Result<Vec<(String, String)>, Fault> {
    let mut seen = HashSet::with_capacity(merges.len());
    let mut pairs = Vec::with_capacity(merges.len());
    for merge in merges {
        let bad =
            |why: &str| corrupt(format!("the merge {:?} {why}", wire::text::one_line(merge, 60)));
        let (left, right) = merge.split_once(' ').ok_or_else(|| bad("is no pair"))?;
        if left.is_empty() || right.is_empty() || right.contains(' ') {
            return Err(bad("is no pair"));
        }
        let whole = format!("{left}{right}");
        if ![left, right, &whole].iter().all(|part| ids.contains_key(*part)) {
            return Err(bad("is not of tokens"));
        }
        if !seen.insert(merge.as_str()) {
            return Err(bad("occurs twice"));
        }
        pairs.push((left.to_owned(), right.to_owned()));
    }
    Ok(pairs)
}

/// The id of a special token, if the header names one.
fn special(header: &Header, name: &str, count: usize) -> Result<Option<u32>, Fault> {
    let name = key(name);
    if !header.metadata.contains_key(&name) {
        return Ok(None);
    }
    let id = header.unsigned(&name).and_then(|id| u32::try_from(id).ok());
    let is_token = |id: &u32| usize::try_from(*id).is_ok_and(|id| id < count);
    match id.filter(is_token) {
        Some(id) => Ok(Some(id)),
        None => Err(corrupt(format!("{name} is no token"))),
    }
}
