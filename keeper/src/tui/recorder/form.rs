//! What a recording looks like in a file: JSON lines, the first of which says what it is.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::event::{Event as Said, Snapshot};
use wire::worker::WorkerInfo;
use wire::{Code, Fault, HiveName, ModelRef, text};

use super::mask::{masked, shape};
use super::{Start, key, shown};
use crate::ask::{Ending, Placed};
use crate::conversations::desk::Reply;
use crate::fleet::{Hive, Moment};
use crate::link::watch::{News as Told, Standing};
use crate::tui::board::{Board, Stand};
use crate::tui::desk::News as Own;
use crate::tui::event::{AskId, Event, Form, News, Piece, Pointer, Question, QuestionId};
use crate::tui::records::RecordId;
use crate::tui::update::operate::News as Done;

/// Version of the form. A newer one is not read. Version 1 had nothing of conversations, operations
/// and the person's own machine.
const VERSION: u32 = 2;
/// Events that are kept.
pub const MAX_EVENTS: usize = 10_000;
/// Bytes that they may take in memory, about.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of a file that is read: JSON is some times as large as what it tells.
pub const MAX_FILE_BYTES: u64 = 8 * MAX_BYTES as u64;
/// Columns or rows of a terminal that is replayed.
const MAX_CELLS: u16 = 1000;
/// Bytes of a line of a question.
const MAX_QUESTION_BYTES: usize = 512;
/// Bytes that an event takes besides its text.
const EVENT_BYTES: usize = 128;
/// Bytes of what is known of a device or a worker, about.
const ITEM_BYTES: usize = 1024;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
pub struct Header {
    rbee_recording: u32,
    build: String,
    /// Events before the first one of the file.
    dropped: u64,
    /// Whether what was written and answered is in it.
    whole: bool,
    start: Start,
}

impl Header {
    /// For a file of this program.
    pub fn new(build: &str, dropped: u64, whole: bool, start: Start) -> Self {
        Self { rbee_recording: VERSION, build: build.to_owned(), dropped, whole, start }
    }
}

/// Every other line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Microseconds since the program began.
    at: u64,
    /// What happened then.
    pub event: Entry,
}

impl Line {
    /// An event of a time.
    pub fn new(at: Moment, event: Entry) -> Self {
        Self { at: u64::try_from(at.as_micros()).unwrap_or(u64::MAX), event }
    }

    /// When it happened.
    pub fn at(&self) -> Moment {
        Duration::from_micros(self.at)
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A key that is a command.
    Key(String),
    /// A character of the person's text.
    Typed(char),
    /// Text was pasted.
    Paste(String),
    /// The terminal has another size.
    Resized(u16, u16),
    /// A button of the mouse was pressed: column, row.
    Click(u16, u16),
    /// The mouse's wheel was turned: column, row, whether down.
    Wheel(u16, u16, bool),
    /// Time passed.
    Tick,
    /// The wall clock shows this local time of day, in seconds.
    Clock(u64),
    /// What is new of the hives.
    Hives(Vec<Seen>),
    /// News of a request.
    Answer(AskId, Heard),
    /// Something was asked.
    Asked(QuestionId, Vec<String>, Answered),
    /// Something was done.
    Done(String),
    /// Something could not be done.
    Failed(Fault),
    /// News of an operation: of which record, its title and command, what.
    Operation(RecordId, [String; 2], Done),
    /// The configuration names these models.
    Configured(Vec<(String, ModelRef)>),
    /// What came of something on the person's own machine.
    Own(Own),
    /// What came of a job with the file of conversations.
    Filed(Reply),
    /// Something that a replay leaves out, by its name.
    Other(String),
}

/// How a question is answered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    /// With yes or no.
    YesNo,
    /// With a line that is seen.
    Shown,
    /// With a line that is not.
    Hidden,
}

