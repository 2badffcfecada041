//! A model's tokenizer alone, without its weights.

use std::io::Read;
use std::path::Path;

use wire::gguf::Header;
use wire::tokens::Token;
use wire::{Code, Fault, limits};

use super::of_file;
use super::texts::Texts;
pub use super::tokenizer::Reading;
use super::tokenizer::{Files, Tokenizer};
use super::weights::MappedModel;

/// Makes tokens of text and text of tokens.
pub struct Words {
    tokenizer: Tokenizer,
}

impl Words {
    /// Reads the tokenizer of a GGUF file, which may have no tensors, of a directory, or a
    /// `tokenizer.json`.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND`, `MODEL_CORRUPT` and `MODEL_UNSUPPORTED` for the file.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        let words = if path.is_dir() {
            let tokenizer = Texts::read(path).and_then(|texts| texts.tokenizer());
            tokenizer.map(|tokenizer| Self { tokenizer })
        } else if is_json {
            read(path).and_then(|tokenizer| Self::from_json(&tokenizer))
        } else {
            MappedModel::open(path).and_then(|file| Self::from_header(&file.header))
        };
        words.map_err(|fault| of_file(fault, path))
    }

    /// Builds the tokenizer that a GGUF header describes.
    ///
    /// # Errors
    /// `MODEL_CORRUPT` and `MODEL_UNSUPPORTED`.
    pub fn from_header(header: &Header) -> Result<Self, Fault> {
        Ok(Self { tokenizer: Tokenizer::from_header(header)? })
    }

    /// Builds the tokenizer of a `tokenizer.json`.
    ///
    /// # Errors
    /// As [`Self::from_header`].
    pub fn from_json(tokenizer: &[u8]) -> Result<Self, Fault> {
        let files = Files { tokenizer, config: None, ends: &[] };
        Ok(Self { tokenizer: Tokenizer::from_json(&files)? })
    }

    /// The tokens of a text.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a byte that the vocabulary cannot say.
    pub fn tokens(&self, text: &str, reading: Reading) -> Result<Vec<Token>, Fault> {
        let ids = self.tokenizer.read(text, reading)?;
        Ok(ids.into_iter().map(|id| Token::new(id, &self.tokenizer.piece(id))).collect())
    }

    /// The text of tokens, without what the model adds to a text itself.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a number of no token, `TOO_LARGE` for a text over the bound.
    pub fn text(&self, ids: &[u32]) -> Result<String, Fault> {
        self.tokenizer.text(ids)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let cannot = |error: std::io::Error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let code = if missing { Code::ModelNotFound } else { Code::Io };
        Fault::new(code, format!("{} cannot be read", path.display())).cause(error)
    };
    // Opening a pipe would wait for its writer for ever.
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err(Fault::new(Code::ModelNotFound, format!("{} is no file", path.display())));
    }
    let limit = u64::try_from(limits::MAX_TOKENIZER_JSON_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}
