//! What happens to the TUI, and what it wants done: everything that crosses its pure core.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use crossterm::event::KeyEvent;
use wire::worker::WorkerInfo;
use wire::{Fault, HiveName, ModelRef};
use zeroize::Zeroizing;

use super::board::Board;
use super::desk;
use super::operation::Operation;
use super::records::RecordId;
use super::update::operate;
use crate::ask::{Ending, Placed};
use crate::conversations::Settings;
use crate::conversations::desk::{Job, Reply};
use crate::output::theme::ThemeName;
use wire::generate::Message;

/// Which of the requests of this program.
pub type AskId = u64;
/// Which of the questions to the person.
pub type QuestionId = u64;

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// A key was pressed.
    Key(KeyEvent),
    /// The mouse was used.
    Pointer(Pointer),
    /// Text was pasted.
    Paste(String),
    /// The terminal has another size: columns, rows.
    Resized(u16, u16),
    /// Time passed.
    Tick,
    /// The wall clock shows this local time of day, in seconds.
    Clock(u64),
    /// The latest of what is known of the hives.
    Board(Arc<Board>),
    /// News of a request.
    Answer(AskId, News),
    /// A server asks something that only a person can answer.
    Question(Question),
    /// News of an operation.
    Operation(RecordId, operate::News),
    /// A program that the person wants the terminal for: its words.
    Shell(Vec<OsString>),
    /// The configuration was read again: models that it names.
    Configured(Vec<(String, ModelRef)>),
    /// What came of something on the person's own machine.
    Desk(desk::News),
    /// Something was done that was asked for, or could not be; one line for the person.
    Done(Result<String, Fault>),
    /// Something came of a job with the file of conversations.
    Conversations(Reply),
}

/// What the mouse did, at a column and a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pointer {
    /// Its first button was pressed.
    Click(u16, u16),
    /// Its wheel was turned, down or not.
    Wheel(u16, u16, bool),
}

/// News of a request.
#[derive(Debug)]
pub enum News {
    /// Its worker is not ready yet.
    Waits(Box<WorkerInfo>),
    /// All slots are taken; it is sent again after the pause.
    Retries(Fault, Duration),
    /// Its hive fetches the model: how far that is, in words.
    Pulls(String),
    /// So many are served before it.
    Queued(u64),
    /// Its hive has been silent for so long; none: it is heard again.
    Silent(HiveName, Option<Duration>),
    /// A hive that could have taken part does not.
    Absent(HiveName, Fault),
    /// A worker took it.
    Placed(Box<Placed>),
    /// Its prompt has so many tokens.
    Prompt(u32),
    /// A piece of the answer.
    Piece(Piece),
    /// It is over; none when the person ended it.
    Ended(Result<Ending, Option<Fault>>),
}

/// A piece of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Text of the answer.
    pub answer: String,
    /// Text of the model's reasoning.
    pub reasoning: String,
    /// Tokens that it stands for.
    pub tokens: usize,
}

/// A question that only a person can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Which one.
    pub id: QuestionId,
    /// Its lines, clean.
    pub lines: Vec<String>,
    /// How it is answered.
    pub form: Form,
}

/// How a question is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// With yes or no.
    YesNo,
    /// With a line; what is typed is shown or not.
    Line {
        /// Whether it is.
        shown: bool,
    },
}

/// Something shall be done.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// A conversation shall be continued.
    Ask(Box<Wanted>),
    /// A request shall end on its hive.
    Cancel(AskId),
    /// The hives that are not there shall be tried now.
    LookAgain,
    /// A question is answered; none gives it up.
    Reply(QuestionId, Option<Zeroizing<String>>),
    /// Something shall be done to hives or workers; it is told in that record.
    Operate(RecordId, Box<Operation>),
    /// Nobody wants any more what is told in that record.
    Abandon(RecordId),
    /// A theme shall be written into the person's configuration.
    KeepTheme(ThemeName),
    /// Something shall be done with the file of conversations.
    Conversations(Job),
    /// Something is wanted of the person's own machine.
    Desk(desk::Work),
    /// A shell of a hive shall have the terminal for a while.
    Shell(HiveName),
    /// A program shall have the terminal until it ends: its words.
    Run(Vec<OsString>),
    /// The program shall be stopped as Ctrl-Z does.
    Suspend,
    /// The mouse shall be taken from the terminal, or given back.
    Mouse(bool),
    /// What happened last shall be written to a file; `whole`: with the person's text.
    Record {
        /// Whether.
        whole: bool,
    },
    /// Everything shall be drawn anew.
    Redraw,
    /// The program shall end.
    Leave(Leave),
}

/// How the program is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// What is loaded stays loaded.
    Keep,
    /// Everything that rbee started ends.
    Stop,
}

/// A conversation to continue.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Which request this is.
    pub id: AskId,
    /// By which model.
    pub model: ModelRef,
    /// Only there, when the person said so.
    pub hive: Option<HiveName>,
    /// What was said, oldest first.
    pub messages: Vec<Message>,
    /// How it shall be answered.
    pub settings: Settings,
}
