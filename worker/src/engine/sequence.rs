//! One request in its slot: its tokens, what of them is computed, and what became of them.

use std::borrow::Cow;
use std::time::Duration;

use wire::generate::{ChosenLogprob, FinishReason, FunctionCall, TokenLogprob};
use wire::sampling::Sampling;
use wire::{Code, Fault};

use super::calls::CallFinder;
use super::decoder::{Room, Row};
use super::detokenizer::Detokenizer;
use super::reasoning::Splitter;
use super::sampler::{Odds, Pick, Sampler};
use super::stop::{Released, StopMatcher};
use super::tokenizer::Tokenizer;

/// Tokens of a prompt that are computed at once; between two chunks a request can be cancelled.
pub(super) const CHUNK: usize = 256;

/// A prompt that is ready to be computed.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The prompt's tokens.
    pub tokens: Vec<u32>,
    /// Sorts the answer's text.
    pub splitter: Splitter,
    /// Finds calls of tools in what is no reasoning.
    pub finder: CallFinder,
    /// Whether a blank that the tokenizer puts before every text is none of the answer's.
    pub is_prefixed: bool,
    /// How long it took to make.
    pub took: Duration,
}

/// A request that has a slot. Knows nothing of channels, threads or time.
#[derive(Debug)]
pub(super) struct Sequence {
    slot: usize,
    tokens: Vec<u32>,
    /// Tokens whose keys and values are in the cache.
    computed: usize,
    prompt_len: usize,
    /// Tokens of prompt and answer at which it ends.
    last_len: usize,
    /// Tokens of prompt and answer up to which nothing but [`Self::last_len`] ends it.
    first_len: usize,
    ignore_eos: bool,
    sampler: Sampler,
    detokenizer: Detokenizer,
    splitter: Splitter,
    finder: CallFinder,
    /// Whether a tool was called.
    has_called: bool,
    /// Whether the next text begins with a blank that is none of the answer's.
    is_prefixed: bool,
    stop: StopMatcher,
}

/// Refuses a prompt that leaves no room for an answer.
///
/// # Errors
/// `CONTEXT_OVERFLOW`, or `INVALID_ARGUMENT` for no token.
pub(super) fn check_length(tokens: usize, room: Room) -> Result<(), Fault> {
    if tokens == 0 {
        return Err(Fault::new(Code::InvalidArgument, "the prompt has no token")
            .hint("rbee run \"What is a hive?\""));
    }
    check_room("", tokens, room)
}

/// Refuses a text that leaves no room for an answer even with the fewest `tokens` that it can have.
///
/// # Errors
/// `CONTEXT_OVERFLOW`.
pub(super) fn check_least(tokens: usize, room: Room) -> Result<(), Fault> {
    check_room("at least ", tokens, room)
}

fn check_room(at_least: &str, tokens: usize, room: Room) -> Result<(), Fault> {
    let Room { ctx_size, trained } = room;
    if tokens < ctx_size {
        return Ok(());
    }
    let over = tokens + 1 - ctx_size;
    let message = format!(
        "the prompt has {at_least}{tokens} tokens, {over} more than a context of {ctx_size} has \
         room for"
    );
    let hint = if tokens < trained {
        format!("rbee run --ctx-size {} …", (tokens + 1).next_power_of_two().min(trained))
    } else {
        "rbee run -m file:/path/to/a/model/with/more/context.gguf …".to_owned()
    };
    Err(Fault::new(Code::ContextOverflow, message)
        .detail("over_tokens", over)
        .detail("prompt_tokens", tokens)
        .detail("ctx_size", ctx_size)
        .hint(hint))
}

/// What one more token came to.
#[derive(Debug, PartialEq)]
pub(super) struct Advance {
    /// The token.
    pub token: u32,
    /// What it adds to the answer.
    pub text: String,
    /// What it adds to the reasoning.
    pub reasoning: String,
    /// Calls of tools that it completes.
    pub calls: Vec<FunctionCall>,
    /// How probable it was, if that was asked for.
    pub logprobs: Option<Box<ChosenLogprob>>,
    /// Why the answer ends here, if it does.
    pub finish: Option<FinishReason>,
    /// Whether it is the model's end of its answer, and no part of it.
    pub is_end: bool,
}

/// The least that is told of a logarithm (OpenAI's): JSON has no infinity.
const MIN_LOGPROB: f64 = -9999.0;

fn logprobs(token: u32, odds: &Odds, tokenizer: &Tokenizer) -> ChosenLogprob {
    let one = |id: u32, logprob: f64| {
        let bytes = tokenizer.piece(id).into_owned();
        let token = String::from_utf8_lossy(&bytes).into_owned();
        TokenLogprob { id, token, logprob: logprob.max(MIN_LOGPROB), bytes }
    };
    let top_logprobs = odds.top.iter().map(|(id, logprob)| one(*id, *logprob)).collect();
    ChosenLogprob { chosen: one(token, odds.chosen), top_logprobs }
}

