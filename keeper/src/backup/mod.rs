//! A copy of what nobody could fetch again: configuration, keys, themes and conversations, and the
//! names of the models that hives keep. Secrets are not part of it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wire::pull::{self, FileName};
use wire::text::shell_word;
use wire::{Code, Fault, HiveName, ModelRef, limits};

use crate::conversations::store::{LOCK_PATIENCE, Store};

/// Version of a backup.
const VERSION: u32 = 1;
/// What says what is in a backup, with the digest of each file.
const MANIFEST: &str = "manifest.json";
/// The names of models, in a backup.
pub const MODELS: &str = "models.json";
/// Bytes of the manifest and of the list of models.
const MAX_LIST_BYTES: u64 = 4 * 1024 * 1024;
/// Files of one backup: the configuration, the keys, and the themes of a person.
const MAX_FILES: usize = 1024;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A file that is copied as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name in the backup.
    pub name: FileName,
    /// Where it is.
    pub path: PathBuf,
}

/// A model that a hive keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptModel {
    /// Which hive.
    pub hive: HiveName,
    /// The name that it was pulled by.
    pub model: ModelRef,
    /// Which commit it was.
    pub revision: String,
}

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    /// The program that made it.
    pub program: String,
    /// When, in milliseconds since 1970.
    pub made_at_ms: u64,
    /// Its files.
    pub files: Vec<Part>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name in the backup.
    pub name: FileName,
    /// Its content.
    pub sha256: pull::Sha256,
    /// Its length.
    pub bytes: u64,
}

/// What shall be copied.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Files as they are.
    pub sources: Vec<Source>,
    /// The file of conversations, and its name in the backup, if there is one.
    pub conversations: Option<Source>,
    /// The models of all hives.
    pub models: Vec<KeptModel>,
}

/// Makes a backup in the new directory `dir` and reads it back.
///
/// # Errors
/// `INVALID_ARGUMENT` when `dir` is there, `IO_ERROR` and `DISK_FULL` with the file,
/// `CHECKSUM_MISMATCH` when what was written is not what is read.
pub fn make(dir: &Path, wanted: &Wanted, made_at_ms: u64) -> Result<Manifest, Fault> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let message = format!("{} is there already", dir.display());
            let fault = Fault::new(Code::InvalidArgument, message);
            return Err(fault.hint("rbee backup ANOTHER-DIRECTORY"));
        }
        made => made.map_err(|error| failed(dir, &error))?,
    }
    let mut files = Vec::new();
    for Source { name, path } in &wanted.sources {
        let content = bounded(path, limits::MAX_CONFIG_BYTES)?;
        files.push(write(dir, name, &content)?);
    }
    if let Some(Source { name, path }) = &wanted.conversations {
        let copy = dir.join(name.as_str());
        Store::open(path, LOCK_PATIENCE)?.store.copy_to(&copy)?;
        files.push(part(dir, name)?);
    }
    let models = serde_json::to_vec_pretty(&wanted.models).map_err(not_json)?;
    files.push(write(dir, &own_name(MODELS)?, &models)?);
    let program = env!("CARGO_PKG_VERSION").to_owned();
    let manifest = Manifest { version: VERSION, program, made_at_ms, files };
    write(dir, &own_name(MANIFEST)?, &serde_json::to_vec_pretty(&manifest).map_err(not_json)?)?;
    verify(dir)
}

/// Reads a backup whole and compares it with its manifest.
///
/// # Errors
/// `INVALID_ARGUMENT` for a directory that is no backup, `VERSION_MISMATCH` for one of a newer
/// program, `CHECKSUM_MISMATCH` for a file that is not what it was.
pub fn verify(dir: &Path) -> Result<Manifest, Fault> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let no_backup = |problem: String| {
        let message = format!("{} is no backup of rbee: {problem}", dir.display());
        Fault::new(Code::InvalidArgument, message)
            .hint(format!("ls -l {}", shell_word(&dir.to_string_lossy())))
    };
    let path = dir.join(MANIFEST);
    let text = bounded(&path, MAX_LIST_BYTES).map_err(|fault| no_backup(fault.message))?;
    let broken = |error: serde_json::Error| no_backup(format!("{}: {error}", path.display()));
    let Version { version } = serde_json::from_slice(&text).map_err(broken)?;
    if version > VERSION {
        let message = format!("{} was made by a newer rbee", dir.display());
        return Err(Fault::new(Code::VersionMismatch, message).hint("rbee --version"));
    }
    let manifest: Manifest = serde_json::from_slice(&text).map_err(broken)?;
    if manifest.files.len() > MAX_FILES {
        return Err(no_backup(format!("it names more than {MAX_FILES} files")));
    }
    for wanted in &manifest.files {
        if part(dir, &wanted.name)? != *wanted {
            let message = format!("{} of the backup is not what it was", wanted.name);
            return Err(Fault::new(Code::ChecksumMismatch, message)
                .detail("file", wanted.name.as_str())
                .hint("rbee backup  # makes a new one, as long as there is something to copy"));
        }
    }
    Ok(manifest)
}

