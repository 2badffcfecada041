//! Logs of hives and workers: where they come from, and a line of one as a person reads it.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use wire::{Code, Fault, WorkerId, routes, text};

use crate::context::Context;
use crate::link::streams::Lines;
use crate::link::way::Way;
use crate::link::{self, Transport};

/// Bytes of a line that are shown.
const MAX_LINE_BYTES: usize = 4 * 1024;
/// Bytes of a field's name that are shown.
const MAX_KEY_BYTES: usize = 64;

/// How much of a log is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// How many of the last lines.
    pub lines: u32,
    /// Whether it goes on with what is written from now on.
    pub follow: bool,
}

/// The log of a hive's agent as the agent itself sends it; nothing when none runs or it cannot.
pub async fn of_agent(way: &Way, extent: Extent, context: &Context) -> Option<Lines> {
    let timings = &context.config.timings;
    let asking = async {
        let client = link::connect(way, timings).await.ok()??;
        client.logs(routes::LOGS, extent.lines, extent.follow).await.ok()
    };
    context.dialer.deadline(timings.ssh_connect).within(asking).await.flatten()
}

/// The log of a worker on one hive; nothing when it has none.
///
/// # Errors
/// Whatever keeps the hive from being asked.
pub async fn of_worker(
    way: &Way,
    id: &WorkerId,
    extent: Extent,
    context: &Context,
) -> Result<Option<Lines>, Fault> {
    let timings = &context.config.timings;
    let asking = async {
        let Some(client) = link::connect(way, timings).await? else { return Ok(None) };
        let route = routes::with_id(routes::WORKER_LOGS, id);
        match client.logs(&route, extent.lines, extent.follow).await {
            Ok(lines) => Ok(Some(lines)),
            Err(fault) if fault.code == Code::WorkerNotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    };
    let bound = timings.ssh_connect;
    context.dialer.deadline(bound).within(asking).await.unwrap_or_else(|| {
        let message = format!("no answer within {} s", bound.as_secs_f32());
        Err(Fault::new(Code::HiveUnreachable, message).hint(link::doctor(way.hive())))
    })
}

/// No hive has a log of that worker.
pub fn no_log(id: &WorkerId) -> Fault {
    Fault::new(Code::WorkerNotFound, format!("no hive has a log of a worker {id}"))
        .hint("rbee worker list --all")
}

/// A line of an agent's or a worker's log, taken apart; each part is clean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// To the second, as the hive's clock has it.
    pub time: String,
    /// `ERROR`, `WARN`, `INFO`, …
    pub level: String,
    /// What is said.
    pub message: String,
    /// ` name=value` for each field.
    pub fields: String,
}

/// Takes a line of a log apart; none for one that is not in the form of rbee's logs.
pub fn entry(line: &str) -> Option<Entry> {
    let mut log = serde_json::from_str::<Map<String, Value>>(line).ok()?;
    let time = log.get("timestamp").and_then(Value::as_str).map(time).unwrap_or_default();
    let level = log.get("level").and_then(Value::as_str).unwrap_or("?");
    let level = text::one_line(level, 8);
    let mut fields = match log.remove("fields") {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let message = fields.remove("message");
    let message = message.as_ref().map(shown).unwrap_or_default();
    let spans = log.get("spans").and_then(Value::as_array).into_iter().flatten();
    let of_spans = spans.filter_map(Value::as_object).flatten().filter(|(key, _)| *key != "name");
    let fields = of_spans.chain(&fields).fold(String::new(), |mut rest, (key, value)| {
        let _ = write!(rest, " {}={}", text::one_line(key, MAX_KEY_BYTES), shown(value));
        rest
    });
    Some(Entry { time, level, message, fields })
}

/// A line that is not in that form, clean.
pub fn plain(line: &str) -> String {
    text::one_line(line, MAX_LINE_BYTES)
}

/// `2026-11-21 12:30:01Z`: to the second, as the hive's clock has it.
fn time(stamp: &str) -> String {
    let seconds: String = stamp.chars().take(19).collect();
    text::one_line(&format!("{}Z", seconds.replace('T', " ")), 32)
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(words) => text::one_line(words, MAX_LINE_BYTES),
        other => text::one_line(&other.to_string(), MAX_LINE_BYTES),
    }
}
