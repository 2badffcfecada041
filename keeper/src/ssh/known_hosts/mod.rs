//! Which host keys are known: the files of OpenSSH (`sshd(8)`, "`SSH_KNOWN_HOSTS` FILE FORMAT").
//!
//! The rules are those of OpenSSH's client:
//! - A revoked key (`@revoked`, `RevokedHostKeys`) is refused whatever else is recorded.
//! - A key that equals any recorded key of the host is known.
//! - A key that equals none of them is changed, also when only keys of other algorithms are
//!   recorded. So the algorithms of [`KnownHosts::algorithms`] must be asked for first, or a known
//!   host would show a key that nobody recorded.
//! - Of a host with nothing recorded under `[name]:port`, a key recorded under `name` is known too.
//! - A certificate counts when an authority (`@cert-authority`) of the host signed it and it is
//!   valid now for this name; otherwise the key in it is looked at as if it had come alone.
//! - A line that cannot be read is skipped, a file that is not there is empty.

pub mod pattern;
mod record;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};
use wire::text::shell_word;
use wire::{Code, Fault};

pub use record::record;

use super::resolved::Resolved;

/// Bytes of the largest file that is read: a hundred thousand hosts.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of the longest line: a key of 16,384 bits has 4 KiB, the rest is for names.
const MAX_LINE_BYTES: usize = 64 * 1024;
/// How a binary list of revoked keys begins (PROTOCOL.krl of OpenSSH).
const KRL_MAGIC: &[u8] = b"SSHKRL\n\0";
/// The port that no recorded name mentions.
const DEFAULT_PORT: u16 = 22;

/// The name under which a host's keys are recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName {
    name: String,
    /// With a port that names are recorded with.
    port: Option<u16>,
}

impl HostName {
    /// The host `name` at `port`.
    pub fn new(name: &str, port: u16) -> Self {
        let port = (port != DEFAULT_PORT).then_some(port);
        Self { name: name.to_ascii_lowercase(), port }
    }

    /// A name that was given to a host (`HostKeyAlias`); its port does not matter.
    pub fn alias(name: &str) -> Self {
        Self::new(name, DEFAULT_PORT)
    }

    /// The one of a connection.
    pub fn of(resolved: &Resolved) -> Self {
        if resolved.is_key_alias {
            return Self::alias(&resolved.key_name);
        }
        Self::new(&resolved.key_name, resolved.port)
    }

    /// As it stands in a file: `name`, or `[name]:port`.
    pub fn recorded(&self) -> String {
        match self.port {
            Some(port) => format!("[{}]:{port}", self.name),
            None => self.name.clone(),
        }
    }
}

/// Where a key is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The algorithm of the key there, such as `ssh-ed25519`.
    pub algorithm: String,
    /// The fingerprint of the key there, as `SHA256:…`.
    pub fingerprint: String,
}

/// What the files say of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is recorded for this host, or an authority vouches for it.
    Known,
    /// Nothing is recorded for this host.
    Unknown,
    /// Other keys are recorded for this host: one of them, of the same algorithm if there is one.
    Changed(Place),
    /// It was revoked.
    Revoked(Place),
}

/// What the files say of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateVerdict {
    /// As of a key.
    pub verdict: Verdict,
    /// Why the certificate itself did not count, for a person.
    pub refused: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    None,
    Authority,
    Revoked,
}

/// A key that is recorded for the host.
#[derive(Debug, Clone)]
struct Entry {
    marker: Marker,
    key: KeyData,
    file: PathBuf,
    line: usize,
    /// Recorded without the port that the host has: good to know the key by, not to miss it by.
    without_port: bool,
}

impl Entry {
    fn place(&self) -> Place {
        Place {
            file: self.file.clone(),
            line: self.line,
            algorithm: self.key.algorithm().to_string(),
            fingerprint: self.key.fingerprint(HashAlg::Sha256).to_string(),
        }
    }
}

/// Everything that is recorded for one host.
#[derive(Debug, Clone)]
pub struct KnownHosts {
    host: HostName,
    entries: Vec<Entry>,
}

