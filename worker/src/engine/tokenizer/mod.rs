//! The tokenizer of a GGUF file: byte-level BPE, with its control tokens kept apart from text.

mod bytes;
mod patterns;
mod pre;
mod shield;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::borrow::Cow;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::tokenizer::Tokenizer as BpeTokenizer;
use wire::generate::Message;
use wire::gguf::Header;
use wire::{Code, Fault};

use super::internal;
use super::reasoning;
use patterns::{Part, Patterns};
use shield::ControlTexts;
pub(super) use shield::Shield;
use vocabulary::{Kind, Vocabulary};

/// Makes tokens of text, and bytes of tokens.
pub(super) struct Tokenizer {
    bpe: BpeTokenizer,
    vocabulary: Vocabulary,
    /// The token that every text begins with, if the model wants one.
    begin: Option<u32>,
    /// Control and user-defined tokens: whole wherever the model's own text is read.
    special: Patterns,
    control: ControlTexts,
    /// Most bytes of a text that one token stands for.
    longest: usize,
    /// Whether each byte has a token; a vocabulary may lack some.
    covered: [bool; 256],
}

impl Tokenizer {
    /// Builds the tokenizer that the header describes.
    ///
    /// # Errors
    /// `MODEL_UNSUPPORTED` for another kind of tokenizer or an unknown pre-tokenizer,
    /// `MODEL_CORRUPT` for a vocabulary that cannot be.
    pub(super) fn from_header(header: &Header) -> Result<Self, Fault> {
        let mut vocabulary = Vocabulary::from_header(header)?;
        let pre = pre::by_name(header.text("tokenizer.ggml.pre").unwrap_or_default())?;
        let mut covered = [false; 256];
        for (byte, is_covered) in (0u8..=255).zip(&mut covered) {
            *is_covered = vocabulary.ids.contains_key(bytes::char_of(byte).to_string().as_str());
        }
        let longest = longest(&vocabulary) * if pre.normalises { NFC_SHRINKS } else { 1 };
        let begin = vocabulary.bos.filter(|_| vocabulary.adds_bos.unwrap_or(pre.adds_bos));
        let ids: Vocab = std::mem::take(&mut vocabulary.ids).into_iter().collect();
        let bpe = BPE::builder()
            .vocab_and_merges(ids, std::mem::take(&mut vocabulary.merges))
            .ignore_merges(pre.ignores_merges)
            .build()
            .map_err(|error| super::weights::corrupt("the merges are unusable").cause(error))?;
        let mut bpe = BpeTokenizer::new(bpe);
        bpe.with_pre_tokenizer(Some(pre.cutter));
        if pre.normalises {
            bpe.with_normalizer(Some(NFC)).map_err(|error| internal("the tokenizer", error))?;
        }
        let of_kind = |wanted: &[Kind]| {
            let all = vocabulary.tokens.iter().zip(&vocabulary.kinds).zip(0u32..);
            let these = all.filter(|((_, kind), _)| wanted.contains(kind));
            these.map(|((text, _), id)| (text.clone(), id)).collect::<Vec<_>>()
        };
        let special = Patterns::new(of_kind(&[Kind::Control, Kind::UserDefined]));
        let control = ControlTexts::new(of_kind(&[Kind::Control]));
        Ok(Self { bpe, vocabulary, begin, special, control, longest, covered })
    }

    /// Tokens in the vocabulary.
    pub(super) fn len(&self) -> usize {
        self.vocabulary.tokens.len()
    }

    /// The fewest tokens that `text` can have.
    pub(super) fn fewest_tokens(&self, text: &str) -> usize {
        text.len().div_ceil(self.longest)
    }

    /// The text of the token that begins a text, as templates want it.
    pub(super) fn bos_text(&self) -> &str {
        self.vocabulary.bos.and_then(|id| self.text_of(id)).unwrap_or_default()
    }

    /// The text of the token that ends a text, as templates want it.
    pub(super) fn eos_text(&self) -> &str {
        self.vocabulary.eos.and_then(|id| self.text_of(id)).unwrap_or_default()
    }

