//! Conversations as files for people and programs: Markdown and JSON.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wire::{Code, Fault};

use super::{Conversation, End, Said};

/// Names that are tried: a file is never overwritten.
const MAX_NAMES: usize = 100;
/// Characters of a title that become part of a name.
const MAX_NAME_CHARS: usize = 48;

/// As what a conversation is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Markdown,
    /// For programs.
    Json,
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Self::Markdown => "md",
            Self::Json => "json",
        }
    }

    /// The conversation as text.
    pub fn text(self, conversation: &Conversation) -> String {
        match self {
            Self::Markdown => markdown(conversation),
            Self::Json => format!("{:#}\n", as_json(conversation)),
        }
    }
}

/// Writes a conversation to a new file of `dir`, which it gives; nobody else may read it.
///
/// # Errors
/// `IO_ERROR`, `DISK_FULL`.
pub fn write(conversation: &Conversation, format: Format, dir: &Path) -> Result<PathBuf, Fault> {
    let refused = |path: &Path, error: io::Error| {
        let full = error.kind() == io::ErrorKind::StorageFull;
        let code = if full { Code::DiskFull } else { Code::Io };
        Fault::new(code, format!("{} cannot be written", path.display())).cause(error)
    };
    let text = format.text(conversation);
    let stem = file_stem(&conversation.head.title);
    for number in 1..=MAX_NAMES {
        let name = if number == 1 { stem.clone() } else { format!("{stem}-{number}") };
        let path = dir.join(name).with_extension(format.extension());
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                file.write_all(text.as_bytes()).map_err(|error| refused(&path, error))?;
                return Ok(path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(refused(&path, error)),
        }
    }
    let message = format!("{MAX_NAMES} files of the name {stem} are in {}", dir.display());
    Err(Fault::new(Code::Io, message))
}

/// A title as a file's name: letters, digits and dashes.
fn file_stem(title: &str) -> String {
    let letters = title.chars().map(|c| if c.is_alphanumeric() { c } else { '-' });
    let dashed: String = letters.flat_map(char::to_lowercase).collect();
    let words: Vec<&str> = dashed.split('-').filter(|word| !word.is_empty()).collect();
    let stem: String = words.join("-").chars().take(MAX_NAME_CHARS).collect();
    let stem = stem.trim_end_matches('-');
    if stem.is_empty() { "conversation".to_owned() } else { stem.to_owned() }
}

fn markdown(conversation: &Conversation) -> String {
    let head = &conversation.head;
    let mut text = format!("# {}\n\n", head.title);
    let mut line = |words: &str| {
        text.push_str(words);
        text.push('\n');
    };
    if let Some(system) = &head.settings.system {
        line("## Instructions\n");
        line(&format!("{}\n", system.trim_end()));
    }
    if conversation.is_cut {
        line("*(older messages were left out)*\n");
    }
    for said in &conversation.turns {
        line("## You\n");
        line(&format!("{}\n", said.question.trim_end()));
        line(&format!("## {}\n", who(said)));
        if !said.reasoning.trim().is_empty() {
            let quoted = said.reasoning.trim().lines().map(|line| format!("> {line}\n"));
            line(&quoted.collect::<String>());
        }
        if !said.answer.trim().is_empty() {
            line(&format!("{}\n", said.answer.trim_end()));
        }
        if let Some(words) = ended(&said.end) {
            line(&format!("*({words})*\n"));
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn who(said: &Said) -> String {
    let mut who = said.model.to_string();
    if let Some(place) = &said.place {
        // A String takes everything.
        let _ = write!(who, " on {} {}", place.hive, place.device);
    }
    who
}

/// What a reader should know of an answer's end.
fn ended(end: &End) -> Option<String> {
    match end {
        End::Done { .. } => None,
        End::Open => Some("the program was left before the answer was complete".to_owned()),
        End::Cancelled => Some("cancelled".to_owned()),
        End::Failed(fault) => Some(format!("error: {fault}")),
    }
}

fn as_json(conversation: &Conversation) -> Value {
    let head = &conversation.head;
    let turns: Vec<Value> = conversation
        .turns
        .iter()
        .map(|said| {
            json!({
                "question": said.question,
                "answer": said.answer,
                "reasoning": said.reasoning,
                "model": said.model.to_string(),
                "place": said.place,
                "end": said.end,
            })
        })
        .collect();
    json!({
        "format": "rbee-conversation",
        "version": 1,
        "title": head.title,
        "model": head.model.to_string(),
        "hive": head.hive.as_ref().map(ToString::to_string),
        "settings": head.settings,
        "older_left_out": conversation.is_cut,
        "turns": turns,
    })
}
