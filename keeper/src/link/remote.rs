//! The hive at the other end of an SSH connection.

mod known;
mod spare;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use wire::settings::Lifetime;
use wire::{BuildId, Code, Fault, HiveName, Timings};

use super::loan::Terms;
use super::{Opened, Transport};
use crate::bootstrap::attach::{self, Wanted};
use crate::bootstrap::logs::{self, Kind, Logs};
use crate::bootstrap::probe::{self, Place, Seen};
use crate::bootstrap::purge::{self, Purged};
use crate::bootstrap::script::{Running, Waiting};
use crate::bootstrap::start;
use crate::bootstrap::stock::Stock;
use crate::bootstrap::upload::{self, Destination, Order};
use crate::bootstrap::{Host, SHARED, Step, Witness, bundle, line, payload};
use crate::environment::Directories;
use crate::ssh::{Peer, Session};
use known::Known;
use spare::Spare;

/// Makes one authenticated connection.
pub type Connector =
    Arc<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn Session>, Fault>> + Send + Sync>;

/// The transport over SSH.
pub struct Remote {
    hive: HiveName,
    state: PathBuf,
    stock: Arc<Stock>,
    build: BuildId,
    agent_start: Duration,
    silence: Duration,
    shared: String,
    lifetime: Lifetime,
    terms: Terms,
    connector: Connector,
    witness: Arc<dyn Witness>,
    /// The connection, once there is one, and its shell that waits for a script.
    session: Mutex<Option<(Arc<dyn Session>, Waiting)>>,
}

/// A build that is installed on a hive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledBuild {
    /// What it was built from.
    pub build: BuildId,
    /// What it was compiled for.
    pub target: String,
    /// Where rbee lives there.
    pub place: Place,
    /// Whether it had to be sent.
    pub was_sent: bool,
    digest: String,
}

/// How a build gets there.
#[derive(Debug, Clone, Copy)]
struct How {
    /// Also when it is there.
    force: bool,
    /// Whether the script that brings it starts its agent.
    starts: bool,
}

impl Remote {
    /// The way to `hive` over connections that `connector` makes.
    pub fn new(
        hive: HiveName,
        (dirs, stock): (&Directories, Arc<Stock>),
        timings: &Timings,
        connector: Connector,
        witness: Arc<dyn Witness>,
    ) -> Self {
        Self {
            hive,
            state: dirs.state.clone(),
            build: stock.build().clone(),
            stock,
            agent_start: timings.agent_start,
            silence: timings.dead,
            shared: SHARED.to_owned(),
            lifetime: Lifetime::Persistent,
            terms: Terms::default(),
            connector,
            witness,
            session: Mutex::new(None),
        }
    }

    /// With another directory than [`SHARED`] for what a home does not take.
    #[must_use]
    pub fn beside(mut self, shared: &str) -> Self {
        shared.clone_into(&mut self.shared);
        self
    }

