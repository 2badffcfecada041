//! `SentencePiece`'s byte-pair encoding: pieces with scores, and a byte where no piece fits.
//!
//! The best-scored pair of neighbours that is a piece becomes one, until there is none (Sennrich
//! et al. 2016, as Kudo and Richardson 2018 have it); the leftmost of equals goes first.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};

use wire::gguf::Header;
use wire::{Code, Fault};

use super::super::weights::corrupt;
use super::pieces::{BLANK, Kind};
use super::vocabulary::{Vocabulary, key};

/// Makes tokens of text without control tokens.
#[derive(Debug)]
pub(super) struct SentencePiece {
    /// Pieces that text may become, with their scores.
    pieces: HashMap<String, (u32, Score)>,
    /// The token of each byte, for what no piece fits.
    bytes: [Option<u32>; 256],
    /// Whether a blank is put before each text.
    is_prefixed: bool,
}

/// A finite score.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Score(f32);

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Two neighbours that may become one piece: the best one is the greatest.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    score: Score,
    /// Position of the left one.
    left: Reverse<usize>,
    right: usize,
    /// Bytes of both: when it is another by now, one of them has changed.
    bytes: usize,
}

/// A part of the text, in a list of neighbours.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    at: usize,
    /// 0 when its left neighbour has swallowed it.
    bytes: usize,
    before: Option<usize>,
    after: Option<usize>,
}

impl SentencePiece {
    /// Takes what the header says beside the tokens.
    ///
    /// # Errors
    /// `MODEL_CORRUPT` for scores that are none.
    pub(super) fn new(header: &Header, vocabulary: &Vocabulary) -> Result<Self, Fault> {
        let count = vocabulary.tokens.len();
        let scores = header.floats(&key("scores")).ok_or_else(|| corrupt("tokens lack scores"))?;
        if scores.len() != count || scores.iter().any(|score| !score.is_finite()) {
            return Err(corrupt(format!("{count} tokens do not have as many finite scores")));
        }
        let mut pieces = HashMap::with_capacity(count);
        let mut bytes = [None; 256];
        let all = vocabulary.tokens.iter().zip(&vocabulary.kinds).zip(scores).zip(0u32..);
        for (((token, kind), score), id) in all {
            match kind {
                Kind::Byte(byte) => {
                    if let Some(of_byte) = bytes.get_mut(usize::from(*byte)) {
                        *of_byte = Some(id);
                    }
                }
                Kind::Normal | Kind::UserDefined => {
                    #[expect(clippy::cast_possible_truncation, reason = "files have f32 scores")]
                    let score = score as f32;
                    // The sum makes one zero of both.
                    pieces.insert(token.clone(), (id, Score(score + 0.0)));
                }
                Kind::Control | Kind::Unknown => {}
            }
        }
        let is_prefixed = header.flag(&key("add_space_prefix")).unwrap_or(true);
        Ok(Self { pieces, bytes, is_prefixed })
    }

    /// Whether a blank is put before each text.
    pub(super) fn is_prefixed(&self) -> bool {
        self.is_prefixed
    }

    /// Appends the tokens of `text`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a byte that has no token.
    pub(super) fn encode(&self, text: &str, tokens: &mut Vec<u32>) -> Result<(), Fault> {
        let mut spaced = String::with_capacity(text.len() + BLANK.len_utf8());
        spaced.extend(self.is_prefixed.then_some(BLANK));
        spaced.extend(text.chars().map(|c| if c == ' ' { BLANK } else { c }));
        let symbols = Merging::new(self, &spaced).finish();
        for symbol in symbols.into_iter().filter(|symbol| symbol.bytes > 0) {
            let text = spaced.get(symbol.at..symbol.at + symbol.bytes).unwrap_or_default();
            match self.pieces.get(text) {
                Some((id, _)) => tokens.push(*id),
                None => {
                    for byte in text.bytes() {
                        tokens.push(self.byte(byte)?);
                    }
                }
            }
        }
        Ok(())
    }

    fn byte(&self, byte: u8) -> Result<u32, Fault> {
        self.bytes.get(usize::from(byte)).copied().flatten().ok_or_else(|| no_token(byte))
    }
}

/// A byte of a prompt that the vocabulary cannot say.
pub(super) fn no_token(byte: u8) -> Fault {
    let message = format!("the model has no token for the byte {byte:#04x} of the prompt");
    Fault::new(Code::InvalidArgument, message)
}

/// One text on its way from characters to pieces.
struct Merging<'a> {
    model: &'a SentencePiece,
    text: &'a str,
    symbols: Vec<Symbol>,
    pairs: BinaryHeap<Pair>,
}

impl<'a> Merging<'a> {
    fn new(model: &'a SentencePiece, text: &'a str) -> Self {
        let chars = text.char_indices().enumerate();
        let symbol = |(position, (at, c)): (usize, (usize, char))| Symbol {
            at,
            bytes: c.len_utf8(),
            before: position.checked_sub(1),
            after: (at + c.len_utf8() < text.len()).then_some(position + 1),
        };
        let symbols: Vec<Symbol> = chars.map(symbol).collect();
        let mut merging = Self { model, text, symbols, pairs: BinaryHeap::new() };
        for right in 1..merging.symbols.len() {
            merging.consider(Some(right - 1), Some(right));
        }
        merging
    }

    fn finish(mut self) -> Vec<Symbol> {
        while let Some(pair) = self.pairs.pop() {
            self.merge(&pair);
        }
        self.symbols
    }

    fn symbol(&self, position: usize) -> Option<Symbol> {
        self.symbols.get(position).copied()
    }

    /// Remembers two neighbours when they are a piece together.
    fn consider(&mut self, left: Option<usize>, right: Option<usize>) {
        let (Some(left), Some(right)) = (left, right) else { return };
        let (Some(first), Some(second)) = (self.symbol(left), self.symbol(right)) else { return };
        let bytes = first.bytes + second.bytes;
        let text = self.text.get(first.at..first.at + bytes).unwrap_or_default();
        if let Some((_, score)) = self.model.pieces.get(text) {
            self.pairs.push(Pair { score: *score, left: Reverse(left), right, bytes });
        }
    }

    /// Makes one of two, unless one of them has changed since.
    fn merge(&mut self, pair: &Pair) {
        let Pair { left: Reverse(left), right, bytes, .. } = *pair;
        let (Some(first), Some(second)) = (self.symbol(left), self.symbol(right)) else { return };
        if first.bytes == 0 || second.bytes == 0 || first.bytes + second.bytes != bytes {
            return;
        }
        if let Some(swallowed) = self.symbols.get_mut(right) {
            swallowed.bytes = 0;
        }
        if let Some(grown) = self.symbols.get_mut(left) {
            grown.bytes = bytes;
            grown.after = second.after;
        }
        if let Some(next) = second.after.and_then(|next| self.symbols.get_mut(next)) {
            next.before = Some(left);
        }
        self.consider(first.before, Some(left));
        self.consider(Some(left), second.after);
    }
}