/// The models that hives kept when a backup was made.
///
/// # Errors
/// `INVALID_ARGUMENT` for a list that cannot be read.
pub fn models(dir: &Path) -> Result<Vec<KeptModel>, Fault> {
    let path = dir.join(MODELS);
    serde_json::from_slice(&bounded(&path, MAX_LIST_BYTES)?).map_err(|error| {
        Fault::new(Code::InvalidArgument, format!("{} cannot be read", path.display())).cause(error)
    })
}

/// What came of a file that was put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutBack {
    /// It is there now.
    New,
    /// It was there, the same.
    Same,
    /// It is there now; what was there is that file now.
    Instead(PathBuf),
}

/// Whether putting a file back would take the place of another one.
///
/// # Errors
/// `IO_ERROR`.
pub fn is_in_the_way(from: &Path, to: &Path) -> Result<bool, Fault> {
    if !to.exists() {
        return Ok(false);
    }
    Ok(digest(from)? != digest(to)?)
}

/// Puts one file of a backup where it belongs. What is there is kept beside it under a name of its
/// own, `suffix` behind it, with the files that SQLite has beside a database.
///
/// # Errors
/// `IO_ERROR` and `DISK_FULL` with the file.
pub fn put_back(from: &Path, to: &Path, suffix: &str) -> Result<PutBack, Fault> {
    let mut outcome = PutBack::New;
    if to.exists() {
        if !is_in_the_way(from, to)? {
            return Ok(PutBack::Same);
        }
        let aside = beside(to, suffix);
        fs::rename(to, &aside).map_err(|error| failed(to, &error))?;
        for log in ["-wal", "-shm"] {
            let log_path = beside(to, log);
            if log_path.exists() {
                let moved = fs::rename(&log_path, beside(&aside, log));
                moved.map_err(|error| failed(&log_path, &error))?;
            }
        }
        outcome = PutBack::Instead(aside);
    }
    let dir = to.parent().unwrap_or(to);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| failed(dir, &error))?;
    let part = beside(to, ".restore");
    let copied = copy(from, &part).and_then(|()| fs::rename(&part, to));
    copied.map_err(|error| {
        // The cause is worth more than a second error about the rest of it.
        let _kept = fs::remove_file(&part);
        failed(to, &error)
    })?;
    Ok(outcome)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(to)?;
    io::copy(&mut File::open(from)?, &mut file)?;
    file.sync_all()
}

/// A path with something behind its name.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn own_name(name: &str) -> Result<FileName, Fault> {
    name.parse().map_err(|error| Fault::new(Code::Internal, format!("{name}: {error}")))
}

fn write(dir: &Path, name: &FileName, content: &[u8]) -> Result<Part, Fault> {
    let path = dir.join(name.as_str());
    let below = path.parent().unwrap_or(dir);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(below);
    made.map_err(|error| failed(below, &error))?;
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(&path);
    let written = opened.and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(|error| failed(&path, &error))?;
    part(dir, name)
}

/// A file of a backup as it is.
fn part(dir: &Path, name: &FileName) -> Result<Part, Fault> {
    let (sha256, bytes) = digest(&dir.join(name.as_str()))?;
    Ok(Part { name: name.clone(), sha256, bytes })
}

fn digest(path: &Path) -> Result<(pull::Sha256, u64), Fault> {
    let failed = |error: io::Error| failed(path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let (mut hash, mut bytes, mut piece) = (Sha256::new(), 0_u64, vec![0; PIECE_BYTES]);
    loop {
        let read = file.read(&mut piece).map_err(failed)?;
        if read == 0 {
            break;
        }
        hash.update(piece.get(..read).unwrap_or_default());
        bytes = bytes.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
    let digest: [u8; 32] = hash.finalize().into();
    Ok((digest.into(), bytes))
}

/// All of a file of at most `limit` bytes.
fn bounded(path: &Path, limit: u64) -> Result<Vec<u8>, Fault> {
    let mut content = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut content));
    read.map_err(|error| failed(path, &error))?;
    if u64::try_from(content.len()).is_ok_and(|bytes| bytes > limit) {
        let message = format!("{} has more than {limit} bytes", path.display());
        return Err(Fault::new(Code::TooLarge, message));
    }
    Ok(content)
}

fn failed(path: &Path, error: &io::Error) -> Fault {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
        _ => Code::Io,
    };
    let word = shell_word(&path.to_string_lossy());
    Fault::new(code, path.display().to_string()).cause(error).hint(format!("ls -ld {word}"))
}

fn not_json(error: serde_json::Error) -> Fault {
    Fault::new(Code::Internal, "a backup cannot be described").cause(error)
}

#[cfg(test)]
mod tests;