impl KnownHosts {
    /// Reads what is recorded for the host of a connection, in the person's and the system's files.
    ///
    /// # Errors
    /// `INVALID_CONFIG` when a file is there and cannot be read, has more than 16 MiB, or a line of
    /// more than 64 KiB: what it may revoke must not be passed over. So for the file that
    /// `RevokedHostKeys` names when it is not there.
    pub fn of(resolved: &Resolved) -> Result<Self, Fault> {
        let mut known = Self { host: HostName::of(resolved), entries: Vec::new() };
        for file in resolved.known_hosts.iter().chain(&resolved.global_known_hosts) {
            let added = read(file).and_then(|bytes| known.add(file, &bytes));
            added.map_err(|error| unreadable(file, "known hosts", &error))?;
        }
        if let Some(file) = &resolved.revoked {
            let added = std::fs::metadata(file).and_then(|_| known.revoke(file, &read(file)?));
            added.map_err(|error| unreadable(file, "revoked host keys", &error))?;
        }
        Ok(known)
    }

    /// Adds what `bytes`, the content of `file`, revokes for every host: one key a line.
    fn revoke(&mut self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        if bytes.starts_with(KRL_MAGIC) {
            let message = "it is a KRL; rbee reads a list of keys, or `ssh.client = \"system\"`";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        for (line, text) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
            if let Some(key) = parse_key(&String::from_utf8_lossy(text)) {
                let (marker, file) = (Marker::Revoked, file.to_path_buf());
                self.entries.push(Entry { marker, key, file, line, without_port: false });
            }
        }
        Ok(())
    }

    /// Adds what `bytes`, the content of `file`, has for the host.
    fn add(&mut self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let (name, bare) = (self.host.recorded(), self.host.name.clone());
        for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            let number = index + 1;
            if line.len() > MAX_LINE_BYTES {
                let message = format!("line {number} has more than {MAX_LINE_BYTES} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            // A comment in another encoding must not hide what is revoked, or what has changed.
            let line = String::from_utf8_lossy(line);
            let Some((marker, names, key)) = fields(&line) else { continue };
            let without_port = !pattern::names_match(&name, names);
            let may_miss_port = self.host.port.is_some();
            if without_port && !(may_miss_port && pattern::names_match(&bare, names)) {
                continue;
            }
            if let Some(key) = parse_key(key) {
                let file = file.to_path_buf();
                self.entries.push(Entry { marker, key, file, line: number, without_port });
            }
        }
        Ok(())
    }

    /// The host's name.
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// The algorithms of the recorded keys, each once, in the order of the files. An RSA key signs
    /// with any of `rsa-sha2-512`, `rsa-sha2-256` and `ssh-rsa`; here it is the last.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let mut algorithms = Vec::new();
        for entry in self.plain() {
            let algorithm = entry.key.algorithm();
            if !algorithms.contains(&algorithm) {
                algorithms.push(algorithm);
            }
        }
        algorithms
    }

    /// Whether certificates should be asked for.
    pub fn has_authority(&self) -> bool {
        self.entries.iter().any(|entry| entry.marker == Marker::Authority)
    }

    /// Looks a key up.
    pub fn check(&self, key: &PublicKey) -> Verdict {
        let key = key.key_data();
        self.revoked(key).unwrap_or_else(|| self.check_plain(key))
    }

    /// Looks a certificate up; `now` decides whether it has expired.
    pub fn check_certificate(
        &self,
        certificate: &Certificate,
        now: SystemTime,
    ) -> CertificateVerdict {
        let (key, signer) = (certificate.public_key(), certificate.signature_key());
        if let Some(verdict) = self.revoked(key).or_else(|| self.revoked(signer)) {
            return CertificateVerdict { verdict, refused: None };
        }
        let is_authority =
            |entry: &Entry| entry.marker == Marker::Authority && entry.key == *signer;
        let refused = if self.entries.iter().any(is_authority) {
            self.validate(certificate, now).err()
        } else {
            Some("no authority that is recorded for this host signed it")
        };
        let verdict = match refused {
            None => Verdict::Known,
            Some(_) => self.check_plain(key),
        };
        CertificateVerdict { verdict, refused }
    }

