//! The way to a hive's agent: a byte stream from a transport, HTTP/2 over it.

pub mod client;
pub mod generation;
pub mod local;
pub mod streams;

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use wire::{Code, Fault, HiveName, Timings};

pub use client::Client;
use streams::Events;

/// Pause before a hive that is just ending is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A way to one hive that can give a byte stream to its agent.
pub trait Transport {
    /// The stream. It carries HTTP/2 with prior knowledge and nothing else.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Which hive is at the other end.
    fn hive(&self) -> &HiveName;

    /// Opens a stream to the agent that runs.
    ///
    /// # Errors
    /// `HIVE_UNREACHABLE` when none runs or the way is blocked.
    fn open(&self) -> impl Future<Output = Result<Self::Stream, Fault>>;

    /// Installs this build where it is missing and starts its agent.
    ///
    /// # Errors
    /// `AGENT_FAILED` with what the agent said.
    fn start(&self) -> impl Future<Output = Result<(), Fault>>;

    /// Whether workers may run there without an agent: those of one that was killed.
    fn has_orphans(&self) -> impl Future<Output = bool>;

    /// Process id of the agent, where the transport knows it.
    fn agent_pid(stream: &Self::Stream) -> Option<i32>;
}

/// Connects to a hive, starting its agent when none answers, and opens its events.
///
/// An agent that is just ending is waited out, for as long as a start may take.
///
/// # Errors
/// `AGENT_FAILED` when it does not start, `VERSION_MISMATCH` when both sides are too far apart,
/// `HIVE_UNREACHABLE` otherwise.
pub async fn reach<T: Transport>(way: &T, timings: &Timings) -> Result<(Client, Events), Fault> {
    let began = Instant::now();
    loop {
        let fault = match reach_running(way, timings).await {
            Ok(reached) => return Ok(reached),
            Err(fault) => fault,
        };
        let may_come = matches!(fault.code, Code::HiveUnreachable | Code::ShuttingDown);
        if !may_come || began.elapsed() > timings.agent_start {
            return Err(fault);
        }
        way.start().await?;
        // The first attempt after a start succeeds unless the old agent answered it.
        if let Ok(reached) = reach_running(way, timings).await {
            return Ok(reached);
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Connects to the agent that runs and opens its events; starts nothing.
///
/// # Errors
/// As [`reach`], and `HIVE_UNREACHABLE` when no agent runs.
pub async fn reach_running<T: Transport>(
    way: &T,
    timings: &Timings,
) -> Result<(Client, Events), Fault> {
    let client = Client::connect(way, timings).await?;
    // Both at once: the greeting costs no round trip.
    let (hello, events) = tokio::join!(client.hello(), client.events());
    hello?;
    Ok((client, events?))
}
