//! One request: from the picture of the hives over a placement to the last token, and its
//! cancelling when the person, the reader or the clock ends it early.

mod view;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use wire::generate::{Chunk, FinishReason, GenerationTimings, Usage};
use wire::worker::WorkerInfo;
use wire::{Code, Fault, HiveName, Timings};

use crate::failure::Failure;
use crate::fleet::place::Want;
use crate::interrupt::{Interrupts, Stops};
use crate::link::client::{Ask, Client};
use crate::link::way::Way;
use crate::ssh::client::patience::Deadline;
use view::View;

/// How often a request is placed when the worker of its placement turns out to be gone.
const MAX_PLACEMENTS: u32 = 3;
/// How often a request is sent again to a queue that was full.
const MAX_RETRIES: u32 = 3;
/// Shortest pause before a full queue is tried again; it doubles from there.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest pause that a hive can ask for.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// What a person wants answered.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Of which worker.
    pub want: Want,
    /// How long the worker shall stay loaded afterwards, when the person said it.
    pub keep_alive_s: Option<i64>,
    /// The request itself.
    pub ask: Ask,
}

/// Where a request went.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// Which hive.
    pub hive: HiveName,
    /// Which worker, as it was then.
    pub worker: WorkerInfo,
    /// Whether it was there before.
    pub reused: bool,
    /// One sentence for a person.
    pub why: String,
}

/// How an answer ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ending {
    /// Why, in the worker's words.
    pub finish_reason: Option<FinishReason>,
    /// Tokens used.
    pub usage: Usage,
    /// The worker's own times.
    pub timings: GenerationTimings,
    /// From the sending of the request to the first token.
    pub first_token: Option<Duration>,
}

/// Who hears how a request goes.
pub trait Audience {
    /// A bound that begins now; the time that a person needs for an answer is left out.
    fn deadline(&self, limit: Duration) -> Deadline;
    /// A hive that could have taken part is not there, and the request goes on without it.
    fn absent(&mut self, hive: &HiveName, why: &Fault);
    /// All slots are taken and the queue is full; the request is sent again after `pause`.
    fn retries(&mut self, why: &Fault, pause: Duration);
    /// The worker is not ready yet; called again with every news of it.
    fn waits(&mut self, worker: &WorkerInfo, elapsed: Duration);
    /// The request has a worker, and the worker took it.
    fn placed(&mut self, placed: &Placed) -> impl Future<Output = Result<(), Failure>>;
    /// Tokens came.
    fn chunk(&mut self, chunk: &Chunk) -> impl Future<Output = Result<(), Failure>>;
}

/// Answers a wish with one of the hives that `ways` lead to. Ctrl-C, a closed standard output and
/// the deadline cancel the request on its hive and wait, `cancel_ack` at most, until its slot is
/// free; another Ctrl-C ends that wait.
///
/// # Errors
/// The failure that ended it.
pub async fn answer(
    ways: &[Way],
    timings: &Timings,
    wish: &Wish,
    audience: &mut impl Audience,
    interrupts: &mut Interrupts,
) -> Result<Ending, Failure> {
    let sent = RefCell::new(None);
    let mut stops = Stops::listen()?;
    let outcome = tokio::select! {
        outcome = placed_and_answered(ways, timings, wish, audience, &sent) => {
            outcome.map_err(|failure| if stops.happened() { stopped(failure) } else { failure })
        }
        () = interrupts.next() => Err(Failure::interrupted()),
        () = passed(wish.ask.deadline) => Err(too_late().into()),
    };
    if let Err(failure) = &outcome
        && must_be_cancelled(failure)
        && let Some(client) = sent.take()
    {
        tokio::select! {
            // When nothing acknowledges, the closing connection cancels it as well.
            _ = tokio::time::timeout(timings.cancel_ack, client.cancel(wish.ask.id)) => {}
            () = interrupts.next() => {}
        }
    }
    outcome
}

/// A hive gives up a request whose keeper does not answer it; one that is stopped cannot.
fn stopped(mut failure: Failure) -> Failure {
    let fault = &mut failure.fault;
    if fault.code == Code::HiveUnreachable {
        let lost = std::mem::replace(
            &mut fault.message,
            "the hive gave the request up while this program was stopped (Ctrl-Z)".to_owned(),
        );
        fault.causes.insert(0, lost);
        // Nothing is wrong with the hive.
        fault.hints = vec!["rbee ps  # the hive is there; ask again".to_owned()];
    }
    failure
}

/// Waits until a time has passed; without one for ever.
pub async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn too_late() -> Fault {
    Fault::new(Code::DeadlineExceeded, "the deadline passed before the answer was complete")
        .hint("rbee run --deadline 5m \"…\"")
}

