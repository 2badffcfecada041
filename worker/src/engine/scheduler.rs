//! The engine's thread: takes prepared jobs from the queue, computes, and sends what comes of it.
//!
//! One sequence has the slot at a time. A reader that is slower than the model fills its channel,
//! and then the thread waits for that reader: nobody else holds a slot that could go on meanwhile.
//! The wait ends when the reader takes a piece or goes away, or at the job's deadline or patience.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TrySendError;
use wire::generate::{GenerationTimings, Usage};
use wire::{Code, Fault};

use super::decoder::{Decoder, Room};
use super::preparer::{self, Preparer};
use super::queue::{Queue, deadline_exceeded};
use super::sequence::{Advance, Prepared, Sequence};
use super::tokenizer::Tokenizer;
use super::{Job, Model, Piece};

/// The slot that every sequence gets.
const SLOT: usize = 0;

/// Why a job ends before its answer does.
enum Interrupt {
    /// Nobody reads the answer any more.
    Cancelled,
    /// Something failed, and its reader shall know.
    Failed(Fault),
}

impl From<Fault> for Interrupt {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

/// Starts the thread, and those that prepare its jobs.
pub(super) fn start(model: Model, queue: Arc<Queue>) -> Result<(), Fault> {
    let cannot = |error: &dyn std::error::Error| {
        Fault::new(Code::Io, "the engine's thread cannot be started").caused_by(error)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| cannot(&error))?;
    let Model { weights, tokenizer, template, tool_template, room, load_time } = model;
    let decoder = Decoder::new(weights, room.ctx_size, 1)?;
    let tokenizer = Arc::new(tokenizer);
    let preparer = Preparer { tokenizer: Arc::clone(&tokenizer), template, tool_template, room };
    preparer::start(preparer, &queue)?;
    let worker = Scheduler { decoder, tokenizer, room, load_time, queue, runtime };
    std::thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || worker.run())
        .map_err(|error| cannot(&error))?;
    Ok(())
}

struct Scheduler {
    decoder: Decoder,
    tokenizer: Arc<Tokenizer>,
    room: Room,
    load_time: Duration,
    queue: Arc<Queue>,
    /// Waits for slow readers; nothing else runs on it.
    runtime: tokio::runtime::Runtime,
}

impl Drop for Scheduler {
    /// Also when the thread panics: whoever waits must hear of it.
    fn drop(&mut self) {
        self.queue.abandon();
    }
}

/// When the parts of a job were done.
struct Times {
    queued: Duration,
    prepared: Duration,
    slot: Instant,
    prefilled: Instant,
}

impl Scheduler {
    fn run(mut self) {
        while let Some((job, prepared)) = self.queue.next() {
            let ended = self.serve(&job, prepared);
            let id = job.id;
            match ended {
                Ok(()) => {}
                Err(Interrupt::Cancelled) => tracing::info!(request = %id, "cancelled"),
                Err(Interrupt::Failed(fault)) => {
                    tracing::warn!(request = %id, code = fault.code.as_str(), "request failed");
                    let _ = self.send_last(&job, Piece::Failed(fault.of_request(id)));
                }
            }
            self.queue.done();
        }
    }

    fn serve(&mut self, job: &Job, prompt: Prepared) -> Result<(), Interrupt> {
        let slot = Instant::now();
        let prepared = prompt.took;
        let queued = slot.saturating_duration_since(job.arrived).saturating_sub(prepared);
        let model = (&*self.tokenizer, self.room);
        let mut sequence = Sequence::new(SLOT, prompt, job.sampling.clone(), model)?;
        let mut logits = self.compute(job, &mut sequence)?;
        let times = Times { queued, prepared, slot, prefilled: Instant::now() };
        let mut prompt = Some(count(sequence.prompt_len()));
        loop {
            let advance = sequence.advance(&mut logits, &self.tokenizer)?;
            let finish = advance.finish;
            self.send_token(job, advance, &mut prompt)?;
            if let Some(reason) = finish {
                let (usage, timings) = (usage(&sequence), self.timings(&times));
                log_finish(job, usage, timings);
                return self.send(job, Piece::Finished { reason, usage, timings });
            }
            logits = self.compute(job, &mut sequence)?;
        }
    }

