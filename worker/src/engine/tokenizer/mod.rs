//! A model's tokenizer, with its control tokens kept apart from text: byte-level BPE,
//! `SentencePiece` or `WordPiece`, from a GGUF header or from a `tokenizer.json`.

mod bytes;
mod json;
mod library;
mod patterns;
mod pieces;
mod pre;
mod sentencepiece;
mod shield;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::borrow::Cow;
use std::collections::HashMap;

use tokenizers::tokenizer::Tokenizer as Library;
use wire::gguf::Header;
use wire::{Code, Fault, limits};

use super::{internal, markers};
pub(super) use json::Files;
use patterns::{Part, Patterns};
use pieces::{Coding, Kind, Pieces};
use sentencepiece::{SentencePiece, no_token};
use shield::ControlTexts;
pub(super) use shield::Shield;
use vocabulary::{Form, Marks, Vocabulary};

/// Makes tokens of text, and bytes of tokens.
pub(super) struct Tokenizer {
    coder: Coder,
    pieces: Pieces,
    marks: Marks,
    /// The tokens that every text begins with, if the model wants any.
    begin: Vec<u32>,
    /// The tokens that every text ends with, if the model wants any. A prompt has none: its end is
    /// where the answer begins.
    end: Vec<u32>,
    special: Special,
    control: ControlTexts,
    /// Most bytes of a text that one token stands for, where there is such a bound.
    longest: Option<usize>,
}

/// Makes tokens of text without special tokens.
enum Coder {
    /// By score.
    SentencePiece(Box<SentencePiece>),
    /// By the library.
    Library {
        /// For a text.
        whole: Box<Library>,
        /// For the parts of a text that follow a special token, where they are treated otherwise.
        rest: Option<Box<Library>>,
        /// Whether each byte has a token; a vocabulary of byte pairs may lack some.
        covered: Option<Box<[bool; 256]>>,
    },
}

/// Tokens that are found in a text before anything else is.
struct Special {
    /// All of them: whole wherever the model's own text is read.
    all: Patterns,
    /// Those that are text: whole wherever anything is read.
    text: Patterns,
    /// Those that swallow the white space beside them.
    strips: HashMap<u32, Strip>,
}

/// On which sides a token swallows white space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Strip {
    left: bool,
    right: bool,
}

/// How a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// With the tokens that the model wants at the ends of a text.
    pub ends: bool,
    /// Control tokens that are written out are control tokens.
    pub control: bool,
}

impl Tokenizer {
    /// Builds the tokenizer that the header describes.
    ///
    /// # Errors
    /// `MODEL_UNSUPPORTED` for another kind of tokenizer or an unknown pre-tokenizer,
    /// `MODEL_CORRUPT` for a vocabulary that cannot be.
    pub(super) fn from_header(header: &Header) -> Result<Self, Fault> {
        let mut vocabulary = Vocabulary::from_header(header)?;
        let strips = strips(header, &vocabulary);
        let (coder, coding, shrinks, adds_bos) = match vocabulary.form {
            Form::BytePairs => {
                let pre = pre::by_name(header.text("tokenizer.ggml.pre").unwrap_or_default())?;
                let (adds_bos, normalises) = (pre.adds_bos, pre.normalises);
                let covered = Some(covered(&vocabulary.ids));
                let whole = Box::new(library::byte_pairs(header, &mut vocabulary, pre)?);
                let shrinks = if normalises { NFC_SHRINKS } else { 1 };
                let coder = Coder::Library { whole, rest: None, covered };
                (coder, Coding::ByteLevel, Some(shrinks), adds_bos)
            }
            Form::SentencePiece => {
                let coder = Box::new(SentencePiece::new(header, &vocabulary)?);
                (Coder::SentencePiece(coder), Coding::Spaced, Some(1), true)
            }
            Form::WordPiece => {
                let whole = Box::new(library::word_pieces(header, &mut vocabulary)?);
                let coder = Coder::Library { whole, rest: None, covered: None };
                (coder, Coding::Words, None, true)
            }
        };
        let Vocabulary { form, tokens, kinds, marks, begins, has_end, .. } = vocabulary;
        let begin = marks.bos.filter(|_| begins.unwrap_or(adds_bos));
        let end = match form {
            Form::WordPiece => marks.separator,
            _ => marks.eos.filter(|_| has_end.unwrap_or(false)),
        };
        let is_prefixed = match &coder {
            Coder::SentencePiece(coder) => coder.is_prefixed(),
            Coder::Library { .. } => coding == Coding::Words,
        };
        let pieces = Pieces { tokens, kinds, coding, is_prefixed };
        let shrinks = shrinks.filter(|_| strips.is_empty());
        let (begin, end) = (begin.into_iter().collect(), end.into_iter().collect());
        Ok(Self::assemble(Parts { coder, pieces, marks, begin, end, strips, shrinks }))
    }

