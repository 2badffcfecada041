//! `rbee hive list`: all hives, what each has, and why one does not answer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use wire::event::Snapshot;
use wire::{BuildId, Code, Fault, HiveName, Timings, text};

use super::device::DeviceRow;
use super::each::each;
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::hives::seen;
use crate::link;
use crate::link::way::Way;
use crate::output::clock::duration;
use crate::output::table::Table;
use crate::ssh::address::Address;

/// Bytes of why a hive does not answer.
const MAX_WHY_BYTES: usize = 1024;

/// List the hives and what they have.
///
/// All are asked at once. Nothing is installed or started.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only their names, one a line; none of them is asked.
    #[arg(long, conflicts_with = "json")]
    names: bool,
    /// Write a JSON array.
    #[arg(long)]
    pub json: bool,
}

/// Whether a hive can be worked with now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its agent answers.
    Online,
    /// The machine answers, and no agent runs there.
    Stopped,
    /// The machine does not answer.
    Unreachable,
    /// The machine answers, and does not let rbee in or cannot run it.
    Refused,
}

impl State {
    /// The word in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Stopped => "stopped",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
        }
    }

    /// What a fault says of its hive.
    pub fn of(fault: &Fault) -> Self {
        match fault.code {
            Code::HostKeyChanged
            | Code::HostKeyUnknown
            | Code::AuthFailed
            | Code::NoBundle
            | Code::VersionMismatch => Self::Refused,
            _ => Self::Unreachable,
        }
    }
}

/// One hive for scripts.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: HiveName,
    /// Where it is; none for this machine.
    pub address: Option<String>,
    /// Whether it can be worked with.
    pub state: State,
    /// The build of its agent, when one answers.
    pub build: Option<BuildId>,
    /// What computes there; empty when no agent answers.
    pub devices: Vec<DeviceRow>,
    /// When it answered last, in milliseconds since 1970; none when that is not known.
    pub last_seen_ms: Option<u64>,
    /// Why it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Fault>,
}

impl Row {
    /// A hive of which nothing is known yet but that its machine answers.
    pub fn new(hive: &HiveName, address: Option<&Address>) -> Self {
        Self {
            name: hive.clone(),
            address: address.map(ToString::to_string),
            state: State::Stopped,
            build: None,
            devices: Vec::new(),
            last_seen_ms: None,
            error: None,
        }
    }

    /// Its agent says this.
    pub fn is_online(&mut self, snapshot: &Snapshot) {
        self.state = State::Online;
        self.build = Some(snapshot.hello.build.clone());
        self.devices = snapshot.devices.iter().map(DeviceRow::from).collect();
    }
}

/// Does it.
///
/// # Errors
/// When standard output is closed. A hive that does not answer is a row, not a failure.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let hives = context.hives();
    if args.names {
        return context
            .print(&hives.iter().fold(String::new(), |all, hive| format!("{all}{hive}\n")));
    }
    let rows = block_on(async {
        let asked = each(&hives, |hive| async { Ok(ask(hive, context).await) }).await;
        Ok(asked.into_iter().filter_map(|(_, row)| row.ok()).collect::<Vec<Row>>())
    })?;
    if args.json {
        return context.print_json(&rows);
    }
    context.print(&table(&rows, now_ms()).render(context.environment.stdout_width()))?;
    for row in &rows {
        if let Some(fault) = &row.error {
            let why = text::one_line(&fault.message, MAX_WHY_BYTES);
            context.warn(&format!("{}: {why}", row.name));
            for hint in &fault.hints {
                context.note(&format!("hint: {hint}"));
            }
        }
    }
    Ok(())
}

