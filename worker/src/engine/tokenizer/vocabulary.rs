//! The tokenizer's part of a GGUF header, checked: it comes from whoever made the file.

use std::collections::HashMap;

use wire::gguf::Header;
use wire::{Code, Fault};

use super::super::weights::corrupt;
use super::patterns::MAX_PATTERN_BYTES;
use super::pieces::{Kind, byte_token};

/// How text becomes tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Byte-level byte pairs, merged by rank.
    BytePairs,
    /// `SentencePiece`'s byte pairs, merged by score.
    SentencePiece,
    /// BERT's longest pieces of words.
    WordPiece,
}

/// A checked vocabulary.
#[derive(Debug)]
pub(super) struct Vocabulary {
    /// How text becomes tokens.
    pub form: Form,
    /// Each token's text by id, as the file writes it.
    pub tokens: Vec<String>,
    /// Each token's kind by id.
    pub kinds: Vec<Kind>,
    /// Ids by text.
    pub ids: HashMap<String, u32>,
    /// The tokens with a meaning of their own.
    pub marks: Marks,
    /// Whether a text begins with `bos`, if the file says.
    pub begins: Option<bool>,
    /// Whether a text ends with `eos`, if the file says.
    pub has_end: Option<bool>,
}

/// The tokens with a meaning of their own.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// The token that ends one.
    pub eos: Option<u32>,
    /// The token of what has no other.
    pub unknown: Option<u32>,
    /// The token between two texts.
    pub separator: Option<u32>,
    /// Every token with which the model ends its answer.
    pub ends: Vec<u32>,
}

/// Bytes of all special tokens' texts: each message of a conversation is compared with them.
const MAX_SPECIAL_BYTES: usize = 1024 * 1024;

/// Control tokens that end an answer, by their names in the families' own configurations.
const END_NAMES: [&str; 15] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<EOT>",
    "<|END_OF_TURN_TOKEN|>",
    "<｜end▁of▁sentence｜>",
    "</s>",
];
/// A token that ends an answer, unless the model also has both of [`CHANNEL_ENDS`]: then it only
/// ends one message of several (`OpenAI`'s harmony format).
const MESSAGE_END: &str = "<|end|>";
const CHANNEL_ENDS: [&str; 2] = ["<|return|>", "<|call|>"];

/// The metadata key of a tokenizer's property.
pub(super) fn key(name: &str) -> String {
    format!("tokenizer.ggml.{name}")
}

impl Vocabulary {
    /// Reads and checks it. Every pass is linear in the header's own bytes.
    ///
    /// # Errors
    /// `MODEL_UNSUPPORTED` for a tokenizer of a form that is not known, `MODEL_CORRUPT` for what no
    /// tokenizer has.
    pub(super) fn from_header(header: &Header) -> Result<Self, Fault> {
        let form = form(header)?;
        let missing = || corrupt(format!("the metadata lacks {}", key("tokens")));
        let tokens = header.texts(&key("tokens")).ok_or_else(missing)?.to_vec();
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in (0u32..).zip(&tokens) {
            if ids.insert(token.clone(), id).is_some() {
                let token = wire::text::one_line(token, 60);
                return Err(corrupt(format!("token {token:?} occurs twice")));
            }
        }
        let kinds = kinds(header, &tokens, form)?;
        check_special(tokens.iter().zip(&kinds).map(|(token, kind)| (token.as_str(), *kind)))?;
        let marks = marks(header, form, &ids, &kinds)?;
        let flag = |name: &str| header.flag(&key(name));
        let (begins, has_end) = (flag("add_bos_token"), flag("add_eos_token"));
        for (adds, token) in [(begins, marks.bos), (has_end, marks.eos)] {
            if adds == Some(true) && token.is_none() {
                return Err(corrupt("the tokenizer adds a token that it does not have"));
            }
        }
        Ok(Self { form, tokens, kinds, ids, marks, begins, has_end })
    }
}

