//! What a hive remembers of each request: when it came, where it waited, and who ended it. Never
//! a word of its prompt or of its answer.

use serde::{Deserialize, Serialize};

use crate::fault::Code;
use crate::generate::{FinishReason, GenerationTimings};
use crate::ids::{InvalidName, RequestId, WorkerId};
use crate::limits;
use crate::model_ref::ModelRef;

/// Version of an [`Entry`] on disk. Entries of a newer version are skipped and kept.
pub const JOURNAL_VERSION: u32 = 1;

/// Who ended a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// The worker: its answer was complete, or it failed.
    Worker,
    /// Whoever asked: it cancelled, or it is gone.
    Client,
    /// The clock: the deadline passed.
    Deadline,
    /// The agent: it refused the request, gave the worker up, or ended.
    Agent,
    /// Somebody of a newer build.
    #[serde(other)]
    Unknown,
}

impl EndedBy {
    /// The word in a log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Client => "client",
            Self::Deadline => "deadline",
            Self::Agent => "agent",
            Self::Unknown => "unknown",
        }
    }
}

/// One request as its hive saw it. Times named `…_ms` are milliseconds after it was received.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// [`JOURNAL_VERSION`].
    pub version: u32,
    /// Which request.
    pub request: RequestId,
    /// Which connection of the agent it came over, counted from the agent's start.
    pub connection: u64,
    /// Who asked, as it calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientName>,
    /// Of which worker it was asked.
    pub worker: WorkerId,
    /// That worker's model, when there was such a worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
    /// When its head was received: milliseconds since 1970 by the hive's clock.
    pub received_unix_ms: u64,
    /// Milliseconds that were left of its deadline then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// When its body was read and checked, and it asked for a slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_ms: Option<u64>,
    /// Requests that were to be served before it when it was asked last, while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<u64>,
    /// When it got a slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot_ms: Option<u64>,
    /// When the first part of its answer passed the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
    /// When it ended; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// Tokens of its prompt, when the worker said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u32>,
    /// Tokens of its answer as far as it came.
    pub completion_tokens: u32,
    /// The worker's own times, when it said them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<GenerationTimings>,
    /// Why the answer ended, when it is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
    /// What went wrong, when something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// Who ended it; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<EndedBy>,
}

impl Entry {
    /// A request that has just been received.
    pub fn received(request: RequestId, worker: WorkerId, at_unix_ms: u64) -> Self {
        Self {
            version: JOURNAL_VERSION,
            request,
            connection: 0,
            client: None,
            worker,
            model: None,
            received_unix_ms: at_unix_ms,
            deadline_ms: None,
            queued_ms: None,
            ahead: None,
            slot_ms: None,
            first_token_ms: None,
            ended_ms: None,
            prompt_tokens: None,
            completion_tokens: 0,
            timings: None,
            finish_reason: None,
            code: None,
            ended_by: None,
        }
    }
}

/// What a client calls itself in a hive's journal, such as `ada@laptop`: printable ASCII without
/// blanks, 1 to [`limits::MAX_CLIENT_NAME_BYTES`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientName(String);

impl ClientName {
    /// The text, within the bounds that the type promises.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ClientName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for ClientName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let fits = (1..=limits::MAX_CLIENT_NAME_BYTES).contains(&text.len());
        if fits && text.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidName { what: "a client's name", problem: "is 1 to 128 printable characters" })
    }
}

impl TryFrom<String> for ClientName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<ClientName> for String {
    fn from(name: ClientName) -> Self {
        name.0
    }
}

/// The beginning of a request's id, as a person pastes it: hexadecimal digits and dashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPrefix(String);

/// Digits of a prefix at least: fewer would name many.
const LEAST_DIGITS: usize = 4;
/// Characters of a whole id (RFC 9562, section 4).
const ID_CHARACTERS: usize = 36;

impl RequestPrefix {
    /// Whether `id` begins so.
    pub fn is_of(&self, id: RequestId) -> bool {
        id.to_string().starts_with(&self.0)
    }
}

impl std::fmt::Display for RequestPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<RequestId> for RequestPrefix {
    fn from(id: RequestId) -> Self {
        Self(id.to_string())
    }
}

impl std::str::FromStr for RequestPrefix {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let fits = (LEAST_DIGITS..=ID_CHARACTERS).contains(&text.len());
        if fits && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        let problem = "is the first 4 to 36 characters of a request's id";
        Err(InvalidName { what: "REQUEST", problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_what_a_person_pastes_and_nothing_else() {
        let id: RequestId = "5f0c8a52-8d4c-4a7e-9f39-3d6f2f1f6b0a".parse().unwrap();
        for text in ["5f0c", "5F0C8A52", "5f0c8a52-8d4c", &id.to_string()] {
            assert!(text.parse::<RequestPrefix>().unwrap().is_of(id), "{text}");
        }
        assert!(!"5f0d".parse::<RequestPrefix>().unwrap().is_of(id));
        for text in ["", "5f0", "5f0g", "../..", "5f0c 8a52", &"0".repeat(37)] {
            assert!(text.parse::<RequestPrefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_clients_name_is_harmless_and_short() {
        assert_eq!("ada@laptop".parse::<ClientName>().unwrap().as_str(), "ada@laptop");
        for text in ["", "a b", "a\n", "\u{1b}[2J", "é", &"x".repeat(129)] {
            assert!(text.parse::<ClientName>().is_err(), "{text:?}");
        }
    }
}
