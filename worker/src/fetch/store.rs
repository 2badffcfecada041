//! The directory of the files: what is there, what is there in part, and how it becomes whole.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags};
use sha2::Digest;
use wire::pull::{Sha256, blob_name, partial_name};
use wire::{Code, Fault, text};

use super::hub::Trouble;

/// Bytes that are read of a file at once.
const PIECE_BYTES: usize = 1024 * 1024;
/// How often it is looked whether another process is done with a file.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const MIB: u64 = 1024 * 1024;

/// The directory.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    reserve_bytes: u64,
}

/// A file that is not whole yet.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    file: File,
    hasher: sha2::Sha256,
    bytes: u64,
}

impl Store {
    /// Files in `dir`, of whose disk `reserve_bytes` shall stay free.
    pub fn new(dir: &str, reserve_bytes: u64) -> Self {
        Self { dir: PathBuf::from(dir), reserve_bytes }
    }

    /// Whether a file is there as a whole. Its content was checked when it got its name.
    pub fn has(&self, sha256: &Sha256, bytes: u64) -> bool {
        length(&self.dir.join(blob_name(sha256))) == Some(bytes)
    }

    /// Bytes of a file that are there, of `bytes`: all, a beginning, or none.
    pub fn bytes_of(&self, sha256: &Sha256, bytes: u64) -> u64 {
        if self.has(sha256, bytes) {
            return bytes;
        }
        let here = length(&self.dir.join(partial_name(sha256))).unwrap_or(0);
        if here > bytes { 0 } else { here }
    }

    /// Whether `missing` bytes more leave what shall stay free.
    ///
    /// # Errors
    /// `DISK_FULL` with the figures; `IO_ERROR` when the disk cannot be asked.
    pub fn has_room(&self, missing: u64) -> Result<(), Fault> {
        let stat = rustix::fs::statvfs(&self.dir).map_err(|error| self.broken(&error.into()))?;
        let available = stat.f_bavail.saturating_mul(stat.f_frsize);
        if available >= missing.saturating_add(self.reserve_bytes) {
            return Ok(());
        }
        let message = format!(
            "the model needs {} MiB more, and {} MiB shall stay free, but {} has {} MiB free",
            missing.div_ceil(MIB),
            self.reserve_bytes / MIB,
            self.dir.display(),
            available / MIB
        );
        Err(self.full(&message, missing, available))
    }

    /// The beginning of a file with this digest, for this process alone, with what is there of it
    /// read once; nothing when another process made it whole meanwhile.
    pub async fn resume(&self, sha256: &Sha256, bytes: u64) -> Result<Option<Partial>, Trouble> {
        let path = self.dir.join(partial_name(sha256));
        loop {
            let mut partial = self.opened(path.clone())?;
            while !partial.is_locked().map_err(|error| self.trouble(&error))? {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            if self.has(sha256, bytes) {
                // Whoever had it renamed it: what was opened is the whole file, or a new empty one.
                if length(&path) == Some(0) {
                    let _ = std::fs::remove_file(&path);
                }
                return Ok(None);
            }
            if partial.is_still_there() {
                partial.take_stock(bytes).await.map_err(|error| self.trouble(&error))?;
                return Ok(Some(partial));
            }
        }
    }

    /// An empty file for content whose digest is not known before it is here.
    pub fn fresh(&self) -> Result<Partial, Trouble> {
        let path = self.dir.join(format!("fetch-{}.partial", std::process::id()));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.trouble(&error)),
            _ => self.opened(path),
        }
    }

    /// Gives a checked file its name. After this it is there whatever happens.
    pub fn keep(&self, partial: &Partial, sha256: &Sha256) -> Result<(), Trouble> {
        let kept = partial.file.sync_all().and_then(|()| {
            std::fs::rename(&partial.path, self.dir.join(blob_name(sha256)))?;
            File::open(&self.dir)?.sync_all()
        });
        kept.map_err(|error| self.trouble(&error))
    }

    /// What an error of the disk means to a download.
    pub fn trouble(&self, error: &io::Error) -> Trouble {
        let is_full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        if !is_full {
            return Trouble::Lasting(self.broken(error));
        }
        let stat = rustix::fs::statvfs(&self.dir).ok();
        let available = stat.map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        let message = format!(
            "the disk of {} is full: {} MiB free; what was fetched is kept, and fetched on from",
            self.dir.display(),
            available / MIB
        );
        Trouble::Lasting(self.full(&message, 0, available).cause(error))
    }

    fn opened(&self, path: PathBuf) -> Result<Partial, Trouble> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(flags)
            .open(&path)
            .map_err(|error| self.trouble(&error))?;
        Ok(Partial { path, file, hasher: sha2::Sha256::new(), bytes: 0 })
    }

    fn full(&self, message: &str, missing: u64, available: u64) -> Fault {
        Fault::new(Code::DiskFull, message)
            .detail("required_bytes", missing)
            .detail("available_bytes", available)
            .detail("reserve_bytes", self.reserve_bytes)
            .hint("rbee ls  # models that could be removed")
            .hint(format!("df -h {}", text::shell_word(&self.dir.to_string_lossy())))
    }

    fn broken(&self, error: &io::Error) -> Fault {
        let message = format!("cannot keep files in {}", self.dir.display());
        Fault::new(Code::Io, message).cause(error)
    }
}

