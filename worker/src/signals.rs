//! The signals that ask a process for its end.

use tokio::signal::unix::{Signal, SignalKind, signal};
use wire::{Code, Fault};

/// SIGTERM, SIGHUP and SIGINT, from the moment of [`Signals::listen`] on.
pub struct Signals {
    terminate: Signal,
    hangup: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over: none of them ends the process by itself any more.
    pub fn listen() -> Result<Self, Fault> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Fault::new(Code::Io, "cannot listen to signals").cause(error))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