    /// What ssh-key leaves to its callers (PROTOCOL.certkeys of OpenSSH), and its own checks.
    fn validate(&self, certificate: &Certificate, now: SystemTime) -> Result<(), &'static str> {
        if certificate.cert_type() != CertType::Host {
            return Err("it is not the certificate of a host");
        }
        if !certificate.critical_options().is_empty() {
            return Err("it has options that are not known here");
        }
        let names = certificate.valid_principals();
        let is_for_host = |pattern: &String| pattern::matches(&self.host.name, pattern);
        if !names.is_empty() && !names.iter().any(is_for_host) {
            return Err("it is for hosts of other names");
        }
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if now < certificate.valid_after() || now >= certificate.valid_before() {
            return Err("it is not valid at this time");
        }
        // As `CASignatureAlgorithms` of OpenSSH: with a collision, a CA signs what it never saw.
        if matches!(certificate.signature().algorithm(), Algorithm::Rsa { hash: None }) {
            return Err("its authority signed it with SHA-1");
        }
        let signer = certificate.signature_key().fingerprint(HashAlg::Sha256);
        certificate.validate_at(now, [&signer]).map_err(|_| "its signature is wrong")
    }

    /// The host's own keys: those of its port, or those without one when it has none there.
    fn plain(&self) -> impl Iterator<Item = &Entry> {
        let own = |entry: &&Entry| entry.marker == Marker::None;
        let of_port = self.entries.iter().filter(own).any(|entry| !entry.without_port);
        self.entries.iter().filter(own).filter(move |entry| !(of_port && entry.without_port))
    }

    fn revoked(&self, key: &KeyData) -> Option<Verdict> {
        let is_it = |entry: &&Entry| entry.marker == Marker::Revoked && entry.key == *key;
        self.entries.iter().find(is_it).map(|entry| Verdict::Revoked(entry.place()))
    }

    fn check_plain(&self, key: &KeyData) -> Verdict {
        if self.plain().any(|entry| entry.key == *key) {
            return Verdict::Known;
        }
        let other = self
            .plain()
            .filter(|entry| !entry.without_port)
            .min_by_key(|entry| entry.key.algorithm() != key.algorithm());
        other.map_or(Verdict::Unknown, |entry| Verdict::Changed(entry.place()))
    }
}

fn unreadable(file: &Path, what: &str, error: &io::Error) -> Fault {
    let message = format!("{}: the {what} cannot be read", file.display());
    let word = shell_word(&file.to_string_lossy());
    Fault::new(Code::InvalidConfig, message).cause(error).hint(format!("ls -l -- {word}"))
}

/// The whole file; nothing of one that is absent or a device, as `/dev/null` is.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    // To open a FIFO is to wait for its writer, so its kind is known first.
    let kind = match std::fs::metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    if kind.is_char_device() {
        return Ok(Vec::new());
    }
    if !kind.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message = format!("it has more than {MAX_FILE_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Marker, names and the rest of a line; nothing of an empty line, a comment or an unknown marker.
fn fields(line: &str) -> Option<(Marker, &str, &str)> {
    let line = line.trim_matches([' ', '\t', '\r']);
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (first, rest) = word(line)?;
    let marker = match first {
        "@cert-authority" => Marker::Authority,
        "@revoked" => Marker::Revoked,
        _ if first.starts_with('@') => return None,
        names => return Some((Marker::None, names, rest)),
    };
    let (names, rest) = word(rest)?;
    (!names.starts_with('@')).then_some((marker, names, rest))
}

/// The first word, and what follows it.
fn word(text: &str) -> Option<(&str, &str)> {
    let (word, rest) = text.split_once([' ', '\t'])?;
    Some((word, rest.trim_start_matches([' ', '\t'])))
}

/// `algorithm base64`; a comment after it does not matter.
fn parse_key(text: &str) -> Option<KeyData> {
    let mut words = text.split_ascii_whitespace();
    let (algorithm, blob) = (words.next()?, words.next()?);
    let key = PublicKey::from_openssh(&format!("{algorithm} {blob}")).ok()?;
    Some(key.key_data().clone())
}

#[cfg(test)]
mod tests;
