//! `rbee hive logs`: what a hive's agent wrote, made readable.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use wire::{Code, Fault, HiveName, text};

use super::dial;
use super::each::known;
use crate::bootstrap::logs::Kind;
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::output::style::Style;

/// Bytes of a line that are shown.
const MAX_LINE_BYTES: usize = 4 * 1024;
/// Bytes of a field's name that are shown.
const MAX_KEY_BYTES: usize = 64;
/// Bytes of a line that are read at a time.
const MAX_READ_BYTES: u64 = 64 * 1024;

/// Show the log of a hive's agent.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which hive. This machine is `local`.
    #[arg(value_name = "NAME")]
    pub hive: HiveName,
    /// How many of the last lines.
    #[arg(short = 'n', long, value_name = "LINES", default_value_t = 50,
          allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub lines: u32,
    /// Go on with what is written from now on.
    #[arg(short, long)]
    pub follow: bool,
    /// Write the lines as they are: JSON objects.
    #[arg(long)]
    pub json: bool,
}

/// Does it.
///
/// # Errors
/// `NOT_FOUND` when there is no log; whatever keeps the hive from being reached.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    known(&args.hive, context)?;
    block_on(async {
        let steps = super::passing(context, 1);
        let Some(remote) = dial::remote(context, &args.hive, &steps) else {
            return local(args, context).await;
        };
        let mut logs = remote.logs(Kind::Agent, args.lines, args.follow).await?;
        drop(steps);
        while let Some(line) = logs.next().await? {
            show(&line, args, context)?;
        }
        Ok(())
    })
}

/// This machine's own log: the newest of its daily files.
async fn local(args: &Args, context: &Context) -> Result<(), Failure> {
    let dir = context.environment.dirs.state.join("log");
    let none = || {
        let fault = Fault::new(Code::NotFound, format!("there is no log in {}", dir.display()));
        fault.hint("rbee hive start local")
    };
    let file = newest(&dir).ok_or_else(none)?;
    let mut tail = Command::new("tail");
    tail.arg("-n").arg(args.lines.to_string()).args(args.follow.then_some("-f"));
    tail.arg("--").arg(file).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut tail = tail.spawn().map_err(|error| none().cause(format!("tail: {error}")))?;
    let Some(output) = tail.stdout.take() else { return Ok(()) };
    let mut output = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        // A longer line than that is shown in parts.
        let mut part = (&mut output).take(MAX_READ_BYTES);
        let count = part.read_until(b'\n', &mut line).await;
        match count.map_err(|error| none().cause(error))? {
            0 => return Ok(()),
            _ => show(&String::from_utf8_lossy(&line), args, context)?,
        }
    }
}

/// The agent's log files are named for their days.
fn newest(dir: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    let is_log = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("agent.") && path.extension().is_some_and(|ext| ext == "jsonl")
    };
    files.filter(is_log).max()
}

fn show(line: &str, args: &Args, context: &Context) -> Result<(), Failure> {
    let line =
        if args.json { text::for_terminal(line) } else { readable(line, &context.stdout_style()) };
    context.print(&format!("{}\n", line.trim_end()))
}

/// A line of an agent's log for a person: time, level, message, fields. Another line is shown as
/// it is.
pub fn readable(line: &str, style: &Style) -> String {
    let Some(mut log) = serde_json::from_str::<Map<String, Value>>(line).ok() else {
        return text::one_line(line, MAX_LINE_BYTES);
    };
    let time = log.get("timestamp").and_then(Value::as_str).map(time).unwrap_or_default();
    let level = log.get("level").and_then(Value::as_str).unwrap_or("?");
    let level = match level {
        "ERROR" => style.error("ERROR"),
        "WARN" => style.warning("WARN "),
        "INFO" => style.ok("INFO "),
        other => style.muted(&text::one_line(other, 8)),
    };
    let mut fields = match log.remove("fields") {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let message = fields.remove("message");
    let message = message.as_ref().map(shown).unwrap_or_default();
    let spans = log.get("spans").and_then(Value::as_array).into_iter().flatten();
    let of_spans = spans.filter_map(Value::as_object).flatten().filter(|(key, _)| *key != "name");
    let rest = of_spans.chain(&fields).fold(String::new(), |mut rest, (key, value)| {
        let _ = write!(rest, " {}={}", text::one_line(key, MAX_KEY_BYTES), shown(value));
        rest
    });
    let rest = if rest.is_empty() { rest } else { style.muted(&rest) };
    format!("{} {level} {message}{rest}", style.muted(&time))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_json_becomes_time_level_message_and_fields() {
        let line = r#"{"timestamp":"2026-11-21T12:30:01.123456Z","level":"WARN","fields":
            {"message":"late\u001b[2J","worker":"demo-1","n":3},"target":"agent::x"}"#;
        let line = line.replace('\n', "");
        let shown = readable(&line, &Style::plain());
        let (head, fields) = shown.split_at(shown.find(" n=").unwrap());
        assert_eq!(head, "2026-11-21 12:30:01Z WARN  late [2J");
        assert_eq!(fields, " n=3 worker=demo-1");
    }

    #[test]
    fn the_newest_days_file_is_the_log() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(newest(dir.path()), None);
        for name in ["agent.2026-11-20.jsonl", "agent.2026-11-21.jsonl", "agent.stderr", "z.jsonl"]
        {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(newest(dir.path()), Some(dir.path().join("agent.2026-11-21.jsonl")));
    }

    #[test]
    fn a_line_that_is_no_json_is_cleaned_and_shown() {
        assert_eq!(readable("thread main panicked\u{7}", &Style::plain()), "thread main panicked ");
        assert!(readable("{}", &Style::plain()).contains('?'));
    }
}
