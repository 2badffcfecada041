//! The worker's stream on its way to the keeper: unchanged, watched, and never without a last word.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use wire::fault::ErrorEnvelope;
use wire::{Code, Fault, RequestId, WorkerId, sse};

use crate::client::{Driver, Reply};
use crate::executor::Slot;
use crate::journal::Trace;
use crate::journal::reading::Reading;

/// How long a broken stream waits for the guard to say how the engine ended.
const WORD_OF_THE_GUARD: Duration = Duration::from_secs(1);

/// An answer that is being passed through.
pub struct Relay {
    /// Body and socket of the worker's stream, and the slot; nothing once it is over. In this
    /// order: the socket is closed before the slot is given back.
    open: Option<(Incoming, Driver, Slot)>,
    scanner: Scanner,
    reading: Reading,
    /// Until its end is written down.
    trace: Option<Trace>,
    worker: WorkerId,
    request: RequestId,
    deadline: Option<Instant>,
    silence: Silence,
}

impl Relay {
    /// Takes over a worker's response.
    pub fn new(
        reply: Reply,
        (slot, trace): (Slot, Option<Trace>),
        of: (WorkerId, RequestId),
        deadline: Option<Instant>,
        stall: Duration,
    ) -> Self {
        let Reply { response, driver } = reply;
        let open = Some((response.into_body(), driver, slot));
        let (worker, request) = of;
        let silence = Silence::of(stall);
        let (scanner, reading) = (Scanner::default(), Reading::default());
        Self { open, scanner, reading, trace, worker, request, deadline, silence }
    }

    /// The bytes for the keeper.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, |mut relay| async move {
            let bytes = relay.next().await?;
            Some((Ok(bytes), relay))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let (body, _, slot) = self.open.as_mut()?;
            // Counted from here: while the keeper did not read, nobody listened to the worker.
            self.silence.since = Instant::now();
            let fault = tokio::select! {
                biased;
                frame = body.frame() => match frame {
                    Some(Ok(frame)) => {
                        let Ok(data) = frame.into_data() else { continue };
                        self.scanner.push(&data);
                        self.reading.push(&data);
                        let ended = self.scanner.ended;
                        if ended {
                            slot.done = true;
                            self.open = None;
                        }
                        self.write_down(ended);
                        return Some(data);
                    }
                    Some(Err(error)) => {
                        let cause = Fault::new(Code::Io, error.to_string());
                        broken(slot, &self.worker, Some(&cause)).await
                    }
                    None => broken(slot, &self.worker, None).await,
                },
                fault = revoked(slot) => fault,
                () = until(self.deadline) => too_late(),
                () = self.silence.ended() => stalled(&self.worker, self.silence.limit),
            };
            self.open = None;
            if let Some(trace) = self.trace.take() {
                trace.failed(&fault);
            }
            return self.last_word(fault);
        }
    }

    /// Tells the journal how far the answer is.
    fn write_down(&mut self, ended: bool) {
        let Some(trace) = &self.trace else { return };
        trace.passed(&self.reading);
        if ended && let Some(trace) = self.trace.take() {
            match self.reading.fault.take() {
                Some(fault) => trace.failed(&fault),
                None => trace.finished(&self.reading),
            }
        }
    }

    /// The fault as an event. When the worker was cut off within a line, that line is ended first.
    fn last_word(&self, fault: Fault) -> Option<Bytes> {
        let envelope = ErrorEnvelope { error: fault.of_request(self.request) };
        let event = sse::encode(&envelope).ok()?;
        let mut bytes = if self.scanner.is_between_events { Vec::new() } else { b"\n\n".to_vec() };
        bytes.extend_from_slice(&event);
        Some(bytes.into())
    }
}

/// How long the worker may send nothing. One timer for the whole answer: it looks again at its end
/// whether something came meanwhile, so that a token costs no timer.
#[derive(Debug)]
struct Silence {
    limit: Duration,
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Silence {
    fn of(limit: Duration) -> Self {
        Self { limit, since: Instant::now(), timer: Box::pin(tokio::time::sleep(limit)) }
    }

    async fn ended(&mut self) {
        loop {
            self.timer.as_mut().await;
            if self.since.elapsed() >= self.limit {
                return;
            }
            let Some(at) = self.since.checked_add(self.limit) else { return };
            self.timer.as_mut().reset(at);
        }
    }
}

/// Sees the end of a stream in its bytes, without reading what is in between.
#[derive(Debug)]
struct Scanner {
    /// The first bytes of the line that is being read.
    head: Vec<u8>,
    /// Whether the event that is being read is the last one.
    is_last: bool,
    /// Whether the last event is complete: the blank line after it came, too.
    ended: bool,
    is_between_events: bool,
}

impl Default for Scanner {
    fn default() -> Self {
        Self { head: Vec::new(), is_last: false, ended: false, is_between_events: true }
    }
}

impl Scanner {
    const DONE: &'static [u8] = b"data: [DONE]";
    const ERROR: &'static [u8] = b"data: {\"error\"";

