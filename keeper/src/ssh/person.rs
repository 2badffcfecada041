//! Questions that only a person can answer: is this host key right, what is the passphrase.

use futures_util::future::BoxFuture;
use zeroize::Zeroizing;

/// A host key that is not recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHostKey {
    /// The name under which it would be recorded, with its port when that is not 22.
    pub host: String,
    /// Its algorithm, such as `ssh-ed25519`.
    pub algorithm: String,
    /// `SHA256:…` (RFC 4648 base64 without padding, as OpenSSH shows it).
    pub fingerprint: String,
}

/// Somebody who can be asked. Hives connect at the same time; an implementation asks one question
/// after the other.
pub trait Person: Send + Sync {
    /// Whether a host key that nobody recorded is the right one. Without a person: no.
    fn trusts<'a>(&'a self, key: &'a NewHostKey) -> BoxFuture<'a, bool>;

    /// A secret, or an answer to a server's own question; none when nobody is there or they gave
    /// up.
    /// `prompt` is one clean line.
    fn answers<'a>(
        &'a self,
        prompt: &'a str,
        echo: bool,
    ) -> BoxFuture<'a, Option<Zeroizing<String>>>;
}

/// Asks nobody: no key is trusted, no question answered.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Person for Nobody {
    fn trusts<'a>(&'a self, _: &'a NewHostKey) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(false))
    }

    fn answers<'a>(&'a self, _: &'a str, _: bool) -> BoxFuture<'a, Option<Zeroizing<String>>> {
        Box::pin(std::future::ready(None))
    }
}
