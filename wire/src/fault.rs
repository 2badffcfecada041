//! An error that crosses a process: a stable code, a message, and what to do next.

use serde::{Deserialize, Serialize};

use crate::ids::RequestId;
use crate::{limits, text};

/// Defines [`Code`], its words and its HTTP statuses from one table.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $status:literal;)*) => {
        /// What went wrong, as a stable word that scripts may match on.
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum Code {
            $($(#[$doc])* $variant,)*
            /// A code of a newer peer, kept as it came.
            Unknown(String),
        }

        impl Code {
            /// Every code that this build knows, in the order of the manual.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable word.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Unknown(word) => word,
                }
            }

            /// The HTTP status (RFC 9110, section 15) that carries it.
            pub fn http_status(&self) -> u16 {
                match self {
                    $(Self::$variant => $status,)*
                    Self::Unknown(_) => 500,
                }
            }
        }

        impl From<String> for Code {
            fn from(word: String) -> Self {
                match word.as_str() {
                    $($word => Self::$variant,)*
                    _ => Self::Unknown(text::one_line(&word, 64)),
                }
            }
        }
    };
}

codes! {
    /// A request that breaks a rule of its route.
    InvalidArgument = "INVALID_ARGUMENT", 400;
    /// The configuration file cannot be read or breaks its schema.
    InvalidConfig = "INVALID_CONFIG", 400;
    /// No such route, or a method that the route lacks.
    NotFound = "NOT_FOUND", 404;
    /// A message over its limit; refused before it was read.
    TooLarge = "TOO_LARGE", 413;
    /// Too many refused requests in a second.
    RateLimited = "RATE_LIMITED", 429;
    /// A peer broke the protocol.
    ProtocolError = "PROTOCOL_ERROR", 502;
    /// The two sides have no protocol version in common.
    VersionMismatch = "VERSION_MISMATCH", 505;
    /// No build of rbee fits the hive.
    NoBundle = "NO_BUNDLE", 424;
    /// The hive does not answer.
    HiveUnreachable = "HIVE_UNREACHABLE", 503;
    /// No hive of that name is configured.
    HiveNotFound = "HIVE_NOT_FOUND", 404;
    /// The agent could not be started, or ended at once.
    AgentFailed = "AGENT_FAILED", 503;
    /// The SSH server accepted none of the identities.
    AuthFailed = "AUTH_FAILED", 401;
    /// The hive's host key is not the recorded one.
    HostKeyChanged = "HOST_KEY_CHANGED", 403;
    /// The hive's host key is not recorded.
    HostKeyUnknown = "HOST_KEY_UNKNOWN", 403;
    /// No such model on the hive.
    ModelNotFound = "MODEL_NOT_FOUND", 404;
    /// The model's file breaks its format.
    ModelCorrupt = "MODEL_CORRUPT", 422;
    /// The model is well formed, but this engine cannot run it.
    ModelUnsupported = "MODEL_UNSUPPORTED", 422;
    /// Bytes differ from their recorded digest.
    ChecksumMismatch = "CHECKSUM_MISMATCH", 422;
    /// The hub does not let this user have the model.
    AccessDenied = "ACCESS_DENIED", 403;
    /// A download failed in all its attempts.
    DownloadFailed = "DOWNLOAD_FAILED", 502;
    /// A download stood still in all its attempts.
    DownloadTimeout = "DOWNLOAD_TIMEOUT", 504;
    /// No such worker.
    WorkerNotFound = "WORKER_NOT_FOUND", 404;
    /// The worker is not in a state that allows it.
    WorkerNotReady = "WORKER_NOT_READY", 409;
    /// The worker's process ended while it was needed.
    WorkerCrashed = "WORKER_CRASHED", 502;
    /// Too little free GPU memory.
    InsufficientVram = "INSUFFICIENT_VRAM", 507;
    /// Too little free host memory.
    InsufficientRam = "INSUFFICIENT_RAM", 507;
    /// The kernel ended the worker for its memory.
    OutOfMemory = "OUT_OF_MEMORY", 507;
    /// The device is not there, or this build cannot use it.
    BackendUnavailable = "BACKEND_UNAVAILABLE", 422;
    /// No space left on the device that holds the file.
    DiskFull = "DISK_FULL", 507;
    /// The worker's queue is at its bound.
    QueueFull = "QUEUE_FULL", 429;
    /// The prompt and the tokens asked for do not fit the context.
    ContextOverflow = "CONTEXT_OVERFLOW", 413;
    /// The request's deadline passed.
    DeadlineExceeded = "DEADLINE_EXCEEDED", 408;
    /// No token for longer than the stall limit.
    Stalled = "STALLED", 504;
    /// Cancelled by its own client.
    Cancelled = "CANCELLED", 499;
    /// The chat template failed or exceeded its bounds.
    TemplateFailed = "TEMPLATE_FAILED", 422;
    /// The agent or the worker is shutting down.
    ShuttingDown = "SHUTTING_DOWN", 503;
    /// The operating system refused something that should work.
    Io = "IO_ERROR", 500;
    /// A defect of rbee.
    Internal = "INTERNAL", 500;
}

