//! The person's conversations: kept in one SQLite file, listed, searched, exported.
//!
//! A conversation is a tree of turns, of which one branch goes on. A turn that was edited or
//! answered anew gets a sibling: what was said before stays in the file.

mod copy;
pub mod desk;
pub mod export;
pub mod field;
mod schema;
pub mod store;
mod title;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use wire::generate::{FinishReason, GenerationTimings, Usage};
use wire::sampling::{InvalidParameter, Sampling, SamplingFields};
use wire::{Code, Device, Fault, HiveName, ModelRef, limits};

pub use title::title;

/// Name of the file in the data directory.
pub const FILE: &str = "conversations.db";
/// Bytes of a title.
pub const MAX_TITLE_BYTES: usize = 120;
/// Bytes of a text that is searched for; more is no word that somebody typed.
pub const MAX_SEARCH_BYTES: usize = 256;
/// Conversations that are listed at once; a search reaches the others.
pub const MAX_LISTED: usize = 500;
/// Turns of a conversation that are opened, the newest ones: two messages each, as many as a
/// request may have.
pub const MAX_TURNS: usize = limits::MAX_MESSAGES / 2;
/// Bytes of the turns that are opened: what a screen can hold, far over any context.
pub const MAX_OPENED_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of an answer, and of its reasoning; a larger one is not saved.
pub const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of a system prompt.
pub const MAX_SYSTEM_BYTES: usize = 64 * 1024;

/// Which conversation. Whoever begins one chooses it at random, so that saving it twice is saving
/// it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConversationId(pub i64);

/// Which turn, of all conversations; chosen as [`ConversationId`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TurnId(pub i64);

/// How the answers of a conversation are made. What is absent is the configuration's, and the
/// worker's own default where that says nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Instructions for all answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Tokens of context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctx_size: Option<u32>,
    /// How tokens are chosen.
    #[serde(flatten)]
    pub sampling: SamplingFields,
}

impl Settings {
    /// Whether every value is one that the command line takes.
    ///
    /// # Errors
    /// The parameter and its rule.
    pub fn check(&self) -> Result<(), InvalidParameter> {
        let refuse = |name, rule| Err(InvalidParameter { name, rule });
        if self.system.as_ref().is_some_and(|text| text.len() > MAX_SYSTEM_BYTES) {
            return refuse("system prompt", "has at most 65536 bytes");
        }
        let sizes = limits::MIN_CTX_SIZE..=limits::MAX_CTX_SIZE;
        if self.ctx_size.is_some_and(|size| !sizes.contains(&size)) {
            return refuse("context", "is a number from 64 to 16777216");
        }
        Sampling::try_from(&self.sampling).map(|_| ())
    }

    /// How tokens are chosen: as is said here, else as in `defaults`.
    pub fn sampling_over(&self, defaults: &SamplingFields) -> SamplingFields {
        let own = self.sampling.clone();
        let logit_bias = own.logit_bias.into_iter();
        SamplingFields {
            temperature: own.temperature.or(defaults.temperature),
            top_k: own.top_k.or(defaults.top_k),
            typical_p: own.typical_p.or(defaults.typical_p),
            top_p: own.top_p.or(defaults.top_p),
            min_p: own.min_p.or(defaults.min_p),
            repeat_penalty: own.repeat_penalty.or(defaults.repeat_penalty),
            repeat_last_n: own.repeat_last_n.or(defaults.repeat_last_n),
            presence_penalty: own.presence_penalty.or(defaults.presence_penalty),
            frequency_penalty: own.frequency_penalty.or(defaults.frequency_penalty),
            logit_bias: defaults.logit_bias.clone().into_iter().chain(logit_bias).collect(),
            seed: own.seed.or(defaults.seed),
            max_tokens: own.max_tokens.or(defaults.max_tokens),
            min_tokens: own.min_tokens.or(defaults.min_tokens),
            stop: if own.stop.is_empty() { defaults.stop.clone() } else { own.stop },
            ignore_eos: own.ignore_eos || defaults.ignore_eos,
            logprobs: own.logprobs.or(defaults.logprobs),
            top_logprobs: own.top_logprobs.or(defaults.top_logprobs),
        }
    }
}

/// Where an answer was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// On which hive.
    pub hive: HiveName,
    /// By what.
    pub device: Device,
    /// Tokens of context that its worker has.
    pub ctx_size: u32,
}

/// How an answer ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It had not: the program was left, or ended, before.
    #[default]
    Open,
    /// It is complete.
    Done {
        /// Why it ended, in the worker's words.
        finish_reason: Option<FinishReason>,
        /// Tokens used.
        usage: Usage,
        /// The worker's own times.
        timings: GenerationTimings,
        /// From the request to the first token, in milliseconds.
        first_token_ms: Option<u64>,
    },
    /// The person ended it.
    Cancelled,
    /// Something else did.
    Failed(Fault),
}

/// A question and its answer, as far as it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// Which one.
    pub id: TurnId,
    /// The turn that it followed; none: it was the first.
    pub parent: Option<TurnId>,
    /// The question.
    pub question: String,
    /// The answer.
    pub answer: String,
    /// The model's reasoning.
    pub reasoning: String,
    /// Who was asked.
    pub model: ModelRef,
    /// Where it was answered.
    pub place: Option<Place>,
    /// How it ended.
    pub end: End,
}

impl Said {
    /// Bytes of its texts.
    pub fn bytes(&self) -> usize {
        self.question.len() + self.answer.len() + self.reasoning.len()
    }

    /// # Errors
    /// `TOO_LARGE`.
    fn check(&self) -> Result<(), Fault> {
        let longest = self.answer.len().max(self.reasoning.len());
        if self.question.len() > limits::MAX_PROMPT_BYTES || longest > MAX_ANSWER_BYTES {
            let message = format!("an answer of {longest} bytes is too long to be saved");
            return Err(Fault::new(Code::TooLarge, message));
        }
        Ok(())
    }
}

/// What is known of a conversation besides what was said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Which one.
    pub id: ConversationId,
    /// Its title; one that the person chose is not replaced by one that was made.
    pub title: String,
    /// Who answers.
    pub model: ModelRef,
    /// Only there, when the person said so.
    pub hive: Option<HiveName>,
    /// How.
    pub settings: Settings,
    /// The newest turn of the branch that goes on.
    pub last: Option<TurnId>,
}

/// A conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// What is known of it.
    pub head: Head,
    /// The branch that goes on, oldest first.
    pub turns: Vec<Said>,
    /// Whether older turns were left in the file: see [`MAX_TURNS`], [`MAX_OPENED_BYTES`].
    pub is_cut: bool,
}

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which conversation.
    pub id: ConversationId,
    /// Its title, clean.
    pub title: String,
    /// Who answered last.
    pub model: String,
    /// Turns, those of other branches too.
    pub turns: u64,
    /// When it changed last, in milliseconds since 1970.
    pub changed_ms: u64,
    /// Where the searched words are in what was said, clean.
    pub found: Option<String>,
}
