//! What to tell a person whom a server did not accept.

use wire::text::{one_line, shell_word};
use wire::{Code, Fault};

use super::Login;
use crate::ssh::client::host::openssh;
use crate::ssh::resolved::Agent;

/// Tries that are listed one by one.
const MAX_LISTED: usize = 8;
/// Methods that rbee lacks and the person's own `ssh` may have.
const FOREIGN: [&str; 2] = ["gssapi-with-mic", "hostbased"];

/// What was tried, and what was not.
#[derive(Debug, Default)]
pub struct Report {
    /// What the server refused, in order.
    pub tried: Vec<String>,
    /// How often it refused.
    pub failures: usize,
    /// What could not be tried, and why.
    pub skipped: Vec<String>,
    /// What is wrong with the agent.
    pub agent: Option<String>,
    /// Methods that the server named last.
    pub offered: Vec<String>,
    /// Identities that were kept back so that a password could still be typed.
    pub withheld: usize,
}

impl Report {
    /// Notes a refusal.
    pub fn failed(&mut self, what: String) {
        self.failures += 1;
        self.tried.push(what);
    }

    /// Notes what could not be tried.
    pub fn skipped(&mut self, what: &str, why: &str) {
        self.skipped.push(one_line(&format!("{what}: {why}"), 300));
    }

    /// The server accepts nothing.
    pub fn refused(&self, login: &Login<'_>) -> Fault {
        let message = if self.tried.is_empty() {
            "there is nothing to show that the server would look at"
        } else {
            "the server accepts nothing of what was shown"
        };
        let fault = Fault::new(Code::AuthFailed, format!("{}: {message}", login.name));
        self.explain(fault, login)
    }

    /// The server ended the connection.
    pub fn too_many(&self, login: &Login<'_>) -> Fault {
        let message = format!(
            "{}: the server ended the connection after {} refused tries",
            login.name, self.failures
        );
        let mut fault = Fault::new(Code::AuthFailed, message);
        if self.tried.iter().filter(|what| what.starts_with("publickey")).count() > 1 {
            fault = fault.cause("servers look at few identities: name the right one");
        }
        self.explain(fault, login)
    }

    fn explain(&self, mut fault: Fault, login: &Login<'_>) -> Fault {
        for what in self.tried.iter().take(MAX_LISTED) {
            fault = fault.cause(format!("refused: {what}"));
        }
        if let more @ 1.. = self.tried.len().saturating_sub(MAX_LISTED) {
            fault = fault.cause(format!("refused: {more} more"));
        }
        for what in self.skipped.iter().take(3) {
            fault = fault.cause(format!("not tried: {what}"));
        }
        if self.withheld > 0 {
            fault = fault.cause(format!("not tried: {} more identities", self.withheld));
        }
        for file in &login.identities.files {
            if let Some(problem) = &file.problem {
                let path = file.path.display();
                fault = fault.cause(format!("not tried: {path}: {problem}"));
            }
        }
        if let Some(problem) = &self.agent {
            fault = fault.cause(problem);
        } else if login.to.agent == Agent::None {
            fault = fault.cause("there is no ssh-agent");
        }
        let offered = self.offered.join(", ");
        self.hints(fault.cause(format!("the server accepts: {offered}")), login)
            .detail("offered", offered)
            .detail("tried", self.tried.len())
    }

    fn hints(&self, mut fault: Fault, login: &Login<'_>) -> Fault {
        let exposed = login.identities.files.iter().filter(|file| file.is_exposed);
        for file in exposed {
            fault = fault.hint(format!("chmod 600 {}", shell_word(&file.path.to_string_lossy())));
        }
        if self.agent.is_some() || login.to.agent == Agent::None {
            fault = fault.hint("ssh-add -l");
        }
        if self.offered.iter().any(|method| FOREIGN.contains(&method.as_str())) {
            fault = fault
                .cause("rbee cannot do all of that, but ssh may")
                .hint("rbee config path  # client = \"system\" goes under [ssh] there");
        }
        fault.hint(openssh(login.to, "-v "))
    }
}