    /// Every token with which the model ends its answer.
    pub(super) fn end_tokens(&self) -> &[u32] {
        &self.vocabulary.ends
    }

    fn text_of(&self, id: u32) -> Option<&str> {
        let at = usize::try_from(id).ok()?;
        self.vocabulary.tokens.get(at).map(String::as_str)
    }

    /// The bytes that a token adds to an answer: none for a control token, but for the tags of
    /// reasoning, which some models have as control tokens.
    pub(super) fn bytes_of(&self, id: u32) -> Cow<'_, [u8]> {
        let Some(text) = self.text_of(id) else { return Cow::default() };
        let kind = usize::try_from(id).ok().and_then(|at| self.vocabulary.kinds.get(at));
        match kind {
            Some(Kind::Control) if ![reasoning::OPEN, reasoning::CLOSE].contains(&text) => {
                Cow::default()
            }
            Some(Kind::Normal) => Cow::Owned(byte_level(text)),
            _ => Cow::Borrowed(text.as_bytes()),
        }
    }

    /// The tokens of a text in which control tokens may be written out, after the token that begins
    /// a text if the model wants one.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, Fault> {
        self.encode_parts(text, Cow::Borrowed)
    }

    /// What keeps `messages` from writing control tokens, within a template of `source`.
    pub(super) fn shield<'t>(
        &'t self,
        messages: &[Message],
        source: &str,
    ) -> Result<Shield<'t>, Fault> {
        Shield::new(&self.control, messages, source)
    }

    /// The tokens of what a template made of messages behind `shield`.
    pub(super) fn encode_shielded(
        &self,
        rendered: &str,
        shield: &Shield<'_>,
    ) -> Result<Vec<u32>, Fault> {
        self.encode_parts(rendered, |plain| Cow::Owned(shield.restore(plain)))
    }

    fn encode_parts<'t>(
        &self,
        text: &'t str,
        restore: impl Fn(&'t str) -> Cow<'t, str>,
    ) -> Result<Vec<u32>, Fault> {
        let mut tokens = Vec::new();
        for part in self.special.split(text) {
            match part {
                Part::Token(token) => tokens.push(token),
                Part::Plain(plain) => self.encode_plain(&restore(plain), &mut tokens)?,
            }
        }
        if let Some(begin) = self.begin.filter(|begin| tokens.first() != Some(begin)) {
            tokens.insert(0, begin);
        }
        Ok(tokens)
    }

    fn encode_plain(&self, text: &str, tokens: &mut Vec<u32>) -> Result<(), Fault> {
        let is_covered = |byte: u8| self.covered.get(usize::from(byte)).copied().unwrap_or(false);
        if let Some(byte) = text.bytes().find(|byte| !is_covered(*byte)) {
            let message = format!("the model has no token for the byte {byte:#04x} of the prompt");
            return Err(Fault::new(Code::InvalidArgument, message));
        }
        let encoded = self.bpe.encode_fast(text, false);
        let encoded = encoded.map_err(|error| internal("the tokenizer", error))?;
        tokens.extend_from_slice(encoded.get_ids());
        Ok(())
    }
}

/// Most bytes of a text that NFC makes one byte of: the three letters of a Hangul syllable, nine
/// bytes, become three.
const NFC_SHRINKS: usize = 3;

/// Most bytes that a token of the vocabulary stands for; at least one.
fn longest(vocabulary: &Vocabulary) -> usize {
    let bytes = |(token, kind): (&String, &Kind)| match kind {
        Kind::Normal => token.chars().count(),
        Kind::Control | Kind::UserDefined => token.len(),
    };
    vocabulary.tokens.iter().zip(&vocabulary.kinds).map(bytes).max().unwrap_or(1).max(1)
}

/// The bytes that byte-level characters stand for; any other character stands for itself.
fn byte_level(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for c in text.chars() {
        match bytes::byte_of(c) {
            Some(byte) => out.push(byte),
            None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out
}
