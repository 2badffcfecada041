//! The hives in the person's configuration file, and its theme: changed without touching the rest.

mod edit;
pub mod seen;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use toml_edit::TomlError;
use wire::{Code, Fault, HiveName};

use crate::config::{self, Config, HiveSettings};
use crate::environment::Environment;
use crate::model::path_word;
use crate::output::theme::ThemeName;

/// How long another program that edits the same file is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Between two looks at a lock that somebody holds; a file lock announces nothing.
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// Symbolic links that are followed to the file; the bound of Linux (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// The configuration file that this person's edits go to.
#[derive(Debug, Clone)]
pub struct Registry {
    /// The person's own file.
    path: PathBuf,
    /// What counts while the person has no file of their own.
    fallback: Option<PathBuf>,
}

impl Registry {
    /// The file of this person: the one that `RBEE_CONFIG` names, else that of the home directory.
    /// The machine's own file is never written; a person's first file begins as a copy of it,
    /// because it does not count any more from then on.
    pub fn of(environment: &Environment) -> Self {
        let mut candidates = environment.config_candidates().into_iter();
        let path = candidates.next().unwrap_or_default();
        // A relative path has no directory to speak of.
        Self { path: std::path::absolute(&path).unwrap_or(path), fallback: candidates.next() }
    }

    /// Adds a hive and says in which file.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when there is one of that name, `INVALID_CONFIG` when the file is broken,
    /// `IO_ERROR` when it cannot be written. The file is as it was then.
    pub async fn add(&self, name: &HiveName, hive: &HiveSettings) -> Result<PathBuf, Fault> {
        let edit = |config: &mut Config, text: &str| {
            refuse_duplicate(config, name)?;
            config.hives.insert(name.clone(), hive.clone());
            edit::with(text, name, hive).map_err(|error| no_toml(&error))
        };
        self.change(edit).await
    }

    /// Writes down which theme counts and says in which file.
    ///
    /// # Errors
    /// Those of [`Self::add`], but for the name.
    pub async fn set_theme(&self, name: &ThemeName) -> Result<PathBuf, Fault> {
        let edit = |config: &mut Config, text: &str| {
            config.theme = name.clone();
            edit::with_theme(text, name).map_err(|error| no_toml(&error))
        };
        self.change(edit).await
    }

    /// Takes a hive out and says of which file.
    ///
    /// # Errors
    /// `HIVE_NOT_FOUND`, and those of [`Self::add`].
    pub async fn remove(&self, name: &HiveName) -> Result<PathBuf, Fault> {
        let edit = |config: &mut Config, text: &str| {
            config.hives.remove(name).ok_or_else(|| unknown(name, config))?;
            edit::without(text, name).map_err(|error| no_toml(&error))
        };
        self.change(edit).await
    }

    /// Reads the file as it is now, edits it and puts the whole new text in its place. `edit` makes
    /// the same change to the configuration and to the text.
    async fn change(
        &self,
        edit: impl FnOnce(&mut Config, &str) -> Result<String, Fault>,
    ) -> Result<PathBuf, Fault> {
        let file = followed(&self.path).map_err(|error| cannot(&self.path, &error))?;
        let dir = file.parent().unwrap_or(Path::new("."));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| cannot(&file, &error))?;
        // Held until the new text is in place.
        let _lock = lock(&file).await?;
        let (text, metadata) = self.current(&file)?;
        let mut config = Config::parse(&text, &file)?;
        let new = edit(&mut config, &text)?;
        if Config::parse(&new, &file)? != config {
            let message = format!("{} is written in a way that rbee cannot edit", file.display());
            return Err(Fault::new(Code::InvalidConfig, message)
                .hint(format!("${{EDITOR:-vi}} {}", path_word(&file))));
        }
        replace(&file, &new, metadata.as_ref()).map_err(|error| cannot(&file, &error))?;
        Ok(self.path.clone())
    }

    /// The text that counts now, and what is known of the person's file when there is one.
    fn current(&self, file: &Path) -> Result<(String, Option<fs::Metadata>), Fault> {
        let sources = std::iter::once(file).chain(self.fallback.as_deref());
        for source in sources {
            match config::read(source) {
                Ok(text) => return Ok((text, fs::metadata(file).ok())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(cannot(source, &error)),
            }
        }
        Ok((String::new(), None))
    }
}

