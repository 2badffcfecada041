//! From a model reference to a checked file or directory on this hive.

mod catalog;
mod directory;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wire::gguf::{GgufError, Header, ModelShape};
use wire::hugging_face::CONFIG;
use wire::pull::{ModelList, RemoveReply, StoredFile, StoredModel};
use wire::{Code, Fault, ModelRef, limits, text};

use catalog::Catalog;
use directory::Directory;

/// The small model that every build carries.
const DEMO: &[u8] = include_bytes!("../demo/demo.gguf");
/// Bytes of a file that are read before anyone knows how long its header is.
const FIRST_READ_BYTES: u64 = 1024 * 1024;
/// What a file that can be used instead looks like on the command line.
const USE_A_FILE: &str = "rbee run -m ./model.gguf";

/// A model that an engine can load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Its file or directory, canonical and absolute.
    pub path: String,
    /// What the headers of its files say.
    pub shape: ModelShape,
}

/// The models of this hive. Its calls read files: they are made where blocking is allowed.
#[derive(Debug)]
pub struct Store {
    /// Where content-addressed files are.
    dir: PathBuf,
    /// Directories that `file:` models must lie in; empty: anywhere.
    roots: Vec<PathBuf>,
    /// The demo model's file, once it has been checked in this process's life.
    demo: Mutex<Option<PathBuf>>,
    /// Held by whoever changes what is kept: a file that one name lets go may be another's.
    changing: Mutex<()>,
}

impl Store {
    /// A store in `dir`, whose `file:` models lie in `roots`.
    pub fn new(dir: PathBuf, roots: &[String]) -> Self {
        let roots = roots.iter().map(PathBuf::from).collect();
        Self { dir, roots, demo: Mutex::new(None), changing: Mutex::new(()) }
    }

    /// Finds a model and reads its header.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND`, `MODEL_CORRUPT` or `MODEL_UNSUPPORTED`; `DISK_FULL` or `IO_ERROR` when
    /// the demo model cannot be written.
    pub fn resolve(&self, model: &ModelRef) -> Result<Model, Fault> {
        let path = self.locate(model)?;
        let shape = if path.is_dir() {
            let is_allowed = |real: &Path| self.is_allowed(real);
            Directory { path: &path, is_allowed: &is_allowed }.shape()
        } else {
            read_shape(&path)
        };
        let shape = shape.map_err(|fault| within(fault, &path))?;
        check_supported(&shape)?;
        Ok(Model { path: utf8(&path)?.to_owned(), shape })
    }

    /// Finds a model's file or directory without a look into it.
    ///
    /// # Errors
    /// As [`Self::resolve`], but for what is in the file.
    pub fn locate(&self, model: &ModelRef) -> Result<PathBuf, Fault> {
        match model {
            ModelRef::Demo => self.demo(),
            ModelRef::File(path) => self.file(path),
            ModelRef::Hub { .. } => {
                if let Some(kept) = self.catalog().find(model)? {
                    return Ok(kept.path.into());
                }
                let pull = format!("rbee pull {}", text::shell_word(&model.to_string()));
                Err(Fault::new(Code::ModelNotFound, format!("{model} is not on this hive"))
                    .detail(wire::pull::CAN_BE_PULLED, true)
                    .hint(pull))
            }
        }
    }