/// Whether it ended on this side while the hive may still compute.
fn must_be_cancelled(failure: &Failure) -> bool {
    failure.is_silent() || matches!(failure.fault.code, Code::DeadlineExceeded | Code::Io)
}

async fn placed_and_answered(
    ways: &[Way],
    timings: &Timings,
    wish: &Wish,
    audience: &mut impl Audience,
    sent: &RefCell<Option<Client>>,
) -> Result<Ending, Failure> {
    let (mut attempt, mut retries) = (1, 0);
    loop {
        let view = View::open(ways, timings, wish, audience).await?;
        let (placed, client) = view.ready_worker(wish, audience).await?;
        *sent.borrow_mut() = Some(client.clone());
        let began = Instant::now();
        match client.generate(&placed.worker.id, &wish.ask).await {
            Ok(mut generation) => {
                audience.placed(&placed).await?;
                let mut ending = Ending::default();
                while let Some(chunk) = generation.next().await? {
                    ending.take(&chunk, began);
                    audience.chunk(&chunk).await?;
                }
                return Ok(ending);
            }
            Err(fault) if attempt < MAX_PLACEMENTS && is_gone(&fault, placed.reused) => {
                tracing::info!(attempt, code = fault.code.as_str(), "placing again");
                attempt += 1;
            }
            Err(fault) if retries < MAX_RETRIES && fault.code == Code::QueueFull => {
                let pause = pause_before(&fault, retries);
                retries += 1;
                // The request is nowhere while it waits.
                sent.take();
                audience.retries(&fault, pause);
                tokio::time::sleep(pause).await;
            }
            Err(fault) => return Err(fault.into()),
        }
    }
}

/// How long a full queue is left alone: as long as the hive said, and longer each time.
fn pause_before(fault: &Fault, retries: u32) -> Duration {
    let told = fault.details.get("retry_after_s").and_then(serde_json::Value::as_u64);
    let least = FIRST_RETRY.saturating_mul(1 << retries);
    Duration::from_secs(told.unwrap_or(0)).max(least).min(LONGEST_RETRY)
}

/// Whether a refusal only says that the picture was old: then nothing was computed yet and another
/// placement may do. A worker that this request started is not started twice.
fn is_gone(fault: &Fault, reused: bool) -> bool {
    match fault.code {
        Code::WorkerNotFound | Code::WorkerNotReady | Code::ShuttingDown => true,
        Code::WorkerCrashed | Code::HiveUnreachable => reused,
        _ => false,
    }
}

impl Ending {
    fn take(&mut self, chunk: &Chunk, began: Instant) {
        if let Some(choice) = chunk.choices.first() {
            if !choice.token_ids.is_empty() && self.first_token.is_none() {
                self.first_token = Some(began.elapsed());
            }
            self.finish_reason = choice.finish_reason.or(self.finish_reason);
        }
        self.usage = chunk.usage.unwrap_or(self.usage);
        self.timings = chunk.timings.unwrap_or(self.timings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_is_tried_again_when_it_says_and_later_each_time() {
        let fault = |s: u64| Fault::new(Code::QueueFull, "full").detail("retry_after_s", s);
        let pauses: Vec<u64> = (0..3).map(|n| pause_before(&fault(1), n).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4]);
        assert_eq!(pause_before(&fault(7), 0).as_secs(), 7);
        assert_eq!(pause_before(&fault(u64::MAX), 0), LONGEST_RETRY);
    }

    #[test]
    fn a_request_that_was_lost_while_nobody_could_answer_says_so() {
        let fault = Fault::new(Code::HiveUnreachable, "it broke").hint("rbee hive doctor pc");
        let told = stopped(fault.into()).fault;
        assert!(told.message.contains("Ctrl-Z"), "{told}");
        assert_eq!((told.causes[0].as_str(), told.hints.len()), ("it broke", 1));
        assert!(!told.hints[0].contains("doctor"), "{told:?}");
        let other = Fault::new(Code::ContextOverflow, "x");
        assert_eq!(stopped(other.clone().into()).fault, other);
    }

    #[test]
    fn only_an_old_picture_is_a_reason_to_place_again() {
        let fault = |code| Fault::new(code, "x");
        assert!(is_gone(&fault(Code::WorkerNotFound), false));
        assert!(is_gone(&fault(Code::WorkerCrashed), true));
        assert!(!is_gone(&fault(Code::WorkerCrashed), false));
        for code in [Code::ContextOverflow, Code::QueueFull, Code::InvalidArgument] {
            assert!(!is_gone(&fault(code), true));
        }
    }
}
