//! Ctrl-C and the signals to end, as something that can be waited for.

use tokio::signal::unix::{Signal, SignalKind, signal};
use wire::{Code, Fault};

/// Signals that ask the program to end. From its making on they no longer end it by themselves.
#[derive(Debug)]
pub struct Interrupts {
    keyboard: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Begins to listen.
    ///
    /// # Errors
    /// `INTERNAL` when the operating system refuses.
    pub fn listen() -> Result<Self, Fault> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Fault::new(Code::Internal, "signals cannot be heard").cause(error))
        };
        Ok(Self {
            keyboard: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.keyboard.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
