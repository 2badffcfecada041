//! `rbee down`: ends everything that rbee started, on all hives.

use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::timeout;
use wire::hello::Hello;
use wire::worker::{StopReply, StopRequest};
use wire::{Code, Fault, HiveName};

use super::worker::{Stopped, nothing_left, report};
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::link::client::{Client, end_bound};
use crate::link::{self, Transport};

/// How long the agent may take to say who it is before it counts as frozen.
const ANSWER: Duration = Duration::from_secs(3);

/// Stop all workers and the agents, on all hives.
///
/// Active requests may finish first, for the time of `down_drain_ms` in the configuration.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Only on this hive.
    #[arg(long, value_name = "NAME")]
    hive: Option<HiveName>,
    /// Cancel active requests.
    #[arg(long)]
    now: bool,
    /// Write what ended as JSON.
    #[arg(long)]
    pub json: bool,
}

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

/// Does it.
///
/// # Errors
/// When something did not end, or a hive could not be asked.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let ways = context.ways_to_end(args.hive.as_ref())?;
    let drain_ms = args.now.then_some(0);
    let ending = join_all(ways.iter().map(|way| end_in_time(way, drain_ms, context)));
    let outcomes = block_on(async { Ok(ending.await) })?;
    let mut failure = None;
    let mut ended = Vec::new();
    for (way, outcome) in ways.iter().zip(outcomes) {
        match outcome {
            Ok(one) => ended.push(one),
            Err(fault) => {
                if ways.len() > 1 {
                    context.warn_of(way.hive(), &fault);
                }
                failure = failure.or(Some(fault));
            }
        }
    }
    if args.json {
        context.print_json(&ended)?;
    } else {
        tell(context, &ended);
    }
    ended.iter().try_for_each(|one| nothing_left(&one.hive, &one.workers))?;
    failure.map_or(Ok(()), |fault| Err(fault.into()))
}

/// Says what ended and how.
pub fn tell(context: &Context, ended: &[Ended]) {
    for one in ended {
        let stopped: Vec<_> =
            one.workers.stopped.iter().map(|w| Stopped::of(&one.hive, w)).collect();
        report(context, &stopped);
        let whose = link::named(&one.hive);
        match one.agent {
            Some(AgentEnd { pid, killed: true }) => context.note(&format!(
                "the agent of {whose} (process {pid}) did not answer and was killed"
            )),
            Some(_) => context.note(&format!("the agent of {whose} has ended")),
            None => {}
        }
    }
    if !ended.is_empty() && ended.iter().all(|one| one.agent.is_none()) {
        context.note("nothing runs");
    }
}

/// Ends everything on one hive, or says that it took too long: one that cannot be reached must not
/// keep the person waiting.
async fn end_in_time(
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
