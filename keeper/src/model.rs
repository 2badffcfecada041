//! What a person may write after `-m`: an alias, a reference, or a file of this machine.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wire::model_ref::InvalidModelRef;
use wire::text::shell_word;
use wire::{Code, Fault, ModelRef, limits};

/// A short name for a model: letters, digits and `. _ : -`, never something that reads like a
/// reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Alias(String);

/// Why a name was refused. The refused text is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// It could not be an alias.
    #[error(
        "an alias has 1 to {} letters, digits, dots, colons, dashes or underscores, and is not \
         `demo` and no reference",
        limits::MAX_ALIAS_BYTES
    )]
    Alias,
    /// It is neither an alias of the configuration nor a reference.
    #[error("no alias of the configuration, and {0}")]
    Unknown(#[source] InvalidModelRef),
    /// It looks like a reference and is none.
    #[error(transparent)]
    Reference(InvalidModelRef),
}

impl FromStr for Alias {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-');
        let shaped = !text.is_empty()
            && text.len() <= limits::MAX_ALIAS_BYTES
            && text.bytes().all(allowed)
            && text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !shaped || text == "demo" || is_reference_shaped(text) || is_path_shaped(text) {
            return Err(InvalidName::Alias);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Alias {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Alias> for String {
    fn from(alias: Alias) -> Self {
        alias.0
    }
}

impl Borrow<str> for Alias {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The aliases of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Aliases<'a>(pub &'a BTreeMap<Alias, ModelRef>);

/// An alias or a reference, not resolved yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelName(String);

impl ModelName {
    /// The model that it names.
    ///
    /// # Errors
    /// [`InvalidName`] when it names none.
    pub fn resolve(&self, aliases: Aliases<'_>) -> Result<ModelRef, InvalidName> {
        resolve_name(&self.0, aliases)
    }
}

fn resolve_name(text: &str, aliases: Aliases<'_>) -> Result<ModelRef, InvalidName> {
    if let Some(model) = aliases.0.get(text) {
        return Ok(model.clone());
    }
    text.parse().map_err(|error| {
        if is_reference_shaped(text) {
            InvalidName::Reference(error)
        } else {
            InvalidName::Unknown(error)
        }
    })
}

/// Whether it begins like `hf:…` or `file:…`.
fn is_reference_shaped(text: &str) -> bool {
    text.starts_with("hf:") || text.starts_with("file:")
}

/// Whether it is meant as a path of this machine.
fn is_path_shaped(text: &str) -> bool {
    text.contains('/') || text.to_ascii_lowercase().ends_with(".gguf")
}

/// Whether what stands after `-m` is a file of this machine, not one of a hive.
pub fn is_of_this_machine(text: &str) -> bool {
    is_path_shaped(text) && !is_reference_shaped(text)
}

/// Resolves what stands after `-m`. A path of this machine becomes `file:` with its canonical path.
///
/// # Errors
/// `INVALID_ARGUMENT` for what names no model, `MODEL_NOT_FOUND` for a file that is not there.
pub fn resolve(text: &str, aliases: Aliases<'_>) -> Result<ModelRef, Fault> {
    if is_of_this_machine(text) {
        return resolve_path(Path::new(text));
    }
    resolve_name(text, aliases).map_err(|error| {
        Fault::new(Code::InvalidArgument, format!("-m: {error}")).hint("rbee run -m demo \"Hello\"")
    })
}

fn resolve_path(path: &Path) -> Result<ModelRef, Fault> {
    let canonical = path.canonicalize().map_err(|error| {
        Fault::new(Code::ModelNotFound, format!("{} cannot be opened", path.display()))
            .cause(error)
            .hint(format!("ls -l -- {}", path_word(path.parent().map_or(path, not_empty))))
    })?;
    let text = canonical.to_str().unwrap_or("\u{fffd}");
    format!("file:{text}").parse().map_err(|error: InvalidModelRef| {
        let message = format!("-m: the path of {} cannot be sent to a hive", path.display());
        Fault::new(Code::InvalidArgument, message)
            .cause(error)
            .hint(format!("ln -s \"$(realpath -- {})\" /tmp/model.gguf", path_word(path)))
    })
}

/// A path as one word of a shell's line, for a hint.
pub fn path_word(path: &Path) -> String {
    shell_word(&path.to_string_lossy())
}

fn not_empty(parent: &Path) -> &Path {
    if parent.as_os_str().is_empty() { Path::new(".") } else { parent }
}

/// Whether a `run` whose first word this is was meant to have `-m` before it.
pub fn names_a_model(word: &str, aliases: Aliases<'_>) -> bool {
    aliases.0.contains_key(word)
        || word.parse::<ModelRef>().is_ok()
        || (word.to_ascii_lowercase().ends_with(".gguf") && !word.contains(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aliases() -> BTreeMap<Alias, ModelRef> {
        [("tiny".parse().unwrap(), ModelRef::Demo)].into()
    }

    #[test]
    fn an_alias_a_reference_and_a_path_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.gguf");
        std::fs::write(&file, "").unwrap();
        let aliases = aliases();
        let known = Aliases(&aliases);
        assert_eq!(resolve("tiny", known).unwrap(), ModelRef::Demo);
        assert_eq!(resolve("demo", known).unwrap(), ModelRef::Demo);
        assert!(matches!(resolve("hf:a/b", known).unwrap(), ModelRef::Hub { .. }));
        let path = file.to_str().unwrap();
        let canonical = file.canonicalize().unwrap();
        assert_eq!(
            resolve(path, known).unwrap(),
            ModelRef::File(canonical.to_str().unwrap().to_owned())
        );
        let code = |text: &str| resolve(text, known).unwrap_err().code;
        assert_eq!(code("./absent.gguf"), Code::ModelNotFound);
        assert_eq!(code("absent.gguf"), Code::ModelNotFound);
        assert_eq!(code("invalid-format"), Code::InvalidArgument);
        assert_eq!(code("hf:!@#$%/x"), Code::InvalidArgument);
        assert_eq!(code("file:../../etc/passwd"), Code::InvalidArgument);
    }

    #[test]
    fn the_hint_for_an_absent_file_is_safe_to_paste() {
        let aliases = aliases();
        let fault = resolve("x;touch y/a'b/z.gguf", Aliases(&aliases)).unwrap_err();
        assert_eq!(fault.hints, [r"ls -l -- 'x;touch y/a'\''b'"]);
    }

    #[test]
    fn a_refusal_shows_the_accepted_forms_and_never_the_refused_text() {
        let aliases = aliases();
        let fault = resolve("se\u{1b}[31mcret", Aliases(&aliases)).unwrap_err();
        assert!(!fault.message.contains("cret"), "{}", fault.message);
        let fault = resolve("invalid-format", Aliases(&aliases)).unwrap_err();
        assert!(fault.message.contains("hf:org/repo") && fault.message.contains("file:/"));
    }

    #[test]
    fn an_alias_never_hides_a_reference_or_a_path() {
        for text in ["", "demo", "hf:a", "file:x", "a/b", "x.gguf", "-x", "a b", "é", "a\n"] {
            assert!(text.parse::<Alias>().is_err(), "{text:?}");
        }
        for text in ["tiny", "llama3.2:1b", "Q4_K_M"] {
            assert_eq!(text.parse::<Alias>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_first_word_is_a_model_only_when_it_names_one() {
        let aliases = aliases();
        let known = Aliases(&aliases);
        for word in ["demo", "tiny", "hf:org/repo", "file:/a.gguf", "./x.gguf"] {
            assert!(names_a_model(word, known), "{word}");
        }
        for word in ["What", "either/or", "demonstrate", "why is x.gguf broken? x.gguf"] {
            assert!(!names_a_model(word, known), "{word}");
        }
    }
}
