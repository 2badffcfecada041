//! Installs this build of the program where its agent runs from: never the file that a compiler
//! replaces, and never one whose bytes have changed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wire::{BuildId, Code, Fault, layout};

use crate::model::path_word;

/// The target that this program was compiled for.
pub const TARGET: &str = env!("RBEE_TARGET");
/// Held while a build is installed.
const LOCK: &str = "install.lock";
/// Bytes that are copied and hashed at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes of a recorded digest: hexadecimal SHA-256 and a newline.
const DIGEST_BYTES: u64 = 65;

/// The installed program as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// It is there, and its bytes are the recorded ones.
    Sound,
    /// It is not there.
    Absent,
    /// Its bytes, or their record, are not what was installed.
    Changed,
}

/// Where this build is or would be installed.
pub fn path(data: &Path, build: &BuildId) -> PathBuf {
    layout::installed_program(&data.to_string_lossy(), build, TARGET).into()
}

/// Installs this build unless it is there and sound, and says where it is.
///
/// # Errors
/// `AGENT_FAILED` when the program cannot be copied, with the reason; `DISK_FULL` when there is no
/// space for it.
pub fn ensure(data: &Path, build: &BuildId) -> Result<PathBuf, Fault> {
    let program = path(data, build);
    install_if_unsound(data, &program).map_err(|error| cannot(&program, &error))?;
    Ok(program)
}

/// One keeper installs at a time: a second one would rename its copy over the file that the first
/// one's agent runs from, and that agent could start no worker any more.
fn install_if_unsound(data: &Path, program: &Path) -> io::Result<()> {
    if look(program)? == Installed::Sound {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data)?;
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(data.join(LOCK))?;
    lock.lock()?;
    if look(program)? != Installed::Sound {
        install(program)?;
        tracing::info!(program = %program.display(), "installed");
        collect(data, program);
    }
    Ok(())
}

/// Takes away all builds but this one and the newest other. Nothing runs from them: a build is only
/// installed when no agent answers. What cannot be removed is left for the next time.
fn collect(data: &Path, program: &Path) {
    let Ok(entries) = fs::read_dir(data) else { return };
    let mut others: Vec<_> = entries
        .flatten()
        .filter(|entry| {
            entry.file_name().to_str().is_some_and(|name| name.parse::<BuildId>().is_ok())
        })
        .map(|entry| entry.path())
        .filter(|dir| !program.starts_with(dir))
        .filter_map(|dir| Some((fs::metadata(&dir).ok()?.modified().ok()?, dir)))
        .collect();
    others.sort();
    others.pop();
    for (_, dir) in others {
        if let Err(error) = fs::remove_dir_all(&dir) {
            tracing::warn!(dir = %dir.display(), %error, "an old build could not be removed");
        }
    }
}

/// Compares an installed program with the digest that was recorded with it.
///
/// # Errors
/// Those of reading, absence not among them.
pub fn look(program: &Path) -> io::Result<Installed> {
    let file = match File::open(program) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Installed::Absent),
        other => other?,
    };
    let recorded = match recorded(program) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Installed::Changed),
        other => other?,
    };
    let digest = copy_and_hash(file, io::sink())?;
    Ok(if recorded == digest { Installed::Sound } else { Installed::Changed })
}

/// The digest that was recorded with an installed program, in hexadecimal.
///
/// # Errors
/// Those of reading.
pub(crate) fn recorded(program: &Path) -> io::Result<String> {
    let mut recorded = String::new();
    File::open(digest_path(program))?.take(DIGEST_BYTES).read_to_string(&mut recorded)?;
    Ok(recorded.trim_end().to_owned())
}

fn digest_path(program: &Path) -> PathBuf {
    program.with_extension("sha256")
}

fn cannot(program: &Path, error: &io::Error) -> Fault {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
        _ => Code::AgentFailed,
    };
    let parent = program.parent().unwrap_or(program);
    Fault::new(code, format!("rbee cannot be installed as {}", program.display()))
        .cause(error)
        .hint(format!("df -h {0}; ls -ld {0}", path_word(existing(parent))))
}

