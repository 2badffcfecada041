//! One request: from the picture of the hives over a placement to the last token, and its
//! cancelling when the person, the reader or the clock ends it early.

mod view;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use rand::RngExt;
use serde::{Deserialize, Serialize};
use tracing::Instrument;
use wire::generate::{Chunk, FinishReason, GenerationTimings, Usage};
use wire::journal::RequestPrefix;
use wire::pull::{HubSource, PullEvent};
use wire::worker::WorkerInfo;
use wire::{Code, Fault, HiveName, ModelRef, RequestId, Timings, limits};

use crate::failure::Failure;
use crate::fleet::place::Want;
use crate::interrupt::{Interrupts, Stops};
use crate::link::client::{Ask, Client};
use crate::link::generation::Generation;
use crate::link::voice::{self, Hearing};
use crate::link::way::Way;
use crate::ssh::client::patience::Deadline;
use view::View;
pub use view::ready;

/// How often a request is placed when the worker of its placement turns out to be gone.
const MAX_PLACEMENTS: u32 = 3;
/// How often a request without a deadline is sent again to a queue that was full.
const MAX_RETRIES: u32 = 3;
/// Shortest pause before a full queue is tried again; it doubles from there.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest pause that a hive can ask for.
const LONGEST_RETRY: Duration = Duration::from_secs(limits::MAX_RETRY_AFTER_S);
/// Part of a pause that is added at random, so that those who were told the same do not come back
/// at the same moment.
const RETRY_JITTER: f64 = 0.1;

/// Between two looks at how many are before a request that waits.
const LOOK_AT_QUEUE: Duration = Duration::from_secs(1);
/// Digits of a request's id in a hint: among a thousand requests no two begin with the same.
const SHOWN_DIGITS: usize = 8;

/// What a person wants answered.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Of which worker.
    pub want: Want,
    /// How long the worker shall stay loaded afterwards, when the person said it.
    pub keep_alive_s: Option<i64>,
    /// The request itself.
    pub ask: Ask,
    /// Whether the keeper needs the hive no more after this.
    pub is_last: bool,
}

/// Where a request went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    /// Which request.
    pub request: RequestId,
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    /// The hive has been silent for so long, and nothing is given up yet; or it is heard again.
    fn silent(&mut self, hive: &HiveName, since: Option<Duration>);
    /// Whether somebody looks at [`Self::queued`].
    fn watches_the_queue(&self) -> bool {
        false
    }
    /// So many are served before the request, which waits for a slot since `elapsed`.
    fn queued(&mut self, _ahead: u64, _elapsed: Duration) {}
    /// Where a hive shall fetch a model that it does not have.
    ///
    /// # Errors
    /// `INVALID_CONFIG`.
    fn hub(&mut self) -> Result<HubSource, Fault>;
    /// The hive does not have the model, and fetches it.
    fn pulls(&mut self, hive: &HiveName, model: &ModelRef, event: &PullEvent);
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
    let (sent, id) = (RefCell::new(None), wish.ask.id);
    let given = wish.ask.deadline.map(|at| at.saturating_duration_since(Instant::now()));
    let mut stops = Stops::listen()?;
    let span = tracing::info_span!("request", request = %id);
    let outcome = tokio::select! {
        outcome = placed_and_answered(ways, timings, wish, audience, &sent).instrument(span) => {
            outcome.map_err(|failure| if stops.happened() { stopped(failure) } else { failure })
        }
        () = interrupts.next() => Err(Failure::interrupted()),
        () = passed(wish.ask.deadline) => Err(too_late(given).into()),
    };
    if let Err(failure) = &outcome {
        tracing::info!(request = %id, code = failure.fault.code.as_str(), "request failed");
    }
    let client = sent.take();
    if let Err(failure) = &outcome
        && must_be_cancelled(failure)
        && let Some(client) = &client
    {
        tokio::select! {
            // When nothing acknowledges, the closing connection cancels it as well.
            _ = tokio::time::timeout(timings.cancel_ack, client.cancel(id)) => {}
            () = interrupts.next() => {}
        }
    }
    if wish.is_last
        && let Some(client) = &client
    {
        client.leave().await;
    }
    match (outcome, client) {
        (Err(failure), Some(_asked)) => Err(explained(failure, id)),
        (outcome, _) => outcome,
    }
}

