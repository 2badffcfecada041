//! What a person writes to name a model.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits;

/// A model by where it comes from. `Display` writes the form that `FromStr` reads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ModelRef {
    /// The small model that every build carries.
    Demo,
    /// A file of the hive, `file:/abs/path.gguf`, or a directory with `config.json`.
    File(String),
    /// A repository of the Hugging Face hub: `hf:org/repo`, `hf:org/repo:file.gguf`,
    /// `hf:org/repo:Q4_K_M`.
    Hub {
        /// `org/repo`.
        repo: String,
        /// A file of it, or the name of a quantization.
        selector: Option<String>,
    },
}

/// Why a model reference was refused. The refused text is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidModelRef {
    /// Longer than [`limits::MAX_MODEL_REF_BYTES`].
    #[error("a model reference has at most {} bytes", limits::MAX_MODEL_REF_BYTES)]
    TooLong,
    /// Holds bytes that are not printable ASCII.
    #[error("a model reference has only printable ASCII characters")]
    NotAscii,
    /// None of the known forms.
    #[error(
        "not a model reference; write hf:org/repo, file:/absolute/path.gguf or demo, \
         for example hf:bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M"
    )]
    UnknownForm,
    /// The part after `hf:` is not `org/repo[:file|:quant]`.
    #[error("a hub reference is hf:org/repo, hf:org/repo:file.gguf or hf:org/repo:Q4_K_M")]
    Hub,
    /// The part after `file:` is relative or has a `..`.
    #[error("a file reference is an absolute path without `..`, for example file:/models/a.gguf")]
    Path,
}

/// One segment of a hub name: the hub's own alphabet, no leading dot or dash.
fn is_hub_word(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= 96
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && !word.starts_with(['.', '-'])
}

fn parse_hub(rest: &str) -> Result<ModelRef, InvalidModelRef> {
    let (repo, selector) = match rest.split_once(':') {
        Some((repo, selector)) => (repo, Some(selector)),
        None => (rest, None),
    };
    let (org, name) = repo.split_once('/').ok_or(InvalidModelRef::Hub)?;
    if !is_hub_word(org) || !is_hub_word(name) {
        return Err(InvalidModelRef::Hub);
    }
    if let Some(selector) = selector
        && !selector.split('/').all(is_hub_word)
    {
        return Err(InvalidModelRef::Hub);
    }
    Ok(ModelRef::Hub { repo: repo.to_owned(), selector: selector.map(str::to_owned) })
}

fn parse_file(path: &str) -> Result<ModelRef, InvalidModelRef> {
    // Shells complete the name of a directory with a slash.
    let path = path.strip_prefix("//").unwrap_or(path).trim_end_matches('/');
    let escapes = path.split('/').any(|part| part == "..");
    if !path.starts_with('/') || escapes {
        return Err(InvalidModelRef::Path);
    }
    // Several slashes are one; kept, they would be read as `file://` when they are written back.
    Ok(ModelRef::File(format!("/{}", path.trim_start_matches('/'))))
}

impl FromStr for ModelRef {
    type Err = InvalidModelRef;
    fn from_str(text: &str) -> Result<Self, InvalidModelRef> {
        if text.len() > limits::MAX_MODEL_REF_BYTES {
            return Err(InvalidModelRef::TooLong);
        }
        if !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            return Err(InvalidModelRef::NotAscii);
        }
        if text == "demo" {
            return Ok(Self::Demo);
        }
        if let Some(rest) = text.strip_prefix("hf:") {
            return parse_hub(rest);
        }
        if let Some(path) = text.strip_prefix("file:") {
            return parse_file(path);
        }
        Err(InvalidModelRef::UnknownForm)
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Demo => f.write_str("demo"),
            Self::File(path) => write!(f, "file:{path}"),
            Self::Hub { repo, selector: None } => write!(f, "hf:{repo}"),
            Self::Hub { repo, selector: Some(selector) } => write!(f, "hf:{repo}:{selector}"),
        }
    }
}

impl TryFrom<String> for ModelRef {
    type Error = InvalidModelRef;
    fn try_from(text: String) -> Result<Self, InvalidModelRef> {
        text.parse()
    }
}

impl From<ModelRef> for String {
    fn from(model: ModelRef) -> Self {
        model.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_every_documented_form() {
        let same =
            ["demo", "file:/a/b c.gguf", "hf:org/repo", "hf:org/repo:Q4_K_M", "hf:o/r:sub/x.gguf"];
        for text in same {
            assert_eq!(text.parse::<ModelRef>().unwrap().to_string(), text);
        }
        for same in ["file:/a.gguf", "file:///a.gguf", "file:////a.gguf", "file://///a.gguf"] {
            assert_eq!(same.parse::<ModelRef>().unwrap(), ModelRef::File("/a.gguf".into()));
        }
        for same in ["file:/m/qwen3", "file:/m/qwen3/", "file:///m/qwen3//"] {
            assert_eq!(same.parse::<ModelRef>().unwrap(), ModelRef::File("/m/qwen3".into()));
        }
    }

    #[test]
    fn refuses_traversal_injection_and_bare_words() {
        let bad = [
            "",
            "invalid-format",
            "file:../../etc/passwd",
            "file:/a/../etc/passwd",
            "file:rel",
            "file:/",
            "../../etc/passwd",
            "/etc/passwd",
            "hf:org",
            "hf:org/repo/x",
            "hf:../x",
            "hf:o/r:../x",
            "hf:o/r;rm -rf /",
            "hf:!@#$%/x",
            "hf:o/`id`",
            "modèle",
            "a\nb",
            "demo\0",
            "\u{1b}[31m",
            "hf:org/<script>",
        ];
        for text in bad {
            assert!(text.parse::<ModelRef>().is_err(), "{text:?}");
        }
        assert_eq!(
            format!("hf:{}", "a".repeat(600)).parse::<ModelRef>(),
            Err(InvalidModelRef::TooLong)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn no_text_panics_and_what_is_accepted_round_trips(
            text in "\\PC{0,40}|(hf|file):[a-zA-Z0-9/:._-]{0,40}|hf:[a-z]{1,9}/[a-z]{1,9}(:[A-Z]+)?"
        ) {
            if let Ok(model) = text.parse::<ModelRef>() {
                prop_assert_eq!(model.to_string().parse::<ModelRef>().unwrap(), model.clone());
                prop_assert!(!model.to_string().contains("/../"));
            }
        }
    }
}
