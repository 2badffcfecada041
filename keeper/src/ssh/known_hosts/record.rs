//! Writing a host key down.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use russh::keys::PublicKey;

use super::{HostName, pattern};

/// Bytes of the salt of a hashed name: as many as its hash has, as OpenSSH does.
const SALT_BYTES: usize = 20;

/// Adds a line to `file`: the host's name, as a hash if `hashed`, and its key. A file that is not
/// there is made for its owner alone, and so is its directory. Two programs may do so at once.
///
/// # Errors
/// `InvalidInput` for a name that a file cannot hold, else those of the operating system.
pub fn record(file: &Path, host: &HostName, key: &PublicKey, hashed: bool) -> io::Result<()> {
    let invalid = |problem: &str| io::Error::new(io::ErrorKind::InvalidInput, problem);
    let mut name = host.recorded();
    let odd = |c: char| c.is_whitespace() || c.is_control() || "*?!,#|@".contains(c);
    if host.name.is_empty() || host.name.contains(odd) {
        return Err(invalid("a name with such characters cannot be recorded"));
    }
    if hashed {
        let salt: [u8; SALT_BYTES] = rand::random();
        name = pattern::hashed(&name, &salt).ok_or_else(|| invalid("the name has no hash"))?;
    }
    let key = PublicKey::new(key.key_data().clone(), "");
    let key = key.to_openssh().map_err(|_| invalid("the key has no written form"))?;
    let line = format!("{name} {}\n", key.trim_end());

    if let Some(dir) = file.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let mut file =
        OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(file)?;
    let newline = if lacks_its_end(&mut file)? { "\n" } else { "" };
    // One write, so that the lines of two programs do not mix.
    file.write_all(format!("{newline}{line}").as_bytes())
}

/// Whether the last line has no end. If another program ends it first, an empty line is harmless.
fn lacks_its_end(file: &mut File) -> io::Result<bool> {
    if !file.metadata()?.is_file() || file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    Ok(file.read(&mut last)? == 1 && last != *b"\n")
}