/// A failure of a request that a hive was asked: its id, and the way to look at it where that may
/// tell more.
fn explained(mut failure: Failure, id: RequestId) -> Failure {
    failure.fault.correlation_id = Some(id);
    let says_it_all = matches!(
        failure.fault.code,
        Code::InvalidArgument
            | Code::TooLarge
            | Code::ContextOverflow
            | Code::TemplateFailed
            | Code::Cancelled
    );
    if says_it_all { failure } else { failure.hint(why_command(id)) }
}

/// The command that shows where a request went.
pub fn why_command(id: RequestId) -> String {
    let id = id.to_string();
    format!("rbee why {}", id.get(..SHOWN_DIGITS).unwrap_or(&id))
}

/// Finds or starts a worker and waits until it takes requests.
///
/// # Errors
/// The failure that ended it.
pub async fn worker(
    ways: &[Way],
    timings: &Timings,
    want: &Want,
    keep_alive_s: Option<i64>,
    audience: &mut impl Audience,
) -> Result<Placed, Failure> {
    let view = View::open(ways, timings, want, audience).await?;
    // No request follows; the worker is there for the one that will.
    Ok(view.ready_worker(want, keep_alive_s, RequestId::random(), audience).await?.0)
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

/// The fault of a request that had the time `given`.
fn too_late(given: Option<Duration>) -> Fault {
    let message = "the deadline passed before the answer was complete";
    let fault = Fault::new(Code::DeadlineExceeded, message).hint("rbee run --deadline 5m \"…\"");
    match given.and_then(|given| u64::try_from(given.as_millis()).ok()) {
        Some(ms) => fault.detail("deadline_ms", ms),
        None => fault,
    }
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
        let view = View::open(ways, timings, &wish.want, audience).await?;
        let (want, keep, id) = (&wish.want, wish.keep_alive_s, wish.ask.id);
        let (placed, client) = view.ready_worker(want, keep, id, audience).await?;
        *sent.borrow_mut() = Some(client.clone());
        tracing::info!(hive = %placed.hive, worker = %placed.worker.id, "request placed");
        let began = Instant::now();
        match begun(&client, &placed, wish, timings, audience).await {
            Ok(mut generation) => {
                audience.placed(&placed).await?;
                let mut ending = Ending::default();
                let mut hearing = client.hearing();
                loop {
                    tokio::select! {
                        biased;
                        chunk = generation.next() => {
                            let Some(chunk) = chunk? else { return Ok(ending) };
                            ending.take(&chunk, began);
                            audience.chunk(&chunk).await?;
                        }
                        now = voice::turn(&mut hearing) => told(&client, now, timings, audience),
                    }
                }
            }
            Err(fault) if attempt < MAX_PLACEMENTS && is_gone(&fault, placed.reused) => {
                tracing::info!(attempt, code = fault.code.as_str(), "placing again");
                attempt += 1;
            }
            Err(fault) if fault.code == Code::QueueFull => {
                let pause = pause_before(&fault, retries);
                if !may_wait(pause, retries, wish.ask.deadline) {
                    return Err(given_up(fault, pause, wish.ask.deadline).into());
                }
                retries = retries.saturating_add(1);
                // The request is nowhere while it waits.
                sent.take();
                audience.retries(&fault, pause);
                tokio::time::sleep(pause).await;
            }
            Err(fault) => return Err(fault.into()),
        }
    }
}

