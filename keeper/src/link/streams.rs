//! A hive's event stream as it arrives.

use std::collections::VecDeque;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use wire::event::{Event, Snapshot};
use wire::{Code, Fault, ndjson};

use super::client::Peer;
use super::{doctor, named};

/// Events of one hive, in order.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    decoder: ndjson::Decoder,
    waiting: VecDeque<Event>,
    silence: Duration,
    peer: Peer,
}

impl Events {
    /// Reads `body`. A hive that says nothing for `silence` counts as gone.
    pub fn new(body: Incoming, silence: Duration, peer: Peer) -> Self {
        let (decoder, waiting) = (ndjson::Decoder::default(), VecDeque::new());
        Self { body, decoder, waiting, silence, peer }
    }

    /// The next event; none when the hive ended the stream.
    ///
    /// # Errors
    /// `HIVE_UNREACHABLE` for a broken connection or a silent hive, `PROTOCOL_ERROR` for a line
    /// that is no event.
    pub async fn next(&mut self) -> Result<Option<Event>, Fault> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(Some(event));
            }
            let frame = match tokio::time::timeout(self.silence, self.body.frame()).await {
                Ok(Some(frame)) => frame.map_err(|error| self.peer.lost(&error))?,
                Ok(None) => return Ok(None),
                Err(_) => return Err(self.peer.silent(self.silence)),
            };
            if let Some(bytes) = frame.data_ref() {
                let mut events = Vec::new();
                self.decoder.push(bytes, &mut events)?;
                self.waiting.extend(events);
            }
        }
    }

    /// The snapshot that the stream begins with.
    ///
    /// # Errors
    /// As [`Self::next`]; `PROTOCOL_ERROR` when something else comes first.
    pub async fn snapshot(&mut self) -> Result<Snapshot, Fault> {
        match self.next().await? {
            Some(Event::Snapshot(snapshot)) => Ok(snapshot),
            Some(_) => {
                Err(Fault::new(Code::ProtocolError, "the hive's first event is no snapshot"))
            }
            None => Err(self.ended()),
        }
    }

    /// The hive ended the stream.
    pub fn ended(&self) -> Fault {
        let message = format!("{} ended its stream of events", named(&self.peer.hive));
        Fault::new(Code::HiveUnreachable, message).hint(doctor(&self.peer.hive))
    }
}
