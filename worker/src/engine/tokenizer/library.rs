//! Tokenizers that the `tokenizers` crate computes, built from a checked vocabulary: byte-level
//! byte pairs and BERT's pieces of words.

use std::collections::{HashMap, HashSet};

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::bert::BertNormalizer;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::tokenizer::Tokenizer;
use wire::Fault;
use wire::gguf::Header;

use super::super::weights::corrupt;
use super::super::{contained, internal};
use super::pieces::{BLANK, Kind};
use super::pre::PreTokenizer;
use super::vocabulary::{Vocabulary, key};

/// What a piece inside of a word begins with in BERT's own files.
const INSIDE: &str = "##";

/// Calls the library.
///
/// # Errors
/// What the library says, or that it panicked.
pub(super) fn contained<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match contained::contained(call) {
        Some(outcome) => outcome.map_err(|error| error.to_string()),
        None => Err("the tokenizers library does not cope with it".to_owned()),
    }
}

/// Byte pairs with the merges of the header.
///
/// # Errors
/// `MODEL_CORRUPT` for merges that cannot be.
pub(super) fn byte_pairs(
    header: &Header,
    vocabulary: &mut Vocabulary,
    pre: PreTokenizer,
) -> Result<Tokenizer, Fault> {
    let missing = || corrupt(format!("the metadata lacks {}", key("merges")));
    let merges = header.texts(&key("merges")).ok_or_else(missing)?;
    let merges = check_merges(merges, &vocabulary.ids)?;
    let ids: Vocab = std::mem::take(&mut vocabulary.ids).into_iter().collect();
    let model = BPE::builder()
        .vocab_and_merges(ids, merges)
        .ignore_merges(pre.ignores_merges)
        .build()
        .map_err(|error| corrupt("the merges are unusable").cause(error))?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(pre.cutter));
    if pre.normalises {
        tokenizer.with_normalizer(Some(NFC)).map_err(|error| internal("the tokenizer", error))?;
    }
    Ok(tokenizer)
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

/// BERT's pieces of words. Its vocabulary is rewritten as BERT has it: files of llama.cpp mark the
/// pieces that begin a word, BERT those that do not.
///
/// # Errors
/// `MODEL_CORRUPT` for a vocabulary that cannot be.
pub(super) fn word_pieces(
    header: &Header,
    vocabulary: &mut Vocabulary,
) -> Result<Tokenizer, Fault> {
    let as_bert = |(token, kind): (&String, &Kind)| match (kind, token.strip_prefix(BLANK)) {
        (Kind::Normal, Some(begin)) => begin.to_owned(),
        (Kind::Normal, None) => format!("{INSIDE}{token}"),
        _ => token.clone(),
    };
    let tokens: Vec<String> =
        vocabulary.tokens.iter().zip(&vocabulary.kinds).map(as_bert).collect();
    let ids: HashMap<String, u32> = tokens.iter().cloned().zip(0u32..).collect();
    if ids.len() != tokens.len() {
        return Err(corrupt("a piece of a word occurs twice"));
    }
    let unknown = vocabulary.marks.unknown.and_then(|id| usize::try_from(id).ok());
    let unknown = unknown.and_then(|at| tokens.get(at));
    let unknown = unknown.ok_or_else(|| corrupt("there is no token for unknown words"))?;
    let flag = |name: &str| header.flag(&key(name));
    let lowercases = flag("normalizer.lowercase").unwrap_or(true);
    let strips = flag("normalizer.strip_accents").unwrap_or(lowercases);
    let model = WordPiece::builder()
        .vocab(ids.into_iter().collect::<Vocab>())
        .unk_token(unknown.clone())
        .continuing_subword_prefix(INSIDE.to_owned())
        .build()
        .map_err(|error| corrupt("the pieces of words are unusable").cause(error))?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer
        .with_normalizer(Some(BertNormalizer::new(true, true, Some(strips), lowercases)))
        .map_err(|error| internal("the tokenizer", error))?
        .with_pre_tokenizer(Some(BertPreTokenizer));
    vocabulary.tokens = tokens;
    Ok(tokenizer)
}