/// News of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Heard {
    Waits(Box<WorkerInfo>),
    Retries(Fault, Duration),
    Pulls(String),
    Queued(u64),
    Silent(HiveName, Option<Duration>),
    Absent(HiveName, Fault),
    Placed(Box<Placed>),
    Prompt(u32),
    Piece { answer: String, reasoning: String, tokens: usize },
    Ended(Box<Ending>),
    Cancelled,
    Failed(Fault),
}

/// What is new of one hive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    hive: HiveName,
    standing: Standing,
    since: Duration,
    step: Option<String>,
    /// What it said last, and when.
    said: Option<(Box<Snapshot>, Duration)>,
}

impl Seen {
    /// What differs of the hives that the newer one has.
    pub fn between(older: &Board, newer: &Board) -> Vec<Self> {
        let of = |board: &Board, hive: &HiveName| {
            (board.stand(hive).cloned(), board.picture(hive).cloned())
        };
        let changed = newer.hives().filter(|(hive, stand)| {
            older.stand(hive) != Some(stand) || older.picture(hive) != newer.picture(hive)
        });
        changed.map(|(hive, _)| Self::of(hive, of(newer, hive))).collect()
    }

    fn of(hive: &HiveName, (stand, picture): (Option<Stand>, Option<Hive>)) -> Self {
        let stand = stand.unwrap_or(Stand {
            standing: Standing::Connecting,
            since: Moment::ZERO,
            step: None,
        });
        let said = picture.map(|hive| {
            let snapshot = Snapshot {
                revision: hive.revision,
                hello: hive.hello,
                devices: hive.devices,
                workers: hive.workers.into_values().collect(),
                warnings: hive.warnings,
            };
            (Box::new(snapshot), hive.heard)
        });
        let Stand { standing, since, step } = stand;
        Self { hive: hive.clone(), standing, since, step, said }
    }

    /// Makes it so.
    pub fn put_on(self, board: &mut Board) {
        board.take(&self.hive, Told::Standing(self.standing), self.since);
        if let Some(step) = self.step {
            board.step(&self.hive, text::one_line(&step, MAX_QUESTION_BYTES));
        }
        if let Some((said, heard)) = self.said {
            board.take(&self.hive, Told::Event(Box::new(Said::Snapshot(*said))), heard);
        }
    }
}

impl Entry {
    /// An event without keys, pasted text, hives and operations.
    pub fn of(event: &Event) -> Self {
        match event {
            Event::Resized(columns, rows) => Self::Resized(*columns, *rows),
            Event::Pointer(Pointer::Click(column, row)) => Self::Click(*column, *row),
            Event::Pointer(Pointer::Wheel(column, row, down)) => Self::Wheel(*column, *row, *down),
            Event::Tick => Self::Tick,
            Event::Clock(second) => Self::Clock(*second),
            Event::Answer(id, news) => Self::Answer(*id, Heard::of(news)),
            Event::Question(Question { id, lines, form }) => {
                let form = match form {
                    Form::YesNo => Answered::YesNo,
                    Form::Line { shown: true } => Answered::Shown,
                    Form::Line { shown: false } => Answered::Hidden,
                };
                Self::Asked(*id, lines.clone(), form)
            }
            Event::Done(Ok(line)) => Self::Done(line.clone()),
            Event::Done(Err(fault)) => Self::Failed(fault.clone()),
            Event::Configured(models) => Self::Configured(models.clone()),
            Event::Desk(news) => Self::Own(news.clone()),
            Event::Conversations(reply) => Self::Filed(shown::bounded(reply)),
            other => {
                let name = format!("{other:?}");
                let end = name.find(|c: char| !c.is_alphanumeric()).unwrap_or(name.len());
                Self::Other(name.get(..end).unwrap_or_default().to_owned())
            }
        }
    }

    /// Whether the person did it, at what was on the screen.
    pub fn is_typed(&self) -> bool {
        matches!(
            self,
            Self::Key(_) | Self::Typed(_) | Self::Paste(_) | Self::Click(..) | Self::Wheel(..)
        )
    }

