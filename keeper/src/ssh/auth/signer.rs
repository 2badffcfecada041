//! Who signs a server's challenge: an agent, or a key file that is unlocked only now.

use std::sync::Arc;

use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode;
use russh::keys::ssh_key::Signature;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{HashAlg, PrivateKey};
use tokio::net::UnixStream;

use super::identities::{KeyFile, Secret};
use super::keyring::Keyring;
use crate::ssh::client::patience::{Clock, Timed};
use crate::ssh::person::Person;

/// How often a passphrase may be mistyped, as with OpenSSH.
const MAX_PASSPHRASES: usize = 3;

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The connection ended.
    #[error("the connection ended")]
    Lost(#[from] russh::SendError),
    /// The agent or the person did not want to, or could not.
    #[error("{0}")]
    Refused(String),
}

/// Unlocks key files.
pub struct Unlocker<'a> {
    /// What the person typed before.
    pub keyring: &'a Keyring,
    /// Who knows the passphrases.
    pub person: &'a Timed,
}

impl Unlocker<'_> {
    /// The key of `file`.
    pub async fn unlock(&self, file: &KeyFile) -> Result<Arc<PrivateKey>, SignError> {
        let text = match &file.secret {
            Some(Secret::Plain(key)) => return Ok(Arc::clone(key)),
            Some(Secret::Locked(text)) => text,
            None => return Err(SignError::Refused("it has no private part".into())),
        };
        if let Some(key) = self.keyring.key(&file.path) {
            return Ok(key);
        }
        let path = wire::text::one_line(&file.path.to_string_lossy(), 200);
        for _ in 0..MAX_PASSPHRASES {
            let prompt = format!("Passphrase of the key {path}: ");
            let Some(passphrase) = self.person.answers(&prompt, false).await else {
                let why = "it is locked, and nobody typed its passphrase".to_owned();
                return Err(SignError::Refused(why));
            };
            let text = text.clone();
            let unlock = tokio::task::spawn_blocking(move || KeyFile::unlock(&text, &passphrase));
            if let Ok(Some(key)) = unlock.await {
                let key = Arc::new(key);
                self.keyring.remember_key(&file.path, &key);
                return Ok(key);
            }
        }
        Err(SignError::Refused(format!("{MAX_PASSPHRASES} passphrases were wrong")))
    }
}

/// Signs for one offer.
pub enum Signer<'a> {
    /// The agent does.
    Agent {
        /// The open connection to it.
        agent: &'a mut AgentClient<UnixStream>,
        /// Which of its identities.
        identity: &'a AgentIdentity,
        /// Somebody may have to confirm it, or to touch a key.
        clock: &'a Clock,
    },
    /// A key file does.
    File {
        /// Which.
        file: &'a KeyFile,
        /// How to get at it.
        unlocker: Unlocker<'a>,
    },
}

impl russh::Signer for Signer<'_> {
    type Error = SignError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        data: Vec<u8>,
    ) -> Result<Vec<u8>, SignError> {
        match self {
            Self::Agent { agent, identity, clock } => {
                let _pause = clock.pause();
                let refused =
                    |error| SignError::Refused(format!("ssh-agent does not sign: {error}"));
                agent.sign_request(identity, hash, data).await.map_err(refused)
            }
            Self::File { file, unlocker } => {
                let key = unlocker.unlock(file).await?;
                sign(&key, hash, data).map_err(SignError::Refused)
            }
        }
    }
}

/// `data` followed by its signature (RFC 4252, section 7).
fn sign(key: &PrivateKey, hash: Option<HashAlg>, mut data: Vec<u8>) -> Result<Vec<u8>, String> {
    let signature: Signature = match key.key_data() {
        KeypairData::Rsa(pair) => (pair, hash).try_sign(&data),
        pair => pair.try_sign(&data),
    }
    .map_err(|error| format!("it cannot sign: {error}"))?;
    signature.encode_prefixed(&mut data).map_err(|error| format!("it cannot sign: {error}"))?;
    Ok(data)
}