    /// Builds the tokenizer of a `tokenizer.json` and the files beside it.
    ///
    /// # Errors
    /// `MODEL_UNSUPPORTED` for what this engine does not do as the file says, `MODEL_CORRUPT` for
    /// files that cannot be.
    pub(super) fn from_json(files: &Files<'_>) -> Result<Self, Fault> {
        Ok(Self::assemble(json::parts(files)?))
    }

    fn assemble(parts: Parts) -> Self {
        let Parts { coder, pieces, marks, begin, end, strips, shrinks } = parts;
        let all = Patterns::new(pieces.of_kind(Kind::is_special));
        let text = Patterns::new(pieces.of_kind(|kind| kind == Kind::UserDefined));
        let control = pieces.of_kind(|kind| matches!(kind, Kind::Control | Kind::Unknown));
        let control = ControlTexts::new(control);
        let longest = shrinks.map(|shrinks| pieces.longest().saturating_mul(shrinks));
        let special = Special { all, text, strips };
        Self { coder, pieces, marks, begin, end, special, control, longest }
    }

    /// Tokens in the vocabulary.
    pub(super) fn len(&self) -> usize {
        self.pieces.tokens.len()
    }

    /// The fewest tokens that `text` can have.
    pub(super) fn fewest_tokens(&self, text: &str) -> usize {
        self.longest.map_or(0, |longest| text.len().div_ceil(longest))
    }

    /// The text of the token that begins a text, as templates want it.
    pub(super) fn bos_text(&self) -> &str {
        self.text_of(self.marks.bos)
    }

    /// The text of the token that ends a text, as templates want it.
    pub(super) fn eos_text(&self) -> &str {
        self.text_of(self.marks.eos)
    }

    fn text_of(&self, id: Option<u32>) -> &str {
        id.and_then(|id| self.pieces.get(id)).map(|(text, _)| text).unwrap_or_default()
    }

    /// Every token with which the model ends its answer.
    pub(super) fn end_tokens(&self) -> &[u32] {
        &self.marks.ends
    }

    /// The bytes that a token adds to an answer: none for a control token, but for the tags of
    /// reasoning, which some models have as control tokens.
    pub(super) fn bytes_of(&self, id: u32) -> Cow<'_, [u8]> {
        let is_silent = |(text, kind): (&str, Kind)| {
            matches!(kind, Kind::Control | Kind::Unknown) && !markers::is_tag(text)
        };
        if self.pieces.get(id).is_none_or(is_silent) {
            return Cow::default();
        }
        self.pieces.bytes(id).unwrap_or_default()
    }

    /// The bytes that a token stands for, however it is used; none for what is no token.
    pub(super) fn piece(&self, id: u32) -> Cow<'_, [u8]> {
        self.pieces.bytes(id).unwrap_or_default()
    }

    /// The text of tokens: what [`Self::read`] makes the same tokens of, as far as the vocabulary
    /// has it. Control tokens are written out, but for those that the model adds to a text itself.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a number of no token, `TOO_LARGE` for a text over the bound.
    pub(super) fn text(&self, ids: &[u32]) -> Result<String, Fault> {
        let ids = ids.strip_prefix(self.begin.as_slice()).unwrap_or(ids);
        let ids = ids.strip_suffix(self.end.as_slice()).unwrap_or(ids);
        let mut bytes = Vec::new();
        let mut is_begun = false;
        for id in ids {
            let (Some((_, kind)), Some(piece)) = (self.pieces.get(*id), self.pieces.bytes(*id))
            else {
                let message = format!("{id} is none of the {} tokens of this model", self.len());
                return Err(Fault::new(Code::InvalidArgument, message));
            };
            let is_own = self.pieces.is_prefixed && !is_begun && !kind.is_special();
            let own = piece.strip_prefix(b" ").filter(|_| is_own);
            bytes.extend_from_slice(own.unwrap_or(&piece));
            if bytes.len() > limits::MAX_PROMPT_BYTES {
                let limit = limits::MAX_PROMPT_BYTES;
                let message = format!("the tokens stand for more than {limit} bytes");
                return Err(Fault::new(Code::TooLarge, message));
            }
            is_begun = !kind.is_special();
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The tokens of a text.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a byte that the vocabulary cannot say.
    pub(super) fn read(&self, text: &str, reading: Reading) -> Result<Vec<u32>, Fault> {
        let special = if reading.control { &self.special.all } else { &self.special.text };
        let mut tokens = self.encode_parts(special, text, Cow::Borrowed)?;
        if reading.ends {
            self.put_begin(&mut tokens);
            tokens.extend_from_slice(&self.end);
        }
        Ok(tokens)
    }

    /// The tokens of a prompt in which control tokens may be written out, after the token that
    /// begins a text if the model wants one.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, Fault> {
        let mut tokens = self.encode_parts(&self.special.all, text, Cow::Borrowed)?;
        self.put_begin(&mut tokens);
        Ok(tokens)
    }

    /// What keeps `texts` from writing control tokens, within a template of `source`.
    pub(super) fn shield<'t>(
        &'t self,
        texts: &[String],
        source: &str,
    ) -> Result<Shield<'t>, Fault> {
        Shield::new(&self.control, texts, source)
    }

    /// Whether it puts a blank of its own before every text.
    pub(super) fn is_prefixed(&self) -> bool {
        self.pieces.is_prefixed
    }

    /// The tokens of what a template made of messages behind `shield`.
    pub(super) fn encode_shielded(
        &self,
        rendered: &str,
        shield: &Shield<'_>,
    ) -> Result<Vec<u32>, Fault> {
        let restore = |plain| Cow::Owned(shield.restore(plain));
        let mut tokens = self.encode_parts(&self.special.all, rendered, restore)?;
        self.put_begin(&mut tokens);
        Ok(tokens)
    }

    /// A text that begins with the token already does not get a second one.
    fn put_begin(&self, tokens: &mut Vec<u32>) {
        if !tokens.starts_with(&self.begin) {
            tokens.splice(0..0, self.begin.iter().copied());
        }
    }

    fn encode_parts<'t>(
        &self,
        special: &Patterns,
        text: &'t str,
        restore: impl Fn(&'t str) -> Cow<'t, str>,
    ) -> Result<Vec<u32>, Fault> {
        let mut tokens = Vec::new();
        let parts = special.split(text);
        for (position, part) in parts.iter().enumerate() {
            let plain = match *part {
                Part::Token(token) => {
                    tokens.push(token);
                    continue;
                }
                Part::Plain(plain) => plain,
            };
            let before = position.checked_sub(1).and_then(|before| parts.get(before));
            let plain = self.special.strip(plain, before, parts.get(position + 1));
            if !plain.is_empty() {
                self.coder.encode(&restore(plain), position == 0, &mut tokens)?;
            }
        }
        Ok(tokens)
    }
}

