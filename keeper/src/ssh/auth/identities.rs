//! The identities of one connection: what files and an agent hold, and the order in which a server
//! is asked about them.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::agent::AgentIdentity;
use russh::keys::{Algorithm, Certificate, HashAlg, PrivateKey, PublicKey, decode_secret_key};
use wire::text::shell_word;
use wire::{Code, Fault};
use zeroize::Zeroizing;

use crate::ssh::resolved::Resolved;

/// Bytes of the largest key file that is read: an RSA key of 16,384 bits has 13 KiB.
const MAX_KEY_BYTES: u64 = 64 * 1024;

/// The private part of a key file.
pub enum Secret {
    /// It can sign.
    Plain(Arc<PrivateKey>),
    /// It needs its passphrase first; the file's text.
    Locked(Zeroizing<String>),
}

/// A key file that the person named.
pub struct KeyFile {
    /// Where it is.
    pub path: PathBuf,
    /// The public part. A locked file of an old format has none to show.
    pub public: Option<PublicKey>,
    /// The private part, when it can be used.
    pub secret: Option<Secret>,
    /// Why it cannot, for a person.
    pub problem: Option<String>,
    /// Whether its mode is the problem.
    pub is_exposed: bool,
}

impl KeyFile {
    fn without_secret(path: &Path, problem: Option<String>) -> Self {
        let public = read_public(&beside(path, ".pub"));
        Self { path: path.into(), public, secret: None, problem, is_exposed: false }
    }

    /// Reads `path`.
    ///
    /// # Errors
    /// When neither the file nor its public part is there.
    fn read(path: &Path) -> Result<Self, Fault> {
        let text = match read_text(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = Self::without_secret(path, None);
                return if file.public.is_some() { Ok(file) } else { Err(missing(path)) };
            }
            Err(error) => {
                let is_exposed = error.kind() == io::ErrorKind::PermissionDenied;
                let file = Self::without_secret(path, Some(format!("it cannot be read: {error}")));
                return Ok(Self { is_exposed, ..file });
            }
        };
        if is_exposed(path) {
            let problem = "others can read it, so it is not used".to_owned();
            return Ok(Self { is_exposed: true, ..Self::without_secret(path, Some(problem)) });
        }
        Ok(Self::parse(path, text))
    }

    fn parse(path: &Path, text: Zeroizing<String>) -> Self {
        if let Ok(public) = PublicKey::from_openssh(text.trim()) {
            let file = Self::without_secret(path, None);
            return Self { public: Some(public), ..file };
        }
        let is_locked = |key: &PrivateKey| key.is_encrypted();
        let file = |public, secret| Self {
            path: path.into(),
            public,
            secret: Some(secret),
            problem: None,
            is_exposed: false,
        };
        match PrivateKey::from_openssh(text.as_bytes()) {
            Ok(key) if is_security_key(&key.algorithm()) => {
                let problem = "a security key works through ssh-agent alone".to_owned();
                let public = Some(key.public_key().clone());
                Self { public, ..Self::without_secret(path, Some(problem)) }
            }
            Ok(key) if is_locked(&key) => {
                file(Some(key.public_key().clone()), Secret::Locked(text))
            }
            Ok(key) => file(Some(key.public_key().clone()), Secret::Plain(Arc::new(key))),
            Err(_) => match decode_secret_key(&text, None) {
                Ok(key) => file(Some(key.public_key().clone()), Secret::Plain(Arc::new(key))),
                Err(_) if names_a_cipher(&text) => {
                    file(read_public(&beside(path, ".pub")), Secret::Locked(text))
                }
                Err(error) => {
                    Self::without_secret(path, Some(format!("it is no private key: {error}")))
                }
            },
        }
    }

    /// Takes the key out of a locked file. Slow by design: some tenths of a second.
    pub fn unlock(text: &str, passphrase: &str) -> Option<PrivateKey> {
        decode_secret_key(text, Some(passphrase)).ok()
    }
}

fn missing(path: &Path) -> Fault {
    let message = format!("the key file {} does not exist", path.display());
    let dir = path.parent().map_or_else(String::new, |dir| dir.to_string_lossy().into_owned());
    Fault::new(Code::AuthFailed, message).hint(format!("ls -la -- {}", shell_word(&dir)))
}

fn is_security_key(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256)
}

