//! `rbee ps` and `rbee worker list`: what runs, as a table or as JSON.

use std::time::Duration;

use serde::Serialize;
use wire::event::{Snapshot, Warning};
use wire::memory::Limit;
use wire::worker::{LastEnd, WorkerInfo, WorkerState};
use wire::{Device, Fault, HiveName, ModelRef, Timings, WorkerId, limits, text};

use super::ask_all::ask_all;
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::last_words;
use crate::link::way::Way;
use crate::link::{self, Transport};
use crate::output::progress::bytes;
use crate::output::table::Table;

/// Show the loaded models of all hives.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only those of this hive.
    #[arg(long, value_name = "NAME")]
    hive: Option<HiveName>,
    /// Go on, and show what changes; hives that are lost come back by themselves.
    #[arg(short, long)]
    watch: bool,
    /// Write a JSON array; with --watch one object for each change.
    #[arg(long)]
    pub json: bool,
}

/// Does it.
///
/// # Errors
/// When no hive can be asked.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    if args.watch {
        let ways = context.ways(args.hive.as_ref())?;
        return block_on(super::watch::run(&ways, context, args.json));
    }
    list(context, args.hive.as_ref(), args.json, Show::Live)
}

/// Which workers are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Those with a process.
    Live,
    /// Those that crashed or failed and are remembered, too.
    All,
}

/// One hive's workers as its agent told them.
#[derive(Debug)]
pub struct Seen {
    /// Which hive.
    pub hive: HiveName,
    /// Its workers; none when no agent runs there.
    pub workers: Option<Vec<WorkerInfo>>,
    /// Whether workers may be there that lost their agent.
    pub orphans: bool,
    /// What runs short there.
    pub warnings: Vec<Warning>,
}

/// Lists the workers of all hives, or of `only` one. Starts nothing: without an agent there are
/// none.
///
/// # Errors
/// When no hive can be asked.
pub fn list(
    context: &Context,
    only: Option<&HiveName>,
    json: bool,
    show: Show,
) -> Result<(), Failure> {
    let ways = context.ways(only)?;
    let seen = block_on(look(&ways, context))?;
    let rows: Vec<(&HiveName, &WorkerInfo)> = seen
        .iter()
        .flat_map(|seen| seen.workers.iter().flatten().map(|worker| (&seen.hive, worker)))
        .filter(|(_, worker)| show == Show::All || !worker.state.is_finished())
        .collect();
    for (hive, warning) in seen.iter().flat_map(|s| s.warnings.iter().map(|w| (&s.hive, w))) {
        context.warn(&shortage(hive, warning));
    }
    for lost in seen.iter().filter(|seen| seen.orphans) {
        context.note(&format!(
            "no agent runs on {}; workers that lost theirs may be there (rbee down ends them)",
            link::named(&lost.hive)
        ));
    }
    if json {
        let rows: Vec<Row<'_>> =
            rows.iter().map(|(hive, worker)| row(hive, worker, show)).collect();
        return context.print_json(&rows);
    }
    if rows.is_empty() {
        if seen.iter().all(|seen| !seen.orphans) {
            context.note("no model is loaded");
        }
        return Ok(());
    }
    context.print(&table(&rows, show).render(context.environment.stdout_width()))
}

/// Looks at the workers of all hives at once; see [`ask_all`].
///
/// # Errors
/// When none can be asked.
pub async fn look(ways: &[Way], context: &Context) -> Result<Vec<Seen>, Failure> {
    ask_all(ways, context, |way| look_at(way, &context.config.timings)).await
}

async fn look_at(way: &Way, timings: &Timings) -> Result<Seen, Fault> {
    let hive = way.hive().clone();
    if let Some((_client, mut events)) = link::reach_running(way, timings).await? {
        let Snapshot { workers, warnings, .. } = events.snapshot().await?;
        return Ok(Seen { hive, workers: Some(workers), orphans: false, warnings });
    }
    let orphans = way.has_orphans().await?;
    Ok(Seen { hive, workers: None, orphans, warnings: Vec::new() })
}