impl From<Code> for String {
    fn from(code: Code) -> Self {
        code.as_str().to_owned()
    }
}

/// An error with what the next process needs to act on it. Everything in it is untrusted text to
/// whoever receives it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What went wrong.
    pub code: Code,
    /// One sentence for a person.
    pub message: String,
    /// Figures and names for a program, such as `required_bytes`.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub details: serde_json::Map<String, serde_json::Value>,
    /// Commands to paste next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
    /// What caused it, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// The request it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<RequestId>,
}

impl Fault {
    /// A fault of `code` with its sentence, cut to [`limits::MAX_FAULT_MESSAGE_BYTES`].
    pub fn new(code: Code, message: impl AsRef<str>) -> Self {
        Self {
            code,
            message: text::one_line(message.as_ref(), limits::MAX_FAULT_MESSAGE_BYTES),
            details: serde_json::Map::new(),
            hints: Vec::new(),
            causes: Vec::new(),
            correlation_id: None,
        }
    }

    /// Adds a command to paste next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if self.hints.len() < limits::MAX_FAULT_ITEMS {
            self.hints.push(hint.into());
        }
        self
    }

    /// Adds one cause.
    #[must_use]
    pub fn cause(mut self, cause: impl std::fmt::Display) -> Self {
        if self.causes.len() < limits::MAX_FAULT_ITEMS {
            let cause = text::one_line(&cause.to_string(), limits::MAX_FAULT_MESSAGE_BYTES);
            self.causes.push(cause);
        }
        self
    }

    /// Adds `error` and everything below it as causes.
    #[must_use]
    pub fn caused_by(mut self, error: &dyn std::error::Error) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            self = self.cause(error);
            next = error.source();
        }
        self
    }

    /// Adds a figure or a name for programs.
    #[must_use]
    pub fn detail(mut self, key: &str, value: impl Into<serde_json::Value>) -> Self {
        if self.details.len() < limits::MAX_FAULT_ITEMS {
            self.details.insert(key.to_owned(), value.into());
        }
        self
    }

    /// Names the request it belongs to.
    #[must_use]
    pub fn of_request(mut self, id: RequestId) -> Self {
        self.correlation_id = Some(id);
        self
    }
}

/// The body of every refused HTTP request, and the last event of a stream that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorEnvelope {
    /// What went wrong.
    pub error: Fault,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_read_back_from_its_word() {
        for code in Code::ALL {
            assert_eq!(&Code::from(code.as_str().to_owned()), code);
            assert!(code.as_str().bytes().all(|b| b.is_ascii_uppercase() || b == b'_'));
            assert!((400..600).contains(&code.http_status()));
        }
    }

    #[test]
    fn an_unknown_code_is_kept_and_neutralised() {
        let code: Code = serde_json::from_str("\"FROM_THE_\\u001b[31mFUTURE\"").unwrap();
        assert!(matches!(&code, Code::Unknown(word) if !word.contains('\u{1b}')));
    }

    #[test]
    fn a_fault_bounds_what_it_carries() {
        let mut fault = Fault::new(Code::Io, "x".repeat(limits::MAX_FAULT_MESSAGE_BYTES * 2));
        for n in 0..100 {
            fault = fault.hint("h").cause("c").detail(&n.to_string(), n);
        }
        assert!(fault.message.len() <= limits::MAX_FAULT_MESSAGE_BYTES + 4);
        assert_eq!(fault.hints.len(), limits::MAX_FAULT_ITEMS);
        assert_eq!(fault.causes.len(), limits::MAX_FAULT_ITEMS);
        assert_eq!(fault.details.len(), limits::MAX_FAULT_ITEMS);
    }
}