/// The nearest directory above `path` that exists.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|dir| dir.is_dir()).unwrap_or(path)
}

/// Copies the running program: digest first, then the program, each complete or not there at all.
fn install(program: &Path) -> io::Result<()> {
    let dir = program.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let part = dir.join(format!("rbee.{}.part", std::process::id()));
    let digest = written(&part, 0o755, |file| copy_and_hash(running_program()?, file))?;
    let part_digest = part.with_extension("digest");
    written(&part_digest, 0o600, |file| writeln!(file, "{digest}"))?;
    fs::rename(&part_digest, digest_path(program))?;
    fs::rename(&part, program)?;
    File::open(dir)?.sync_all()
}

/// Writes a new file to the disk; what could not be finished is taken away.
pub(crate) fn written<T>(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<T>,
) -> io::Result<T> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    let outcome = write(&mut file).and_then(|value| file.sync_all().map(|()| value));
    if outcome.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(path);
    }
    outcome
}

/// The program that runs, also when its file was replaced since it was started.
fn running_program() -> io::Result<File> {
    File::open("/proc/self/exe").or_else(|_| File::open(std::env::current_exe()?))
}

/// Copies and gives the SHA-256 of what was copied, in hexadecimal.
pub(crate) fn copy_and_hash(mut from: impl Read, mut to: impl Write) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => {
                let bytes = chunk.get(..count).unwrap_or_default();
                hash.update(bytes);
                to.write_all(bytes)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hash.finalize().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn installed() -> (tempfile::TempDir, PathBuf) {
        let data = tempfile::tempdir().unwrap();
        let program = ensure(data.path(), &crate::build_id()).unwrap();
        (data, program)
    }

    #[test]
    fn the_installed_program_is_this_one_and_may_be_run() {
        let (_data, program) = installed();
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(fs::read(&program).unwrap() == own, "the same bytes");
        assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(look(&program).unwrap(), Installed::Sound);
        let files = fs::read_dir(program.parent().unwrap()).unwrap().count();
        assert_eq!(files, 2, "the program and its digest, nothing half done");
    }

    #[test]
    fn changed_bytes_are_seen_and_replaced() {
        let (data, program) = installed();
        let mut bytes = fs::read(&program).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::remove_file(&program).unwrap();
        fs::write(&program, &bytes).unwrap();
        assert_eq!(look(&program).unwrap(), Installed::Changed);
        assert_eq!(ensure(data.path(), &crate::build_id()).unwrap(), program);
        assert_eq!(look(&program).unwrap(), Installed::Sound);
    }

    #[test]
    fn keepers_that_install_at_once_leave_one_file_in_place() {
        use std::os::unix::fs::MetadataExt;
        let data = tempfile::tempdir().unwrap();
        let inodes: Vec<u64> = std::thread::scope(|scope| {
            let install = || {
                let program = ensure(data.path(), &crate::build_id()).unwrap();
                fs::metadata(program).unwrap().ino()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(install)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(inodes.windows(2).all(|pair| pair[0] == pair[1]), "{inodes:?}");
    }

    #[test]
    fn two_builds_are_kept() {
        let data = tempfile::tempdir().unwrap();
        for (age, build) in
            ["0000000000000001", "0000000000000002", "0000000000000003"].iter().enumerate()
        {
            let dir = data.path().join(build);
            fs::create_dir(&dir).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000 + age as u64);
            File::open(&dir).unwrap().set_modified(time).unwrap();
        }
        fs::create_dir(data.path().join("models")).unwrap();
        ensure(data.path(), &crate::build_id()).unwrap();
        let left = |name: &str| data.path().join(name).is_dir();
        assert!(left(crate::build_id().as_str()) && left("0000000000000003") && left("models"));
        assert!(!left("0000000000000001") && !left("0000000000000002"));
    }

    #[test]
    fn a_program_without_its_digest_is_not_trusted() {
        let (_data, program) = installed();
        fs::remove_file(digest_path(&program)).unwrap();
        assert_eq!(look(&program).unwrap(), Installed::Changed);
    }
}
