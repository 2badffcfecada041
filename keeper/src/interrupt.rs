//! Ctrl-C and the signals to end, as something that can be waited for.

use futures_util::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use wire::{Code, Fault};

use crate::platform;

/// Signals that ask the program to end. From its making on they no longer end it by themselves.
#[derive(Debug)]
pub struct Interrupts {
    keyboard: Keyboard,
    /// Absent where a signal to end may end the program as it always does.
    terminate: Option<Signal>,
    /// Sent when the terminal closes; absent too where somebody wants the program to outlive that
    /// (`nohup`).
    hangup: Option<Signal>,
}

/// Where Ctrl-C comes from.
#[derive(Debug)]
enum Keyboard {
    /// The terminal makes it a signal.
    Signal(Signal),
    /// Who reads the keys themselves passes it on.
    Told(mpsc::Receiver<()>),
}

fn listen(kind: SignalKind) -> Result<Signal, Fault> {
    signal(kind).map_err(|error| Fault::new(Code::Internal, "signals cannot be heard").cause(error))
}

/// Whether the program was stopped (Ctrl-Z) and went on.
#[derive(Debug)]
pub struct Stops(Signal);

impl Stops {
    /// Begins to listen.
    ///
    /// # Errors
    /// `INTERNAL` when the operating system refuses.
    pub fn listen() -> Result<Self, Fault> {
        let went_on = rustix::process::Signal::CONT.as_raw();
        Ok(Self(listen(SignalKind::from_raw(went_on))?))
    }

    /// Whether it happened since it was asked last.
    pub fn happened(&mut self) -> bool {
        self.0.recv().now_or_never().is_some()
    }
}

/// Waits for a signal; for one that is not listened to, for ever.
async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

impl Interrupts {
    /// Begins to listen to all of them.
    ///
    /// # Errors
    /// `INTERNAL` when the operating system refuses.
    pub fn listen() -> Result<Self, Fault> {
        let terminate = Some(listen(SignalKind::terminate())?);
        let is_wanted = !platform::ignores(rustix::process::Signal::HUP);
        let hangup = is_wanted.then(|| listen(SignalKind::hangup())).transpose()?;
        Ok(Self { terminate, hangup, ..Self::listen_to_the_keyboard()? })
    }

    /// Begins to listen to Ctrl-C alone: for a program that nobody could end while it waits for a
    /// line, because a signal that is heard once is heard for good.
    ///
    /// # Errors
    /// As [`Self::listen`].
    pub fn listen_to_the_keyboard() -> Result<Self, Fault> {
        let keyboard = Keyboard::Signal(listen(SignalKind::interrupt())?);
        Ok(Self { keyboard, terminate: None, hangup: None })
    }

    /// Those that somebody passes on who reads the keys; no signal is listened to.
    pub fn told(by: mpsc::Receiver<()>) -> Self {
        Self { keyboard: Keyboard::Told(by), terminate: None, hangup: None }
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        let keyboard = async {
            match &mut self.keyboard {
                Keyboard::Signal(signal) => signal.recv().await,
                Keyboard::Told(by) => by.recv().await,
            }
        };
        tokio::select! {
            _ = keyboard => {}
            () = received(self.terminate.as_mut()) => {}
            () = received(self.hangup.as_mut()) => {}
        }
    }
}