/// Refuses a name that is taken. Nothing is ever replaced.
///
/// # Errors
/// `INVALID_ARGUMENT` with what the name stands for.
pub fn refuse_duplicate(config: &Config, name: &HiveName) -> Result<(), Fault> {
    if *name == HiveName::local() {
        let message = "`local` is always this machine; another name is needed";
        return Err(Fault::new(Code::InvalidArgument, message).hint("rbee hive add --help"));
    }
    let Some(hive) = config.hives.get(name) else { return Ok(()) };
    let message = format!("there is a hive named {name} already: {}", hive.address);
    Err(Fault::new(Code::InvalidArgument, message)
        .hint(format!("rbee hive show {name}"))
        .hint(format!("rbee hive remove {name}")))
}

/// No hive of that name is configured.
pub fn unknown(name: &HiveName, config: &Config) -> Fault {
    let known: Vec<&str> = config.hives.keys().map(HiveName::as_str).collect();
    let cause = if known.is_empty() {
        "this machine is the only one, named local".to_owned()
    } else {
        format!("known hives: {}, and this machine, named local", known.join(", "))
    };
    Fault::new(Code::HiveNotFound, format!("there is no hive named {name}"))
        .cause(cause)
        .hint(format!("rbee hive add {name} user@host"))
        .hint("rbee hive list")
}

fn no_toml(error: &TomlError) -> Fault {
    Fault::new(Code::InvalidConfig, "the configuration is no TOML").cause(error.message())
}

fn cannot(path: &Path, error: &io::Error) -> Fault {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
        _ => Code::Io,
    };
    let dir = path.ancestors().skip(1).find(|dir| dir.is_dir()).unwrap_or(path);
    Fault::new(code, format!("{} cannot be changed", path.display()))
        .cause(error)
        .hint(format!("ls -ld -- {}", path_word(dir)))
}

/// The file behind symbolic links, also when it is not there yet. A person who keeps their
/// configuration elsewhere keeps the link.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut file = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&file) {
            Ok(to) => file = file.parent().unwrap_or(Path::new("")).join(to),
            // What is no link, or not there.
            Err(_) => return Ok(file),
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "too many symbolic links"))
}

/// One edit at a time. The lock is a file of its own, because the configuration itself is replaced.
async fn lock(file: &Path) -> Result<File, Fault> {
    let mut name = std::ffi::OsString::from(".");
    name.push(file.file_name().unwrap_or_default());
    name.push(".lock");
    let path = file.with_file_name(name);
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| cannot(&path, &error))?;
    let began = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(fs::TryLockError::WouldBlock) if began.elapsed() < LOCK_WAIT => {
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            Err(fs::TryLockError::WouldBlock) => {
                let message = format!("another program edits {} and does not end", file.display());
                let hint = format!("fuser -v {}", path_word(&path));
                return Err(Fault::new(Code::Io, message).hint(hint));
            }
            Err(fs::TryLockError::Error(error)) => return Err(cannot(&path, &error)),
        }
    }
}

/// Puts a text in the place of a file, whole or not at all. Mode and owner stay what they were.
fn replace(file: &Path, text: &str, old: Option<&fs::Metadata>) -> io::Result<()> {
    let dir = file.parent().unwrap_or(Path::new("."));
    let part = dir.join(format!(".config.{}.part", std::process::id()));
    let outcome = written(&part, text, old).and_then(|()| fs::rename(&part, file));
    if outcome.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&part);
    }
    outcome?;
    File::open(dir)?.sync_all()
}

fn written(part: &Path, text: &str, old: Option<&fs::Metadata>) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(part)?;
    if let Some(old) = old {
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(old.permissions().mode() & 0o777))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