/// What runs short, and where.
pub fn shortage(hive: &HiveName, warning: &Warning) -> String {
    format!("{}: {}", link::named(hive), warning.sentence())
}

/// One worker for scripts.
#[derive(Debug, Serialize)]
pub struct Row<'a> {
    hive: &'a HiveName,
    id: &'a WorkerId,
    pid: Option<u32>,
    model: &'a ModelRef,
    device: Device,
    state: &'static str,
    slots: u32,
    active: u32,
    queued: u32,
    memory_bytes: Option<u64>,
    /// Tokens a second that it decoded lately.
    tokens_per_s: Option<f64>,
    keep_alive_s: i64,
    /// When its process began, in seconds of Unix time.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_unix_s: Option<u64>,
    restarts: u32,
    /// Milliseconds until it is started again, while it waits for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    restart_in_ms: Option<u64>,
    /// How its process before this one ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_end: Option<LastEndRow>,
    /// What bounds its memory and processors, once its guard has said so.
    limit: Option<Limit>,
    /// Why it ended: only where ended workers are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<serde_json::Value>,
}

/// The end of a worker's process before the one that it has now.
#[derive(Debug, Serialize)]
struct LastEndRow {
    cause: String,
    stderr_tail: String,
}

impl LastEndRow {
    fn of(end: &LastEnd) -> Self {
        let cause = text::one_line(&end.cause, limits::MAX_LAST_WORDS_BYTES);
        Self { cause, stderr_tail: text::for_terminal(&end.stderr_tail) }
    }
}

/// One worker for scripts; `show` says whether why it ended belongs to it.
pub fn row<'a>(hive: &'a HiveName, worker: &'a WorkerInfo, show: Show) -> Row<'a> {
    Row {
        hive,
        id: &worker.id,
        pid: worker.pid,
        model: &worker.spec.model,
        device: worker.spec.device,
        state: worker.state.name(),
        slots: worker.spec.slots,
        active: worker.active,
        queued: worker.queued,
        memory_bytes: worker.memory_bytes,
        tokens_per_s: worker.tokens_per_s(),
        keep_alive_s: worker.spec.keep_alive_s,
        started_unix_s: worker.supervision.started_unix_s,
        restarts: worker.supervision.restarts,
        restart_in_ms: worker.supervision.restart_in_ms,
        last_end: worker.supervision.last_end.as_ref().map(LastEndRow::of),
        limit: worker.limit,
        cause: (show == Show::All).then(|| cause(&worker.state).into()),
    }
}

