//! Takes everything away again that rbee put on a machine.

use wire::{Code, Fault, layout};

use super::Host;
use super::probe::{Place, Seen};
use super::script::Script;

/// Paths that are told.
const MAX_PATHS: usize = 256;

/// What was taken away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Purged {
    /// What is gone.
    pub removed: Vec<String>,
    /// What stayed, because somebody else's files are in it or it could not be removed.
    pub left: Vec<String>,
}

/// Removes programs, models, logs and sockets; what a keeper of the same user keeps there stays.
///
/// # Errors
/// `AGENT_FAILED` while something of it runs.
pub async fn purge(host: &Host, seen: &Seen) -> Result<Purged, Fault> {
    let state = seen.home.as_ref().map(|_| seen.state(Place::Home)).unwrap_or_default();
    let runtime = layout::runtime_dir(state, seen.uid);
    // The one below the state directory goes with it.
    let beside = if runtime.starts_with(state) { "" } else { runtime.as_str() };
    let script = Script::new("purge", &[include_str!("scripts/purge.sh")]).given("runtime", beside);
    let mut running = script.run(host).await?;
    let mut purged = Purged::default();
    loop {
        let (name, value) = running.answer().await?;
        let paths = match name.as_str() {
            "end" => return Ok(purged),
            "running" => {
                let what = format!("process {value} still runs from it; nothing was removed");
                let fault = host.fault(Code::AgentFailed, what);
                return Err(fault.hint(format!("rbee down --hive {}", host.hive)));
            }
            "removed" => &mut purged.removed,
            _ => &mut purged.left,
        };
        if paths.len() < MAX_PATHS {
            paths.push(wire::text::one_line(&value, 1024));
        }
    }
}