fn form(header: &Header) -> Result<Form, Fault> {
    let model = header.text(&key("model")).unwrap_or("none");
    match model {
        "gpt2" => return Ok(Form::BytePairs),
        "llama" => return Ok(Form::SentencePiece),
        "bert" => return Ok(Form::WordPiece),
        _ => {}
    }
    let model = wire::text::one_line(model, 40);
    let message = format!(
        "this engine knows the tokenizers gpt2 (byte-level BPE), llama (SentencePiece) and bert \
         (WordPiece), not {model}"
    );
    Err(Fault::new(Code::ModelUnsupported, message)
        .detail("tokenizer", model)
        .hint("rbee run -m file:/path/to/another/model.gguf PROMPT"))
}

fn kinds(header: &Header, tokens: &[String], form: Form) -> Result<Vec<Kind>, Fault> {
    let byte_or_normal = |token: &String| byte_token(token).map_or(Kind::Normal, Kind::Byte);
    let Some(types) = header.unsigneds(&key("token_type")) else {
        return Ok(match form {
            Form::SentencePiece => tokens.iter().map(byte_or_normal).collect(),
            _ => vec![Kind::Normal; tokens.len()],
        });
    };
    if types.len() != tokens.len() {
        let message = format!("{} tokens have {} types", tokens.len(), types.len());
        return Err(corrupt(message));
    }
    let kind = |(token, number): (&String, u64)| match number {
        1 | 5 => Ok(Kind::Normal),
        2 => Ok(Kind::Unknown),
        3 => Ok(Kind::Control),
        4 => Ok(Kind::UserDefined),
        6 => Ok(byte_or_normal(token)),
        _ => Err(corrupt(format!("a token has the unknown type {number}"))),
    };
    tokens.iter().zip(types).map(kind).collect()
}

/// Refuses special tokens that are too many or too long to be searched for.
///
/// # Errors
/// `MODEL_CORRUPT`.
pub(super) fn check_special<'t>(
    tokens: impl Iterator<Item = (&'t str, Kind)>,
) -> Result<(), Fault> {
    let mut bytes = 0;
    for (token, _) in tokens.filter(|(_, kind)| kind.is_special()) {
        if token.is_empty() || token.len() > MAX_PATTERN_BYTES {
            return Err(corrupt(format!("a special token has {} bytes", token.len())));
        }
        bytes += token.len();
    }
    if bytes > MAX_SPECIAL_BYTES {
        return Err(corrupt(format!("the special tokens have {bytes} bytes")));
    }
    Ok(())
}

fn marks(
    header: &Header,
    form: Form,
    ids: &HashMap<String, u32>,
    kinds: &[Kind],
) -> Result<Marks, Fault> {
    // What the formats before GGUF implied, and files leave out.
    let (bos, eos, unknown, separator) = match form {
        Form::BytePairs => (None, None, None, None),
        Form::SentencePiece => (Some(1), Some(2), Some(0), None),
        Form::WordPiece => (Some(101), None, Some(100), Some(102)),
    };
    let or = |name: &str, implied: Option<u32>| -> Result<Option<u32>, Fault> {
        let is_token = |id: &u32| usize::try_from(*id).is_ok_and(|id| id < kinds.len());
        let named = special(header, name, kinds.len())?;
        Ok(named.or(implied.filter(is_token)))
    };
    let (bos, eos) = (or("bos_token_id", bos)?, or("eos_token_id", eos)?);
    let mut ends = named_ends(ids, kinds);
    ends.extend([eos, or("eot_token_id", None)?, or("eom_token_id", None)?].into_iter().flatten());
    ends.sort_unstable();
    ends.dedup();
    let unknown = or("unknown_token_id", unknown)?;
    // Sic: the key has always been written so.
    let separator = or("seperator_token_id", separator)?;
    Ok(Marks { bos, eos, unknown, separator, ends })
}

/// Control tokens that end an answer by their names.
pub(super) fn named_ends(ids: &HashMap<String, u32>, kinds: &[Kind]) -> Vec<u32> {
    let control = |name: &str| {
        let id = ids.get(name).copied()?;
        let kind = usize::try_from(id).ok().and_then(|at| kinds.get(at))?;
        (*kind == Kind::Control).then_some(id)
    };
    let has_channels = CHANNEL_ENDS.iter().all(|name| control(name).is_some());
    let names = END_NAMES.iter().filter(|name| !has_channels || **name != MESSAGE_END);
    names.filter_map(|name| control(name)).collect()
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
