//! What can be done to a hive, done.

use wire::worker::StopRequest;
use wire::{Code, Fault};

use crate::context::Context;
use crate::link::way::Way;
use crate::link::{self, Transport};
use crate::tui::event::Operation;

/// Does something to a hive; one line about what came of it.
pub async fn operate(
    operation: &Operation,
    ways: &[Way],
    context: &Context,
) -> Result<String, Fault> {
    let timings = &context.config.timings;
    let (Operation::StopWorker(hive, _) | Operation::StartAgent(hive)) = operation;
    let way = ways.iter().find(|way| way.hive() == hive).ok_or_else(|| link::no_agent(hive))?;
    match operation {
        Operation::StopWorker(_, id) => {
            let client = link::connect(way, timings).await?;
            let client = client.ok_or_else(|| link::no_agent(hive))?;
            let reply = client.stop(id, StopRequest::default()).await?;
            if !reply.left.is_empty() {
                let fault = Fault::new(Code::Io, format!("{id} did not end on {hive}"));
                return Err(fault.hint(format!("rbee worker list --hive {hive}")));
            }
            let stopped = reply.stopped.first();
            let how = stopped.map(|it| format!(" ({} after {} ms)", it.exit, it.took_ms));
            Ok(format!("stopped {id} on {hive}{}", how.unwrap_or_default()))
        }
        Operation::StartAgent(_) => {
            let (client, _) = link::reach(way, timings).await?;
            let hello = client.hello().await?;
            Ok(format!("the agent of {hive} runs, process {}", hello.pid))
        }
    }
}
