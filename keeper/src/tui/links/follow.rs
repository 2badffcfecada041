//! Logs as they are written, until nobody looks at them.

use tokio::sync::mpsc;
use wire::{Fault, WorkerId};

use super::told::Told;
use crate::bootstrap::logs::Kind as Which;
use crate::context::Context;
use crate::link::way::Way;
use crate::link::{self, Transport};
use crate::operations::logs::{self, Extent};
use crate::tui::records::Line;
use crate::tui::rows::Kind;

/// What is shown of a log at first, and that it goes on.
const EXTENT: Extent = Extent { lines: 1000, follow: true };

/// The log of a hive's agent: as it sends it, else as its machine has it.
///
/// # Errors
/// Whatever keeps the hive from being reached.
pub async fn of_agent(
    way: &Way,
    context: &Context,
    told: &Told,
    given_up: &mut mpsc::Receiver<()>,
) -> Result<(), Fault> {
    if let Some(mut lines) = logs::of_agent(way, EXTENT, context).await {
        return pass(async || lines.next().await, told, given_up).await;
    }
    // No agent answers, so its file is read without it.
    let Some(remote) = way.remote() else { return Err(link::no_agent(way.hive())) };
    let mut lines = remote.logs(Which::Agent, EXTENT.lines, EXTENT.follow).await?;
    pass(async || lines.next().await, told, given_up).await
}

/// The log of a worker.
///
/// # Errors
/// `WORKER_NOT_FOUND` when there is none; whatever keeps its hive from being asked.
pub async fn of_worker(
    way: &Way,
    id: &WorkerId,
    context: &Context,
    told: &Told,
    given_up: &mut mpsc::Receiver<()>,
) -> Result<(), Fault> {
    match logs::of_worker(way, id, EXTENT, context).await? {
        Some(mut lines) => pass(async || lines.next().await, told, given_up).await,
        None => Err(logs::no_log(id)),
    }
}

async fn pass(
    mut next: impl AsyncFnMut() -> Result<Option<String>, Fault>,
    told: &Told,
    given_up: &mut mpsc::Receiver<()>,
) -> Result<(), Fault> {
    loop {
        tokio::select! {
            line = next() => match line? {
                Some(line) => say(&line, told).await,
                None => return Ok(()),
            },
            _ = given_up.recv() => return Ok(()),
        }
    }
}

/// A log that comes faster than it is taken waits on its hive.
async fn say(line: &str, told: &Told) {
    let line = match logs::entry(line) {
        None => Line::new(&logs::plain(line), Kind::Text),
        Some(entry) => {
            let kind = match entry.level.as_str() {
                "ERROR" => Kind::Error,
                "WARN" => Kind::Warning,
                "INFO" => Kind::Text,
                _ => Kind::Muted,
            };
            let logs::Entry { time, level, message, fields } = entry;
            Line::new(&format!("{time} {level:<5} {message}{fields}"), kind)
        }
    };
    // Nobody takes it when the screen is gone; then this ends soon as well.
    let _ = told.lines.send(line).await;
}