    fn catalog(&self) -> Catalog<'_> {
        Catalog { dir: &self.dir }
    }

    /// Where the files of models are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All models that were pulled.
    ///
    /// # Errors
    /// `IO_ERROR`.
    pub fn list(&self) -> Result<ModelList, Fault> {
        self.catalog().list()
    }

    /// Keeps files that were fetched under a name.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND` when one of the files is gone again, `DISK_FULL`, `IO_ERROR`.
    pub fn keep(
        &self,
        model: &ModelRef,
        revision: String,
        files: Vec<StoredFile>,
    ) -> Result<StoredModel, Fault> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.catalog().register(model, revision, files, SystemTime::now())
    }

    /// Forgets a name, and removes the files that no other one needs.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND` for a name that is not kept, `IO_ERROR`.
    pub fn remove(&self, model: &ModelRef) -> Result<RemoveReply, Fault> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.catalog().remove(model)
    }

    /// Removes what downloads left that nobody went on with for long.
    pub fn sweep(&self) {
        self.catalog().sweep(SystemTime::now());
    }

    fn file(&self, path: &str) -> Result<PathBuf, Fault> {
        let not_found = |problem: &str| {
            let message = format!("the model file {} {problem}", text::one_line(path, 512));
            let word = text::shell_word(path);
            Fault::new(Code::ModelNotFound, message).hint(format!("ls -l {word}  # on the hive"))
        };
        let real = fs::canonicalize(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => not_found("does not exist"),
            io::ErrorKind::PermissionDenied => not_found("may not be read by this user"),
            _ => not_found("cannot be found").cause(&error),
        })?;
        if !self.is_allowed(&real) {
            return Err(not_found("is not below a directory of agent.model_roots"));
        }
        match fs::metadata(&real) {
            Ok(seen) if seen.is_file() => Ok(real),
            Ok(seen) if seen.is_dir() && real.join(CONFIG).exists() => Ok(real),
            Ok(seen) if seen.is_dir() => Err(not_found("is a directory without a config.json")),
            _ => Err(not_found("is not a regular file")),
        }
    }

    fn is_allowed(&self, real: &Path) -> bool {
        // What is kept is ours, and its files are named by what is in them.
        let is_kept = || is_below(real, &self.dir);
        self.roots.is_empty() || is_kept() || self.roots.iter().any(|root| is_below(real, root))
    }

    /// The demo model as a file, written and checked once in this process's life.
    fn demo(&self) -> Result<PathBuf, Fault> {
        let mut checked = self.demo.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = checked.as_ref().filter(|path| path.exists()) {
            return Ok(path.clone());
        }
        let digest = hex(&Sha256::digest(DEMO));
        let path = self.dir.join(format!("sha256-{digest}.gguf"));
        if !has_content(&path, &digest) {
            self.write(&path, DEMO).map_err(|error| write_fault(&path, &error))?;
        }
        Ok(checked.insert(path).clone())
    }

    /// Writes a file so that it is there whole or not at all.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let part = path.with_extension("part");
        let mut file = File::create(&part)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        if let Err(error) = written.and_then(|()| fs::rename(&part, path)) {
            // The cause is worth more than a second error about the rest of it.
            let _kept = fs::remove_file(&part);
            return Err(error);
        }
        File::open(&self.dir)?.sync_all()
    }
}

/// A path as the text that travels.
///
/// # Errors
/// `MODEL_NOT_FOUND` for one that is none.
pub fn utf8(path: &Path) -> Result<&str, Fault> {
    let not_utf8 = || Fault::new(Code::ModelNotFound, "the model's real path is not UTF-8");
    path.to_str().ok_or_else(not_utf8)
}

fn is_below(real: &Path, root: &Path) -> bool {
    fs::canonicalize(root).is_ok_and(|root| real.starts_with(root))
}

fn has_content(path: &Path, digest: &str) -> bool {
    let bytes = File::open(path).and_then(|file| {
        let mut bytes = Vec::new();
        // One byte more than the right content is enough to see that it is wrong.
        let limit = u64::try_from(DEMO.len()).unwrap_or(u64::MAX).saturating_add(1);
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    bytes.is_ok_and(|bytes| bytes.len() == DEMO.len() && hex(&Sha256::digest(&bytes)) == digest)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ok = write!(text, "{byte:02x}");
        text
    })
}

fn write_fault(path: &Path, error: &io::Error) -> Fault {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
        _ => Code::Io,
    };
    let message = format!("the demo model could not be written to {}", shown(path));
    let dir = path.parent().unwrap_or(path);
    Fault::new(code, message).cause(error).hint(format!("df -h {}", shown(dir)))
}

/// Reads a header in prefixes that grow as it asks for more.
fn read_shape(path: &Path) -> Result<ModelShape, Fault> {
    let unreadable = |error: io::Error| {
        Fault::new(Code::ModelNotFound, "the model file cannot be read").cause(error)
    };
    let file = File::open(path).map_err(unreadable)?;
    let file_bytes = file.metadata().map_err(unreadable)?.len();
    let (mut prefix, mut wanted) = (Vec::new(), FIRST_READ_BYTES);
    loop {
        let wanted_now = wanted.min(limits::MAX_GGUF_HEADER_BYTES).min(file_bytes);
        let have = u64::try_from(prefix.len()).unwrap_or(u64::MAX);
        let read = (&file).take(wanted_now.saturating_sub(have)).read_to_end(&mut prefix);
        let read = read.map_err(unreadable)?;
        match Header::parse(&prefix, file_bytes) {
            Ok(header) => return header.shape().map_err(|error| error.fault()),
            // Without a byte more there will be no other answer.
            Err(GgufError::NeedMore { at_least }) if read > 0 => {
                wanted = at_least.max(wanted_now.saturating_mul(2));
            }
            Err(error) => return Err(error.fault()),
        }
    }
}

