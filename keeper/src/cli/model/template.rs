//! `rbee model template`: the text that a model is given for a conversation.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use wire::rendering::TemplateRequest;
use wire::text::shell_word;
use wire::{Code, Fault, bounded, limits, text};

use super::Local;
use crate::context::Context;
use crate::failure::Failure;
use crate::role;

/// Show what a chat template makes of a conversation.
///
/// Writes the text that the model would be given, byte for byte. Control tokens that stand in a
/// message are text when a model is asked, but are written here as they are.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  rbee model template -m demo --messages messages.json \
    --add-generation-prompt\n  rbee model template --template chat.jinja --messages messages.json \
    --tools tools.json --bos '<s>' --eos '</s>' --date 2024-02-29")]
pub struct Args {
    /// Model whose template and special tokens are used: an alias, `file:/path.gguf`, `demo`, or
    /// the path of a file here.
    #[arg(short, long, value_name = "MODEL", required_unless_present = "template")]
    model: Option<String>,
    /// Template to use instead of the model's own.
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
    /// JSON array of messages, each with role and content; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    messages: PathBuf,
    /// JSON array of tools that the model may call.
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
    /// The time that the template sees, in UTC: 2024-02-29 or 2024-02-29T12:34:56.
    #[arg(long, value_name = "DATE", value_parser = date)]
    date: Option<u64>,
    /// Go on up to where the model's answer begins.
    #[arg(long)]
    add_generation_prompt: bool,
    /// Text of the token that begins a text, instead of the model's own.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    bos: Option<String>,
    /// Text of the token that ends a text, instead of the model's own.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    eos: Option<String>,
}

/// Does it.
///
/// # Errors
/// The failure that ended it.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let input = |path: &Path| read(path, limits::MAX_TEMPLATE_INPUT_BYTES);
    let request = TemplateRequest {
        template: optional(args.template.as_deref(), |path| {
            read(path, limits::MAX_TEMPLATE_BYTES)
        })?,
        messages: input(&args.messages)?,
        tools: optional(args.tools.as_deref(), input)?,
        now_s: args.date.unwrap_or_else(today),
        add_generation_prompt: args.add_generation_prompt,
        bos: args.bos.clone(),
        eos: args.eos.clone(),
    };
    let mut words: Vec<OsString> = ["worker", "template"].map(OsString::from).into();
    if let Some(model) = args.model.clone() {
        words.push("--model".into());
        words.push(Local { model }.locate(context)?.into());
    }
    let json = serde_json::to_vec(&request)
        .map_err(|error| Fault::new(Code::Internal, "the request is no JSON").cause(error))?;
    let rendered = role::ask(&words, &json, limits::MAX_RENDERED_BYTES).map_err(of_template)?;
    let rendered = String::from_utf8(rendered)
        .map_err(|error| Fault::new(Code::Internal, "the answer is no text").cause(error))?;
    // A model's text passes unchanged into a file, and never to a terminal.
    if context.environment.terminals.stdout {
        context.print(&format!("{}\n", text::for_terminal(&rendered)))
    } else {
        context.print(&rendered)
    }
}

/// The only thing of unknown size in that process is the template.
fn of_template(fault: Fault) -> Fault {
    if fault.code != Code::OutOfMemory {
        return fault;
    }
    let most = limits::WORKER_DATA_SLACK_BYTES >> 20;
    Fault::new(
        Code::TemplateFailed,
        format!("the chat template takes more memory than the {most} MiB that it may have"),
    )
    .hint("rbee run --raw …  # without the chat template")
}

fn optional(
    path: Option<&Path>,
    read: impl Fn(&Path) -> Result<String, Failure>,
) -> Result<Option<String>, Failure> {
    path.map(read).transpose()
}

fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A file's text, at most `limit` bytes of it.
fn read(path: &Path, limit: usize) -> Result<String, Failure> {
    let name = path.display().to_string();
    let cannot = |error: std::io::Error| {
        Fault::new(Code::Io, format!("{name} cannot be read"))
            .cause(error)
            .hint(format!("ls -l -- {}", shell_word(&name)))
    };
    let read = if path == Path::new("-") {
        bounded::read(std::io::stdin().lock(), limit)
    } else {
        bounded::read(File::open(path).map_err(cannot)?, limit)
    };
    let Some(bytes) = read.map_err(cannot)? else {
        let message = format!("{name} is longer than {limit} bytes");
        return Err(Fault::new(Code::TooLarge, message).into());
    };
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{name} is not UTF-8 text")))
}

/// Seconds from the epoch to a date as ISO 8601 writes it, in UTC.
fn date(text: &str) -> Result<u64, &'static str> {
    const FORM: &str = "a date is 2024-02-29 or 2024-02-29T12:34:56, from 1970 to 9999";
    let (day, time) = text.split_once('T').unwrap_or((text, "00:00:00"));
    let parts = |text: &str, between: char| -> Option<[u64; 3]> {
        let is_number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
        let numbers: Vec<u64> =
            text.split(between).filter(is_number).map_while(|part| part.parse().ok()).collect();
        let is_whole = text.split(between).count() == 3;
        numbers.try_into().ok().filter(|_| is_whole)
    };
    let [year, month, day] = parts(day, '-').ok_or(FORM)?;
    let [hour, minute, second] = parts(time, ':').ok_or(FORM)?;
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let days_of = |month: u64| match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let is_date = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of(month)).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 59 {
        return Err(FORM);
    }
    let of_years: u64 = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum();
    let of_months: u64 = (1..month).map(days_of).sum();
    let days = of_years + of_months + day - 1;
    Ok(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected from `date -u -d DATE +%s`.
    #[test]
    fn dates_are_seconds_since_the_epoch() {
        assert_eq!(date("1970-01-01"), Ok(0));
        assert_eq!(date("2024-02-29T12:34:56"), Ok(1_709_210_096));
        assert_eq!(date("2100-03-01"), Ok(4_107_542_400));
        for text in ["", "2024", "2023-02-29", "2024-13-01", "2024-00-01", "1969-12-31", "x-y-z"] {
            assert!(date(text).is_err(), "{text:?}");
        }
        for text in
            ["2024-02-29T24:00:00", "2024-02-29T1:2", "2024-2-+9", "2024-02-29-1", "10000-01-01"]
        {
            assert!(date(text).is_err(), "{text:?}");
        }
    }
}
