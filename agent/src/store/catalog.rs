//! What this hive keeps of the hub: one small file for each name, beside the files themselves,
//! which are named by what is in them. Two names share a file, and damage to one entry costs no
//! other.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wire::pull::{CAN_BE_PULLED, ModelList, RemoveReply, StoredFile, StoredModel, blob_name};
use wire::{Code, Fault, ModelRef, limits, text};

/// Version of an entry.
const VERSION: u32 = 1;
/// Where the entries are, in the store's directory.
const ENTRIES: &str = "catalog";
/// Where models of several files are put together, in the store's directory.
const TREES: &str = "trees";
/// What an entry that cannot be read is called from then on.
const SET_ASIDE: &str = "corrupt";
/// What the hub gave.
const HUB: &str = "hf";
/// A beginning of a file that nobody went on with for so long is given up.
const PARTIAL_AGE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The entries in the store's directory `dir`. Its calls read and write files.
#[derive(Debug, Clone, Copy)]
pub struct Catalog<'d> {
    /// The directory of the files.
    pub dir: &'d Path,
}

/// An entry on disk.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    version: u32,
    model: ModelRef,
    revision: String,
    files: Vec<StoredFile>,
    pulled_at_ms: u64,
}

/// What one file of the catalog holds.
enum Found {
    Entry(Box<Entry>),
    Nothing,
    /// It could not be read, and is there now.
    Damaged(PathBuf),
    /// A newer build wrote it.
    Newer,
}

