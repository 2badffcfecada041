//! Where a request went, where it waited, and who ended it.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use futures_util::future::join_all;
use serde::Serialize;
use wire::journal::{EndedBy, Entry, RequestPrefix};
use wire::{Code, Fault, HiveName, RequestId, Timings};

use crate::context::Context;
use crate::link::way::Way;
use crate::link::{self, Transport};
use crate::output::clock::{span, utc};

/// Requests that are named when a beginning is of several.
const MAX_NAMED: usize = 8;

/// What one hive remembers of a request.
#[derive(Debug, Serialize)]
pub struct Seen {
    hive: HiveName,
    #[serde(flatten)]
    entry: Entry,
}

/// Remembers the last request of this user, so that it can be asked for without its id.
pub fn remember(context: &Context, id: RequestId) {
    let path = last_file(context);
    let written = || -> io::Result<()> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        // Two at once: the name belongs to the later one, and no reader sees half of an id.
        let part = path.with_extension(std::process::id().to_string());
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        writeln!(file, "{id}")?;
        std::fs::rename(part, &path)
    };
    if let Err(error) = written() {
        tracing::warn!(%error, "the last request's id was not kept");
    }
}

fn last_file(context: &Context) -> PathBuf {
    context.environment.dirs.state.join("last-request")
}

/// The last request of this user.
///
/// # Errors
/// `NOT_FOUND` when there is none.
pub fn last(context: &Context) -> Result<RequestPrefix, Fault> {
    let none = || {
        let fault = Fault::new(Code::NotFound, "no request has been made yet");
        fault.hint("rbee run -m demo \"Hello\"")
    };
    let mut text = String::new();
    let file = std::fs::File::open(last_file(context)).map_err(|_| none())?;
    file.take(64).read_to_string(&mut text).map_err(|error| none().cause(error))?;
    text.trim().parse::<RequestId>().map(RequestPrefix::from).map_err(|_| none())
}

/// What all hives remember of the one request that `wanted` names, oldest first: one that was
/// placed again has been at several hives, or at one of them twice. Hives that cannot be asked are
/// told.
///
/// # Errors
/// `NOT_FOUND` when no hive knows the request, `INVALID_ARGUMENT` for a beginning of several.
pub async fn ask(
    ways: &[Way],
    wanted: &RequestPrefix,
    context: &Context,
    mut absent: impl FnMut(&HiveName, &Fault),
) -> Result<Vec<Seen>, Fault> {
    let mut seen = ask_all(ways, wanted, context, &mut absent).await?;
    seen.sort_by_key(|seen| seen.entry.received_unix_ms);
    one_request(&seen, wanted)?;
    Ok(seen)
}

/// Asks the agents that run; when none of them knows the request, those that have to be started.
async fn ask_all(
    ways: &[Way],
    wanted: &RequestPrefix,
    context: &Context,
    absent: &mut impl FnMut(&HiveName, &Fault),
) -> Result<Vec<Seen>, Fault> {
    let asked = ways.iter().map(|way| ask_one(way, wanted, context, Agents::Running));
    let (mut seen, mut asleep, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for (way, outcome) in ways.iter().zip(join_all(asked).await) {
        match outcome {
            Ok(Some(entries)) => seen.extend(entries),
            Ok(None) => asleep.push(way),
            Err(fault) => faults.push((way.hive(), fault)),
        }
    }
    if seen.is_empty() {
        let asked = asleep.iter().map(|way| ask_one(way, wanted, context, Agents::All));
        for (way, outcome) in asleep.iter().zip(join_all(asked).await) {
            match outcome {
                Ok(entries) => seen.extend(entries.into_iter().flatten()),
                Err(fault) => faults.push((way.hive(), fault)),
            }
        }
    }
    if !seen.is_empty() || faults.len() < ways.len() {
        for (hive, fault) in &faults {
            absent(hive, fault);
        }
        return Ok(seen);
    }
    match faults.into_iter().next() {
        Some((_, fault)) => Err(fault),
        None => Ok(seen),
    }
}

/// Which agents are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Agents {
    Running,
    All,
}