impl Partial {
    /// Bytes that are in it.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds what came.
    pub fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Begins it again.
    pub fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.hasher = sha2::Sha256::new();
        self.bytes = 0;
        Ok(())
    }

    /// The digest of what is in it.
    pub fn digest(&self) -> Sha256 {
        let digest: [u8; 32] = self.hasher.clone().finalize().into();
        digest.into()
    }

    /// Removes it.
    pub fn discard(self) {
        // Gone is what it shall be; what cannot be removed is found again, and found to be wrong.
        let _ = std::fs::remove_file(&self.path);
    }

    fn is_locked(&self) -> io::Result<bool> {
        match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether its name is still its own: another process may have renamed or removed it.
    fn is_still_there(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let own = self.file.metadata().map(|meta| (meta.is_file(), meta.dev(), meta.ino()));
        let named = std::fs::symlink_metadata(&self.path);
        let named = named.map(|meta| (meta.is_file(), meta.dev(), meta.ino()));
        matches!((own, named), (Ok(own), Ok(named)) if own == named && own.0)
    }

    /// Reads what is there from before; more than the file can have is not of it.
    async fn take_stock(&mut self, most: u64) -> io::Result<()> {
        if self.file.metadata()?.len() > most {
            return self.clear();
        }
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = self.file.read(&mut piece)?;
            let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            self.hasher.update(bytes);
            self.bytes = self.bytes.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            // Whoever wants this process to end shall not wait for all of a large file.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// Bytes of a plain file.
fn length(path: &Path) -> Option<u64> {
    std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    fn of(dir: &Path) -> Store {
        Store::new(dir.to_str().unwrap(), 0)
    }

    #[test]
    fn a_beginning_is_gone_on_from_and_gets_its_name_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let (store, abc) = (of(dir.path()), ABC.parse().unwrap());
        std::fs::write(dir.path().join(partial_name(&abc)), "ab").unwrap();
        assert_eq!(store.bytes_of(&abc, 3), 2);
        let mut partial = run(store.resume(&abc, 3)).unwrap().unwrap();
        assert_eq!(partial.bytes(), 2);
        partial.add(b"c").unwrap();
        assert_eq!(partial.digest(), abc);
        store.keep(&partial, &abc).unwrap();
        assert!(store.has(&abc, 3) && store.bytes_of(&abc, 3) == 3);
        assert!(run(store.resume(&abc, 3)).unwrap().is_none());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn more_than_the_file_is_not_of_it_and_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (store, abc) = (of(dir.path()), ABC.parse().unwrap());
        let path = dir.path().join(partial_name(&abc));
        std::fs::write(&path, "abcd").unwrap();
        assert_eq!(store.bytes_of(&abc, 3), 0);
        let partial = run(store.resume(&abc, 3)).unwrap().unwrap();
        assert_eq!((partial.bytes(), length(&path)), (0, Some(0)));
        partial.discard();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(matches!(run(store.resume(&abc, 3)), Err(Trouble::Lasting(_))));
    }

    #[test]
    fn what_shall_stay_free_stays_free() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_str().unwrap(), u64::MAX);
        let fault = store.has_room(5).unwrap_err();
        assert_eq!(fault.code, Code::DiskFull);
        assert_eq!(fault.details["required_bytes"], 5);
        assert!(of(dir.path()).has_room(1).is_ok());
    }
}