    fn push(&mut self, bytes: &[u8]) {
        let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = lines.next() {
            let room = (Self::ERROR.len() + 1).saturating_sub(self.head.len());
            self.head.extend(part.iter().take(room));
            if lines.peek().is_some() {
                let line = self.head.strip_suffix(b"\r").unwrap_or(&self.head);
                self.is_last |= line == Self::DONE || line.starts_with(Self::ERROR);
                self.is_between_events = line.is_empty();
                self.ended |= self.is_last && self.is_between_events;
                self.head.clear();
            } else {
                self.is_between_events &= self.head.is_empty();
            }
        }
    }
}

/// Waits until the slot is taken back.
pub async fn revoked(slot: &mut Slot) -> Fault {
    match (&mut slot.revoked).await {
        Ok(fault) => fault,
        Err(_gone) => Fault::new(Code::ShuttingDown, "the agent has ended"),
    }
}

/// The fault of a stream that broke without a last word: the guard's, if it comes in time.
pub async fn broken(slot: &mut Slot, worker: &WorkerId, cause: Option<&Fault>) -> Fault {
    match tokio::time::timeout(WORD_OF_THE_GUARD, revoked(slot)).await {
        Ok(fault) => fault,
        Err(_silence) => {
            let message = format!("worker {worker} broke off its answer");
            let fault = Fault::new(Code::WorkerCrashed, message).hint("rbee doctor");
            cause.into_iter().fold(fault, Fault::cause)
        }
    }
}

/// Waits for the deadline; without one, for ever.
pub async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The fault of a request whose time is over.
pub fn too_late() -> Fault {
    Fault::new(Code::DeadlineExceeded, "the request's deadline passed")
        .hint("rbee run --deadline 10m  # allows more time")
}

/// The fault of a worker that sends nothing.
pub fn stalled(worker: &WorkerId, limit: Duration) -> Fault {
    let message = format!("worker {worker} sent nothing for {} s", limit.as_secs_f32());
    Fault::new(Code::Stalled, message).hint(format!("rbee worker stop {worker}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ended(chunks: &[&[u8]]) -> bool {
        let mut scanner = Scanner::default();
        for chunk in chunks {
            scanner.push(chunk);
        }
        scanner.ended
    }

    #[test]
    fn the_end_is_the_blank_line_after_the_last_event() {
        assert!(!ended(&[b"data: [DONE]\n"]));
        assert!(ended(&[b"data: [DONE]\n", b"\n"]));
    }

    #[test]
    fn the_end_is_seen_only_at_the_beginning_of_a_line() {
        assert!(ended(&[b"data: {}\n\ndata: [DONE]\n\n"]));
        assert!(ended(&[b"data: {\"error\":{\"code\":\"X\"}}\r\n\r\n"]));
        assert!(!ended(&[b"data: {\"text\":\"data: [DONE]\"}\n\n"]));
        assert!(!ended(&[b"data: {\"errors\":1}\n\ndata: [DONE"]));
        assert!(!ended(&[b"data: [DONE] or not\n\n"]));
    }

    proptest! {
        #[test]
        fn cutting_the_stream_anywhere_changes_nothing(
            text in "(data: |\\{\"error\"|\\[DONE\\]|a|\r|\n){0,24}", cut in 1usize..9,
        ) {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(cut).collect();
            let mut whole = Scanner::default();
            whole.push(text.as_bytes());
            prop_assert_eq!(ended(&chunks), whole.ended);
            let mut is_last = false;
            let expected = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'))
                .map(|line| line.strip_suffix('\r').unwrap_or(line))
                .any(|line| {
                    is_last |= line == "data: [DONE]" || line.starts_with("data: {\"error\"");
                    is_last && line.is_empty()
                });
            prop_assert_eq!(whole.ended, expected);
        }
    }
}
