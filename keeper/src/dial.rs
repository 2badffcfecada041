//! How this person reaches hives: which SSH client, what their configuration says, who is asked.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wire::{BuildId, HiveName, Timings, text};

use crate::bootstrap::stock::Stock;
use crate::bootstrap::{Step, Witness};
use crate::config::{HiveSettings, SshClient};
use crate::environment::{Directories, Environment};
use crate::link::loan::borrower::Borrowing;
use crate::link::loan::{self, Terms};
use crate::link::remote::{Connector, Remote};
use crate::ssh::auth::keyring::Keyring;
use crate::ssh::client::patience::{Clock, Deadline, Timed};
use crate::ssh::config::{Around, resolve};
use crate::ssh::connect::{Caller, Note, Told, connect};
use crate::ssh::person::Person;
use crate::ssh::resolved::Unknown;
use crate::ssh::system;
use crate::ssh::terminal::Terminal;

/// Bytes of what happens on the way that are told.
const MAX_NOTE_BYTES: usize = 512;

/// Reaches hives. What a person typed for one connection is known to all.
#[derive(Clone)]
pub struct Dialer {
    client: SshClient,
    around: Around,
    may_ask: bool,
    person: Arc<dyn Person>,
    clock: Clock,
    keyring: Arc<Keyring>,
    timings: Timings,
    dirs: Directories,
    stock: Arc<Stock>,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The keyring has secrets.
        f.debug_struct("Dialer").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Dialer {
    /// For this environment, with the client that the configuration names.
    pub fn new(
        environment: &Environment,
        client: SshClient,
        timings: &Timings,
        build: BuildId,
    ) -> Self {
        let clock = Clock::default();
        Self {
            client,
            around: environment.ssh.clone(),
            may_ask: environment.terminals.stderr,
            person: Arc::new(Timed::new(Arc::new(Terminal::default()), clock.clone())),
            clock,
            keyring: Arc::new(Keyring::default()),
            timings: timings.clone(),
            dirs: environment.dirs.clone(),
            stock: Arc::new(Stock::new(environment.dirs.data.clone(), build)),
        }
    }

    /// Asks `person` instead of the terminal, which somebody else draws on. The person's own `ssh`
    /// cannot ask then.
    #[must_use]
    pub fn asking(&self, person: Arc<dyn Person>) -> Self {
        let person = Arc::new(Timed::new(person, self.clock.clone()));
        Self { person, may_ask: false, ..self.clone() }
    }

    /// A bound that begins now; the time that a person needs to answer is left out.
    pub fn deadline(&self, limit: Duration) -> Deadline {
        Deadline::new(self.clock.clone(), limit)
    }

    /// The way to `hive`. With `accept_new` a host key that nobody recorded is recorded without a
    /// question. `witness` sees what happens.
    pub fn remote(
        &self,
        hive: &HiveName,
        settings: &HiveSettings,
        accept_new: bool,
        witness: Arc<dyn Witness>,
    ) -> Remote {
        let caller = self.caller(hive, &witness);
        let connector = match self.client {
            SshClient::Builtin => self.builtin(settings, accept_new, caller),
            SshClient::System => self.system(settings, accept_new, caller),
        };
        let place = (&self.dirs, self.stock.clone());
        let remote = Remote::new(hive.clone(), place, &self.timings, connector, witness);
        remote.living(settings.lifetime).on(Terms::of(&(self.client, settings)))
    }

    /// As [`Self::remote`], over the connection of a program that lends it, where there is one.
    pub fn borrowing(
        &self,
        hive: &HiveName,
        settings: &HiveSettings,
        witness: Arc<dyn Witness>,
    ) -> Borrowing {
        let own = self.remote(hive, settings, false, witness);
        let from = loan::socket(Path::new(&self.dirs.runtime));
        Borrowing::new(own, from, self.stock.build().clone())
    }

    fn builtin(&self, settings: &HiveSettings, accept_new: bool, caller: Caller) -> Connector {
        let (around, settings) = (self.around.clone(), settings.clone());
        Arc::new(move || {
            let (around, settings, caller) = (around.clone(), settings.clone(), caller.clone());
            Box::pin(async move {
                let identity = settings.identity.as_deref();
                let mut to = resolve(&around, &settings.address, identity, &settings.jump).await?;
                if accept_new {
                    to.unknown = Unknown::Accept;
                }
                connect(&to, &caller).await
            })
        })
    }

    fn system(&self, settings: &HiveSettings, accept_new: bool, caller: Caller) -> Connector {
        let target = system::Target {
            address: settings.address.clone(),
            identity: settings.identity.clone(),
            jump: settings.jump.clone(),
            accept_new,
            may_ask: self.may_ask,
        };
        let around = self.around.clone();
        Arc::new(move || {
            let session = system::connect(&target, &around, &caller);
            Box::pin(std::future::ready(session))
        })
    }

    fn caller(&self, hive: &HiveName, witness: &Arc<dyn Witness>) -> Caller {
        let around = self.around.clone();
        Caller {
            person: self.person.clone(),
            keyring: self.keyring.clone(),
            resolve: Arc::new(move |address| {
                let around = around.clone();
                Box::pin(async move { resolve(&around, &address, None, &[]).await })
            }),
            timings: self.timings.clone(),
            told: told(hive.clone(), witness.clone()),
        }
    }
}

/// Passes on what happens while a connection is made, each as one clean line.
fn told(hive: HiveName, witness: Arc<dyn Witness>) -> Told {
    Arc::new(move |note| {
        let words = match note {
            Note::Attempt { after: None, .. } => return,
            Note::Attempt { number, of, after: Some(why), .. } => {
                format!("attempt {number} of {of}: {}", why.message)
            }
            Note::Banner { from, line } => format!("{from}: {line}"),
            Note::Warning(words) => words.to_owned(),
        };
        witness.sees(&hive, &Step::Note(text::one_line(&words, MAX_NOTE_BYTES)));
    })
}
