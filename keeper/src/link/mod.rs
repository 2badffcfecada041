//! The way to a hive's agent: a byte stream from a transport, HTTP/2 over it.

pub mod client;
pub mod generation;
pub mod loan;
pub mod local;
pub mod remote;
mod signs;
pub mod streams;
pub mod voice;
pub mod watch;
pub mod way;

use std::time::{Duration, Instant};

use wire::{Code, Fault, HiveName, Timings};

use crate::ssh::Stream;
pub use client::Client;
use streams::Events;

/// Pause before a hive that is just ending is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A byte stream to an agent. It carries HTTP/2 with prior knowledge and nothing else.
pub struct Opened {
    /// The stream.
    pub stream: Stream,
    /// Process id of the agent on its own machine, where the transport knows it.
    pub agent_pid: Option<i32>,
}

/// A way to one hive that can give byte streams to its agent.
pub trait Transport: Sync {
    /// Which hive is at the other end.
    fn hive(&self) -> &HiveName;

    /// Opens a stream to the agent that runs; none when the machine answers and no agent does.
    ///
    /// # Errors
    /// `HIVE_UNREACHABLE`, `AUTH_FAILED`, `HOST_KEY_…` when the way is blocked.
    fn open(&self) -> impl Future<Output = Result<Option<Opened>, Fault>> + Send;

    /// Installs this build where it is missing and starts its agent.
    ///
    /// # Errors
    /// Those of [`Self::open`], `AGENT_FAILED` with what the agent said, `NO_BUNDLE`, `DISK_FULL`.
    fn start(&self) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Whether workers may run there without an agent: those of one that was killed.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    fn has_orphans(&self) -> impl Future<Output = Result<bool, Fault>> + Send;

    /// The process that has the agent's socket, whether it reacts or not, where anybody can tell.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    fn holder(&self) -> impl Future<Output = Result<Option<i32>, Fault>> + Send;

    /// Kills the agent `pid` there when it is an agent of this user. Its workers go on.
    ///
    /// # Errors
    /// Those of [`Self::open`], `IO_ERROR` when it is something else or could not be killed.
    fn kill_agent(&self, pid: i32) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Waits until the process `pid` there has ended; at once when there is none.
    ///
    /// # Errors
    /// Those of [`Self::open`], `IO_ERROR` when it cannot be watched.
    fn ended(&self, pid: u32) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Gives up the connection that is open, if one is: the next stream is of a new one.
    fn renew(&self) -> impl Future<Output = ()> + Send;
}

/// No agent runs on that machine.
pub fn no_agent(hive: &HiveName) -> Fault {
    let message = format!("no agent runs on {}", named(hive));
    Fault::new(Code::HiveUnreachable, message).hint(doctor(hive))
}

/// A hive in a sentence.
pub fn named(hive: &HiveName) -> String {
    if *hive == HiveName::local() { "this machine".to_owned() } else { format!("the hive {hive}") }
}

/// The command that looks at a hive.
pub fn doctor(hive: &HiveName) -> String {
    if *hive == HiveName::local() {
        "rbee doctor".to_owned()
    } else {
        format!("rbee hive doctor {hive}")
    }
}

/// Starts of an agent that are tried before its hive is given up.
const MAX_STARTS: u32 = 3;

/// Connects to a hive, starting its agent when none runs, and opens its events.
///
/// An agent that is just ending is waited out, for as long as a start may take.
///
/// # Errors
/// `AGENT_FAILED` when it does not start, `VERSION_MISMATCH` when both sides are too far apart,
/// else those of [`Transport::open`] and [`Transport::start`].
pub async fn reach<T: Transport>(way: &T, timings: &Timings) -> Result<(Client, Events), Fault> {
    let mut starts = 0;
    let mut began = Instant::now();
    loop {
        let Some(opened) = way.open().await? else {
            if starts == MAX_STARTS {
                let message = format!("the agent on {} ends as soon as it runs", named(way.hive()));
                return Err(Fault::new(Code::AgentFailed, message).hint(doctor(way.hive())));
            }
            way.start().await?;
            starts += 1;
            began = Instant::now();
            continue;
        };
        match greet(way, opened, timings).await {
            Ok(reached) => return Ok(reached),
            Err(fault) if is_ending(&fault) && began.elapsed() <= timings.agent_start => {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(fault) => return Err(fault),
        }
    }
}

/// Whether an agent that was there a moment ago may be gone in the next.
fn is_ending(fault: &Fault) -> bool {
    matches!(fault.code, Code::HiveUnreachable | Code::ShuttingDown)
}

/// Connects to the agent that runs and opens its events; starts nothing, and gives none when no
/// agent runs.
///
/// # Errors
/// As [`reach`].
pub async fn reach_running<T: Transport>(
    way: &T,
    timings: &Timings,
) -> Result<Option<(Client, Events)>, Fault> {
    match way.open().await? {
        Some(opened) => greet(way, opened, timings).await.map(Some),
        None => Ok(None),
    }
}

/// Connects to the agent that runs, without a word to it; none when no agent runs.
///
/// # Errors
/// As [`reach`].
pub async fn connect<T: Transport>(way: &T, timings: &Timings) -> Result<Option<Client>, Fault> {
    match way.open().await? {
        Some(opened) => Client::over(way.hive(), opened, timings).await.map(Some),
        None => Ok(None),
    }
}

async fn greet<T: Transport>(
    way: &T,
    opened: Opened,
    timings: &Timings,
) -> Result<(Client, Events), Fault> {
    let client = Client::over(way.hive(), opened, timings).await?;
    // Both at once: the greeting costs no round trip.
    let (hello, events) = tokio::join!(client.hello(), client.events());
    let client = client.knowing(&hello?);
    Ok((client, events?))
}