/// What one hive knows; nothing when no agent runs there and none is to be started.
async fn ask_one(
    way: &Way,
    wanted: &RequestPrefix,
    context: &Context,
    agents: Agents,
) -> Result<Option<Vec<Seen>>, Fault> {
    let timings: &Timings = &context.config.timings;
    let asking = async {
        let client = match agents {
            Agents::Running => link::connect(way, timings).await?,
            Agents::All => Some(link::reach(way, timings).await?.0),
        };
        let Some(client) = client else { return Ok(None) };
        let entries = client.requests(Some(wanted)).await?;
        let of_hive = |entry| Seen { hive: way.hive().clone(), entry };
        Ok(Some(entries.into_iter().map(of_hive).collect()))
    };
    let bound = timings.ssh_connect.saturating_add(timings.agent_start);
    context.dialer.deadline(bound).within(asking).await.unwrap_or_else(|| {
        let message = format!("no answer within {} s", bound.as_secs_f32());
        Err(Fault::new(Code::HiveUnreachable, message).hint(link::doctor(way.hive())))
    })
}

/// Refuses when there is none, or more than one.
fn one_request(seen: &[Seen], wanted: &RequestPrefix) -> Result<(), Fault> {
    let mut ids: Vec<RequestId> = seen.iter().map(|seen| seen.entry.request).collect();
    ids.sort_unstable();
    ids.dedup();
    match ids.as_slice() {
        [] => {
            let message = format!("no hive remembers a request {wanted}");
            Err(Fault::new(Code::NotFound, message)
                .cause("each remembers its last 1000; one that reached no worker is in none")
                .hint("rbee why  # shows the last one"))
        }
        [_] => Ok(()),
        several => {
            let message = format!("{} requests begin with {wanted}", several.len());
            let fault = Fault::new(Code::InvalidArgument, message);
            let named = several.iter().take(MAX_NAMED);
            Err(named.fold(fault, |fault, id| fault.hint(format!("rbee why {id}"))))
        }
    }
}

/// All of it for a person.
pub fn told(seen: &[Seen]) -> String {
    let Some(first) = seen.first() else { return String::new() };
    let mut text = format!("request {}\n", first.entry.request);
    for seen in seen {
        // A String takes everything.
        let _ = write!(text, "\n{}", one(seen));
    }
    text
}

fn one(Seen { hive, entry }: &Seen) -> String {
    let mut text = String::new();
    let mut fact = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<9}{value}");
    };
    let model = entry.model.as_ref().map(|model| format!(" ({model})")).unwrap_or_default();
    fact("to", format!("worker {}{model} on {hive}", entry.worker));
    let client = entry.client.as_ref().map(|name| format!("{name}, ")).unwrap_or_default();
    fact("from", format!("{client}connection {}", entry.connection));
    let deadline = entry.deadline_ms.map(|ms| format!(", {} before its deadline", span(ms)));
    let received = utc(entry.received_unix_ms);
    fact("received", format!("{received}{}", deadline.unwrap_or_default()));
    for (ms, what) in steps(entry) {
        let _ = writeln!(text, "{:>8} {what}", format!("+{}", span(ms)));
    }
    if entry.ended_ms.is_none() {
        text.push_str("it goes on\n");
    }
    if let Some(timings) = &entry.timings {
        let (queue, prefill, decode) = (timings.queue_ms, timings.prefill_ms, timings.decode_ms);
        let _ = writeln!(
            text,
            "worker   queue {queue:.1} ms, prefill {prefill:.1} ms, decode {decode:.1} ms"
        );
    }
    let _ = writeln!(text, "tokens   {}", tokens(entry));
    text
}

fn tokens(entry: &Entry) -> String {
    let answer = format!("{} of the answer", entry.completion_tokens);
    entry.prompt_tokens.map_or(answer.clone(), |prompt| format!("{prompt} of the prompt, {answer}"))
}

/// What happened, each with its milliseconds after the arrival.
fn steps(entry: &Entry) -> Vec<(u64, String)> {
    let mut steps = Vec::new();
    if let Some(queued) = entry.queued_ms {
        let behind = match entry.ahead {
            None => String::new(),
            Some(0) => ", next in turn".to_owned(),
            Some(1) => ", behind 1 other".to_owned(),
            Some(ahead) => format!(", behind {ahead} others"),
        };
        steps.push((queued, format!("asked for a slot{behind}")));
    }
    if let Some(slot) = entry.slot_ms {
        let waited = slot.saturating_sub(entry.queued_ms.unwrap_or(slot));
        steps.push((slot, format!("got its slot after {}", span(waited))));
    }
    if let Some(first) = entry.first_token_ms {
        steps.push((first, "first token".to_owned()));
    }
    if let Some(ended) = entry.ended_ms {
        steps.push((ended, how_it_ended(entry)));
    }
    steps
}

