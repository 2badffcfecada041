//! The server as a connection sees it: its host key is checked, its banner shown, and nothing that
//! it wants to open towards us is accepted.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use russh::client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session};
use russh::keys::{Algorithm, HashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Channel, Preferred, cipher, compression};
use wire::text::{one_line, shell_word};
use wire::{Code, Fault};

use super::patience::Timed;
use crate::ssh::connect::{Note, Told};
use crate::ssh::known_hosts::{self, KnownHosts, Place, Verdict};
use crate::ssh::person::{NewHostKey, Person};
use crate::ssh::resolved::{Resolved, Unknown, Way};

/// Lines that a server may say before it lets anybody in, in all its banners.
const MAX_BANNER_LINES: usize = 40;
/// Bytes of a line of it.
const MAX_BANNER_LINE_BYTES: usize = 400;

/// Why a connection ended before it was one.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The protocol, or what is below it.
    #[error(transparent)]
    Ssh(#[from] russh::Error),
    /// Its host key.
    #[error(transparent)]
    Refused(Box<Fault>),
}

/// What a connection has learned of its server.
#[derive(Debug, Default)]
pub struct Learned {
    /// The fingerprint of its host key, once that was accepted.
    pub host_key: OnceLock<String>,
    /// Why the connection ended, in the server's words or ours.
    pub end: OnceLock<String>,
}

/// The checks of one connection.
pub struct Host {
    /// How it is called in messages: `user@host:port`.
    pub name: String,
    /// What counts for the connection.
    pub resolved: Arc<Resolved>,
    /// Its recorded keys.
    pub known: Arc<KnownHosts>,
    /// Who is asked.
    pub person: Arc<Timed>,
    /// Where a banner goes.
    pub told: Told,
    /// What it learns.
    pub learned: Arc<Learned>,
    /// What was said before.
    pub banners: Banners,
}

/// What a server says before it lets anybody in; it may say that as often as it likes.
#[derive(Debug, Default)]
pub struct Banners {
    /// Lines so far.
    lines: usize,
}

impl Banners {
    /// The lines of one more banner that are shown, each printable.
    fn of<'a>(&mut self, banner: &'a str) -> impl Iterator<Item = String> + use<'a> {
        let left = MAX_BANNER_LINES.saturating_sub(self.lines);
        self.lines = MAX_BANNER_LINES.min(self.lines + banner.lines().take(left).count());
        let line = |line: &str| one_line(line.trim_end(), MAX_BANNER_LINE_BYTES);
        banner.lines().take(left).map(line)
    }
}

impl Host {
    async fn check(&self, shown: &PublicKeyOrCertificate) -> Result<(), Fault> {
        let key = shown.public_key();
        let (verdict, refused) = match shown.certificate() {
            Some(certificate) => {
                let verdict = self.known.check_certificate(certificate, SystemTime::now());
                (verdict.verdict, verdict.refused)
            }
            None => (self.known.check(&key), None),
        };
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let outcome = match verdict {
            Verdict::Known => Ok(()),
            Verdict::Changed(place) => Err(self.changed(&fingerprint, &place)),
            Verdict::Revoked(place) => Err(self.revoked(&fingerprint, &place)),
            Verdict::Unknown => self.unknown(&key, &fingerprint).await,
        };
        let outcome = outcome.map_err(|fault| match refused {
            Some(why) => fault.cause(format!("it came with a certificate, but {why}")),
            None => fault,
        });
        match &outcome {
            Ok(()) => tracing::info!(host = self.name, fingerprint, "host key accepted"),
            Err(fault) => tracing::warn!(
                host = self.name,
                fingerprint,
                code = fault.code.as_str(),
                "host key refused"
            ),
        }
        let _ = self.learned.host_key.set(fingerprint);
        outcome
    }

    async fn unknown(&self, key: &PublicKey, fingerprint: &str) -> Result<(), Fault> {
        let recorded = self.known.host().recorded();
        let algorithm = key.algorithm().as_str().to_owned();
        let is_trusted = match self.resolved.unknown {
            Unknown::Accept => true,
            Unknown::Refuse => false,
            Unknown::Ask => {
                let question = NewHostKey {
                    host: recorded.clone(),
                    algorithm: algorithm.clone(),
                    fingerprint: fingerprint.to_owned(),
                };
                self.person.trusts(&question).await
            }
        };
        if !is_trusted {
            let message = format!("{}: the host key of {recorded} is not known", self.name);
            return Err(Fault::new(Code::HostKeyUnknown, message)
                .cause(format!("it shows {algorithm} {fingerprint}"))
                .detail("fingerprint", fingerprint)
                .detail("algorithm", algorithm)
                .hint(self.openssh()));
        }
        let Some(file) = self.resolved.known_hosts.first() else { return Ok(()) };
        let (host, hashed) = (self.known.host(), self.resolved.hash_known_hosts);
        if let Err(error) = known_hosts::record(file, host, key, hashed) {
            // As with OpenSSH, a home that cannot be written to is no reason to stay out.
            let path = file.display();
            let text = format!("{path}: the host key of {recorded} cannot be recorded: {error}");
            (self.told)(Note::Warning(&one_line(&text, MAX_BANNER_LINE_BYTES)));
        }
        Ok(())
    }

    fn changed(&self, fingerprint: &str, place: &Place) -> Fault {
        let (file, line) = (place.file.display(), place.line);
        let recorded = self.known.host().recorded();
        let message = format!("{}: the host key of {recorded} is not the recorded one", self.name);
        let word = shell_word(&place.file.to_string_lossy());
        Fault::new(Code::HostKeyChanged, message)
            .cause(format!("it shows {fingerprint}"))
            .cause(format!(
                "{file} has {} {} in line {line}",
                one_line(&place.algorithm, 64),
                place.fingerprint
            ))
            .cause("either its system was installed anew, or somebody is in between")
            .detail("fingerprint", fingerprint)
            .detail("recorded", place.fingerprint.as_str())
            .detail("file", place.file.to_string_lossy().into_owned())
            .detail("line", line)
            .hint(format!("ssh-keygen -R {} -f {word}", shell_word(&recorded)))
    }

