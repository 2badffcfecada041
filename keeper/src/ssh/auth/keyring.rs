//! What a person typed, kept in memory for as long as the program runs: a second connection to the
//! same hive, or a lost one that is made anew, must not ask again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use russh::keys::PrivateKey;
use zeroize::Zeroizing;

/// Unlocked keys and accepted passwords. Both are overwritten when it is dropped.
#[derive(Default)]
pub struct Keyring {
    keys: Mutex<HashMap<PathBuf, Arc<PrivateKey>>>,
    passwords: Mutex<HashMap<String, Arc<Zeroizing<String>>>>,
}

impl Keyring {
    /// The key of a file that was unlocked before.
    pub fn key(&self, path: &Path) -> Option<Arc<PrivateKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    /// Keeps an unlocked key.
    pub fn remember_key(&self, path: &Path, key: &Arc<PrivateKey>) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(path.into(), Arc::clone(key));
    }

    /// The password that `account` (`user@host:port`) accepted before.
    pub fn password(&self, account: &str) -> Option<Arc<Zeroizing<String>>> {
        self.passwords.lock().unwrap_or_else(PoisonError::into_inner).get(account).cloned()
    }

    /// Keeps a password that was accepted, or forgets one that is not any more.
    pub fn remember_password(&self, account: &str, password: Option<Arc<Zeroizing<String>>>) {
        let mut passwords = self.passwords.lock().unwrap_or_else(PoisonError::into_inner);
        match password {
            Some(password) => passwords.insert(account.to_owned(), password),
            None => passwords.remove(account),
        };
    }
}
