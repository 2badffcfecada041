//! Names that cross processes, each parsed once at the edge into its own type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits;

/// Why a name was refused. The refused text is not repeated: it may hold control characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub struct InvalidName {
    /// Which kind of name it should have been, with its article.
    pub what: &'static str,
    /// The rule that it breaks.
    pub problem: &'static str,
}

fn refuse<T>(what: &'static str, problem: &'static str) -> Result<T, InvalidName> {
    Err(InvalidName { what, problem })
}

/// Makes a newtype over `String` whose only way in is `FromStr`, also for serde.
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text, within the bounds that the type promises.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

name_type! {
    /// A machine's name: DNS labels (RFC 1035), lower case, at most 253 bytes.
    HiveName
}

impl HiveName {
    /// The hive that is this machine.
    pub fn local() -> Self {
        Self("local".to_owned())
    }
}

impl FromStr for HiveName {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        const WHAT: &str = "a hive name";
        if text.is_empty() || text.len() > limits::MAX_HIVE_NAME_BYTES {
            return refuse(WHAT, "has 1 to 253 characters");
        }
        for label in text.split('.') {
            if label.is_empty() || label.len() > limits::MAX_HIVE_LABEL_BYTES {
                return refuse(WHAT, "has labels of 1 to 63 characters between its dots");
            }
            if !label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
                return refuse(WHAT, "has only lower-case letters, digits, dashes and dots");
            }
            if label.starts_with('-') || label.ends_with('-') {
                return refuse(WHAT, "has no label that begins or ends with a dash");
            }
        }
        Ok(Self(text.to_owned()))
    }
}

name_type! {
    /// A worker's id, unique within its hive: `[a-z0-9-]`, at most 64 bytes.
    WorkerId
}

impl FromStr for WorkerId {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        const WHAT: &str = "a worker id";
        if text.is_empty() || text.len() > limits::MAX_WORKER_ID_BYTES {
            return refuse(WHAT, "has 1 to 64 characters");
        }
        if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return refuse(WHAT, "has only lower-case letters, digits and dashes");
        }
        if text.starts_with('-') {
            return refuse(WHAT, "does not begin with a dash");
        }
        Ok(Self(text.to_owned()))
    }
}

name_type! {
    /// The hash of the sources and the lock file that a program was built from: 16 hex digits.
    BuildId
}

impl FromStr for BuildId {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 16 || !text.bytes().all(hex) {
            return refuse("a build id", "is 16 lower-case hexadecimal digits");
        }
        Ok(Self(text.to_owned()))
    }
}

/// One request's id from the keeper to the decode loop, in every log line and fault of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(uuid::Uuid);

impl RequestId {
    /// A random id (RFC 9562, version 4).
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RequestId {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match uuid::Uuid::try_parse(text) {
            Ok(id) => Ok(Self(id)),
            Err(_) => refuse("a request id", "is a UUID"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accepts_the_names_that_people_give() {
        for name in ["pc", "gaming-pc", "a.b.example", "10.0.0.7", "0"] {
            assert_eq!(name.parse::<HiveName>().unwrap().as_str(), name);
        }
        for id in ["demo-3f2a", "a", "0-x"] {
            assert_eq!(id.parse::<WorkerId>().unwrap().as_str(), id);
        }
    }

    #[test]
    fn refuses_what_could_reach_a_shell_a_path_or_a_log() {
        let bad = [
            "",
            "; rm -rf /",
            "`id`",
            "a|b",
            "a_b",
            "a b",
            "a\nb",
            "a\0",
            "\u{1b}[31m",
            "../x",
            "é",
            "-a",
            "x@y",
            "<script>",
            "' OR 1=1 --",
        ];
        for text in bad {
            assert!(text.parse::<HiveName>().is_err(), "{text:?}");
            assert!(text.parse::<WorkerId>().is_err(), "{text:?}");
            assert!(text.parse::<BuildId>().is_err(), "{text:?}");
            assert!(text.parse::<RequestId>().is_err(), "{text:?}");
        }
        assert!("a".repeat(65).parse::<WorkerId>().is_err());
        assert!("a".repeat(64).parse::<HiveName>().is_err());
        assert!(vec!["a"; 128].join(".").parse::<HiveName>().is_err());
    }

    #[test]
    fn an_error_never_repeats_the_refused_text() {
        let error = "secret\u{1b}[2J".parse::<WorkerId>().unwrap_err().to_string();
        assert!(!error.contains("secret") && !error.contains('\u{1b}'), "{error}");
    }

    #[test]
    fn serde_takes_the_same_path_as_from_str() {
        assert!(serde_json::from_str::<WorkerId>("\"a_b\"").is_err());
        assert!(serde_json::from_str::<HiveName>("\"UPPER\"").is_err());
        let id: WorkerId = serde_json::from_str("\"demo-1\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"demo-1\"");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn no_text_panics_and_what_is_accepted_keeps_its_promise(
            text in "\\PC{0,80}|[a-z0-9.-]{0,260}",
        ) {
            if let Ok(name) = text.parse::<HiveName>() {
                prop_assert!(name.as_str().len() <= 253 && name.as_str().is_ascii());
                prop_assert_eq!(name.as_str(), text.as_str());
            }
            if let Ok(id) = text.parse::<WorkerId>() {
                prop_assert!(id.as_str().len() <= 64 && !id.as_str().contains(['/', '.', ' ']));
            }
            let _ = (text.parse::<BuildId>(), text.parse::<RequestId>());
        }
    }
}