/// Asks one hive, for as long as one attempt to connect may take.
pub async fn ask(hive: &HiveName, context: &Context) -> Row {
    let mut row = Row::new(hive, context.config.hives.get(hive).map(|hive| &hive.address));
    let bound = context.config.timings.ssh_connect;
    let answer = async {
        let way = context.way(hive)?;
        look(&way, &context.config.timings).await
    };
    let answer = context.dialer.deadline(bound).within(answer).await.unwrap_or_else(|| {
        let message = format!("no answer within {}", duration(bound));
        Err(Fault::new(Code::HiveUnreachable, message).hint(link::doctor(hive)))
    });
    match answer {
        Ok(snapshot) => {
            if let Some(snapshot) = snapshot {
                row.is_online(&snapshot);
            }
            seen::note(&context.environment.dirs.state, hive);
        }
        Err(fault) => {
            row.state = State::of(&fault);
            row.error = Some(fault);
        }
    }
    row.last_seen_ms = seen::last(&context.environment.dirs.state, hive);
    row
}

/// What the agent that runs says; none when no agent runs.
async fn look(way: &Way, timings: &Timings) -> Result<Option<Snapshot>, Fault> {
    match link::reach_running(way, timings).await? {
        Some((_client, mut events)) => events.snapshot().await.map(Some),
        None => Ok(None),
    }
}

fn table(rows: &[Row], now_ms: u64) -> Table {
    let mut table = Table::new(&["HIVE", "ADDRESS", "STATE", "BUILD", "SEEN", "DEVICES"], 5);
    let absent = || "-".to_owned();
    for row in rows {
        let devices: Vec<String> = row.devices.iter().map(DeviceRow::words).collect();
        table.row([
            row.name.to_string(),
            row.address.clone().unwrap_or_else(|| "this machine".to_owned()),
            row.state.name().to_owned(),
            row.build
                .as_ref()
                .map_or_else(absent, |build| build.as_str().chars().take(8).collect()),
            row.last_seen_ms.map_or_else(absent, |seen| ago(now_ms, seen)),
            if devices.is_empty() { absent() } else { devices.join("; ") },
        ]);
    }
    table
}

fn ago(now_ms: u64, then_ms: u64) -> String {
    match now_ms.saturating_sub(then_ms) {
        0..=4999 => "now".to_owned(),
        ms @ ..60_000 => format!("{} s ago", ms / 1000),
        ms => format!("{} ago", duration(Duration::from_millis(ms))),
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use wire::device::DeviceInfo;

    use super::*;

    fn row() -> Row {
        let info = DeviceInfo {
            name: Some("A100\u{1b}".to_owned()),
            memory_total_bytes: Some(40 << 30),
            memory_used_bytes: Some(3 << 30),
            ..DeviceInfo::new("cuda:1".parse().unwrap())
        };
        Row {
            name: "pc".parse().unwrap(),
            address: Some("ada@pc:22".to_owned()),
            state: State::Online,
            build: Some("0123456789abcdef".parse().unwrap()),
            devices: vec![DeviceRow::from(&info)],
            last_seen_ms: Some(1000),
            error: None,
        }
    }

    #[test]
    fn a_row_has_exactly_the_documented_fields() {
        let value = serde_json::to_value(row()).unwrap();
        let keys = |value: &serde_json::Value| {
            value.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        let mut documented = ["address", "build", "devices", "last_seen_ms", "name", "state"];
        documented.sort_unstable();
        let mut seen = keys(&value);
        seen.sort();
        assert_eq!(seen, documented);
        let device = &value["devices"][0];
        assert_eq!((&device["kind"], &device["index"]), (&"cuda".into(), &1.into()));
        assert_eq!(device["memory_total_bytes"], 40_u64 << 30);
    }

    #[test]
    fn the_table_shows_devices_with_their_memory_and_how_long_ago() {
        let mut away = row();
        (away.state, away.build, away.devices) = (State::Unreachable, None, Vec::new());
        let shown = table(&[row(), away], 90_000 + 1000).render(None);
        for part in ["cuda:1 A100 , 3.0 GiB of 40.0 GiB used", "01234567 ", "1 min 30 s ago"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(shown.contains("unreachable") && !shown.contains('\u{1b}'), "{shown}");
    }

    #[test]
    fn a_host_that_refuses_is_told_from_one_that_is_away() {
        let state = |code| State::of(&Fault::new(code, ""));
        assert_eq!(state(Code::HostKeyChanged), State::Refused);
        assert_eq!(state(Code::AuthFailed), State::Refused);
        assert_eq!(state(Code::HiveUnreachable), State::Unreachable);
    }
}