impl Special {
    /// `plain` without the white space that its neighbours swallow.
    fn strip<'t>(
        &self,
        plain: &'t str,
        before: Option<&Part<'_>>,
        after: Option<&Part<'_>>,
    ) -> &'t str {
        let of = |part: Option<&Part<'_>>| match part {
            Some(Part::Token(token)) => self.strips.get(token).copied(),
            _ => None,
        };
        let plain = match of(before) {
            Some(Strip { right: true, .. }) => plain.trim_start(),
            _ => plain,
        };
        match of(after) {
            Some(Strip { left: true, .. }) => plain.trim_end(),
            _ => plain,
        }
    }
}

impl Coder {
    fn encode(&self, text: &str, is_first: bool, tokens: &mut Vec<u32>) -> Result<(), Fault> {
        let (whole, rest, covered) = match self {
            Self::SentencePiece(coder) => return coder.encode(text, tokens),
            Self::Library { whole, rest, covered } => (whole, rest, covered),
        };
        if let Some(covered) = covered {
            let is_covered = |byte: u8| covered.get(usize::from(byte)).copied().unwrap_or(false);
            if let Some(byte) = text.bytes().find(|byte| !is_covered(*byte)) {
                return Err(no_token(byte));
            }
        }
        let library = rest.as_ref().filter(|_| !is_first).unwrap_or(whole);
        let encoded = library::contained(|| library.encode_fast(text, false));
        let encoded = encoded.map_err(|error| internal("the tokenizer", error))?;
        tokens.extend_from_slice(encoded.get_ids());
        Ok(())
    }
}

/// What a tokenizer is made of.
struct Parts {
    coder: Coder,
    pieces: Pieces,
    marks: Marks,
    begin: Vec<u32>,
    end: Vec<u32>,
    strips: HashMap<u32, Strip>,
    /// How many bytes of a text may become one before it is cut; none without a bound.
    shrinks: Option<usize>,
}

/// Most bytes of a text that NFC makes one byte of: the three letters of a Hangul syllable, nine
/// bytes, become three.
const NFC_SHRINKS: usize = 3;

fn covered(ids: &HashMap<String, u32>) -> Box<[bool; 256]> {
    let mut covered = Box::new([false; 256]);
    for (byte, is_covered) in (0u8..=255).zip(covered.iter_mut()) {
        *is_covered = ids.contains_key(bytes::char_of(byte).to_string().as_str());
    }
    covered
}

/// Phi 3's special tokens swallow the white space after them, all but three. Its `tokenizer.json`
/// says so, but a GGUF file has no place for it: llama.cpp goes by the model's name, and so do we.
fn strips(header: &Header, vocabulary: &Vocabulary) -> HashMap<u32, Strip> {
    const KEEP: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];
    let name = header.text("general.name").unwrap_or_default().to_lowercase();
    if !["phi-3", "phi3"].iter().any(|family| name.contains(family)) {
        return HashMap::new();
    }
    let all = vocabulary.tokens.iter().zip(&vocabulary.kinds).zip(0u32..);
    let swallows = all.filter(|((token, kind), _)| {
        (kind.is_special() || *token == "</s>") && !KEEP.contains(&token.as_str())
    });
    swallows.map(|(_, id)| (id, Strip { left: false, right: true })).collect()
}
