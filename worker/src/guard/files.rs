//! The files of a worker's directory: read with a bound, written whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use wire::guard::{GuardSpec, RECORD_VERSION, files};
use wire::{Code, Fault, limits};

/// A new file, or an old one emptied, that only this user can read.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Writes `value` as `dir/name`. A reader sees the old file, or none, or all of the new one, also
/// after the power failed.
pub fn write<T: Serialize>(dir: &Path, name: &str, value: &T) -> io::Result<()> {
    let unfinished = dir.join(format!("{name}.new"));
    let mut file = create(&unfinished)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    std::fs::rename(unfinished, dir.join(name))
}

/// Reads what the agent wants started.
///
/// # Errors
/// `IO_ERROR` when there is no such file, `VERSION_MISMATCH` when a newer build wrote it,
/// `PROTOCOL_ERROR` when it is no spec.
pub fn read_spec(dir: &Path) -> Result<GuardSpec, Fault> {
    let path = dir.join(files::SPEC);
    let json = read_bounded(&path).map_err(|error| {
        Fault::new(Code::Io, format!("cannot read {}", path.display())).cause(error)
    })?;
    let wrong = |error: serde_json::Error| {
        Fault::new(Code::ProtocolError, format!("{} is not a worker's spec", path.display()))
            .cause(error)
    };
    let Version { version } = serde_json::from_slice(&json).map_err(wrong)?;
    if version > RECORD_VERSION {
        let message = format!(
            "{} has version {version}; this build reads versions up to {RECORD_VERSION}",
            path.display()
        );
        return Err(Fault::new(Code::VersionMismatch, message));
    }
    serde_json::from_slice(&json).map_err(wrong)
}

/// The one field that every version of a record has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limits::MAX_RECORD_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limits::MAX_RECORD_BYTES {
        let message = format!("it is longer than {} bytes", limits::MAX_RECORD_BYTES);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_written_file_is_private_and_leaves_no_unfinished_one() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "exit.json", &[1, 2]).unwrap();
        write(dir.path(), "exit.json", &[3]).unwrap();
        let mode = std::fs::metadata(dir.path().join("exit.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(dir.path().join("exit.json")).unwrap(), "[3]");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    fn refusal(spec: impl AsRef<[u8]>) -> Fault {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(files::SPEC), spec).unwrap();
        read_spec(dir.path()).unwrap_err()
    }

    #[test]
    fn a_newer_spec_is_refused_by_both_versions() {
        let fault = refusal(r#"{"version": 7, "new_in_7": {}}"#);
        assert_eq!(fault.code, Code::VersionMismatch);
        assert!(fault.message.contains("version 7") && fault.message.contains("up to 1"));
    }

    #[test]
    fn a_missing_broken_or_endless_spec_is_refused() {
        assert_eq!(read_spec(Path::new("/nonexistent")).unwrap_err().code, Code::Io);
        assert_eq!(refusal("{").code, Code::ProtocolError);
        assert_eq!(refusal(r#"{"version": 1}"#).code, Code::ProtocolError);
        assert_eq!(refusal(vec![b' '; 65 * 1024]).code, Code::Io);
    }
}