    /// Puts text of the same shape in the place of the person's and the model's.
    pub fn mask(&mut self) {
        match self {
            Self::Typed(c) => *c = shape(*c),
            Self::Paste(text) => *text = masked(text),
            Self::Answer(_, Heard::Piece { answer, reasoning, .. }) => {
                (*answer, *reasoning) = (masked(answer), masked(reasoning));
            }
            Self::Own(news) => shown::mask_own(news),
            Self::Filed(reply) => shown::mask_reply(reply),
            _ => {}
        }
    }

    /// Bytes that it takes in memory, about.
    pub fn bytes(&self) -> usize {
        EVENT_BYTES
            + match self {
                Self::Key(text) | Self::Paste(text) | Self::Done(text) | Self::Other(text) => {
                    text.len()
                }
                Self::Hives(seen) => seen
                    .iter()
                    .filter_map(|it| it.said.as_ref())
                    .map(|(said, _)| (1 + said.devices.len() + said.workers.len()) * ITEM_BYTES)
                    .sum::<usize>(),
                Self::Answer(_, Heard::Piece { answer, reasoning, .. }) => {
                    answer.len() + reasoning.len()
                }
                Self::Operation(_, words, news) => {
                    words.iter().map(String::len).sum::<usize>() + shown::done_bytes(news)
                }
                Self::Configured(models) => models.len() * ITEM_BYTES,
                Self::Own(news) => shown::own_bytes(news),
                Self::Filed(reply) => shown::reply_bytes(reply),
                Self::Answer(..) | Self::Asked(..) | Self::Failed(_) => ITEM_BYTES,
                Self::Typed(_)
                | Self::Resized(..)
                | Self::Click(..)
                | Self::Wheel(..)
                | Self::Tick
                | Self::Clock(_) => 0,
            }
    }

    /// The event; none for one that a replay leaves out.
    pub fn event(self, board: &mut Board) -> Option<Event> {
        Some(match self {
            Self::Key(word) => Event::Key(key::parse(&word)?),
            Self::Typed(c) => Event::Key(key::parse(&c.to_string())?),
            Self::Paste(text) => Event::Paste(text),
            Self::Resized(columns, rows) => Event::Resized(cells(columns), cells(rows)),
            Self::Click(column, row) => Event::Pointer(Pointer::Click(column, row)),
            Self::Wheel(column, row, down) => Event::Pointer(Pointer::Wheel(column, row, down)),
            Self::Tick => Event::Tick,
            Self::Clock(second) => Event::Clock(second),
            Self::Hives(seen) => {
                for it in seen {
                    it.put_on(board);
                }
                Event::Board(Arc::new(board.clone()))
            }
            Self::Answer(id, heard) => Event::Answer(id, heard.news()),
            Self::Asked(id, lines, form) => {
                let clean = |line: String| text::one_line(&line, MAX_QUESTION_BYTES);
                let form = match form {
                    Answered::YesNo => Form::YesNo,
                    Answered::Shown => Form::Line { shown: true },
                    Answered::Hidden => Form::Line { shown: false },
                };
                let lines = lines.into_iter().map(clean).collect();
                Event::Question(Question { id, lines, form })
            }
            Self::Done(line) => Event::Done(Ok(line)),
            Self::Failed(fault) => Event::Done(Err(fault)),
            Self::Operation(id, _, news) => Event::Operation(id, shown::clean_done(news)),
            Self::Configured(models) => Event::Configured(models),
            Self::Own(news) => Event::Desk(shown::clean_own(news)),
            Self::Filed(reply) => Event::Conversations(shown::clean_reply(reply)),
            Self::Other(_) => return None,
        })
    }
}

/// A side of a terminal within reason.
fn cells(count: u16) -> u16 {
    count.clamp(1, MAX_CELLS)
}

