//! What counts for one connection, after the person's own ssh configuration was asked.

use std::path::PathBuf;
use std::time::Duration;

use super::address::Address;

/// What to do with a host key that is not recorded (`StrictHostKeyChecking`). A recorded key that
/// differs is refused in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unknown {
    /// The person is asked (`ask`, the default; also for `no` and `off`, which rbee does not do).
    #[default]
    Ask,
    /// It is recorded without a question (`accept-new`).
    Accept,
    /// It is refused (`yes`).
    Refuse,
}

/// Where identities are asked for (`IdentityAgent`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agent {
    /// Nowhere.
    None,
    /// At this socket.
    Socket(PathBuf),
}

/// The way to the server (`ProxyJump`, `ProxyCommand`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// A TCP connection.
    Direct,
    /// Through these machines, in this order; each is resolved by itself.
    Jumps(Vec<Address>),
    /// The standard streams of this command, which `/bin/sh -c` runs. Tokens are replaced already.
    Command(String),
}

/// Everything that one connection needs.
#[expect(clippy::struct_excessive_bools, reason = "each is an option of ssh_config(5)")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The name or number to connect to (`HostName`).
    pub host: String,
    /// The name under which its key is recorded (`HostKeyAlias`, else the host).
    pub key_name: String,
    /// Whether `key_name` is an alias: then the port is no part of the recorded name.
    pub is_key_alias: bool,
    /// TCP port.
    pub port: u16,
    /// User name there.
    pub user: String,
    /// Private key files in the order in which they are tried. Those that the person named.
    pub identities: Vec<PathBuf>,
    /// Certificate files (`CertificateFile`); `<identity>-cert.pub` is tried as well.
    pub certificates: Vec<PathBuf>,
    /// Offer only these identities, not all that the agent has (`IdentitiesOnly`).
    pub identities_only: bool,
    /// The agent to ask.
    pub agent: Agent,
    /// Files of known host keys; the first is written to, the rest only read.
    pub known_hosts: Vec<PathBuf>,
    /// Files of the system's known host keys, only read.
    pub global_known_hosts: Vec<PathBuf>,
    /// A list of keys that no host may show (`RevokedHostKeys`).
    pub revoked: Option<PathBuf>,
    /// Write names as hashes (`HashKnownHosts`).
    pub hash_known_hosts: bool,
    /// What to do with a key that is not recorded.
    pub unknown: Unknown,
    /// The way there.
    pub way: Way,
    /// How long one attempt may take (`ConnectTimeout`), when the person said it.
    pub connect_timeout: Option<Duration>,
    /// Nobody is asked anything (`BatchMode`).
    pub batch: bool,
    /// Methods in the person's order (`PreferredAuthentications`), those switched off left out:
    /// `publickey`, `keyboard-interactive`, `password`.
    pub methods: Vec<String>,
}
