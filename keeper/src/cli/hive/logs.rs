//! `rbee hive logs`: what a hive's agent wrote, made readable.

use std::os::fd::AsFd;
use std::process::Stdio;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use wire::{Code, Fault, HiveName, limits, text};

use super::each::known;
use crate::bootstrap::logs::Kind;
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::interrupt::Interrupts;
use crate::link::streams::Lines;
use crate::operations::logs::{self, Entry, Extent};
use crate::output::style::Style;

/// Between two looks whether somebody still reads.
const LOOK_AT_READER: Duration = Duration::from_secs(1);
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
          value_parser = clap::value_parser!(u32).range(0..=i64::from(limits::MAX_LOG_LINES)))]
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
        let way = context.way_seen_by(&args.hive, steps.clone())?;
        let extent = Extent { lines: args.lines, follow: args.follow };
        if let Some(lines) = logs::of_agent(&way, extent, context).await {
            drop((way, steps));
            return tell(lines, args.json, context).await;
        }
        // No agent answers, so its files are read without it.
        let Some(remote) = way.remote() else { return local(args, context).await };
        let mut lines = remote.logs(Kind::Agent, args.lines, args.follow).await?;
        drop(steps);
        while let Some(line) = lines.next().await? {
            show(&line, args.json, context)?;
        }
        Ok(())
    })
}

/// Writes lines out as they come, until their end, Ctrl-C, or the leaving of whoever reads.
///
/// # Errors
/// What ended them: the connection, Ctrl-C, a closed standard output.
pub async fn tell(mut lines: Lines, json: bool, context: &Context) -> Result<(), Failure> {
    let mut interrupts = Interrupts::listen()?;
    let mut look = tokio::time::interval(LOOK_AT_READER);
    loop {
        tokio::select! {
            line = lines.next() => match line? {
                Some(line) => show(&line, json, context)?,
                None => return Ok(()),
            },
            () = interrupts.next() => return Err(Failure::interrupted()),
            // A quiet log would not notice that nobody reads it any more.
            _ = look.tick() => if has_left(&std::io::stdout()) {
                return Err(Failure::stdout_closed());
            },
        }
    }
}

/// Whether the reader of a pipe has left.
fn has_left(out: &impl AsFd) -> bool {
    let mut ready = [PollFd::new(out, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // Nothing was asked for, so only an error is told.
    matches!(poll(&mut ready, Some(&at_once)), Ok(1))
}

/// This machine's own log, of an agent that does not run.
async fn local(args: &Args, context: &Context) -> Result<(), Failure> {
    let file = context.environment.dirs.state.join("log/agent.jsonl");
    let none = || {
        let fault = Fault::new(Code::NotFound, format!("there is no log {}", file.display()));
        fault.hint("rbee hive start local")
    };
    if !file.is_file() {
        return Err(none().into());
    }
    let mut tail = Command::new("tail");
    // By its name: when it is full, another file takes it.
    tail.arg("-n").arg(args.lines.to_string()).args(args.follow.then_some("-F"));
    tail.arg("--").arg(&file).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    tail.stderr(Stdio::null());
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
            _ => show(&String::from_utf8_lossy(&line), args.json, context)?,
        }
    }
}

fn show(line: &str, json: bool, context: &Context) -> Result<(), Failure> {
    let line =
        if json { text::for_terminal(line) } else { readable(line, &context.stdout_style()) };
    context.print(&format!("{}\n", line.trim_end()))
}

/// A line of an agent's log for a person: time, level, message, fields. Another line is shown as
/// it is.
pub fn readable(line: &str, style: &Style) -> String {
    let Some(entry) = logs::entry(line) else { return logs::plain(line) };
    let level = match entry.level.as_str() {
        "ERROR" => style.error("ERROR"),
        "WARN" => style.warning("WARN "),
        "INFO" => style.ok("INFO "),
        other => style.muted(other),
    };
    let Entry { time, message, fields, .. } = &entry;
    let fields = if fields.is_empty() { String::new() } else { style.muted(fields) };
    format!("{} {level} {message}{fields}", style.muted(time))
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
    fn a_reader_that_left_is_noticed_without_a_word_to_it() {
        let (reader, writer) = std::io::pipe().unwrap();
        assert!(!has_left(&writer));
        drop(reader);
        assert!(has_left(&writer));
    }

    #[test]
    fn a_line_that_is_no_json_is_cleaned_and_shown() {
        assert_eq!(readable("thread main panicked\u{7}", &Style::plain()), "thread main panicked ");
        assert!(readable("{}", &Style::plain()).contains('?'));
    }
}
