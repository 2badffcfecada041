//! One request: from the picture of the hives over a placement to the last token, and its
//! cancelling when the person, the reader or the clock ends it early.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use wire::generate::{Chunk, FinishReason, GenerationTimings, Usage};
use wire::text::shell_word;
use wire::worker::{SpawnRequest, WorkerInfo, WorkerState};
use wire::{Code, Fault, HiveName, Timings, WorkerId};

use crate::failure::Failure;
use crate::fleet::place::{Placement, Want, place};
use crate::fleet::{Fleet, Moment, Picture};
use crate::interrupt::Interrupts;
use crate::last_words;
use crate::link::client::{Ask, Client};
use crate::link::streams::Events;
use crate::link::{self, Transport};

/// How often a request is placed when the worker of its placement turns out to be gone.
const MAX_PLACEMENTS: u32 = 3;

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
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone, Default)]
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
    /// The worker is not ready yet; called again with every news of it.
    fn waits(&mut self, worker: &WorkerInfo, elapsed: Duration);
    /// The request has a worker, and the worker took it.
    fn placed(&mut self, placed: &Placed) -> impl Future<Output = Result<(), Failure>>;
    /// Tokens came.
    fn chunk(&mut self, chunk: &Chunk) -> impl Future<Output = Result<(), Failure>>;
}

