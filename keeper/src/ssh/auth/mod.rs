//! Proving to a server who the person is: every method that it offers and the person allows, in the
//! person's order.

pub mod identities;
pub mod keyring;
mod report;
mod signer;

use std::sync::Arc;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse, Prompt};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, HashAlg, PublicKey};
use russh::{MethodKind, MethodSet};
use tokio::net::UnixStream;
use wire::Fault;
use wire::text::one_line;

use self::identities::{By, Identities, Offer, offers};
use self::keyring::Keyring;
use self::report::Report;
use self::signer::{SignError, Signer, Unlocker};
use crate::ssh::client::host::Host;
use crate::ssh::client::patience::{Clock, Timed};
use crate::ssh::person::Person;
use crate::ssh::resolved::{Agent, Resolved};

/// Failures after which a server usually ends the connection (`MaxAuthTries` of sshd(8)). The last
/// one is kept for what a person types; identities alone go on until the server has enough.
const USUAL_TRIES: usize = 6;
/// How often a password may be mistyped, as with OpenSSH.
const MAX_PASSWORDS: usize = 3;
/// Questions of a server in one go of `keyboard-interactive`, and rounds of them.
const MAX_QUESTIONS: usize = 16;
/// Bytes of a question that are shown.
const MAX_QUESTION_BYTES: usize = 256;
/// Methods that a server may ask for one after the other.
const MAX_STEPS: usize = 8;

/// What a person has to show, and where.
pub struct Login<'a> {
    /// The connection.
    pub to: &'a Resolved,
    /// Their key files.
    pub identities: &'a Identities,
    /// What they typed before.
    pub keyring: &'a Keyring,
    /// The person.
    pub person: &'a Timed,
    /// Stands still while they, or their agent, think.
    pub clock: &'a Clock,
    /// How the connection is called in messages: `user@host:port`.
    pub name: &'a str,
}

/// Why a server did not let the person in.
#[derive(Debug)]
pub enum Denied {
    /// The connection ended; so many tries had failed before.
    Lost {
        /// Failed tries.
        failures: usize,
        /// What to say if that was why.
        fault: Fault,
    },
    /// It does not accept them.
    Refused(Fault),
}

/// What came of one method.
enum Outcome {
    /// The person is in; by what.
    Accepted(String),
    /// That was right, and something else is asked for.
    Partial(MethodSet),
    /// That was all there is of this method.
    Exhausted,
}

/// The state of one login.
struct Attempt<'a> {
    login: &'a Login<'a>,
    handle: &'a mut Handle<Host>,
    agent: Option<AgentClient<UnixStream>>,
    held: Vec<AgentIdentity>,
    /// What was not asked about yet, last first.
    left: Vec<Offer>,
    passwords: usize,
    report: Report,
}

/// Asks the server to accept the person; what it accepted, for a person.
///
/// # Errors
/// When nothing is accepted, or the connection ends.
pub async fn authenticate(login: &Login<'_>, handle: &mut Handle<Host>) -> Result<String, Denied> {
    let mut report = Report::default();
    let (agent, held) = open_agent(login, handle, &mut report).await;
    let mut left = offers(login.identities, &held, login.to.identities_only);
    left.reverse();
    let mut attempt = Attempt { login, handle, agent, held, left, passwords: 0, report };
    match attempt.run().await {
        Ok(accepted) => {
            tracing::info!(host = login.name, accepted, "accepted by the server");
            Ok(accepted)
        }
        Err(Stopped::Lost) => {
            let (failures, fault) = (attempt.report.failures, attempt.report.too_many(login));
            Err(Denied::Lost { failures, fault })
        }
        Err(Stopped::Refused) => {
            tracing::warn!(host = login.name, tried = ?attempt.report.tried, "not accepted");
            Err(Denied::Refused(attempt.report.refused(login)))
        }
    }
}

/// Why a login stopped.
enum Stopped {
    Lost,
    Refused,
}

