//! Models that a hive keeps: asked for by a keeper, fetched from the hub by `rbee worker fetch`,
//! listed and removed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::fault::Fault;
use crate::limits;
use crate::model_ref::ModelRef;
use crate::timings::Timings;

/// Detail of the fault of a model that is not on a hive, and that the hive could fetch.
pub const CAN_BE_PULLED: &str = "can_be_pulled";

/// Body of [`crate::routes::MODELS_PULL`], which answers with a [`PullEvent`] a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Which model; only a [`ModelRef::Hub`] can be fetched.
    pub model: ModelRef,
    /// Where from.
    #[serde(default)]
    pub source: HubSource,
}

/// Body of [`crate::routes::MODELS_REMOVE`]; answers with a [`RemoveReply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveRequest {
    /// The name that shall be forgotten.
    pub model: ModelRef,
}

/// What removing a name did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveReply {
    /// The model as it was.
    pub model: StoredModel,
    /// Bytes that nothing else needed, and that are free now.
    pub freed_bytes: u64,
}

/// A hub, and who asks it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubSource {
    /// Where it is; absent: `https://huggingface.co`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// What opens private and gated repositories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
}

/// Address of a hub: `https://host[:port][/path]`, or `http:` for one that needs no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint(String);

/// Why an address was refused. The refused text is not repeated: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the address of a hub is https://host[:port][/path], of at most {} bytes, without a user, a \
     query or a fragment",
    limits::MAX_ENDPOINT_BYTES
)]
pub struct InvalidEndpoint;

impl Endpoint {
    /// The address, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether what is sent there can be read on the way: `http:` to another machine.
    pub fn is_overheard(&self) -> bool {
        let Some(rest) = self.0.strip_prefix("http://") else { return false };
        let host = rest.split('/').next().unwrap_or(rest);
        let host = match host.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or(v6),
            None => host.split(':').next().unwrap_or(host),
        };
        !is_this_machine(host)
    }
}

/// Whether a name or an address leads back to whoever uses it (RFC 6890: `127.0.0.0/8` and `::1`).
fn is_this_machine(host: &str) -> bool {
    let mut parts = host.split('.');
    let is_v4 = parts.next() == Some("127")
        && parts.clone().count() == 3
        && parts.all(|part| part.parse::<u8>().is_ok());
    is_v4 || host == "::1" || host == "localhost"
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let rest = rest.ok_or(InvalidEndpoint)?.trim_end_matches('/');
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/[]%".contains(&b);
        let is_named = rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[');
        if text.len() > limits::MAX_ENDPOINT_BYTES || !is_named || !rest.bytes().all(allowed) {
            return Err(InvalidEndpoint);
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl TryFrom<String> for Endpoint {
    type Error = InvalidEndpoint;
    fn try_from(text: String) -> Result<Self, InvalidEndpoint> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What opens private repositories. It is overwritten when it is dropped, and shown to nobody.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token(String);

/// Why a token was refused. The refused text is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token has 1 to {} printable ASCII characters and no blank", limits::MAX_TOKEN_BYTES)]
pub struct InvalidToken;

impl Token {
    /// The secret itself, for the header that it belongs into.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let is_one = (1..=limits::MAX_TOKEN_BYTES).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic());
        is_one.then(|| Self(text.to_owned())).ok_or(InvalidToken)
    }
}

impl TryFrom<String> for Token {
    type Error = InvalidToken;
    fn try_from(mut text: String) -> Result<Self, InvalidToken> {
        let token = text.parse();
        text.zeroize();
        token
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.0.clone()
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// SHA-256 of a file's content, 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256(String);

/// Why a digest was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 digest is 64 lower-case hexadecimal digits")]
pub struct InvalidSha256;

impl Sha256 {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<[u8; 32]> for Sha256 {
    fn from(digest: [u8; 32]) -> Self {
        use fmt::Write;
        Self(digest.iter().fold(String::with_capacity(64), |mut digits, byte| {
            // Writing to a String does not fail.
            let _ok = write!(digits, "{byte:02x}");
            digits
        }))
    }
}

impl FromStr for Sha256 {
    type Err = InvalidSha256;

    fn from_str(text: &str) -> Result<Self, InvalidSha256> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let is_one = text.len() == 64 && text.bytes().all(digit);
        is_one.then(|| Self(text.to_owned())).ok_or(InvalidSha256)
    }
}

impl TryFrom<String> for Sha256 {
    type Error = InvalidSha256;
    fn try_from(text: String) -> Result<Self, InvalidSha256> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> Self {
        digest.0
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of one file of a model, below the directory of that model: no `..`, nothing absolute, and
/// no part that begins with a dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(String);

/// Why a file's name was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a model's file is named by letters, digits, `-`, `_`, `+`, `.` and `/`, has no part that \
     begins with a dot, and at most {} bytes",
    limits::MAX_FILE_NAME_BYTES
)]
pub struct InvalidFileName;

impl FileName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FileName {
    type Err = InvalidFileName;

    fn from_str(text: &str) -> Result<Self, InvalidFileName> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_+.".contains(&b);
        let is_part =
            |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed);
        let is_one = text.len() <= limits::MAX_FILE_NAME_BYTES && text.split('/').all(is_part);
        is_one.then(|| Self(text.to_owned())).ok_or(InvalidFileName)
    }
}

impl TryFrom<String> for FileName {
    type Error = InvalidFileName;
    fn try_from(text: String) -> Result<Self, InvalidFileName> {
        text.parse()
    }
}

impl From<FileName> for String {
    fn from(name: FileName) -> Self {
        name.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One file of a stored model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Its name in the repository.
    pub name: FileName,
    /// Its content.
    pub sha256: Sha256,
    /// Its length.
    pub bytes: u64,
}

/// A model that a hive keeps under the name that somebody pulled it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredModel {
    /// The name.
    pub model: ModelRef,
    /// Who gave it: `hf`.
    pub provider: String,
    /// Which commit of its repository it is.
    pub revision: String,
    /// Its files.
    pub files: Vec<StoredFile>,
    /// Bytes of all its files.
    pub bytes: u64,
    /// When it was pulled, in milliseconds since 1970.
    pub pulled_at_ms: u64,
    /// The file or directory that an engine loads. Untrusted text.
    pub path: String,
    /// Bytes of its files that are not there any more; pulling it again brings them.
    #[serde(default)]
    pub missing_bytes: u64,
}

/// All that a hive keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelList {
    /// Models, by name.
    pub models: Vec<StoredModel>,
    /// Entries that could not be read and were set aside: where they are now. Untrusted text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
}

/// One line of a pull, of the fetching process as of the agent. The last one is `fetched` of the
/// one and `done` of the other, or `failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PullEvent {
    /// What will be fetched is known.
    Found {
        /// Which commit.
        revision: String,
        /// Files of the model.
        files: u32,
        /// Bytes of all of them.
        bytes_total: u64,
        /// Bytes that are here from before: whole files, and the beginning of one.
        bytes_done: u64,
    },
    /// How far it is; at most a few a second.
    Progress {
        /// Bytes that are here.
        bytes_done: u64,
        /// Bytes of all files.
        bytes_total: u64,
        /// Bytes of the last seconds, by the second.
        bytes_per_s: u64,
    },
    /// Something went wrong that may go away.
    Retrying {
        /// The attempt that comes now; the first was 1.
        attempt: u32,
        /// Attempts without a byte between them after which it is given up.
        attempts: u32,
        /// Milliseconds until it begins.
        pause_ms: u64,
        /// What went wrong.
        why: Fault,
    },
    /// All files are here and checked.
    Fetched {
        /// Which commit.
        revision: String,
        /// The files.
        files: Vec<StoredFile>,
    },
    /// The model can be used by its name.
    Done {
        /// What is kept now.
        model: StoredModel,
    },
    /// It was given up.
    Failed {
        /// Why.
        fault: Fault,
    },
    /// A line of a newer peer.
    #[serde(other)]
    Unknown,
}

/// What `rbee worker fetch` is told on its standard input: one line. It ends when that closes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchOrder {
    /// `org/repo`.
    pub repo: String,
    /// A file of it, or the name of a quantization.
    pub selector: Option<String>,
    /// Where from.
    pub source: HubSource,
    /// Directory of the files, each named by [`blob_name`]. What is not whole yet is
    /// [`partial_name`] in the same directory.
    pub dir: String,
    /// Bytes of its disk that shall stay free.
    pub reserve_bytes: u64,
    /// Its waits.
    pub timings: Timings,
}