    /// Computes everything that is known, in chunks, up to the logits of the last token.
    fn compute(&mut self, job: &Job, sequence: &mut Sequence) -> Result<Vec<f32>, Interrupt> {
        loop {
            let now = Instant::now();
            self.queue.sweep(now);
            check(job, now)?;
            let rows = sequence.next_rows();
            let last = rows.len().saturating_sub(1);
            let wanted: &[usize] =
                if sequence.needs_logits_after(rows.len()) { &[last] } else { &[] };
            let logits = self.decoder.forward(&rows, wanted)?;
            if sequence.note_computed(rows.len()) {
                let missing = || Fault::new(Code::Internal, "the decoder gave no logits");
                return logits.into_iter().next().ok_or_else(missing).map_err(Interrupt::from);
            }
            let (done, total) = (count(sequence.computed_len()), count(sequence.prompt_len()));
            self.send(job, Piece::Prefilled { done, total })?;
        }
    }

    fn timings(&self, times: &Times) -> GenerationTimings {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        GenerationTimings {
            load_ms: ms(self.load_time),
            queue_ms: ms(times.queued),
            prefill_ms: ms(times.prepared + times.prefilled.saturating_duration_since(times.slot)),
            decode_ms: ms(times.prefilled.elapsed()),
        }
    }

    fn send_token(
        &self,
        job: &Job,
        advance: Advance,
        prompt: &mut Option<u32>,
    ) -> Result<(), Interrupt> {
        let Advance { token, text, reasoning, calls, logprobs, is_end, .. } = advance;
        if is_end && text.is_empty() && reasoning.is_empty() && calls.is_empty() {
            return Ok(());
        }
        let prompt = prompt.take();
        self.send(job, Piece::Token { id: token, text, reasoning, calls, logprobs, prompt })
    }

    /// Sends a piece; waits for a slow reader no longer than the job's deadline and patience.
    fn send(&self, job: &Job, piece: Piece) -> Result<(), Interrupt> {
        let piece = match job.pieces.try_send(piece) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(Interrupt::Cancelled),
            Err(TrySendError::Full(piece)) => piece,
        };
        let patience = Instant::now() + job.patience;
        let limit = job.deadline.map_or(patience, |deadline| deadline.min(patience));
        let sent = self.runtime.block_on(async {
            tokio::time::timeout_at(limit.into(), job.pieces.send(piece)).await
        });
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Interrupt::Cancelled),
            Err(_) if job.is_late(Instant::now()) => Err(Interrupt::Failed(deadline_exceeded(job))),
            Err(_) => Err(Interrupt::Failed(unread(job))),
        }
    }

    /// Sends the piece after which there is none: it must arrive unless the reader is gone, also
    /// when the deadline is the reason.
    fn send_last(&self, job: &Job, piece: Piece) -> Result<(), Interrupt> {
        match job.pieces.try_send(piece) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(Interrupt::Cancelled),
            Err(TrySendError::Full(piece)) => {
                let grace = tokio::time::Instant::now() + LAST_PIECE_GRACE;
                let sent = self.runtime.block_on(async {
                    tokio::time::timeout_at(grace, job.pieces.send(piece)).await
                });
                sent.map_err(|_| Interrupt::Cancelled)?.map_err(|_| Interrupt::Cancelled)
            }
        }
    }
}

/// How long a reader that takes nothing may keep the slot after its deadline.
const LAST_PIECE_GRACE: Duration = Duration::from_secs(1);

/// The fault of an answer that its reader left lying: others wait for the slot.
fn unread(job: &Job) -> Fault {
    let seconds = job.patience.as_secs_f32();
    Fault::new(Code::Stalled, format!("nobody read the answer for {seconds} s"))
        .hint("rbee ps  # the worker is free again")
}

/// Whether a job is still wanted, and in time.
fn check(job: &Job, now: Instant) -> Result<(), Interrupt> {
    if job.pieces.is_closed() {
        return Err(Interrupt::Cancelled);
    }
    if job.is_late(now) {
        return Err(Interrupt::Failed(deadline_exceeded(job)));
    }
    Ok(())
}

fn count(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

fn usage(sequence: &Sequence) -> Usage {
    let (prompt, answer) = (count(sequence.prompt_len()), count(sequence.answer_len()));
    Usage {
        prompt_tokens: prompt,
        completion_tokens: answer,
        total_tokens: prompt.saturating_add(answer),
        cached_tokens: 0,
    }
}

fn log_finish(job: &Job, usage: Usage, timings: GenerationTimings) {
    tracing::info!(
        request = %job.id,
        prompt_tokens = usage.prompt_tokens,
        completion_tokens = usage.completion_tokens,
        queue_ms = timings.queue_ms,
        prefill_ms = timings.prefill_ms,
        decode_ms = timings.decode_ms,
        "request finished"
    );
}