    /// An agent that is started there lives as long as `lifetime` says.
    #[must_use]
    pub fn living(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Reached on these terms, for those who borrow and lend connections.
    #[must_use]
    pub fn on(mut self, terms: Terms) -> Self {
        self.terms = terms;
        self
    }

    /// How the hive is reached.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Whether a connection is open, and nobody is at making one.
    pub fn is_connected(&self) -> bool {
        let open = self.session.try_lock();
        open.is_ok_and(|open| open.as_ref().is_some_and(|(session, _)| !session.is_closed()))
    }

    /// What is known of the other side of the connection.
    ///
    /// # Errors
    /// Those of connecting.
    pub async fn peer(&self) -> Result<Peer, Fault> {
        Ok(self.host().await?.session.peer().clone())
    }

    /// Asks the machine what it is.
    ///
    /// # Errors
    /// Those of connecting and of [`probe::probe`].
    pub async fn probe(&self) -> Result<Seen, Fault> {
        probe::probe(&self.host().await?, &self.build).await
    }

    /// Installs this build where it is missing or changed; with `force` it is sent in any case.
    ///
    /// # Errors
    /// Those of connecting; `NO_BUNDLE`, `DISK_FULL`, `CHECKSUM_MISMATCH`, `AGENT_FAILED`.
    pub async fn install(&self, force: bool) -> Result<InstalledBuild, Fault> {
        self.stock.begin();
        let host = self.host().await?;
        let seen = probe::probe(&host, &self.build).await?;
        let how = How { force, starts: false };
        self.ensure(&host, &seen, how).await.map(|(installed, _)| installed)
    }

    /// Takes away everything that rbee put there, and forgets what was known of it.
    ///
    /// # Errors
    /// Those of connecting; `AGENT_FAILED` while something of it runs.
    pub async fn purge(&self) -> Result<Purged, Fault> {
        let host = self.host().await?;
        let seen = probe::probe(&host, &self.build).await?;
        let purged = purge::purge(&host, &seen).await?;
        self.forget();
        Ok(purged)
    }

    /// Forgets what is known of the hive.
    pub fn forget(&self) {
        known::forget(&self.state, &self.hive);
    }

    /// Opens a log at its last `lines`; with `follow` it goes on until it is dropped.
    ///
    /// # Errors
    /// Those of connecting; `NOT_FOUND` when there is no log yet.
    pub async fn logs(&self, kind: Kind, lines: u32, follow: bool) -> Result<Logs, Fault> {
        logs::open(&self.host().await?, kind, lines, follow).await
    }

    /// The machine and a connection to it: the one that is open, else a new one.
    ///
    /// # Errors
    /// Those of connecting.
    pub async fn host(&self) -> Result<Host, Fault> {
        let mut open = self.session.lock().await;
        let (session, waiting) = match &*open {
            Some(open) if !open.0.is_closed() => open.clone(),
            _ => {
                self.witness.sees(&self.hive, &Step::Connecting);
                let first = (self.connector)().await?;
                let session: Arc<dyn Session> = Arc::new(Spare::new(first, self.connector.clone()));
                open.insert((session, Waiting::default())).clone()
            }
        };
        Ok(Host {
            hive: self.hive.clone(),
            session,
            waiting,
            witness: self.witness.clone(),
            silence: self.silence,
            shared: self.shared.clone(),
        })
    }

    /// The installed build; the script that sent it goes on when that starts the agent.
    async fn ensure(
        &self,
        host: &Host,
        seen: &Seen,
        how: How,
    ) -> Result<(InstalledBuild, Option<Running>), Fault> {
        let bundle = bundle::choose(host, seen, self.stock.candidates().await?)?;
        let digest = self.stock.digest(host, bundle).await?;
        let (place, ground) = seen.place(host)?;
        let there = ground.program(&self.build, &bundle.target);
        let is_sound = there.is_some_and(|program| {
            [&program.real, &program.recorded].iter().all(|it| it.as_ref() == Some(&digest))
        });
        let installed = InstalledBuild {
            build: self.build.clone(),
            target: bundle.target.clone(),
            place,
            was_sent: how.force || !is_sound,
            digest,
        };
        if !installed.was_sent {
            return Ok((installed, None));
        }
        if place != Place::Home {
            let why = if place == Place::Programs { "runs no programs" } else { "is read-only" };
            let note = format!("the home directory {why}; rbee goes to {}", ground.data);
            host.sees(&Step::Note(note));
        }
        let is_packed = self.packs(host, seen, &installed).await?;
        let payload = self.stock.payload(host, bundle, &installed.digest, is_packed).await?;
        let to = installed.destination(self.lifetime);
        let order = Order { to, payload: &payload, again: how.force, starts: how.starts };
        let running = upload::upload(host, &order).await?;
        Ok((installed, how.starts.then_some(running)))
    }

    /// Whether the program is sent compressed: as the beginning of it is that is there, else when
    /// the line is slow.
    async fn packs(
        &self,
        host: &Host,
        seen: &Seen,
        installed: &InstalledBuild,
    ) -> Result<bool, Fault> {
        let (_, ground) = seen.place(host)?;
        let begun = ground.parts.iter().find(|part| part.target == installed.target);
        match begun {
            _ if !seen.gzip => Ok(false),
            Some(part) => Ok(part.name != payload::name(&installed.digest)),
            None => line::is_slow(host).await,
        }
    }

    async fn bring_up(&self, host: &Host) -> Result<(), Fault> {
        self.stock.begin();
        let seen = probe::probe(host, &self.build).await?;
        let mut how = How { force: false, starts: true };
        let (mut installed, sent) = self.ensure(host, &seen, how).await?;
        let mut started = self.started(host, &seen, &installed, sent).await;
        if started.as_ref().is_err_and(|fault| fault.code == Code::ChecksumMismatch) {
            host.sees(&Step::Note("the installed program was changed; it is replaced".to_owned()));
            how.force = true;
            let (again, sent) = self.ensure(host, &seen, how).await?;
            started = self.started(host, &seen, &again, sent).await;
            installed = again;
        }
        let started = started?;
        if started.hello.build != self.build {
            let build = started.hello.build;
            host.sees(&Step::Note(format!("an agent of build {build} runs already; it is used")));
        }
        let known = Known { socket: started.socket, target: installed.target, forwards: true };
        known::remember(&self.state, &self.hive, &known);
        Ok(())
    }

    /// The agent, as the script says that sent its program, else as one says that starts it.
    async fn started(
        &self,
        host: &Host,
        seen: &Seen,
        installed: &InstalledBuild,
        sent: Option<Running>,
    ) -> Result<wire::hello::Started, Fault> {
        let digest = &installed.digest;
        let running = if let Some(running) = sent {
            running
        } else {
            let from = installed.destination(self.lifetime);
            start::start(host, &from, digest).await?
        };
        start::answered(running, seen, digest, self.agent_start).await
    }

    /// The agent's stream by the socket that it was at last time.
    async fn direct(&self, host: &Host, known: Option<&Known>) -> Option<Opened> {
        let path = known?.direct()?;
        let opening = tokio::time::timeout(self.silence, host.session.socket(path));
        let stream = opening.await.ok()?.ok()?;
        Some(Opened { stream, agent_pid: None })
    }
}

impl InstalledBuild {
    fn destination(&self, lifetime: Lifetime) -> Destination<'_> {
        Destination { place: self.place, build: &self.build, target: &self.target, lifetime }
    }
}

