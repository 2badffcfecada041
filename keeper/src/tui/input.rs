//! What comes in from the terminal and from other processes: keys, text, the mouse, signals.

use std::time::Duration;

use crossterm::event::{
    Event as Typed, EventStream, KeyEventKind, MouseButton, MouseEvent, MouseEventKind,
};
use futures_util::StreamExt;
use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use wire::{Code, Fault};

use super::event::{Event, Pointer};
use crate::context::block_on;
use crate::failure::Failure;

/// How long the end of reading may take.
const LAST_READ: Duration = Duration::from_millis(200);

/// Signals that matter to who has the terminal.
pub struct Signals {
    /// Those that ask to end.
    pub end: [Signal; 4],
    /// The one that lets a stopped program go on.
    pub went_on: Signal,
}

impl Signals {
    /// Hears them from now on.
    ///
    /// # Errors
    /// `INTERNAL` when the operating system refuses.
    pub fn listen() -> Result<Self, Failure> {
        let refused = |error| Fault::new(Code::Internal, "signals cannot be heard").cause(error);
        let went_on = SignalKind::from_raw(Number::CONT.as_raw());
        Ok(Self {
            end: [
                signal(SignalKind::interrupt()).map_err(refused)?,
                signal(SignalKind::terminate()).map_err(refused)?,
                signal(SignalKind::hangup()).map_err(refused)?,
                // Its own way to end would leave the terminal as it is.
                signal(SignalKind::quit()).map_err(refused)?,
            ],
            went_on: signal(went_on).map_err(refused)?,
        })
    }

    /// Waits for one that asks to end.
    pub async fn to_end(end: &mut [Signal; 4]) {
        let [interrupt, terminate, hangup, quit] = end;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = quit.recv() => {}
        }
    }
}

/// What is typed, read on a thread of its own: whoever reads a terminal that is gone may be held
/// there for ever, and must not hold up who hears the signal of its end.
///
/// It reads only while somebody waits for a key: what is typed after the one that ends the program
/// belongs to the shell, and what was read cannot be given back.
pub struct Typing {
    typed: mpsc::Receiver<std::io::Result<Typed>>,
    /// Says that the next one is wanted. Reading ends when this does.
    wanted: mpsc::Sender<()>,
    /// Whether the next one is being read.
    is_read: bool,
}

impl Typing {
    /// Reads from now on.
    ///
    /// # Errors
    /// `INTERNAL` when the operating system refuses a thread.
    pub fn start() -> Result<Self, Failure> {
        let (sender, typed) = mpsc::channel(1);
        let (wanted, wishes) = mpsc::channel(1);
        std::thread::Builder::new()
            .name("typing".into())
            .spawn(move || drop(block_on(read(sender, wishes))))
            .map_err(|error| {
                Fault::new(Code::Internal, "no thread for what is typed").cause(error)
            })?;
        Ok(Self { typed, wanted, is_read: false })
    }

    /// What is typed next; nothing any more when the terminal is gone.
    pub async fn next(&mut self) -> Option<std::io::Result<Typed>> {
        if !self.is_read {
            // Refused only when reading has ended, which is seen below.
            self.is_read = self.wanted.try_send(()).is_ok();
        }
        let typed = self.typed.recv().await;
        self.is_read = false;
        typed
    }

    /// Reads no more: the terminal is somebody else's now.
    pub async fn stop(self) {
        let Self { mut typed, wanted, .. } = self;
        drop(wanted);
        let ended = async { while typed.recv().await.is_some() {} };
        // One that is held by its terminal reads nothing either.
        let _held = tokio::time::timeout(LAST_READ, ended).await;
    }
}

async fn read(
    sender: mpsc::Sender<std::io::Result<Typed>>,
    mut wishes: mpsc::Receiver<()>,
) -> Result<(), Failure> {
    let mut typed = EventStream::new();
    while wishes.recv().await.is_some() {
        let input = tokio::select! {
            biased;
            // No second wish comes before the first is met: nobody has any more.
            _ = wishes.recv() => return Ok(()),
            input = typed.next() => input,
        };
        let Some(input) = input else { return Ok(()) };
        if sender.send(input).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// What is typed next; nothing while the terminal is somebody else's.
pub async fn next(typing: &mut Option<Typing>) -> Option<std::io::Result<Typed>> {
    match typing {
        Some(typing) => typing.next().await,
        None => std::future::pending().await,
    }
}

/// What the terminal says, when it matters.
///
/// # Errors
/// `IO_ERROR` when it is gone.
pub fn of_terminal(input: Option<std::io::Result<Typed>>) -> Result<Option<Event>, Failure> {
    let gone = || Fault::new(Code::Io, "the terminal is gone");
    match input {
        Some(Ok(Typed::Key(key))) if key.kind != KeyEventKind::Release => Ok(Some(Event::Key(key))),
        Some(Ok(Typed::Mouse(mouse))) => Ok(of_mouse(mouse)),
        Some(Ok(Typed::Paste(text))) => Ok(Some(Event::Paste(text))),
        Some(Ok(Typed::Resize(columns, rows))) => Ok(Some(Event::Resized(columns, rows))),
        Some(Ok(_)) => Ok(None),
        Some(Err(error)) => Err(gone().cause(error).into()),
        None => Err(gone().into()),
    }
}

/// What the mouse did, when it matters.
fn of_mouse(mouse: MouseEvent) -> Option<Event> {
    let (column, row) = (mouse.column, mouse.row);
    let pointer = match mouse.kind {
        MouseEventKind::Down(MouseButton::Left) => Pointer::Click(column, row),
        MouseEventKind::ScrollDown => Pointer::Wheel(column, row, true),
        MouseEventKind::ScrollUp => Pointer::Wheel(column, row, false),
        _ => return None,
    };
    Some(Event::Pointer(pointer))
}
