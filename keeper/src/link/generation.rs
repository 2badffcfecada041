//! One answer as it arrives. Dropping it cancels the request on the hive.

use std::collections::VecDeque;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use wire::generate::Chunk;
use wire::sse::{self, Item};
use wire::{Code, Fault};

use super::client::Peer;

/// The stream of a request that a worker took.
#[derive(Debug)]
pub struct Generation {
    body: Incoming,
    decoder: sse::Decoder,
    waiting: VecDeque<Item<Chunk>>,
    peer: Peer,
}

impl Generation {
    /// Reads `body`.
    pub fn new(body: Incoming, peer: Peer) -> Self {
        let (decoder, waiting) = (sse::Decoder::default(), VecDeque::new());
        Self { body, decoder, waiting, peer }
    }

    /// The next chunk; none after the last one.
    ///
    /// # Errors
    /// The stream's own fault, `HIVE_UNREACHABLE` for a connection that broke, `PROTOCOL_ERROR`
    /// for a stream that ended without saying so.
    pub async fn next(&mut self) -> Result<Option<Chunk>, Fault> {
        loop {
            match self.waiting.pop_front() {
                Some(Item::Value(chunk)) => return Ok(Some(chunk)),
                Some(Item::Error(fault)) => return Err(fault),
                Some(Item::Done) => return Ok(None),
                None => {}
            }
            let Some(frame) = self.body.frame().await else {
                return Err(Fault::new(Code::ProtocolError, "the answer ended without its end"));
            };
            let frame = frame.map_err(|error| self.peer.lost(&error))?;
            if let Some(bytes) = frame.data_ref() {
                let mut items = Vec::new();
                self.decoder.push(bytes, &mut items)?;
                self.waiting.extend(items);
            }
        }
    }
}
