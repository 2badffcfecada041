//! A model in a directory as Hugging Face has it: its figures, out of its config and the headers
//! of its files.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use wire::gguf::ModelShape;
use wire::hugging_face::{CONFIG, Config, INDEX, Index, SINGLE, TOKENIZER, Tensors};
use wire::safetensors::{Header, SafetensorsError};
use wire::{Code, Fault, limits, text};

/// Bytes of a file that are read before anyone knows how long its header is.
const FIRST_READ_BYTES: u64 = 64 * 1024;

/// A directory, and which files may be read: a link in it may lead anywhere.
pub(super) struct Directory<'d> {
    /// Where it is, canonical.
    pub path: &'d Path,
    /// Whether a canonical path is one that models may lie at.
    pub is_allowed: &'d dyn Fn(&Path) -> bool,
}

impl Directory<'_> {
    /// Reads the model's figures and checks that everything is there that an engine will ask for.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND` for a file that is not there, `MODEL_CORRUPT` for one that is not as it
    /// should be, `MODEL_UNSUPPORTED` for what this build's engine does not compute.
    pub(super) fn shape(&self) -> Result<ModelShape, Fault> {
        let config = self.small(CONFIG, limits::MAX_MODEL_CONFIG_BYTES)?;
        let config = Config::parse(&config.ok_or_else(|| self.missing(CONFIG))?)?;
        let index = self.small(INDEX, limits::MAX_MODEL_INDEX_BYTES)?;
        let index = index.map(|index| Index::parse(&index)).transpose()?;
        let mut tensors = Tensors::default();
        for name in index.as_ref().map_or(vec![SINGLE], Index::files) {
            let (file, bytes) = self.open(name)?.ok_or_else(|| self.missing(name))?;
            let header = header(&file, bytes).map_err(|error| unreadable(name, &error))?;
            tensors.add(name, header, index.as_ref())?;
        }
        if let Some(index) = &index {
            tensors.check_index(index)?;
        }
        let shape = config.shape(&tensors)?;
        tensors.check_shape(&shape)?;
        if self.open(TOKENIZER)?.is_none() {
            return Err(self.missing(TOKENIZER));
        }
        Ok(shape)
    }

    fn missing(&self, name: &str) -> Fault {
        let name = text::one_line(name, 255);
        let word = text::shell_word(&self.path.to_string_lossy());
        Fault::new(Code::ModelNotFound, format!("the model lacks its file {name}"))
            .detail("file", name)
            .hint(format!("ls -l {word}"))
    }

    /// Opens one of its files, if it is there, and tells its length.
    fn open(&self, name: &str) -> Result<Option<(File, u64)>, Fault> {
        let found = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Ok(None),
            _ => Err(unreadable(name, &error)),
        };
        let real: PathBuf = match fs::canonicalize(self.path.join(name)) {
            Ok(real) => real,
            Err(error) => return found(error),
        };
        if !(self.is_allowed)(&real) {
            let message = format!("its file {name} is not below a directory of agent.model_roots");
            return Err(Fault::new(Code::ModelNotFound, message).hint(format!(
                "ls -l {}",
                text::shell_word(&self.path.join(name).to_string_lossy())
            )));
        }
        // Opening a pipe would wait for its writer for ever.
        let seen = fs::metadata(&real).map_err(|error| unreadable(name, &error))?;
        if !seen.is_file() {
            return Err(self.missing(name));
        }
        let file = File::open(&real).map_err(|error| unreadable(name, &error))?;
        Ok(Some((file, seen.len())))
    }

    /// The content of one of its files of at most `limit` bytes, if it is there.
    fn small(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Fault> {
        let Some((file, _)) = self.open(name)? else { return Ok(None) };
        let mut content = Vec::new();
        let read = file.take(limit.saturating_add(1)).read_to_end(&mut content);
        read.map_err(|error| unreadable(name, &error))?;
        if u64::try_from(content.len()).is_ok_and(|bytes| bytes > limit) {
            let message = format!("{name} has more than {limit} bytes");
            return Err(Fault::new(Code::ModelCorrupt, message).hint("ls -l FILE.gguf"));
        }
        Ok(Some(content))
    }
}

fn unreadable(name: &str, error: &io::Error) -> Fault {
    let message = format!("the model's file {} cannot be read", text::one_line(name, 255));
    Fault::new(Code::ModelNotFound, message).cause(error).hint("ls -l FILE.gguf")
}

/// Reads a file's header, and nothing of what is behind it.
fn header(file: &File, file_bytes: u64) -> io::Result<Result<Header, SafetensorsError>> {
    let (mut prefix, mut wanted) = (Vec::new(), FIRST_READ_BYTES.min(file_bytes));
    loop {
        let have = u64::try_from(prefix.len()).unwrap_or(u64::MAX);
        let read = file.take(wanted.saturating_sub(have)).read_to_end(&mut prefix)?;
        match Header::parse(&prefix, file_bytes) {
            // Without a byte more there will be no other answer. Its own bound is the header's.
            Err(SafetensorsError::NeedMore { at_least }) if read > 0 => wanted = at_least,
            answer => return Ok(answer),
        }
    }
}