impl Attempt<'_> {
    async fn run(&mut self) -> Result<String, Stopped> {
        let user = self.login.to.user.clone();
        let mut allowed = match self.handle.authenticate_none(user).await {
            Ok(AuthResult::Success) => return Ok("none".to_owned()),
            Ok(AuthResult::Failure { remaining_methods, .. }) => remaining_methods,
            Err(_) => return Err(Stopped::Lost),
        };
        for _ in 0..MAX_STEPS {
            self.check_connection()?;
            self.report.offered = allowed.iter().map(String::from).collect();
            match self.step(&allowed).await? {
                Outcome::Accepted(how) => return Ok(how),
                Outcome::Partial(next) => allowed = next,
                Outcome::Exhausted => break,
            }
        }
        Err(Stopped::Refused)
    }

    /// The connection may end at any refusal; the client sees a refusal without methods then.
    fn check_connection(&self) -> Result<(), Stopped> {
        if self.handle.is_closed() { Err(Stopped::Lost) } else { Ok(()) }
    }

    /// Tries the methods until one is right.
    async fn step(&mut self, allowed: &MethodSet) -> Result<Outcome, Stopped> {
        let login = self.login;
        for method in &login.to.methods {
            let kind = match method.as_str() {
                "publickey" => MethodKind::PublicKey,
                "keyboard-interactive" => MethodKind::KeyboardInteractive,
                "password" => MethodKind::Password,
                _ => continue,
            };
            if !allowed.contains(&kind) {
                continue;
            }
            let can_type = allowed.iter().any(|other| {
                matches!(other, MethodKind::Password | MethodKind::KeyboardInteractive)
                    && login.to.methods.iter().any(|mine| *mine == <&str>::from(other))
            });
            let outcome = match kind {
                MethodKind::PublicKey => self.by_keys(can_type).await?,
                MethodKind::Password => self.by_password().await?,
                _ => self.by_questions().await?,
            };
            if !matches!(outcome, Outcome::Exhausted) {
                return Ok(outcome);
            }
            self.check_connection()?;
        }
        Ok(Outcome::Exhausted)
    }

    /// Offers one identity after the other.
    async fn by_keys(&mut self, can_type: bool) -> Result<Outcome, Stopped> {
        while let Some(offer) = self.left.pop() {
            if can_type && self.report.failures + 1 >= USUAL_TRIES {
                self.report.withheld = self.left.len() + 1;
                self.left.clear();
                break;
            }
            let label = offer.label(&self.login.identities.files);
            match self.offer(&offer).await {
                Ok(AuthResult::Success) => {
                    return Ok(Outcome::Accepted(format!("publickey {label}")));
                }
                Ok(AuthResult::Failure { partial_success: true, remaining_methods }) => {
                    return Ok(Outcome::Partial(remaining_methods));
                }
                Ok(AuthResult::Failure { .. }) => {
                    self.report.failed(format!("publickey {label}"));
                    self.check_connection()?;
                }
                Err(SignError::Refused(why)) => self.report.skipped(&label, &why),
                Err(SignError::Lost(_)) => return Err(Stopped::Lost),
            }
        }
        Ok(Outcome::Exhausted)
    }

    async fn offer(&mut self, offer: &Offer) -> Result<AuthResult, SignError> {
        let login = self.login;
        let unlocker = Unlocker { keyring: login.keyring, person: login.person };
        let gone = || SignError::Refused("it is gone".into());
        let (public, mut signer) = match offer.by {
            By::Agent(number) => {
                let identity = self.held.get(number).ok_or_else(gone)?;
                let agent = self.agent.as_mut().ok_or_else(gone)?;
                let public = identity.public_key().into_owned();
                (public, Signer::Agent { agent, identity, clock: login.clock })
            }
            By::File(number) => {
                let file = login.identities.files.get(number).ok_or_else(gone)?;
                let public = match &offer.public {
                    Some(public) => public.clone(),
                    None => unlocker.unlock(file).await?.public_key().clone(),
                };
                (public, Signer::File { file, unlocker })
            }
        };
        let hash = rsa_hash(self.handle, &public).await;
        let user = login.to.user.as_str();
        match &offer.certificate {
            Some(certificate) => {
                let certificate = (**certificate).clone();
                self.handle
                    .authenticate_certificate_with(user, certificate, hash, &mut signer)
                    .await
            }
            None => self.handle.authenticate_publickey_with(user, public, hash, &mut signer).await,
        }
    }

    async fn by_password(&mut self) -> Result<Outcome, Stopped> {
        let (login, to) = (self.login, self.login.to);
        let mut known = login.keyring.password(login.name);
        while self.passwords < MAX_PASSWORDS {
            let password = if let Some(password) = known.take() {
                password
            } else {
                let prompt = format!("Password of {}: ", account(to));
                let Some(password) = login.person.answers(&prompt, false).await else {
                    self.report.skipped("password", "nobody typed it");
                    return Err(Stopped::Refused);
                };
                self.passwords += 1;
                Arc::new(password)
            };
            let result = self.handle.authenticate_password(&to.user, password.as_str()).await;
            match result {
                Ok(AuthResult::Success) => {
                    login.keyring.remember_password(login.name, Some(password));
                    return Ok(Outcome::Accepted("password".to_owned()));
                }
                Ok(AuthResult::Failure { partial_success: true, remaining_methods }) => {
                    return Ok(Outcome::Partial(remaining_methods));
                }
                Ok(AuthResult::Failure { .. }) => {
                    login.keyring.remember_password(login.name, None);
                    self.report.failed("password".to_owned());
                    self.check_connection()?;
                }
                Err(_) => return Err(Stopped::Lost),
            }
        }
        Ok(Outcome::Exhausted)
    }

    /// Passes the server's questions on (RFC 4256).
    async fn by_questions(&mut self) -> Result<Outcome, Stopped> {
        while self.passwords < MAX_PASSWORDS {
            self.passwords += 1;
            let user = self.login.to.user.as_str();
            let begun = self.handle.authenticate_keyboard_interactive_start(user, None).await;
            let mut answer = begun.map_err(|_| Stopped::Lost)?;
            let mut rounds = 0;
            let mut was_asked = false;
            loop {
                match answer {
                    KeyboardInteractiveAuthResponse::Success => {
                        return Ok(Outcome::Accepted("keyboard-interactive".to_owned()));
                    }
                    KeyboardInteractiveAuthResponse::Failure {
                        partial_success: true,
                        remaining_methods,
                    } => return Ok(Outcome::Partial(remaining_methods)),
                    KeyboardInteractiveAuthResponse::Failure { .. } => break,
                    KeyboardInteractiveAuthResponse::InfoRequest {
                        name,
                        instructions,
                        prompts,
                    } => {
                        rounds += 1;
                        if rounds > MAX_QUESTIONS || prompts.len() > MAX_QUESTIONS {
                            self.report.skipped("keyboard-interactive", "it asks too much");
                            return Err(Stopped::Refused);
                        }
                        was_asked |= !prompts.is_empty();
                        let answers = self.ask(&name, &instructions, &prompts).await?;
                        let sent =
                            self.handle.authenticate_keyboard_interactive_respond(answers).await;
                        answer = sent.map_err(|_| Stopped::Lost)?;
                    }
                }
            }
            self.report.failed("keyboard-interactive".to_owned());
            self.check_connection()?;
            // A server that fails without a question would only fail again.
            if !was_asked {
                break;
            }
        }
        Ok(Outcome::Exhausted)
    }

    /// The answers to one round of questions. A server cannot be told that there are none: whoever
    /// gives up ends the login.
    async fn ask(
        &mut self,
        name: &str,
        instructions: &str,
        prompts: &[Prompt],
    ) -> Result<Vec<String>, Stopped> {
        let login = self.login;
        let mut before = String::new();
        for text in [name, instructions] {
            let text = one_line(text.trim(), MAX_QUESTION_BYTES);
            if !text.is_empty() {
                before = format!("{before}{text} ");
            }
        }
        let mut answers = Vec::with_capacity(prompts.len());
        for Prompt { prompt, echo } in prompts {
            let question = one_line(prompt, MAX_QUESTION_BYTES);
            let question = format!("({}) {before}{question}", account(login.to));
            let Some(answer) = login.person.answers(&question, *echo).await else {
                self.report.skipped("keyboard-interactive", "nobody answered");
                return Err(Stopped::Refused);
            };
            answers.push(answer.as_str().to_owned());
            before.clear();
        }
        Ok(answers)
    }
}

