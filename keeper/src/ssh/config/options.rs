//! Options of an ssh configuration, by name, and what they mean for one connection.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use wire::text::shell_word;
use wire::{Code, Fault};

use super::Around;
use super::expand::Tokens;
use crate::ssh::address::Address;
use crate::ssh::resolved::{Agent, Resolved, Unknown, Way};

/// Machines in a row that are gone through at most.
const MAX_JUMPS: usize = 16;
/// Bytes of the longest name of a host or a user that is passed on.
const MAX_NAME_BYTES: usize = 255;
/// Keys that are tried when nobody named one; those that are not there do not count.
const DEFAULT_IDENTITIES: [&str; 5] = [
    "~/.ssh/id_rsa",
    "~/.ssh/id_ecdsa",
    "~/.ssh/id_ecdsa_sk",
    "~/.ssh/id_ed25519",
    "~/.ssh/id_ed25519_sk",
];
/// Those that OpenSSH also names and that nobody can use here.
const UNUSED_IDENTITIES: [&str; 2] = ["~/.ssh/id_xmss", "~/.ssh/id_dsa"];
const USER_KNOWN_HOSTS: [&str; 2] = ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"];
const SYSTEM_KNOWN_HOSTS: [&str; 2] = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"];
/// The methods that there are here, in OpenSSH's order, and the options that switch each off.
const METHODS: [(&str, &[&str]); 3] = [
    ("publickey", &["pubkeyauthentication"]),
    ("keyboard-interactive", &["kbdinteractiveauthentication", "challengeresponseauthentication"]),
    ("password", &["passwordauthentication"]),
];

/// The values of each option, under its name in small letters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options(BTreeMap<String, Vec<String>>);

impl Options {
    /// Adds a value.
    pub(super) fn push(&mut self, name: &str, value: &str) {
        self.0.entry(name.to_ascii_lowercase()).or_default().push(value.to_owned());
    }

    /// Whether the option was mentioned.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The first value.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.all(name).first().map(String::as_str)
    }

    fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    fn is_on(&self, name: &str) -> Option<bool> {
        let value = self.first(name)?;
        Some(!["no", "false"].iter().any(|no| value.eq_ignore_ascii_case(no)))
    }

    /// The values, `default` without any; none for the single word `none`.
    fn list<'a>(&'a self, name: &str, default: &'a [&'a str]) -> Vec<&'a str> {
        if !self.has(name) {
            return default.to_vec();
        }
        let values: Vec<&str> = self.all(name).iter().map(String::as_str).collect();
        if matches!(values.as_slice(), [one] if is_none(one)) { Vec::new() } else { values }
    }
}

fn is_none(value: &str) -> bool {
    value.eq_ignore_ascii_case("none")
}

/// The connection that is asked about.
pub(super) struct Asked<'a> {
    pub around: &'a Around,
    pub address: &'a Address,
}

