//! Where models come from: the hub's address and the person's own token for it.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use wire::pull::{Endpoint, HubSource, Token};
use wire::{Code, Fault, limits};
use zeroize::Zeroizing;

use crate::config::{self, Config};
use crate::environment::Environment;
use crate::model::path_word;

/// The person's token for this program, beside the configuration file.
const TOKEN_FILE: &str = "hub-token";
/// Bits of a file's mode by which others than its owner may do something with it.
const OTHERS: u32 = 0o077;

/// A hub, and what a person should know of how it is asked.
#[derive(Debug, Clone)]
pub struct Hub {
    /// What a hive needs.
    pub source: HubSource,
    /// Why there is no token although a file could have one.
    pub caution: Option<Fault>,
}

impl Hub {
    /// Of the environment (`HF_ENDPOINT`), else of the configuration; its token out of a file that
    /// nobody else can read.
    ///
    /// # Errors
    /// `INVALID_CONFIG` for an address that is none.
    pub fn find(
        environment: &Environment,
        config: &Config,
        config_path: Option<&Path>,
    ) -> Result<Self, Fault> {
        let around = &environment.hub;
        let endpoint = match &around.endpoint {
            Some(text) => Some(text.parse::<Endpoint>().map_err(|error| {
                Fault::new(Code::InvalidConfig, format!("HF_ENDPOINT: {error}"))
                    .hint("unset HF_ENDPOINT")
            })?),
            None => config.hub.endpoint.clone(),
        };
        let own = config::beside(environment, config_path, TOKEN_FILE);
        let files = std::iter::once(&own).chain(&around.token_files);
        let found = files.map(|path| read(path)).find_map(Result::transpose).transpose();
        let (token, caution) = match found {
            Ok(token) => (token, None),
            Err(fault) => (None, Some(fault)),
        };
        // A secret is not shouted across a network.
        let token = token.filter(|_| !endpoint.as_ref().is_some_and(Endpoint::is_overheard));
        Ok(Self { source: HubSource { endpoint, token }, caution })
    }
}

/// The token in a file; none where there is no file.
fn read(path: &Path) -> Result<Option<Token>, Fault> {
    let refused = |problem: String| {
        let message = format!("{} is not used: {problem}", path.display());
        Fault::new(Code::InvalidConfig, message)
    };
    let mut options = std::fs::OpenOptions::new();
    // To open a FIFO would be to wait for its writer.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = match options.read(true).custom_flags(nonblocking).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(error.to_string())),
    };
    let seen = file.metadata().map_err(|error| refused(error.to_string()))?;
    if !seen.is_file() || seen.mode() & OTHERS != 0 {
        let fault = refused("others than its owner can read it".to_owned());
        return Err(fault.hint(format!("chmod 600 {}", path_word(path))));
    }
    // Longer than any token, its newline included.
    let mut text = Zeroizing::new(String::with_capacity(limits::MAX_TOKEN_BYTES + 2));
    let limit = u64::try_from(limits::MAX_TOKEN_BYTES).unwrap_or(u64::MAX).saturating_add(2);
    let read = file.take(limit).read_to_string(&mut text);
    read.map_err(|error| refused(error.to_string()))?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    text.trim().parse().map(Some).map_err(|error| refused(format!("{error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_is_read_only_where_nobody_else_can() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert_eq!(read(&path).unwrap(), None);
        std::fs::write(&path, "hf_secret\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let fault = read(&path).unwrap_err();
        assert!(fault.hints[0].starts_with("chmod 600 "), "{fault:?}");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().expose(), "hf_secret");
        std::fs::write(&path, "two words").unwrap();
        let fault = read(&path).unwrap_err();
        assert!(!fault.message.contains("two"), "{fault}");
        std::fs::write(&path, "x".repeat(10_000)).unwrap();
        assert!(read(&path).is_err());
        assert!(read(dir.path()).is_err());
    }
}
