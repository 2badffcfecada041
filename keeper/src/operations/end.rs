//! Ends workers and agents, and says in words what ended and how.

use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;
use wire::hello::Hello;
use wire::memory::MemoryBack;
use wire::worker::{StopReply, StopRequest, StoppedWorker};
use wire::{Code, Fault, HiveName, WorkerId};

use crate::context::Context;
use crate::link::client::{Client, end_bound};
use crate::link::{self, Transport};
use crate::output::progress::bytes;

/// How long the agent may take to say who it is before it counts as frozen.
const ANSWER: Duration = Duration::from_secs(3);

/// What ended on one hive.
#[derive(Debug, Serialize)]
pub struct Ended {
    /// Which hive.
    pub hive: HiveName,
    /// Its agent; none when nothing ran there.
    pub agent: Option<AgentEnd>,
    /// Its workers.
    #[serde(flatten)]
    pub workers: StopReply,
}

/// An agent that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AgentEnd {
    /// Its process there.
    pub pid: u32,
    /// It did not answer.
    pub killed: bool,
}

/// A worker that ended, and where.
#[derive(Debug, Serialize)]
pub struct Stopped<'a> {
    hive: &'a HiveName,
    #[serde(flatten)]
    worker: &'a StoppedWorker,
}

impl<'a> Stopped<'a> {
    /// `worker` ended on `hive`.
    pub fn of(hive: &'a HiveName, worker: &'a StoppedWorker) -> Self {
        Self { hive, worker }
    }

    /// In sentences: how it ended, and what of its memory is missing when it is worth a word.
    pub fn sentences(&self) -> Vec<String> {
        let on_gpus = self
            .worker
            .device_memory
            .iter()
            .filter_map(|on| self.missing_of(on.back, &format!(" on {}", on.device)));
        std::iter::once(self.sentence()).chain(self.missing()).chain(on_gpus).collect()
    }

    fn sentence(&self) -> String {
        let Self { hive, worker } = self;
        let seconds = Duration::from_millis(worker.took_ms).as_secs_f64();
        let killed = if worker.killed { ", it had to be killed" } else { "" };
        let place = if **hive == HiveName::local() { String::new() } else { format!(" on {hive}") };
        format!("stopped {}{place} ({} after {seconds:.1} s{killed})", worker.id, worker.exit)
    }

    fn missing(&self) -> Option<String> {
        self.missing_of(self.worker.memory?, "")
    }

    fn missing_of(&self, back: MemoryBack, on: &str) -> Option<String> {
        let missing = bytes(back.missing_bytes()?);
        let (had, place) = (bytes(back.expected_bytes), link::named(self.hive));
        let id = &self.worker.id;
        Some(format!(
            "{missing} of the {had} that {id} had{on} did not come back: something else on {place} \
             took it, or holds it"
        ))
    }
}

/// What ended and how, a sentence each.
pub fn sentences(ended: &[Ended]) -> Vec<String> {
    let mut all = Vec::new();
    for one in ended {
        all.extend(one.workers.stopped.iter().flat_map(|w| Stopped::of(&one.hive, w).sentences()));
        let whose = link::named(&one.hive);
        match one.agent {
            Some(AgentEnd { pid, killed: true }) => {
                all.push(format!(
                    "the agent of {whose} (process {pid}) did not answer and was killed"
                ));
            }
            Some(_) => all.push(format!("the agent of {whose} has ended")),
            None => {}
        }
    }
    if !ended.is_empty() && ended.iter().all(|one| one.agent.is_none()) {
        all.push("nothing runs".to_owned());
    }
    all
}

/// Fails when something did not end on `hive`.
///
/// # Errors
/// With the ids of what is left.
pub fn nothing_left(hive: &HiveName, reply: &StopReply) -> Result<(), Fault> {
    if reply.left.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = reply.left.iter().map(WorkerId::as_str).collect();
    let message = format!("{} did not end on {}", names.join(", "), link::named(hive));
    Err(Fault::new(Code::Io, message).hint(format!("rbee worker list --hive {hive}")))
}

/// Ends everything on one hive, or says that it took too long: one that cannot be reached must not
/// keep the person waiting.
///
/// # Errors
/// As [`end`].
pub async fn end_in_time(
    way: &impl Transport,
    drain_ms: Option<u64>,
    context: &Context,
) -> Result<Ended, Fault> {
    let timings = &context.config.timings;
    // The whole ladder, and as much again for the way there.
    let ladder = timings.down_drain.saturating_add(end_bound(timings));
    let bound = ladder.saturating_mul(2);
    timeout(bound, end(way, drain_ms, context)).await.unwrap_or_else(|_late| {
        let whose = link::named(way.hive());
        let message = format!("{whose} did not end within {} s", bound.as_secs_f32());
        Err(Fault::new(Code::HiveUnreachable, message).hint(link::doctor(way.hive())))
    })
}