/// Whether a file of a format other than OpenSSH's says that it is encrypted (RFC 1421, PKCS #8,
/// `PuTTY`).
fn names_a_cipher(text: &str) -> bool {
    let is_putty = text.trim_start().starts_with("PuTTY-User-Key-File-");
    text.contains("ENCRYPTED") || (is_putty && !text.contains("Encryption: none"))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn read_text(path: &Path) -> io::Result<Zeroizing<String>> {
    // To open a FIFO is to wait for its writer, so its kind is known first.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut text = Zeroizing::new(String::with_capacity(8 * 1024));
    File::open(path)?.take(MAX_KEY_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn read_public(path: &Path) -> Option<PublicKey> {
    PublicKey::from_openssh(read_text(path).ok()?.trim()).ok()
}

fn read_certificate(path: &Path) -> Option<Certificate> {
    Certificate::from_openssh(read_text(path).ok()?.trim()).ok()
}

/// Whether others could have read it. Of a file that is not ours the mode says nothing, as OpenSSH
/// has it.
fn is_exposed(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| {
        metadata.uid() == rustix::process::getuid().as_raw() && metadata.mode() & 0o077 != 0
    })
}

/// Everything that the person has to show, without an agent.
pub struct Identities {
    /// The key files they named, in their order.
    pub files: Vec<KeyFile>,
    /// Certificates, of those keys or of keys of the agent.
    pub certificates: Vec<Certificate>,
}

impl Identities {
    /// Reads the files of a connection.
    ///
    /// # Errors
    /// `AUTH_FAILED` when a key file that was named is not there: before anything is sent anywhere.
    pub fn read(resolved: &Resolved) -> Result<Self, Fault> {
        let files: Vec<_> =
            resolved.identities.iter().map(|path| KeyFile::read(path)).collect::<Result<_, _>>()?;
        let own = files.iter().map(|file| beside(&file.path, "-cert.pub"));
        let certificates = resolved
            .certificates
            .iter()
            .cloned()
            .chain(own)
            .filter_map(|path| read_certificate(&path))
            .collect();
        Ok(Self { files, certificates })
    }
}

/// Who signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The agent's identity of this number.
    Agent(usize),
    /// The key file of this number.
    File(usize),
}

/// An identity to ask the server about.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The public key; none for a locked file that does not show it.
    pub public: Option<PublicKey>,
    /// The certificate to show with it.
    pub certificate: Option<Box<Certificate>>,
    /// Who signs.
    pub by: By,
}

/// What to ask the server about, in order: the files that the person named, each with its
/// certificates first and by the agent where that holds the key, then the agent's other identities
/// unless `only` the named ones count.
pub fn offers(mine: &Identities, held: &[AgentIdentity], only: bool) -> Vec<Offer> {
    let mut offers: Vec<Offer> = Vec::new();
    for (number, file) in mine.files.iter().enumerate() {
        match &file.public {
            Some(key) => offers.extend(offers_of(key, Some((number, file)), mine, held)),
            None if file.secret.is_some() => {
                offers.push(Offer { public: None, certificate: None, by: By::File(number) });
            }
            None => {}
        }
    }
    for identity in held {
        let key = identity.public_key();
        let is_offered = |offer: &Offer| offer.public.as_ref().is_some_and(|one| same(one, &key));
        if offers.iter().any(is_offered) {
            continue;
        }
        let of_agent = offers_of(&key, None, mine, held);
        // A certificate that the person named counts as naming its key.
        let counts = |offer: &Offer| match &offer.certificate {
            Some(one) => !only || mine.certificates.iter().any(|named| *named == **one),
            None => !only,
        };
        offers.extend(of_agent.into_iter().filter(counts));
    }
    offers
}

fn same(one: &PublicKey, other: &PublicKey) -> bool {
    one.key_data() == other.key_data()
}

/// One key with every certificate that there is for it, those first.
fn offers_of(
    key: &PublicKey,
    file: Option<(usize, &KeyFile)>,
    mine: &Identities,
    held: &[AgentIdentity],
) -> Vec<Offer> {
    let plain = |one: &AgentIdentity| match one {
        AgentIdentity::PublicKey { key: held, .. } => same(held, key),
        AgentIdentity::Certificate { .. } => false,
    };
    let by_file =
        file.filter(|(_, file)| file.secret.is_some()).map(|(number, _)| By::File(number));
    let by = held.iter().position(plain).map(By::Agent).or(by_file);
    let mut offers: Vec<Offer> = Vec::new();
    let mut add = |certificate: Option<&Certificate>, by| {
        let certificate = certificate.cloned().map(Box::new);
        let is_new = !offers.iter().any(|offer| offer.certificate == certificate);
        if is_new {
            offers.push(Offer { public: Some(key.clone()), certificate, by });
        }
    };
    if let Some(by) = by {
        for one in mine.certificates.iter().filter(|one| one.public_key() == key.key_data()) {
            add(Some(one), by);
        }
    }
    for (number, identity) in held.iter().enumerate() {
        if let AgentIdentity::Certificate { certificate, .. } = identity
            && certificate.public_key() == key.key_data()
        {
            add(Some(certificate), By::Agent(number));
        }
    }
    if let Some(by) = by {
        add(None, by);
    }
    offers
}

impl Offer {
    /// How it is called in messages and logs: its fingerprint and who has it.
    pub fn label(&self, files: &[KeyFile]) -> String {
        let fingerprint = match &self.public {
            Some(key) => key.fingerprint(HashAlg::Sha256).to_string(),
            None => "a key".to_owned(),
        };
        let owner = match self.by {
            By::Agent(_) => "ssh-agent".to_owned(),
            By::File(number) => files
                .get(number)
                .map_or_else(String::new, |file| file.path.to_string_lossy().into_owned()),
        };
        let what = if self.certificate.is_some() { "certificate of " } else { "" };
        format!("{what}{fingerprint} ({owner})")
    }
}