impl Catalog<'_> {
    /// The model that is kept under a name, if one is.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND` for one whose entry is damaged or whose files are gone, `IO_ERROR`.
    pub fn find(&self, model: &ModelRef) -> Result<Option<StoredModel>, Fault> {
        let pull = || format!("rbee pull {}", text::shell_word(&model.to_string()));
        let kept = match self.read(&self.entry_path(model)).map_err(unreadable)? {
            Found::Nothing => return Ok(None),
            Found::Newer => {
                let message =
                    format!("a newer build of rbee wrote what this hive knows of {model}");
                return Err(Fault::new(Code::ModelNotFound, message).hint("rbee --version"));
            }
            Found::Damaged(aside) => {
                let message = format!(
                    "what this hive knew of {model} was damaged; it is {} now, and the model's own \
                     files are kept",
                    shown(&aside)
                );
                let again = format!("{}  # fetches nothing that is here", pull());
                let fault = Fault::new(Code::ModelNotFound, message).hint(again);
                return Err(fault.detail(CAN_BE_PULLED, true));
            }
            Found::Entry(entry) => self.stored(*entry),
        };
        if kept.missing_bytes > 0 {
            let message = format!("{model} was pulled, but its files are gone from this hive");
            let fault = Fault::new(Code::ModelNotFound, message).hint(pull());
            let fault = fault.detail("missing_bytes", kept.missing_bytes);
            return Err(fault.detail(CAN_BE_PULLED, true));
        }
        Ok(Some(kept))
    }

    /// Everything that is kept, by name.
    ///
    /// # Errors
    /// `IO_ERROR`.
    pub fn list(&self) -> Result<ModelList, Fault> {
        let mut list = ModelList::default();
        for path in self.entry_paths().map_err(unreadable)? {
            match self.read(&path).map_err(unreadable)? {
                Found::Entry(entry) => list.models.push(self.stored(*entry)),
                Found::Damaged(aside) => list.damaged.push(shown(&aside)),
                Found::Nothing | Found::Newer => {}
            }
        }
        list.models.sort_by(|a, b| a.model.cmp(&b.model));
        Ok(list)
    }

    /// Keeps files that are here under a name; what had it before is forgotten.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND` when one of the files is gone again, `DISK_FULL`, `IO_ERROR`.
    pub fn register(
        &self,
        model: &ModelRef,
        revision: String,
        files: Vec<StoredFile>,
        now: SystemTime,
    ) -> Result<StoredModel, Fault> {
        let entries = self.entry_paths().map_err(unreadable)?.len();
        let path = self.entry_path(model);
        if entries >= limits::MAX_STORED_MODELS && !path.exists() {
            let message = format!("this hive keeps {entries} models already");
            return Err(Fault::new(Code::Io, message).hint("rbee ls"));
        }
        let failed = |error: io::Error| not_kept(model, &error);
        self.put_together(model, &files).map_err(failed)?;
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let pulled_at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let entry = Entry { version: VERSION, model: model.clone(), revision, files, pulled_at_ms };
        self.write(&path, &entry).map_err(failed)?;
        let kept = self.stored(entry);
        if kept.missing_bytes > 0 {
            let message = format!("files of {model} were removed while it was pulled");
            return Err(Fault::new(Code::ModelNotFound, message)
                .hint(format!("rbee pull {}", text::shell_word(&model.to_string()))));
        }
        Ok(kept)
    }

    /// Forgets a name, and removes the files that no other one needs.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND` for a name that is not kept, `IO_ERROR`.
    pub fn remove(&self, model: &ModelRef) -> Result<RemoveReply, Fault> {
        let path = self.entry_path(model);
        let Found::Entry(entry) = self.read(&path).map_err(unreadable)? else {
            let message = format!("{model} is not kept on this hive");
            return Err(Fault::new(Code::ModelNotFound, message).hint("rbee ls"));
        };
        let kept = self.stored(*entry);
        fs::remove_file(&path).map_err(unreadable)?;
        let _no_tree = fs::remove_dir_all(self.tree(model));
        let needed: BTreeSet<_> = self
            .list()?
            .models
            .into_iter()
            .flat_map(|other| other.files)
            .map(|file| file.sha256)
            .collect();
        let mut freed_bytes: u64 = 0;
        for file in &kept.files {
            let blob = self.dir.join(blob_name(&file.sha256));
            if !needed.contains(&file.sha256) && fs::remove_file(blob).is_ok() {
                freed_bytes = freed_bytes.saturating_add(file.bytes);
            }
        }
        Ok(RemoveReply { model: kept, freed_bytes })
    }

    /// Removes beginnings of files that nobody has gone on with for a fortnight.
    pub fn sweep(&self, now: SystemTime) {
        let Ok(found) = fs::read_dir(self.dir) else { return };
        for file in found.flatten() {
            let is_partial = file.file_name().to_string_lossy().ends_with(".partial");
            let age = file.metadata().and_then(|meta| meta.modified()).ok();
            let age = age.and_then(|then| now.duration_since(then).ok());
            if is_partial && age.is_some_and(|age| age > PARTIAL_AGE) {
                let _gone = fs::remove_file(file.path());
            }
        }
    }

    fn entry_path(&self, model: &ModelRef) -> PathBuf {
        self.dir.join(ENTRIES).join(format!("{}.json", name_digest(model)))
    }

    fn tree(&self, model: &ModelRef) -> PathBuf {
        self.dir.join(TREES).join(name_digest(model))
    }

    fn entry_paths(&self) -> io::Result<Vec<PathBuf>> {
        let found = match fs::read_dir(self.dir.join(ENTRIES)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            found => found?,
        };
        let paths = found.flatten().map(|file| file.path());
        let is_entry = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "json");
        Ok(paths.filter(is_entry).take(limits::MAX_STORED_MODELS).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Found> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let mut bytes = Vec::new();
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            file => file?.take(limits::MAX_STORED_MODEL_BYTES).read_to_end(&mut bytes)?,
        };
        if serde_json::from_slice::<Version>(&bytes).is_ok_and(|found| found.version > VERSION) {
            return Ok(Found::Newer);
        }
        match serde_json::from_slice::<Entry>(&bytes) {
            // An entry under another name would be removed and replaced as that one.
            Ok(entry) if self.entry_path(&entry.model) == path => Ok(Found::Entry(entry.into())),
            _ => {
                let aside = path.with_extension(SET_ASIDE);
                fs::rename(path, &aside)?;
                tracing::warn!(entry = %aside.display(), "a damaged entry was set aside");
                Ok(Found::Damaged(aside))
            }
        }
    }

    fn write(&self, path: &Path, entry: &Entry) -> io::Result<()> {
        let dir = self.dir.join(ENTRIES);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let part = path.with_extension("part");
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(&serde_json::to_vec(entry)?)?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        File::open(&dir)?.sync_all()
    }

    /// Puts the files of a model of several ones into a directory of its own, by their names.
    fn put_together(&self, model: &ModelRef, files: &[StoredFile]) -> io::Result<()> {
        let tree = self.tree(model);
        if let Err(error) = fs::remove_dir_all(&tree)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        if files.len() == 1 {
            return Ok(());
        }
        for file in files {
            let place = tree.join(file.name.as_str());
            let dir = place.parent().unwrap_or(&tree);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            // A second name of the same bytes: nothing is copied.
            fs::hard_link(self.dir.join(blob_name(&file.sha256)), &place)?;
        }
        Ok(())
    }

    fn stored(&self, entry: Entry) -> StoredModel {
        let Entry { model, revision, files, pulled_at_ms, version: _ } = entry;
        let path = match files.as_slice() {
            [one] => self.dir.join(blob_name(&one.sha256)),
            _ => self.tree(&model),
        };
        let is_gone = |file: &&StoredFile| {
            let place = match files.len() {
                1 => path.clone(),
                _ => path.join(file.name.as_str()),
            };
            !fs::metadata(place).is_ok_and(|seen| seen.is_file() && seen.len() == file.bytes)
        };
        StoredModel {
            missing_bytes: files.iter().filter(is_gone).map(|file| file.bytes.max(1)).sum(),
            bytes: files.iter().map(|file| file.bytes).fold(0, u64::saturating_add),
            path: path.to_string_lossy().into_owned(),
            provider: HUB.to_owned(),
            model,
            revision,
            files,
            pulled_at_ms,
        }
    }
}

/// A name of any characters as one of a file.
fn name_digest(model: &ModelRef) -> String {
    super::hex(&Sha256::digest(model.to_string().as_bytes()))
}

fn shown(path: &Path) -> String {
    text::one_line(&path.to_string_lossy(), 512)
}

fn unreadable(error: io::Error) -> Fault {
    Fault::new(Code::Io, "the list of models cannot be read").cause(error)
}

fn not_kept(model: &ModelRef, error: &io::Error) -> Fault {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
        _ => Code::Io,
    };
    Fault::new(code, format!("{model} was fetched and cannot be kept")).cause(error).hint("df -h")
}

#[cfg(test)]
mod tests;