impl Transport for Remote {
    fn hive(&self) -> &HiveName {
        &self.hive
    }

    async fn open(&self) -> Result<Option<Opened>, Fault> {
        let host = self.host().await?;
        let known = known::recall(&self.state, &self.hive);
        if let Some(opened) = self.direct(&host, known.as_ref()).await {
            host.sees(&Step::Online);
            return Ok(Some(opened));
        }
        let target = known.as_ref().map(|known| known.target.as_str());
        let wanted = Wanted { build: &self.build, target };
        let Some((stream, attached)) = attach::attach(&host, wanted).await? else {
            return Ok(None);
        };
        let target = known.as_ref().map(|known| known.target.clone()).unwrap_or_default();
        // A socket that answers the bridge and nobody else: this server forwards to none.
        let forwards = known.as_ref().is_none_or(|known| known.socket != attached.socket);
        let now = Known { socket: attached.socket, target, forwards };
        if known.as_ref() != Some(&now) {
            known::remember(&self.state, &self.hive, &now);
        }
        host.sees(&Step::Online);
        Ok(Some(Opened { stream, agent_pid: attached.pid }))
    }

    async fn start(&self) -> Result<(), Fault> {
        let host = self.host().await?;
        self.bring_up(&host).await
    }

    async fn has_orphans(&self) -> Result<bool, Fault> {
        attach::has_orphans(&self.host().await?).await
    }

    /// The server does not say who listens on a socket; the bridge does.
    async fn holder(&self) -> Result<Option<i32>, Fault> {
        let known = known::recall(&self.state, &self.hive);
        let target = known.as_ref().map(|known| known.target.as_str());
        let wanted = Wanted { build: &self.build, target };
        let attached = attach::attach(&self.host().await?, wanted).await?;
        Ok(attached.and_then(|(_, attached)| attached.pid))
    }

    async fn kill_agent(&self, pid: i32) -> Result<(), Fault> {
        let known = known::recall(&self.state, &self.hive);
        let target = known.as_ref().map(|known| known.target.as_str());
        attach::kill(&self.host().await?, Wanted { build: &self.build, target }, pid).await
    }

    async fn ended(&self, pid: u32) -> Result<(), Fault> {
        attach::ended(&self.host().await?, pid).await
    }

    async fn renew(&self) {
        self.session.lock().await.take();
    }
}