fn check_supported(shape: &ModelShape) -> Result<(), Fault> {
    let supported = wire::gguf::SUPPORTED_ARCHITECTURES;
    if !supported.contains(&shape.architecture.as_str()) {
        let why = wire::gguf::why_unsupported(&shape.architecture);
        let message = format!(
            "the model's architecture is {}{}; this engine runs {}",
            shape.architecture,
            why.map_or_else(String::new, |why| format!(": {why}")),
            supported.join(", ")
        );
        return Err(Fault::new(Code::ModelUnsupported, message)
            .detail("architecture", shape.architecture.as_str())
            .detail("supported", supported)
            .hint(USE_A_FILE));
    }
    if shape.context < limits::MIN_CTX_SIZE {
        let message = format!("the model's context of {} tokens is too small", shape.context);
        return Err(Fault::new(Code::ModelUnsupported, message).hint(USE_A_FILE));
    }
    Ok(())
}

/// Names the file in what is wrong with it, and in the hint.
fn within(mut fault: Fault, path: &Path) -> Fault {
    let message = format!("{}: {}", shown(path), fault.message);
    fault.message = text::one_line(&message, limits::MAX_FAULT_MESSAGE_BYTES);
    let word = text::shell_word(&path.to_string_lossy());
    let word = if path.is_dir() { format!("{word}/*") } else { word };
    for hint in &mut fault.hints {
        *hint = hint.replace("FILE.gguf", &word);
    }
    fault
}

fn shown(path: &Path) -> String {
    text::one_line(&path.to_string_lossy(), 512)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn store(dir: &Path, roots: &[String]) -> Store {
        let models = dir.join("models");
        fs::create_dir_all(&models).unwrap();
        Store::new(models, roots)
    }

    fn file_ref(path: &Path) -> ModelRef {
        ModelRef::File(path.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_demo_model_is_written_once_and_repaired_when_it_was_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let model = store(dir.path(), &[]).resolve(&ModelRef::Demo).unwrap();
        assert!(model.path.contains("/sha256-"), "{}", model.path);
        let mut damaged = DEMO.to_vec();
        damaged[DEMO.len() - 1] ^= 1;
        fs::write(&model.path, damaged).unwrap();
        assert_eq!(store(dir.path(), &[]).resolve(&ModelRef::Demo).unwrap(), model);
        assert_eq!(fs::read(&model.path).unwrap(), DEMO);
    }

    #[test]
    fn a_file_outside_the_roots_is_refused_also_through_a_link_inside() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (real, link) = (outside.path().join("m.gguf"), inside.path().join("m.gguf"));
        fs::write(&real, DEMO).unwrap();
        symlink(&real, &link).unwrap();
        let roots = [inside.path().to_str().unwrap().to_owned()];
        for path in [&real, &link] {
            let fault = store(inside.path(), &roots).resolve(&file_ref(path)).unwrap_err();
            assert_eq!(fault.code, Code::ModelNotFound);
        }
        assert!(store(inside.path(), &[]).resolve(&file_ref(&link)).is_ok());
        let copy = inside.path().join("copy.gguf");
        fs::copy(&real, &copy).unwrap();
        assert!(store(inside.path(), &roots).resolve(&file_ref(&copy)).is_ok());
    }

    #[test]
    fn what_is_missing_damaged_or_no_file_is_refused_by_its_kind() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), &[]);
        let code = |model: &ModelRef| store.resolve(model).unwrap_err().code;
        assert_eq!(code(&file_ref(&dir.path().join("none.gguf"))), Code::ModelNotFound);
        assert_eq!(code(&file_ref(dir.path())), Code::ModelNotFound);
        let cut = dir.path().join("cut.gguf");
        fs::write(&cut, &DEMO[..DEMO.len() / 2]).unwrap();
        assert_eq!(code(&file_ref(&cut)), Code::ModelCorrupt);
        fs::write(&cut, "").unwrap();
        assert_eq!(code(&file_ref(&cut)), Code::ModelCorrupt);
        assert_eq!(code(&"hf:org/repo".parse().unwrap()), Code::ModelNotFound);
    }
}
