//! A hive's event stream and its logs as they arrive.

use std::collections::VecDeque;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use wire::event::{Event, Snapshot};
use wire::pull::{PullEvent, StoredModel};
use wire::{Code, Fault, ndjson};

use super::client::Peer;
use super::{doctor, named};

/// Values of a stream of one hive, in order.
#[derive(Debug)]
pub struct Values<T> {
    body: Incoming,
    decoder: ndjson::Decoder,
    waiting: VecDeque<T>,
    peer: Peer,
}

/// Events of one hive.
pub type Events = Values<Event>;
/// How a model is fetched.
pub type Pulling = Values<PullEvent>;

impl<T: DeserializeOwned> Values<T> {
    /// Reads `body`. Whether the hive still says anything is known of its connection: on a slow
    /// line its events wait behind tokens.
    pub fn new(body: Incoming, peer: Peer) -> Self {
        let (decoder, waiting) = (ndjson::Decoder::default(), VecDeque::new());
        Self { body, decoder, waiting, peer }
    }

    /// The next value; none when the hive ended the stream.
    ///
    /// # Errors
    /// `HIVE_UNREACHABLE` for a broken connection or a silent hive, `PROTOCOL_ERROR` for a line
    /// that is no such value.
    pub async fn next(&mut self) -> Result<Option<T>, Fault> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(Some(event));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|error| self.peer.lost(&error))?;
            if let Some(bytes) = frame.data_ref() {
                let mut events = Vec::new();
                self.decoder.push(bytes, &mut events)?;
                self.waiting.extend(events);
            }
        }
    }

    /// The hive ended the stream.
    pub fn ended(&self) -> Fault {
        let message = format!("{} ended its stream of events", named(&self.peer.hive));
        Fault::new(Code::HiveUnreachable, message).hint(doctor(&self.peer.hive))
    }
}

impl Pulling {
    /// What happens next, or at last what is kept.
    ///
    /// # Errors
    /// Why it was given up.
    pub async fn step(&mut self) -> Result<Step, Fault> {
        match self.next().await? {
            Some(PullEvent::Done { model }) => Ok(Step::Done(Box::new(model))),
            Some(PullEvent::Failed { fault }) => Err(fault),
            Some(event) => Ok(Step::Going(event)),
            None => Err(self.ended()),
        }
    }
}

/// One step of a model's way to a hive.
#[derive(Debug)]
pub enum Step {
    /// It goes on.
    Going(PullEvent),
    /// It is there.
    Done(Box<StoredModel>),
}

impl Events {
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
}

/// Bytes of a line of a log that are taken together; a longer one comes in parts.
const MAX_LOG_LINE_BYTES: usize = 64 * 1024;

/// Lines of a log, in order.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    bytes: Vec<u8>,
    /// Up to where there is no end of a line in `bytes`.
    looked: usize,
    peer: Peer,
}

impl Lines {
    /// Reads `body`.
    pub fn new(body: Incoming, peer: Peer) -> Self {
        Self { body, bytes: Vec::new(), looked: 0, peer }
    }

    /// The next line without its end, as untrusted as everything from elsewhere; none after the
    /// last one. It may be dropped and called again without losing anything.
    ///
    /// # Errors
    /// `HIVE_UNREACHABLE` for a broken connection.
    pub async fn next(&mut self) -> Result<Option<String>, Fault> {
        loop {
            if let Some(line) = next_line(&mut self.bytes, &mut self.looked) {
                return Ok(Some(line));
            }
            match self.body.frame().await {
                Some(frame) => {
                    let frame = frame.map_err(|error| self.peer.lost(&error))?;
                    self.bytes.extend_from_slice(frame.data_ref().map_or(&[], |bytes| bytes));
                }
                None if self.bytes.is_empty() => return Ok(None),
                None => {
                    let rest = std::mem::take(&mut self.bytes);
                    return Ok(Some(String::from_utf8_lossy(&rest).into_owned()));
                }
            }
        }
    }
}

/// Takes the first line out of `bytes`, or as much of it as may be.
fn next_line(bytes: &mut Vec<u8>, looked: &mut usize) -> Option<String> {
    let new = bytes.get(*looked..).unwrap_or_default();
    let end = new.iter().position(|byte| *byte == b'\n').map(|at| *looked + at);
    *looked = 0;
    let rest = match end {
        Some(end) => bytes.split_off(end + 1),
        None if bytes.len() >= MAX_LOG_LINE_BYTES => bytes.split_off(MAX_LOG_LINE_BYTES),
        None => {
            *looked = bytes.len();
            return None;
        }
    };
    let line = std::mem::replace(bytes, rest);
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    Some(String::from_utf8_lossy(line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_are_cut_and_endless_ones_in_parts() {
        let long = "x".repeat(MAX_LOG_LINE_BYTES + 9);
        let text = format!("one\n\ntwo\n{long}\nhalf");
        let (mut bytes, mut looked, mut lines) = (Vec::new(), 0, Vec::new());
        for part in text.as_bytes().chunks(7) {
            bytes.extend_from_slice(part);
            while let Some(line) = next_line(&mut bytes, &mut looked) {
                lines.push(line);
            }
        }
        assert_eq!(lines[..3], ["one", "", "two"]);
        assert_eq!(lines[3..].concat(), long);
        assert!(lines.iter().all(|line| line.len() <= MAX_LOG_LINE_BYTES));
        assert_eq!(bytes, b"half");
    }
}
