//! `rbee down`: ends everything that rbee started.

use std::time::Duration;

use tokio::time::timeout;
use wire::worker::{StopReply, StopRequest};
use wire::{Code, Fault};

use super::worker::{nothing_left, report};
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::link::client::end_bound;
use crate::link::local::Local;
use crate::link::{self, Transport};
use crate::platform;

/// How long the agent may take to say who it is before it counts as frozen.
const ANSWER: Duration = Duration::from_secs(3);

/// Stop all workers and the agent.
///
/// Active requests may finish first, for the time of `down_drain_ms` in the configuration.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Cancel active requests.
    #[arg(long)]
    now: bool,
    /// Write what ended as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Does it.
///
/// # Errors
/// When something did not end.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let reply = block_on(down(args, context))?;
    if args.json {
        let nothing = StopReply { stopped: Vec::new(), left: Vec::new() };
        context.print_json(reply.as_ref().unwrap_or(&nothing))?;
    } else {
        match &reply {
            Some(reply) => {
                report(context, reply);
                context.note("the agent of this machine has ended");
            }
            None => context.note("nothing runs"),
        }
    }
    reply.as_ref().map_or(Ok(()), nothing_left)
}

/// Kills the agent that has the socket and does not answer; whether there was one.
async fn end_a_frozen_agent(way: &Local, context: &Context) -> Result<bool, Failure> {
    let client = link::Client::connect(way, &context.config.timings).await?;
    if timeout(ANSWER, client.hello()).await.is_ok() {
        return Ok(false);
    }
    let silent = || Fault::new(Code::HiveUnreachable, "the agent of this machine does not answer");
    let Some(pid) = client.agent_pid() else { return Err(silent().hint("rbee doctor").into()) };
    let manual = format!("kill -KILL {pid} && rbee down");
    platform::kill_agent(pid)
        .map_err(|error| silent().cause("it was not killed").cause(error).hint(&manual))?;
    let gone = timeout(end_bound(&context.config.timings), platform::ended(pid.unsigned_abs()));
    match gone.await {
        Ok(Ok(())) => {
            context.note(&format!("the agent (process {pid}) did not answer and was killed"));
            Ok(true)
        }
        _ => Err(silent().cause("its end was not seen after it was killed").hint(manual).into()),
    }
}

/// Ends everything; none when there was nothing.
async fn down(args: &Args, context: &Context) -> Result<Option<StopReply>, Failure> {
    let way = context.local();
    let timings = &context.config.timings;
    if way.open().await.is_err_and(|fault| fault.code == Code::HiveUnreachable) {
        if !way.has_orphans().await {
            return Ok(None);
        }
        // Workers of an agent that was killed: a new one finds them, and can end them.
        way.start().await?;
    }
    let killed = end_a_frozen_agent(&way, context).await?;
    if killed {
        if !way.has_orphans().await {
            return Ok(Some(StopReply { stopped: Vec::new(), left: Vec::new() }));
        }
        way.start().await?;
    }
    // The events are not read: an agent of another build must be reachable by `down` as well.
    let client = link::Client::connect(&way, timings).await?;
    let hello = client.hello().await;
    let reply = client.down(StopRequest { drain_ms: args.now.then_some(0) }).await?;
    let pid = hello.map(|hello| hello.pid)?;
    match timeout(end_bound(timings), platform::ended(pid)).await {
        Ok(Ok(())) => Ok(Some(reply)),
        Ok(Err(error)) => {
            Err(Fault::new(Code::Io, "the agent's end cannot be seen").cause(error).into())
        }
        Err(_) => {
            Err(Fault::new(Code::Io, format!("the agent has not ended, its process is {pid}"))
                .hint(format!("kill -KILL {pid}"))
                .into())
        }
    }
}
