//! A hive's event stream as it arrives.

use std::collections::VecDeque;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use wire::event::{Event, Snapshot};
use wire::{Code, Fault, ndjson};

use super::client::unreachable;

/// Events of one hive, in order.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    decoder: ndjson::Decoder,
    waiting: VecDeque<Event>,
    silence: Duration,
    agent_pid: Option<i32>,
}

impl Events {
    /// Reads `body`. A hive that says nothing for `silence` counts as gone.
    pub fn new(body: Incoming, silence: Duration, agent_pid: Option<i32>) -> Self {
        let (decoder, waiting) = (ndjson::Decoder::default(), VecDeque::new());
        Self { body, decoder, waiting, silence, agent_pid }
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
                Ok(Some(frame)) => frame.map_err(|error| unreachable(&error, self.agent_pid))?,
                Ok(None) => return Ok(None),
                Err(_) => {
                    let message = format!("the hive was silent for {} s", self.silence.as_secs());
                    return Err(Fault::new(Code::HiveUnreachable, message).hint("rbee doctor"));
                }
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
            None => Err(Fault::new(Code::HiveUnreachable, "the hive ended its stream of events")
                .hint("rbee doctor")),
        }
    }
}