impl Asked<'_> {
    /// What `options` mean; what they do not mention is as OpenSSH has it.
    ///
    /// # Errors
    /// `INVALID_CONFIG` with the option that cannot be used.
    pub(super) fn resolve(&self, options: &Options) -> Result<Resolved, Fault> {
        let host = options.first("hostname").unwrap_or(self.address.host()).to_ascii_lowercase();
        self.check_name("HostName", &host)?;
        let user = options.first("user").or(self.address.user());
        let user = user.unwrap_or(&self.around.user).to_owned();
        self.check_name("User", &user)?;
        let port = match options.first("port") {
            Some(port) => port.parse().ok().filter(|&port| port != 0),
            None => Some(self.address.port().unwrap_or(22)),
        };
        let port = port.ok_or_else(|| self.refuse("Port", "is no number from 1 to 65535"))?;
        let alias = options.first("hostkeyalias").filter(|alias| !is_none(alias));
        let key_name = alias.unwrap_or(&host).to_ascii_lowercase();
        let tokens = Tokens {
            home: &self.around.home,
            host: &host,
            uid: self.around.uid,
            key_name: &key_name,
            typed: self.address.host(),
            port,
            user: &user,
            local_user: &self.around.user,
            variable: self.around.variable,
        };
        let paths = |option, default| self.paths(&tokens, options, option, default);
        Ok(Resolved {
            identities: self.identities(&tokens, options)?,
            certificates: paths("CertificateFile", &[])?,
            identities_only: options.is_on("identitiesonly").unwrap_or(false),
            agent: self.agent(&tokens, options)?,
            known_hosts: paths("UserKnownHostsFile", &USER_KNOWN_HOSTS)?,
            global_known_hosts: paths("GlobalKnownHostsFile", &SYSTEM_KNOWN_HOSTS)?,
            revoked: paths("RevokedHostKeys", &[])?.into_iter().next(),
            hash_known_hosts: options.is_on("hashknownhosts").unwrap_or(false),
            unknown: unknown(options),
            way: self.way(&tokens, options)?,
            connect_timeout: connect_timeout(options),
            batch: options.is_on("batchmode").unwrap_or(false),
            methods: methods(options),
            is_key_alias: alias.is_some(),
            port,
            key_name: key_name.clone(),
            user: user.clone(),
            host: host.clone(),
        })
    }

    fn refuse(&self, option: &str, problem: &str) -> Fault {
        let message = format!(
            "the ssh configuration cannot be used for {}: {option} {problem}",
            self.address
        );
        let host = shell_word(self.address.host());
        Fault::new(Code::InvalidConfig, message)
            .hint(format!("ssh -G {host} | grep -i {}", option.to_ascii_lowercase()))
    }

    /// A name reaches a resolver, a file of known hosts, a screen.
    fn check_name(&self, option: &str, name: &str) -> Result<(), Fault> {
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.starts_with('-') {
            return Err(self.refuse(option, "has 1 to 255 bytes and no dash in front"));
        }
        if name.contains(odd) {
            return Err(self.refuse(option, "has no blanks"));
        }
        Ok(())
    }

    fn path(&self, tokens: &Tokens<'_>, option: &str, text: &str) -> Result<PathBuf, Fault> {
        tokens.path(text).map_err(|name| {
            let message = format!(
                "the ssh configuration cannot be used for {}: the variable {name}, which {option} \
                 needs, is not set",
                self.address
            );
            Fault::new(Code::InvalidConfig, message).hint(format!("export {name}=…"))
        })
    }

    fn paths(
        &self,
        tokens: &Tokens<'_>,
        options: &Options,
        option: &str,
        default: &[&str],
    ) -> Result<Vec<PathBuf>, Fault> {
        let texts = options.list(&option.to_ascii_lowercase(), default);
        texts.into_iter().map(|text| self.path(tokens, option, text)).collect()
    }

    /// Those that the person named, and of the usual ones those that are there.
    fn identities(&self, tokens: &Tokens<'_>, options: &Options) -> Result<Vec<PathBuf>, Fault> {
        let mut found = Vec::new();
        for text in options.list("identityfile", &DEFAULT_IDENTITIES) {
            let path = self.path(tokens, "IdentityFile", text)?;
            let counts = if DEFAULT_IDENTITIES.contains(&text) {
                path.exists()
            } else {
                !UNUSED_IDENTITIES.contains(&text) && !is_none(text)
            };
            if counts && !found.contains(&path) {
                found.push(path);
            }
        }
        Ok(found)
    }

    fn agent(&self, tokens: &Tokens<'_>, options: &Options) -> Result<Agent, Fault> {
        let variable = |name: &str| {
            let value = (self.around.variable)(name).filter(|value| !value.is_empty());
            value.map_or(Agent::None, |path| Agent::Socket(path.into()))
        };
        Ok(match options.first("identityagent") {
            None | Some("SSH_AUTH_SOCK") => variable("SSH_AUTH_SOCK"),
            Some(none) if is_none(none) => Agent::None,
            Some(text) => match text.strip_prefix('$').filter(|name| !name.starts_with('{')) {
                Some(name) => variable(name),
                None => Agent::Socket(self.path(tokens, "IdentityAgent", text)?),
            },
        })
    }

    fn way(&self, tokens: &Tokens<'_>, options: &Options) -> Result<Way, Fault> {
        let set = |name| options.first(name).filter(|value| !is_none(value));
        if let Some(jumps) = set("proxyjump") {
            let jumps = tokens.replace(jumps);
            let jumps: Option<Vec<Address>> = jumps.split(',').map(parse_jump).collect();
            let usable = jumps.filter(|jumps| jumps.len() <= MAX_JUMPS);
            let problem = "is a list of at most 16 times [user@]host[:port]";
            return usable.map(Way::Jumps).ok_or_else(|| self.refuse("ProxyJump", problem));
        }
        Ok(match set("proxycommand") {
            Some(_) if options.is_on("proxyusefdpass").unwrap_or(false) => {
                return Err(self.refuse(
                    "ProxyUseFdpass",
                    "hands over a descriptor, which only ssh \
                    takes: switch it off for this host, or set ssh.client = \"system\"",
                ));
            }
            Some(command) => Way::Command(tokens.replace_in_command(command)),
            None => Way::Direct,
        })
    }
}

/// `[user@]host[:port]`, or the same as `ssh://…`.
fn parse_jump(text: &str) -> Option<Address> {
    let text = text.trim();
    match text.strip_prefix("ssh://") {
        Some(uri) => uri.strip_suffix('/').unwrap_or(uri).parse().ok(),
        None => text.parse().ok(),
    }
}

fn unknown(options: &Options) -> Unknown {
    match options.first("stricthostkeychecking").map(str::to_ascii_lowercase).as_deref() {
        Some("yes" | "true") => Unknown::Refuse,
        Some("accept-new") => Unknown::Accept,
        _ => Unknown::Ask,
    }
}

/// Whole seconds; also `1m30s`, as OpenSSH takes times.
fn connect_timeout(options: &Options) -> Option<Duration> {
    let mut total: u64 = 0;
    let mut number: Option<u64> = None;
    for c in options.first("connecttimeout")?.chars() {
        if let Some(digit) = c.to_digit(10) {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit.into())?);
            continue;
        }
        let unit = match c.to_ascii_lowercase() {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => 24 * 60 * 60,
            'w' => 7 * 24 * 60 * 60,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    let total = total.checked_add(number.unwrap_or(0))?;
    (total > 0).then(|| Duration::from_secs(total))
}

fn methods(options: &Options) -> Vec<String> {
    let is_on = |switches: &[&str]| {
        switches.iter().find_map(|switch| options.is_on(switch)).unwrap_or(true)
    };
    let usable = METHODS.iter().filter(|(_, switches)| is_on(switches)).map(|(method, _)| *method);
    let usable: Vec<&str> = usable.collect();
    let wanted: Vec<&str> = match options.first("preferredauthentications") {
        Some(list) => list.split(',').map(str::trim).filter(|one| usable.contains(one)).collect(),
        None => usable,
    };
    wanted.into_iter().map(str::to_owned).collect()
}