fn how_it_ended(entry: &Entry) -> String {
    let code = entry.code.as_ref().map(Code::as_str);
    let with_code = |what: &str| match code {
        Some(code) => format!("{what} ({code})"),
        None => what.to_owned(),
    };
    match (entry.ended_by, entry.finish_reason) {
        (Some(EndedBy::Worker), Some(reason)) => format!("complete ({})", reason.as_str()),
        (Some(EndedBy::Worker), None) if code.is_none() => "complete".to_owned(),
        (Some(EndedBy::Worker), None) => with_code("the worker failed"),
        (Some(EndedBy::Client), _) if code.is_some() => with_code("cancelled by its client"),
        (Some(EndedBy::Client), _) => "its client left".to_owned(),
        (Some(EndedBy::Deadline), _) => with_code("its deadline passed"),
        (Some(EndedBy::Agent), _) => with_code("the agent ended it"),
        (Some(EndedBy::Unknown) | None, _) => with_code("ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ModelRef;
    use wire::generate::FinishReason;

    fn seen(id: &str, change: impl FnOnce(&mut Entry)) -> Seen {
        let worker = "demo-1".parse().unwrap();
        let mut entry = Entry::received(id.parse().unwrap(), worker, 1_709_210_096_000);
        change(&mut entry);
        Seen { hive: HiveName::local(), entry }
    }

    const ONE: &str = "5f0c8a52-8d4c-4a7e-9f39-3d6f2f1f6b0a";
    const OTHER: &str = "5f0c8a53-8d4c-4a7e-9f39-3d6f2f1f6b0a";

    #[test]
    fn the_way_of_a_request_is_told_in_the_order_in_which_it_went() {
        let seen = seen(ONE, |entry| {
            entry.client = Some("ada@laptop".parse().unwrap());
            entry.model = Some(ModelRef::Demo);
            entry.deadline_ms = Some(30_000);
            entry.queued_ms = Some(1);
            entry.ahead = Some(2);
            entry.slot_ms = Some(812);
            entry.first_token_ms = Some(900);
            entry.ended_ms = Some(2_345);
            entry.prompt_tokens = Some(12);
            entry.completion_tokens = 34;
            entry.finish_reason = Some(FinishReason::Stop);
            entry.ended_by = Some(EndedBy::Worker);
        });
        let expected = "request 5f0c8a52-8d4c-4a7e-9f39-3d6f2f1f6b0a\n\n\
            to       worker demo-1 (demo) on local\n\
            from     ada@laptop, connection 0\n\
            received 2024-02-29 12:34:56Z, 30.0 s before its deadline\n   \
            +1 ms asked for a slot, behind 2 others\n \
            +812 ms got its slot after 811 ms\n \
            +900 ms first token\n  \
            +2.3 s complete (stop)\n\
            tokens   12 of the prompt, 34 of the answer\n";
        assert_eq!(told(&[seen]), expected);
    }

    #[test]
    fn who_ended_it_is_always_said() {
        let by = |by, code: Option<Code>| {
            let end = |entry: &mut Entry| (entry.ended_by, entry.code) = (Some(by), code);
            how_it_ended(&seen(ONE, end).entry)
        };
        assert_eq!(by(EndedBy::Client, None), "its client left");
        let cancelled = by(EndedBy::Client, Some(Code::Cancelled));
        assert_eq!(cancelled, "cancelled by its client (CANCELLED)");
        assert_eq!(by(EndedBy::Agent, Some(Code::QueueFull)), "the agent ended it (QUEUE_FULL)");
        assert!(by(EndedBy::Deadline, Some(Code::DeadlineExceeded)).contains("deadline passed"));
    }

    #[test]
    fn a_beginning_of_two_names_both_and_one_of_none_says_so() {
        let prefix: RequestPrefix = "5f0c".parse().unwrap();
        let both = [seen(ONE, |_| {}), seen(OTHER, |_| {}), seen(ONE, |_| {})];
        let fault = one_request(&both, &prefix).unwrap_err();
        assert_eq!(fault.hints, [format!("rbee why {ONE}"), format!("rbee why {OTHER}")]);
        assert_eq!(one_request(&[], &prefix).unwrap_err().code, Code::NotFound);
        assert!(one_request(&both[..1], &prefix).is_ok());
    }
}
