//! Ctrl-C and the signals to end, as something that can be waited for.

use futures_util::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use wire::{Code, Fault};

/// Signals that ask the program to end. From its making on they no longer end it by themselves.
#[derive(Debug)]
pub struct Interrupts {
    keyboard: Keyboard,
    /// Absent where a signal to end may end the program as it always does.
    terminate: Option<Signal>,
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

impl Interrupts {
    /// Begins to listen to both.
    ///
    /// # Errors
    /// `INTERNAL` when the operating system refuses.
    pub fn listen() -> Result<Self, Fault> {
        let terminate = Some(listen(SignalKind::terminate())?);
        Ok(Self { terminate, ..Self::listen_to_the_keyboard()? })
    }

    /// Begins to listen to Ctrl-C alone: for a program that nobody could end while it waits for a
    /// line, because a signal that is heard once is heard for good.
    ///
    /// # Errors
    /// As [`Self::listen`].
    pub fn listen_to_the_keyboard() -> Result<Self, Fault> {
        let keyboard = Keyboard::Signal(listen(SignalKind::interrupt())?);
        Ok(Self { keyboard, terminate: None })
    }

    /// Those that somebody passes on who reads the keys; no signal is listened to.
    pub fn told(by: mpsc::Receiver<()>) -> Self {
        Self { keyboard: Keyboard::Told(by), terminate: None }
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        let terminated = async {
            match &mut self.terminate {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        let keyboard = async {
            match &mut self.keyboard {
                Keyboard::Signal(signal) => signal.recv().await,
                Keyboard::Told(by) => by.recv().await,
            }
        };
        tokio::select! {
            _ = keyboard => {}
            _ = terminated => {}
        }
    }
}