/// Sends the request and waits until its stream begins; meanwhile tells of a silence of its hive,
/// and how many are before the request.
async fn begun(
    client: &Client,
    placed: &Placed,
    wish: &Wish,
    timings: &Timings,
    audience: &mut impl Audience,
) -> Result<Generation, Fault> {
    let answer = client.generate(&placed.worker.id, &wish.ask);
    tokio::pin!(answer);
    let (began, id) = (Instant::now(), RequestPrefix::from(wish.ask.id));
    let mut hearing = client.hearing();
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            now = voice::turn(&mut hearing) => told(client, now, timings, audience),
            ahead = ahead(client, &id), if audience.watches_the_queue() => {
                if let Some(ahead) = ahead {
                    audience.queued(ahead, began.elapsed());
                }
            }
        }
    }
}

/// After a while, how many are before a request; nothing from an agent that keeps no journal.
async fn ahead(client: &Client, id: &RequestPrefix) -> Option<u64> {
    tokio::time::sleep(LOOK_AT_QUEUE).await;
    client.requests(Some(id)).await.ok()?.first()?.ahead
}

/// What `work` comes to; a silence of its hive is told meanwhile.
async fn watched<T>(
    client: &Client,
    timings: &Timings,
    audience: &mut impl Audience,
    work: impl Future<Output = T>,
) -> T {
    let mut hearing = client.hearing();
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            now = voice::turn(&mut hearing) => told(client, now, timings, audience),
        }
    }
}

/// Says that a hive fell silent, or is heard again.
fn told(client: &Client, now: Hearing, timings: &Timings, audience: &mut impl Audience) {
    match now {
        Hearing::Heard => audience.silent(client.hive(), None),
        Hearing::Silent => audience.silent(client.hive(), Some(timings.stale)),
        // The request fails, and says why.
        Hearing::Dead => {}
    }
}

/// How long a full queue is left alone: as long as the hive said, and longer each time.
fn pause_before(fault: &Fault, retries: u32) -> Duration {
    let told = fault.details.get("retry_after_s").and_then(serde_json::Value::as_u64);
    let least = FIRST_RETRY.saturating_mul(1 << retries.min(MAX_RETRIES));
    let pause = Duration::from_secs(told.unwrap_or(0)).max(least).min(LONGEST_RETRY);
    pause.mul_f64(1.0 + rand::rng().random_range(0.0..RETRY_JITTER))
}

/// Whether a full queue is worth another try after `pause`: until the deadline where there is one.
fn may_wait(pause: Duration, retries: u32, deadline: Option<Instant>) -> bool {
    match deadline {
        Some(deadline) => deadline.saturating_duration_since(Instant::now()) > pause,
        None => retries < MAX_RETRIES,
    }
}

/// The fault of a queue that stays full.
fn given_up(fault: Fault, pause: Duration, deadline: Option<Instant>) -> Fault {
    if deadline.is_none() {
        return fault.hint("rbee run --deadline 10m \"…\"  # tries again for so long");
    }
    fault.cause(format!("it will have room in {} s, after the deadline", pause.as_secs()))
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
        let longest = pause_before(&fault(u64::MAX), 0);
        assert!((LONGEST_RETRY..LONGEST_RETRY * 2).contains(&longest), "{longest:?}");
    }

    #[test]
    fn a_deadline_allows_as_many_tries_as_fit_and_none_that_does_not() {
        let pause = Duration::from_secs(5);
        let soon = Instant::now().checked_add(Duration::from_secs(1));
        let late = Instant::now().checked_add(Duration::from_secs(600));
        assert!(may_wait(pause, 99, late) && !may_wait(pause, 0, soon));
        assert!(may_wait(pause, 0, None) && !may_wait(pause, MAX_RETRIES, None));
        let told = given_up(Fault::new(Code::QueueFull, "full"), pause, soon);
        assert!(told.causes[0].contains("after the deadline"), "{told:?}");
    }

    #[test]
    fn a_failure_that_explains_itself_needs_no_look_at_the_hive() {
        let id = RequestId::random();
        let told = |code| explained(Fault::new(code, "x").into(), id).fault;
        assert!(told(Code::WorkerCrashed).hints[0].starts_with("rbee why "));
        assert!(told(Code::ContextOverflow).hints.is_empty());
        assert_eq!(told(Code::ContextOverflow).correlation_id, Some(id));
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