impl Sequence {
    /// Takes a prompt that [`check_length`] let pass into `slot`, whose cache has `room`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a sampling that the model cannot have.
    pub(super) fn new(
        slot: usize,
        prepared: Prepared,
        mut sampling: Sampling,
        model: (&Tokenizer, Room),
    ) -> Result<Self, Fault> {
        let (tokenizer, room) = model;
        let Prepared { tokens, splitter, finder, is_prefixed, .. } = prepared;
        let prompt_len = tokens.len();
        let wanted = sampling.max_tokens.and_then(|max| usize::try_from(max).ok());
        let last_len = prompt_len.saturating_add(wanted.unwrap_or(usize::MAX)).min(room.ctx_size);
        let least = usize::try_from(sampling.min_tokens).unwrap_or(usize::MAX);
        let first_len = prompt_len.saturating_add(least);
        let stop = StopMatcher::new(std::mem::take(&mut sampling.stop));
        let ignore_eos = sampling.ignore_eos;
        let mut sampler = Sampler::new(sampling, tokenizer.len())?;
        for token in &tokens {
            sampler.observe(*token);
        }
        Ok(Self {
            slot,
            tokens,
            computed: 0,
            prompt_len,
            last_len,
            first_len,
            ignore_eos,
            sampler,
            detokenizer: Detokenizer::default(),
            splitter,
            finder,
            has_called: false,
            is_prefixed,
            stop,
        })
    }

    /// Tokens of the prompt.
    pub(super) fn prompt_len(&self) -> usize {
        self.prompt_len
    }

    /// Tokens whose keys and values are in the cache.
    pub(super) fn computed_len(&self) -> usize {
        self.computed
    }

    /// Tokens of the answer.
    pub(super) fn answer_len(&self) -> usize {
        self.tokens.len() - self.prompt_len
    }

    /// The next rows to compute: a chunk of the prompt, or the last token.
    pub(super) fn next_rows(&self) -> Vec<Row> {
        let rows = self.tokens.iter().enumerate().skip(self.computed).take(CHUNK);
        rows.map(|(position, &token)| Row { token, position, slot: self.slot }).collect()
    }

    /// Notes that `rows` are in the cache; whether the last one's logits choose the next token.
    pub(super) fn note_computed(&mut self, rows: usize) -> bool {
        self.computed += rows;
        self.is_due()
    }

    /// Whether `rows` more computed rows reach the end of what is known.
    pub(super) fn needs_logits_after(&self, rows: usize) -> bool {
        self.computed + rows == self.tokens.len()
    }

    fn is_due(&self) -> bool {
        self.computed == self.tokens.len()
    }

    /// Chooses the next token from the logits of the last one.
    ///
    /// # Errors
    /// `INTERNAL` when the logits are no numbers.
    pub(super) fn advance(
        &mut self,
        logits: &mut [f32],
        tokenizer: &Tokenizer,
    ) -> Result<Advance, Fault> {
        let may_end = self.tokens.len() >= self.first_len;
        let banned = if self.ignore_eos || !may_end { tokenizer.end_tokens() } else { &[] };
        let Pick { token, odds } = self.sampler.pick(logits, banned)?;
        if tokenizer.end_tokens().contains(&token) {
            return Ok(self.end(token));
        }
        self.sampler.observe(token);
        self.tokens.push(token);
        let bytes = self.without_prefix(tokenizer.bytes_of(token));
        let parts = self.splitter.push(&self.detokenizer.push(&bytes));
        let found = self.finder.push(&parts.text);
        self.has_called |= !found.calls.is_empty();
        let released = if may_end {
            self.stop.push(&found.text)
        } else {
            Released { text: found.text, stopped: false }
        };
        let mut advance = Advance {
            token,
            text: released.text,
            reasoning: parts.reasoning,
            calls: found.calls,
            logprobs: odds.map(|odds| Box::new(logprobs(token, &odds, tokenizer))),
            finish: released.stopped.then_some(FinishReason::Stop),
            is_end: false,
        };
        if advance.finish.is_none() && self.tokens.len() >= self.last_len {
            advance.finish = Some(FinishReason::Length);
            self.flush(&mut advance);
        }
        Ok(advance)
    }

    /// The model ended its answer.
    fn end(&mut self, token: u32) -> Advance {
        let mut advance = Advance {
            token,
            text: String::new(),
            reasoning: String::new(),
            calls: Vec::new(),
            logprobs: None,
            finish: Some(FinishReason::Stop),
            is_end: true,
        };
        self.flush(&mut advance);
        if self.has_called {
            advance.finish = Some(FinishReason::ToolCalls);
        }
        advance
    }

    /// The bytes of an answer's token without what is none of the answer's.
    fn without_prefix<'b>(&mut self, bytes: Cow<'b, [u8]>) -> Cow<'b, [u8]> {
        if !self.is_prefixed || bytes.is_empty() {
            return bytes;
        }
        self.is_prefixed = false;
        match bytes.strip_prefix(b" ") {
            Some(rest) => Cow::Owned(rest.to_vec()),
            None => bytes,
        }
    }

    /// Lets go of what the four stages hold back.
    fn flush(&mut self, advance: &mut Advance) {
        let half = self.detokenizer.finish();
        let parts = [self.splitter.push(&half), self.splitter.finish()];
        let mut found = Vec::new();
        for part in parts {
            advance.reasoning.push_str(&part.reasoning);
            found.push(self.finder.push(&part.text));
        }
        found.push(self.finder.finish());
        for found in found {
            self.has_called |= !found.calls.is_empty();
            advance.calls.extend(found.calls);
            let released = self.stop.push(&found.text);
            advance.text.push_str(&released.text);
            if released.stopped {
                advance.finish = Some(FinishReason::Stop);
                return;
            }
        }
        advance.text.push_str(&self.stop.finish());
    }
}