/// The name of a file in the store.
pub fn blob_name(sha256: &Sha256) -> String {
    format!("sha256-{sha256}")
}

/// The name of what is there of such a file before it is whole and checked.
pub fn partial_name(sha256: &Sha256) -> String {
    format!("sha256-{sha256}.partial")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_of_a_hub_holds_no_secret_and_says_who_may_listen() {
        for text in ["https://huggingface.co", "http://127.0.0.1:8080", "http://[::1]:1/mirror"] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.as_str(), text);
            assert!(!endpoint.is_overheard(), "{text}");
        }
        assert_eq!("https://a.b/c//".parse::<Endpoint>().unwrap().as_str(), "https://a.b/c");
        for text in ["http://mirror.example", "http://127.0.0.1.example:1", "http://10.0.0.1"] {
            assert!(text.parse::<Endpoint>().unwrap().is_overheard(), "{text}");
        }
        let bad = ["", "https://", "ftp://x", "https://me:pw@x", "https://x?y", "https://x#y", "x"];
        for text in bad {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_token_is_shown_to_nobody() {
        let source = HubSource { endpoint: None, token: "hf_secret".parse().ok() };
        assert!(!format!("{source:?}").contains("secret"));
        for text in ["", "a b", "a\nb", "ä"] {
            let error = text.parse::<Token>().unwrap_err().to_string();
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_files_name_stays_below_its_directory() {
        for text in ["config.json", "sub/model-00001-of-00002.safetensors", "a+b_c.gguf"] {
            assert_eq!(text.parse::<FileName>().unwrap().as_str(), text);
        }
        for text in
            ["", "/etc/passwd", "../x", "a/../b", "a//b", ".hidden", "a/.git", "a\\b", "a b"]
        {
            assert!(text.parse::<FileName>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_written_as_it_was_read(text in "[a-zA-Z0-9/._+-]{0,40}") {
            if let Ok(name) = text.parse::<FileName>() {
                prop_assert_eq!(name.as_str(), text.as_str());
                let stays = std::path::Path::new(name.as_str())
                    .components()
                    .all(|part| matches!(part, std::path::Component::Normal(_)));
                prop_assert!(stays);
            }
        }
    }
}