/// Answers a wish. Ctrl-C, a closed standard output and the deadline cancel the request on its
/// hive and wait, `cancel_ack` at most, until its slot is free; another Ctrl-C ends that wait.
///
/// # Errors
/// The failure that ended it.
pub async fn answer<T: Transport>(
    way: &T,
    timings: &Timings,
    wish: &Wish,
    audience: &mut impl Audience,
    interrupts: &mut Interrupts,
) -> Result<Ending, Failure> {
    let sent = RefCell::new(None);
    let outcome = tokio::select! {
        outcome = placed_and_answered(way, timings, wish, audience, &sent) => outcome,
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

async fn passed(deadline: Option<Instant>) {
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

async fn placed_and_answered<T: Transport>(
    way: &T,
    timings: &Timings,
    wish: &Wish,
    audience: &mut impl Audience,
    sent: &RefCell<Option<Client>>,
) -> Result<Ending, Failure> {
    let mut attempt = 1;
    loop {
        let mut view = View::open(way, timings).await?;
        let placed = view.ready_worker(wish, audience).await?;
        *sent.borrow_mut() = Some(view.client.clone());
        let began = Instant::now();
        match view.client.generate(&placed.worker.id, &wish.ask).await {
            Ok(mut generation) => {
                drop(view);
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
            Err(fault) => return Err(fault.into()),
        }
    }
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

/// One connection with a live picture of its hive.
struct View<'a> {
    client: Client,
    events: Events,
    fleet: Fleet,
    began: Instant,
    timings: &'a Timings,
}

impl<'a> View<'a> {
    async fn open<T: Transport>(way: &T, timings: &'a Timings) -> Result<Self, Fault> {
        let (client, mut events) = link::reach(way, timings).await?;
        let snapshot = events.snapshot().await?;
        let mut view =
            Self { client, events, fleet: Fleet::default(), began: Instant::now(), timings };
        let event = wire::event::Event::Snapshot(snapshot);
        view.fleet.update(view.client.hive(), event, Moment::ZERO);
        Ok(view)
    }

    /// Places the wish and waits until its worker takes requests.
    async fn ready_worker(
        &mut self,
        wish: &Wish,
        audience: &mut impl Audience,
    ) -> Result<Placed, Failure> {
        let now = self.began.elapsed();
        let (hive, id, reused, why) = match place(&self.fleet, &wish.want, now, self.timings.stale)?
        {
            // What the person says of `keep_alive` must reach the worker that is there, too.
            Placement::Use { hive, worker, why } if wish.keep_alive_s.is_none() => {
                (hive, worker, true, why)
            }
            Placement::Use { hive, why, .. } => {
                let (id, reused) = self.spawn(&hive, wish, wish.want.device).await?;
                (hive, id, reused, why)
            }
            Placement::Spawn { hive, device, why } => {
                let (id, reused) = self.spawn(&hive, wish, Some(device)).await?;
                (hive, id, reused, why)
            }
        };
        let worker = self.routable(&hive, &id, audience).await?;
        Ok(Placed { hive, worker, reused, why })
    }

    async fn spawn(
        &mut self,
        hive: &HiveName,
        wish: &Wish,
        device: Option<wire::Device>,
    ) -> Result<(WorkerId, bool), Fault> {
        let request = SpawnRequest {
            model: wish.want.model.clone(),
            device,
            ctx_size: wish.want.ctx_size,
            keep_alive_s: wish.keep_alive_s,
            reuse: true,
        };
        let reply = self.client.spawn(&request).await?;
        self.fleet.adopt(hive, &reply);
        Ok((reply.worker.id, reply.reused))
    }

    /// Follows the events until the worker takes requests or never will.
    async fn routable(
        &mut self,
        hive: &HiveName,
        id: &WorkerId,
        audience: &mut impl Audience,
    ) -> Result<WorkerInfo, Fault> {
        loop {
            let known = self.fleet.worker(hive, id);
            let worker = known.ok_or_else(|| gone(id))?;
            if worker.state.is_routable() {
                return Ok(worker.clone());
            }
            if let Some(fault) = why_never(worker) {
                return Err(fault);
            }
            audience.waits(worker, self.began.elapsed());
            let Some(event) = self.events.next().await? else {
                let message = "the hive ended its stream of events while a model was loading";
                return Err(Fault::new(Code::HiveUnreachable, message).hint("rbee ps"));
            };
            if self.fleet.update(hive, event, self.began.elapsed()) == Picture::Torn {
                self.events = self.client.events().await?;
            }
        }
    }
}

fn gone(id: &WorkerId) -> Fault {
    Fault::new(Code::WorkerNotFound, format!("the worker {id} was removed while it was needed"))
        .hint("rbee worker list --all")
}

/// The fault of a worker that will not take requests; none while it still may.
fn why_never(worker: &WorkerInfo) -> Option<Fault> {
    let id = &worker.id;
    let fault = match &worker.state {
        WorkerState::Failed { why, code } => {
            let code = code.clone().unwrap_or(Code::WorkerCrashed);
            Fault::new(code, why).hint(hint_after_failure(worker))
        }
        WorkerState::Crashed { exit, stderr_tail } => {
            let message = format!("the worker {id} ended with {exit} while it loaded its model");
            last_words::of(stderr_tail)
                .into_iter()
                .fold(Fault::new(Code::WorkerCrashed, message), Fault::cause)
                .hint("rbee worker list --all")
        }
        WorkerState::Draining | WorkerState::Stopping | WorkerState::Stopped => {
            Fault::new(Code::ShuttingDown, format!("the worker {id} was stopped while it loaded"))
                .hint(format!("rbee run -m {} \"…\"", shell_word(&worker.spec.model.to_string())))
        }
        _ => return None,
    };
    Some(fault.detail("worker", id.as_str()))
}

fn hint_after_failure(worker: &WorkerInfo) -> String {
    match &worker.spec.model {
        wire::ModelRef::File(path) => format!("ls -l {}", shell_word(path)),
        _ => "rbee worker list --all".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::tests::worker;
    use wire::worker::Exit;

    #[test]
    fn a_load_that_failed_keeps_the_code_that_the_worker_said() {
        let failed = |code| {
            let state = WorkerState::Failed { why: "not a GGUF file".into(), code };
            why_never(&worker("a-1", state)).unwrap()
        };
        assert_eq!(failed(Some(Code::ModelCorrupt)).code, Code::ModelCorrupt);
        assert_eq!(failed(None).code, Code::WorkerCrashed);
        assert!(!failed(None).hints.is_empty());
    }

    #[test]
    fn a_crash_shows_how_it_ended_and_its_last_words() {
        let stderr_tail = (0..20).fold(String::new(), |text, n| format!("{text}line {n}\n"));
        let state = WorkerState::Crashed { exit: Exit::Signal(9), stderr_tail };
        let fault = why_never(&worker("a-1", state)).unwrap();
        assert!(fault.message.contains("signal 9"), "{fault}");
        assert_eq!(fault.causes.last().unwrap(), "line 19");
    }

    #[test]
    fn a_worker_that_may_still_come_is_waited_for() {
        for state in [WorkerState::Starting, WorkerState::Stale, WorkerState::Unknown] {
            assert!(why_never(&worker("a-1", state)).is_none());
        }
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