/// `user@host`, as a person knows it.
fn account(to: &Resolved) -> String {
    one_line(&format!("{}@{}", to.user, to.host), MAX_QUESTION_BYTES)
}

/// The hash for an RSA key: the best one that the server names, and the one that most know where it
/// names none. Other keys have theirs.
async fn rsa_hash(handle: &Handle<Host>, key: &PublicKey) -> Option<HashAlg> {
    let Algorithm::Rsa { .. } = key.algorithm() else { return None };
    match handle.best_supported_rsa_hash().await {
        Ok(Some(named)) => named,
        _ => Some(HashAlg::Sha256),
    }
}

/// The agent and its identities; without them where there is none.
async fn open_agent(
    login: &Login<'_>,
    handle: &Handle<Host>,
    report: &mut Report,
) -> (Option<AgentClient<UnixStream>>, Vec<AgentIdentity>) {
    let Agent::Socket(path) = &login.to.agent else { return (None, Vec::new()) };
    let mut agent = match AgentClient::connect_uds(path).await {
        Ok(agent) => agent,
        Err(error) => {
            report.agent = Some(one_line(&format!("ssh-agent does not answer: {error}"), 200));
            return (None, Vec::new());
        }
    };
    if let Some(binding) = handle.agent_session_binding() {
        // An agent that does not know it has no identities that are bound to a host.
        let _ = agent.bind_session(binding, false).await;
    }
    match agent.request_identities().await {
        Ok(held) => {
            if held.is_empty() {
                report.agent = Some("ssh-agent holds no identity".to_owned());
            }
            (Some(agent), held)
        }
        Err(error) => {
            report.agent = Some(one_line(&format!("ssh-agent names no identity: {error}"), 200));
            (None, Vec::new())
        }
    }
}
