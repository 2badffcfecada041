//! What is sent: a verified program, compressed once and kept beside it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use wire::{Code, Fault};

use super::Host;
use super::bundle::Bundle;
use crate::install::{self, Installed};

/// Bytes of the record of a compressed program: two digests, a blank and a newline.
const RECORD_BYTES: u64 = 130;
/// Compression costs once, and each upload gains.
const LEVEL: Compression = Compression::new(6);
/// Digits of a digest that name an upload.
const NAME_DIGITS: usize = 16;

/// A program as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The file that is sent.
    pub file: PathBuf,
    /// Whether it is compressed.
    pub is_packed: bool,
    /// Its bytes.
    pub bytes: u64,
    /// The beginning of its SHA-256: what is continued must be the same file.
    pub name: String,
    /// Bytes of the program.
    pub program_bytes: u64,
    /// SHA-256 of the program, in hexadecimal.
    pub digest: String,
}

/// The digest of a bundle's program, which was compared with its bytes.
///
/// # Errors
/// `CHECKSUM_MISMATCH` when they are not the recorded ones.
pub async fn digest(host: &Host, bundle: &Bundle) -> Result<String, Fault> {
    let program = bundle.program.clone();
    let sound = blocking(move || {
        Ok((install::look(&program)? == Installed::Sound).then(|| install::recorded(&program)))
    });
    match sound.await {
        Ok(Some(Ok(digest))) => Ok(digest),
        Ok(None) => {
            let what = format!("the build for {} is not what was recorded", bundle.target);
            Err(host
                .fault(Code::ChecksumMismatch, what)
                .cause(bundle.program.display())
                .hint(format!("scripts/bundle {}  # in rbee's sources", bundle.target)))
        }
        Ok(Some(Err(error))) | Err(error) => Err(unreadable(host, &bundle.program, &error)),
    }
}

/// Makes ready what is sent; compressed when the other side can read that.
///
/// # Errors
/// `IO_ERROR` or `DISK_FULL` of this machine.
pub async fn prepare(
    host: &Host,
    bundle: &Bundle,
    digest: &str,
    packed: bool,
) -> Result<Payload, Fault> {
    let (program, digest) = (bundle.program.clone(), digest.to_owned());
    let prepared = blocking(move || {
        let program_bytes = fs::metadata(&program)?.len();
        let (file, sent) =
            if packed { compressed(&program, &digest)? } else { (program, digest.clone()) };
        let name = name(&sent).to_owned();
        let bytes = fs::metadata(&file)?.len();
        Ok(Payload { file, is_packed: packed, bytes, name, program_bytes, digest })
    });
    prepared.await.map_err(|error| unreadable(host, &bundle.program, &error))
}

/// What an upload of bytes with this SHA-256 is called.
pub fn name(digest: &str) -> &str {
    digest.get(..NAME_DIGITS).unwrap_or(digest)
}

fn unreadable(host: &Host, program: &Path, error: &io::Error) -> Fault {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
        _ => Code::Io,
    };
    let dir = program.parent().unwrap_or(program);
    host.fault(code, "the program cannot be made ready to be sent")
        .cause(format!("{}: {error}", program.display()))
        .hint(format!("df -h {0}; ls -l {0}", crate::model::path_word(dir)))
}

/// Runs what waits for the disk or computes for long where nobody else waits for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The compressed program and its digest. Several hives and several keepers want it at once; one of
/// them makes it.
fn compressed(program: &Path, digest: &str) -> io::Result<(PathBuf, String)> {
    let (packed, record) = (program.with_extension("gz"), program.with_extension("gz.sha256"));
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(program.with_extension("gz.lock"))?;
    lock.lock()?;
    if let Some(sent) = kept(&packed, &record, digest) {
        return Ok((packed, sent));
    }
    let part = program.with_extension("gz.part");
    install::written(&part, 0o600, |file| {
        let mut encoder = GzEncoder::new(file, LEVEL);
        let read = install::copy_and_hash(File::open(program)?, &mut encoder)?;
        encoder.finish()?;
        if read == digest { Ok(()) } else { Err(io::Error::other("it changed meanwhile")) }
    })?;
    let sent = install::copy_and_hash(File::open(&part)?, io::sink())?;
    install::written(&record, 0o600, |file| {
        io::Write::write_all(file, format!("{sent} {digest}\n").as_bytes())
    })?;
    fs::rename(&part, &packed)?;
    Ok((packed, sent))
}

/// The digest of what was compressed before, when it is that of this program and still whole.
fn kept(packed: &Path, record: &Path, digest: &str) -> Option<String> {
    let mut text = String::new();
    File::open(record).ok()?.take(RECORD_BYTES).read_to_string(&mut text).ok()?;
    let (sent, of) = text.trim_end().split_once(' ')?;
    let real = install::copy_and_hash(File::open(packed).ok()?, io::sink()).ok()?;
    (of == digest && real == sent).then_some(real)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::testing;

    #[tokio::test(flavor = "current_thread")]
    async fn a_program_is_compressed_once_and_again_when_that_is_damaged() {
        let (host, home) = (testing::host(), testing::Home::new());
        let bundle = home.bundle(b"#!/bin/sh\necho hello\n");
        let digest = digest(&host, &bundle).await.unwrap();
        let first = prepare(&host, &bundle, &digest, true).await.unwrap();
        let unpacked = std::process::Command::new("gzip").arg("-dc").arg(&first.file).output();
        assert_eq!(unpacked.unwrap().stdout, fs::read(&bundle.program).unwrap());
        let changed = || fs::metadata(&first.file).unwrap().modified().unwrap();
        let made = changed();
        assert_eq!(prepare(&host, &bundle, &digest, true).await.unwrap(), first);
        assert_eq!(changed(), made, "it was kept");
        fs::write(&first.file, "junk").unwrap();
        assert_eq!(prepare(&host, &bundle, &digest, true).await.unwrap(), first);
        let plain = prepare(&host, &bundle, &digest, false).await.unwrap();
        assert_eq!((plain.file, plain.is_packed), (bundle.program.clone(), false));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_bundle_that_is_not_what_was_recorded_is_not_sent() {
        let (host, home) = (testing::host(), testing::Home::new());
        let bundle = home.bundle(b"good");
        fs::write(&bundle.program, "evil").unwrap();
        let fault = digest(&host, &bundle).await.unwrap_err();
        assert_eq!(fault.code, Code::ChecksumMismatch);
    }
}
