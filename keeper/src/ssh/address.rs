//! `[user@]host[:port]` as a person types it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes of the longest host name (RFC 1035, section 2.3.4).
const MAX_HOST_BYTES: usize = 253;
/// Bytes of the longest user name.
const MAX_USER_BYTES: usize = 64;

/// Where an SSH server is, as it was typed. The host may be a name of the ssh configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

/// Why an address was refused. The refused text is not repeated: it may hold control characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address is [user@]host[:port]: {0}")]
pub struct InvalidAddress(&'static str);

impl Address {
    /// The user, when one was typed.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The host: a name, a number, or an alias of the ssh configuration. Without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, when one was typed.
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let (user, rest) = match text.rsplit_once('@') {
            Some((user, rest)) => (Some(checked_user(user)?), rest),
            None => (None, text),
        };
        let (host, port) = host_and_port(rest)?;
        let port = port.map(parse_port).transpose()?;
        Ok(Self { user, host: checked_host(host)?, port })
    }
}

/// Splits off a port. A number of IPv6 has colons of its own, so there a port needs brackets.
fn host_and_port(text: &str) -> Result<(&str, Option<&str>), InvalidAddress> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(InvalidAddress("a bracket is open"))?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(InvalidAddress("after the bracket comes a port or nothing")),
        };
    }
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => Ok((text, None)),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

fn parse_port(text: &str) -> Result<u16, InvalidAddress> {
    const RULE: InvalidAddress = InvalidAddress("the port is a number from 1 to 65535");
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(RULE);
    }
    text.parse().ok().filter(|&port| port != 0).ok_or(RULE)
}

fn checked_user(user: &str) -> Result<String, InvalidAddress> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+@\\".contains(&byte);
    if user.is_empty() || user.len() > MAX_USER_BYTES || user.starts_with('-') {
        return Err(InvalidAddress("the user has 1 to 64 characters and no dash in front"));
    }
    if !user.bytes().all(allowed) {
        return Err(InvalidAddress("the user has letters, digits and ._-+@\\ only"));
    }
    Ok(user.to_owned())
}

fn checked_host(host: &str) -> Result<String, InvalidAddress> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:%".contains(&byte);
    if host.is_empty() || host.len() > MAX_HOST_BYTES || host.starts_with('-') {
        return Err(InvalidAddress("the host has 1 to 253 characters and no dash in front"));
    }
    if !host.bytes().all(allowed) {
        return Err(InvalidAddress("the host has letters, digits and ._-:% only"));
    }
    Ok(host.to_owned())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = InvalidAddress;
    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_people_type_is_taken_apart() {
        let cases = [
            ("pc", None, "pc", None),
            ("ada@pc.lan:2222", Some("ada"), "pc.lan", Some(2222)),
            ("me@corp@gate", Some("me@corp"), "gate", None),
            ("::1", None, "::1", None),
            ("ada@[fe80::1%eth0]:22", Some("ada"), "fe80::1%eth0", Some(22)),
            ("[::1]", None, "::1", None),
        ];
        for (text, user, host, port) in cases {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.user(), address.host(), address.port()), (user, host, port));
            assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
        }
    }

    #[test]
    fn what_could_reach_a_shell_or_look_like_an_option_is_refused() {
        let long = "x".repeat(300);
        let all = [
            "",
            "@pc",
            "ada@",
            "-oProxyCommand=x",
            "a@-x",
            "-a@x",
            "pc:0",
            "pc:70000",
            "pc:+1",
            "pc:",
            "p c",
            "pc;id",
            "$(id)",
            "a'b@pc",
            "[::1",
            "[::1]x",
            "pc\n",
            &long,
        ];
        for text in all {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_round_trips_and_is_plain(text in ".{0,40}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse::<Address>().unwrap(), address.clone());
                let typed = address.to_string();
                let odd = |c: char| c.is_whitespace() || c.is_control() || "'\"$`;&|<>".contains(c);
                prop_assert!(!typed.contains(odd));
            }
        }
    }
}