    fn revoked(&self, fingerprint: &str, place: &Place) -> Fault {
        let message = format!("{}: the host key {fingerprint} was revoked", self.name);
        let word = shell_word(&place.file.to_string_lossy());
        Fault::new(Code::HostKeyChanged, message)
            .cause(format!("{} says so in line {}", place.file.display(), place.line))
            .detail("fingerprint", fingerprint)
            .detail("file", place.file.to_string_lossy().into_owned())
            .detail("line", place.line)
            .hint(format!("sed -n {}p -- {word}", place.line))
    }

    /// The same connection by OpenSSH, which asks as well.
    fn openssh(&self) -> String {
        openssh(&self.resolved, "")
    }
}

/// The command that makes the same connection by hand.
pub fn openssh(to: &Resolved, option: &str) -> String {
    let address = shell_word(&format!("{}@{}", to.user, to.host));
    let way = match &to.way {
        Way::Direct => String::new(),
        Way::Jumps(jumps) => {
            let jumps: Vec<String> = jumps.iter().map(ToString::to_string).collect();
            format!("-J {} ", shell_word(&jumps.join(",")))
        }
        Way::Command(command) => format!("-o {} ", shell_word(&format!("ProxyCommand={command}"))),
    };
    format!("ssh {option}{way}-p {} {address}", to.port)
}

impl Handler for Host {
    type Error = Broken;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Broken> {
        match self.check(key).await {
            Ok(()) => Ok(true),
            Err(fault) => Err(Broken::Refused(Box::new(fault))),
        }
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut Session) -> Result<(), Broken> {
        for line in self.banners.of(banner) {
            (self.told)(Note::Banner { from: &self.name, line: &line });
        }
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Broken>) -> Result<(), Broken> {
        let why = match &reason {
            DisconnectReason::ReceivedDisconnect(info) => info.message.clone(),
            DisconnectReason::Error(error) => error.to_string(),
        };
        let why = one_line(&why, MAX_BANNER_LINE_BYTES);
        tracing::info!(host = self.name, why, "disconnected");
        let _ = self.learned.end.set(why);
        Ok(())
    }

    // What is not accepted is refused when its handle is dropped.

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Broken> {
        Ok(())
    }
}

/// What is offered to a server, most wanted first. A host key of a recorded algorithm comes before
/// all others: a known host must never look unknown because it has several keys.
pub fn preferred(known: &KnownHosts) -> Preferred {
    /// AES is done by the processor nearly everywhere; `ChaCha20` is for where it is not.
    const CIPHERS: &[cipher::Name] = &[
        cipher::AES_256_GCM,
        cipher::AES_128_GCM,
        cipher::CHACHA20_POLY1305,
        cipher::AES_256_CTR,
        cipher::AES_192_CTR,
        cipher::AES_128_CTR,
    ];
    let keys = key_algorithms(&known.algorithms());
    let certificates = if known.has_authority() { key_algorithms(&[]) } else { Vec::new() };
    Preferred {
        key: Cow::Owned(keys),
        host_key_certificates: Cow::Owned(certificates),
        cipher: Cow::Borrowed(CIPHERS),
        compression: Cow::Borrowed(&[compression::NONE]),
        ..Preferred::DEFAULT
    }
}

/// Every algorithm of host keys that is accepted, those of `recorded` first. Signatures with SHA-1
/// (`ssh-rsa`) are not.
fn key_algorithms(recorded: &[Algorithm]) -> Vec<Algorithm> {
    let is_sound = |algorithm: &&Algorithm| !matches!(algorithm, Algorithm::Rsa { hash: None });
    let all: Vec<_> = Preferred::DEFAULT.key.iter().filter(is_sound).cloned().collect();
    let is_rsa = |one: &Algorithm| matches!(one, Algorithm::Rsa { .. });
    let same = |a: &Algorithm, b: &Algorithm| a == b || (is_rsa(a) && is_rsa(b));
    let first = recorded.iter().flat_map(|one| all.iter().filter(move |other| same(one, other)));
    let mut ordered: Vec<Algorithm> = Vec::with_capacity(all.len());
    for algorithm in first.chain(&all) {
        if !ordered.contains(algorithm) {
            ordered.push(algorithm.clone());
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_never_stops_to_talk_is_heard_for_so_many_lines() {
        let mut banners = Banners::default();
        assert_eq!(banners.of("Hello\u{1b}[2J\r\nyou").collect::<Vec<_>>(), ["Hello [2J", "you"]);
        let flood = "again\n".repeat(MAX_BANNER_LINES);
        assert_eq!(banners.of(&flood).count(), MAX_BANNER_LINES - 2);
        assert_eq!(banners.of("and again").count(), 0);
    }

    #[test]
    fn recorded_algorithms_come_first_and_sha1_never() {
        let names = |algorithms: Vec<Algorithm>| -> Vec<String> {
            algorithms.iter().map(|one| one.as_str().to_owned()).collect()
        };
        assert_eq!(names(key_algorithms(&[]))[0], "ssh-ed25519");
        let ordered = names(key_algorithms(&[Algorithm::Rsa { hash: None }]));
        assert_eq!(ordered[..3], ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]);
        assert!(!ordered.contains(&"ssh-rsa".to_owned()));
        assert_eq!(ordered.len(), names(key_algorithms(&[])).len(), "each once");
    }
}