/// Ends everything on one hive; its agent is killed when it does not answer.
///
/// # Errors
/// Those of the way there, and `IO_ERROR` when the agent did not end.
pub async fn end(
    way: &impl Transport,
    drain_ms: Option<u64>,
    context: &Context,
) -> Result<Ended, Fault> {
    let timings = &context.config.timings;
    let nothing = StopReply { stopped: Vec::new(), left: Vec::new() };
    let ended = |agent, workers| Ended { hive: way.hive().clone(), agent, workers };
    let killed = match link::connect(way, timings).await? {
        None => None,
        Some(client) => match who(&client).await {
            Some(hello) => {
                let reply = end_politely(way, &client, &hello, drain_ms, context).await?;
                return Ok(ended(Some(AgentEnd { pid: hello.pid, killed: false }), reply));
            }
            None => Some(end_a_frozen_agent(way, &client, context).await?),
        },
    };
    if !way.has_orphans().await? {
        return Ok(ended(killed, nothing));
    }
    // Workers that lost their agent: a new one finds them, and can end them.
    way.start().await?;
    let silent = || link::no_agent(way.hive());
    let client = link::connect(way, timings).await?.ok_or_else(silent)?;
    let hello = who(&client).await.ok_or_else(silent)?;
    let reply = end_politely(way, &client, &hello, drain_ms, context).await?;
    Ok(ended(killed.or(Some(AgentEnd { pid: hello.pid, killed: false })), reply))
}

/// Who answers; none when nobody does. An agent of any other build must be reachable by `down`, so
/// what it speaks is not looked at.
async fn who(client: &Client) -> Option<Hello> {
    timeout(ANSWER, client.greeting()).await.ok()?.ok()
}

async fn end_politely(
    way: &impl Transport,
    client: &Client,
    hello: &Hello,
    drain_ms: Option<u64>,
    context: &Context,
) -> Result<StopReply, Fault> {
    let reply = client.down(StopRequest { drain_ms }).await?;
    match timeout(end_bound(&context.config.timings), way.ended(hello.pid)).await {
        Ok(Ok(())) => Ok(reply),
        Ok(Err(fault)) => Err(fault),
        Err(_) => {
            let pid = hello.pid;
            let whose = link::named(way.hive());
            Err(Fault::new(
                Code::Io,
                format!("the agent of {whose} has not ended, its process is {pid}"),
            )
            .hint(context.on(way.hive(), &format!("kill -KILL {pid}"))))
        }
    }
}

/// Kills the agent that has the socket and does not answer.
async fn end_a_frozen_agent(
    way: &impl Transport,
    client: &Client,
    context: &Context,
) -> Result<AgentEnd, Fault> {
    let whose = link::named(way.hive());
    let silent =
        || Fault::new(Code::HiveUnreachable, format!("the agent of {whose} does not answer"));
    let pid = match client.agent_pid() {
        Some(pid) => Some(pid),
        None => way.holder().await?,
    };
    let Some(pid) = pid else {
        return Err(silent().hint(link::doctor(way.hive())));
    };
    let manual = context.on(way.hive(), &format!("kill -KILL {pid}"));
    let manual = format!("{manual} && rbee down");
    way.kill_agent(pid).await.map_err(|fault| {
        let causes = fault.causes.iter().fold(silent().cause(fault.message), Fault::cause);
        causes.hint(&manual)
    })?;
    let pid = pid.unsigned_abs();
    match timeout(end_bound(&context.config.timings), way.ended(pid)).await {
        Ok(Ok(())) => Ok(AgentEnd { pid, killed: true }),
        _ => Err(silent().cause("its end was not seen after it was killed").hint(manual)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::memory::DeviceMemoryBack;
    use wire::worker::Exit;

    #[test]
    fn what_is_left_is_a_failure_that_names_it() {
        let mut reply = StopReply { stopped: Vec::new(), left: Vec::new() };
        let local = HiveName::local();
        assert!(nothing_left(&local, &reply).is_ok());
        reply.left.push("demo-1".parse().unwrap());
        let fault = nothing_left(&local, &reply).unwrap_err();
        assert_eq!(fault.code, Code::Io);
        assert!(fault.message.contains("demo-1"));
    }

    #[test]
    fn a_worker_that_had_to_be_killed_is_told_apart() {
        let worker = StoppedWorker {
            id: "demo-1".parse().unwrap(),
            exit: Exit::Signal(9),
            killed: true,
            took_ms: 10_250,
            memory: None,
            device_memory: Vec::new(),
        };
        let told = "stopped demo-1 (signal 9 after 10.2 s, it had to be killed)";
        assert_eq!(Stopped::of(&HiveName::local(), &worker).sentence(), told);
        let there: HiveName = "pc".parse().unwrap();
        assert!(Stopped::of(&there, &worker).sentence().contains("demo-1 on pc (signal 9"));
        assert_eq!(Stopped::of(&there, &worker).missing(), None);
        let (expected_bytes, freed_bytes) = (3 << 30, 1 << 30);
        let short =
            StoppedWorker { memory: Some(MemoryBack { expected_bytes, freed_bytes }), ..worker };
        let told = Stopped::of(&there, &short).missing().unwrap();
        assert!(told.starts_with("2.0 GiB of the 3.0 GiB that demo-1 had did not"), "{told}");
        let back = MemoryBack { expected_bytes, freed_bytes };
        let on_gpu = DeviceMemoryBack { device: "cuda:1".parse().unwrap(), back };
        let short = StoppedWorker { memory: None, device_memory: vec![on_gpu], ..short };
        let told = Stopped::of(&there, &short).sentences().remove(1);
        assert!(told.contains("that demo-1 had on cuda:1 did not come back"), "{told}");
    }
}