/// The workers as a table for people.
pub fn table(workers: &[(&HiveName, &WorkerInfo)], show: Show) -> Table {
    let mut header =
        vec!["HIVE", "ID", "MODEL", "DEVICE", "STATE", "CTX", "SLOTS", "TOK/S", "MEMORY", "UNLOAD"];
    if show == Show::All {
        header.push("CAUSE");
    }
    let mut table = Table::new(&header, 2);
    for (hive, worker) in workers {
        let finished = worker.state.is_finished();
        let live = |text: String| if finished { "-".to_owned() } else { text };
        let mut cells = vec![
            hive.to_string(),
            worker.id.to_string(),
            worker.spec.model.to_string(),
            worker.spec.device.to_string(),
            state(worker),
            worker.spec.ctx_size.to_string(),
            worker.spec.slots.to_string(),
            live(worker.tokens_per_s().map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"))),
            live(worker.memory_bytes.map_or_else(|| "-".to_owned(), bytes)),
            live(unload(worker)),
        ];
        if show == Show::All {
            let last = worker.supervision.last_end.as_ref().map(|end| {
                format!("before: {}", text::one_line(&end.cause, limits::MAX_LAST_WORDS_BYTES))
            });
            cells.push(cause(&worker.state).or(last).unwrap_or_default());
        }
        table.row(cells);
    }
    table
}

/// A worker's state in a few words.
pub fn state(worker: &WorkerInfo) -> String {
    let name = worker.state.name();
    match worker.state {
        WorkerState::Loading { bytes_done, bytes_total } if bytes_total > 0 => {
            let done = bytes_done.min(bytes_total).saturating_mul(100);
            format!("{name} {} %", done.checked_div(bytes_total).unwrap_or(0))
        }
        WorkerState::Restarting { attempt } => {
            let ms = worker.supervision.restart_in_ms.unwrap_or(0);
            let pause = match ms.div_ceil(1000) {
                0 => String::new(),
                seconds => format!(" in {seconds}s"),
            };
            match attempt {
                0 => format!("{name}{pause}"),
                _ => format!("{name}{pause} ({attempt} of {})", limits::MAX_RESTART_ATTEMPTS),
            }
        }
        WorkerState::Busy if worker.queued > 0 => format!("{name}, {} wait", worker.queued),
        _ => name.to_owned(),
    }
}

fn unload(worker: &WorkerInfo) -> String {
    match (worker.unload_in_s, worker.spec.keep_alive_s) {
        (Some(seconds), _) => format!("in {}", countdown(seconds)),
        (None, -1) => "never".to_owned(),
        (None, _) => "-".to_owned(),
    }
}

fn countdown(seconds: u64) -> String {
    let time = Duration::from_secs(seconds);
    match (time.as_secs() / 3600, time.as_secs() / 60 % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m"),
        (hours, minutes) => format!("{hours}h{minutes:02}m"),
    }
}

/// Why a worker ended; none while it lives.
fn cause(state: &WorkerState) -> Option<String> {
    match state {
        WorkerState::Stopped => Some("stopped".to_owned()),
        WorkerState::Failed { why, .. } => Some(why.clone()),
        WorkerState::Crashed { exit, stderr_tail } => {
            let words = last_words::of(stderr_tail).pop().map(|line| format!(": {line}"));
            Some(format!("{exit}{}", words.unwrap_or_default()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::tests::worker;
    use wire::worker::Exit;

    #[test]
    fn a_row_has_exactly_the_documented_fields() {
        let info = worker("a-1", WorkerState::Busy);
        let local = HiveName::local();
        let row = serde_json::to_value(row(&local, &info, Show::Live)).unwrap();
        let mut keys: Vec<_> = row.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        let documented = [
            "active",
            "device",
            "hive",
            "id",
            "keep_alive_s",
            "limit",
            "memory_bytes",
            "model",
            "pid",
            "queued",
            "restarts",
            "slots",
            "state",
            "tokens_per_s",
        ];
        assert_eq!(keys, documented);
        assert_eq!(row["state"], "busy");
        assert_eq!(row["device"], "cpu");
    }

    #[test]
    fn a_table_says_how_far_how_busy_and_until_when() {
        let mut loading = worker("a-1", WorkerState::Loading { bytes_done: 1, bytes_total: 4 });
        loading.spec.keep_alive_s = -1;
        let mut busy = worker("b-1", WorkerState::Busy);
        (busy.active, busy.queued, busy.memory_bytes) = (1, 2, Some(3 << 30));
        (busy.unload_in_s, busy.millitokens_per_s) = (Some(1790), Some(12_345));
        let mut back = worker("c-1", WorkerState::Restarting { attempt: 2 });
        back.supervision.restart_in_ms = Some(1750);
        let local = HiveName::local();
        let rows = [(&local, &loading), (&local, &busy), (&local, &back)];
        let shown = table(&rows, Show::Live).render(None);
        for part in [
            "restarting in 2s (2 of 3)",
            "loading 25 %",
            "never",
            "busy, 2 wait",
            "12.3",
            "3.0 GiB",
            "in 29m",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }

    #[test]
    fn the_end_of_a_worker_is_told_with_its_last_words() {
        let stderr_tail = "first\nout of luck\n".to_owned();
        let crashed = WorkerState::Crashed { exit: Exit::Signal(9), stderr_tail };
        assert_eq!(cause(&crashed).unwrap(), "signal 9: out of luck");
        assert_eq!(cause(&WorkerState::Ready), None);
        assert_eq!(countdown(59), "59s");
        assert_eq!(countdown(7260), "2h01m");
    }
}