impl Heard {
    fn of(news: &News) -> Self {
        match news {
            News::Waits(worker) => Self::Waits(worker.clone()),
            News::Retries(why, pause) => Self::Retries(why.clone(), *pause),
            News::Pulls(line) => Self::Pulls(line.clone()),
            News::Queued(ahead) => Self::Queued(*ahead),
            News::Silent(hive, time) => Self::Silent(hive.clone(), *time),
            News::Absent(hive, why) => Self::Absent(hive.clone(), why.clone()),
            News::Placed(placed) => Self::Placed(placed.clone()),
            News::Prompt(tokens) => Self::Prompt(*tokens),
            News::Piece(Piece { answer, reasoning, tokens }) => {
                let (answer, reasoning) = (answer.clone(), reasoning.clone());
                Self::Piece { answer, reasoning, tokens: *tokens }
            }
            News::Ended(Ok(ending)) => Self::Ended(Box::new(ending.clone())),
            News::Ended(Err(None)) => Self::Cancelled,
            News::Ended(Err(Some(fault))) => Self::Failed(fault.clone()),
        }
    }

    fn news(self) -> News {
        match self {
            Self::Waits(worker) => News::Waits(worker),
            Self::Retries(why, pause) => News::Retries(why, pause),
            Self::Pulls(line) => News::Pulls(text::one_line(&line, MAX_QUESTION_BYTES)),
            Self::Queued(ahead) => News::Queued(ahead),
            Self::Silent(hive, time) => News::Silent(hive, time),
            Self::Absent(hive, why) => News::Absent(hive, why),
            Self::Placed(placed) => News::Placed(placed),
            Self::Prompt(tokens) => News::Prompt(tokens),
            Self::Piece { answer, reasoning, tokens } => {
                News::Piece(Piece { answer, reasoning, tokens })
            }
            Self::Ended(ending) => News::Ended(Ok(*ending)),
            Self::Cancelled => News::Ended(Err(None)),
            Self::Failed(fault) => News::Ended(Err(Some(fault))),
        }
    }
}

/// A recording that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// What it began with.
    pub start: Start,
    /// What happened, in its order.
    pub lines: Vec<Line>,
}

impl Recording {
    /// Reads a file's text.
    ///
    /// # Errors
    /// `VERSION_MISMATCH` for a newer one, `INVALID_ARGUMENT` for what is none, with the line.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let version = serde_json::from_str::<serde_json::Value>(first)
            .ok()
            .and_then(|header| header.get("rbee_recording")?.as_u64());
        match version {
            Some(version) if version > u64::from(VERSION) => {
                let message = format!(
                    "the recording has version {version}, and this program reads {VERSION}"
                );
                return Err(Fault::new(Code::VersionMismatch, message)
                    .hint("rbee --version  # a newer program reads it"));
            }
            Some(_) => {}
            None => return Err(refused("it does not begin as a recording does")),
        }
        let header: Header = serde_json::from_str(first).map_err(|error| of_line(1, &error))?;
        let mut start = header.start;
        start.size = (cells(start.size.0), cells(start.size.1));
        let mut read = Vec::new();
        for (number, line) in (2..).zip(lines) {
            // The file has a line more: the hives before the first event.
            if read.len() > MAX_EVENTS {
                return Err(refused(&format!("it has more than {MAX_EVENTS} events")));
            }
            read.push(serde_json::from_str(line).map_err(|error| of_line(number, &error))?);
        }
        Ok(Self { start, lines: read })
    }
}

fn refused(why: &str) -> Fault {
    Fault::new(Code::InvalidArgument, format!("this is no recording: {why}"))
        .hint("rbee replay FILE  # F9 in `rbee` writes one")
}

fn of_line(number: u64, error: &serde_json::Error) -> Fault {
    refused(&format!("line {number} cannot be read")).cause(error)
}
