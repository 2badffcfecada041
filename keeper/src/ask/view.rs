//! The hives that were reached for one request, with a live picture of them, and the worker that
//! takes it.

use std::time::Instant;

use futures_util::stream::{FuturesUnordered, StreamExt};
use wire::event::{Event, Snapshot};
use wire::pull::{CAN_BE_PULLED, PullRequest};
use wire::text::shell_word;
use wire::worker::{SpawnRequest, WorkerInfo, WorkerState};
use wire::{Code, Fault, HiveName, ModelRef, RequestId, Timings, WorkerId};

use super::{Audience, Placed, watched};
use crate::failure::Failure;
use crate::fleet::place::{Placement, Want, place, takes_it_at_once};
use crate::fleet::{Fleet, Moment, Picture};
use crate::last_words;
use crate::link::client::Client;
use crate::link::streams::{Events, Step};
use crate::link::way::Way;
use crate::link::{self, Transport};

/// Connections with a live picture of their hives.
pub struct View<'a> {
    reached: Vec<Reached>,
    absent: Vec<(HiveName, Fault)>,
    fleet: Fleet,
    began: Instant,
    timings: &'a Timings,
}

/// One hive that answered.
struct Reached {
    client: Client,
    events: Events,
}

impl<'a> View<'a> {
    /// Reaches the hives at the same time. The first one with a worker that can take the wish at
    /// once ends the waiting; else `hive_wait` does, as soon as any hive is there.
    pub async fn open(
        ways: &[Way],
        timings: &'a Timings,
        want: &Want,
        audience: &mut impl Audience,
    ) -> Result<Self, Failure> {
        let (reached, absent, began) = (Vec::new(), Vec::new(), Instant::now());
        let mut view = Self { reached, absent, fleet: Fleet::default(), began, timings };
        let mut coming: FuturesUnordered<_> =
            ways.iter().map(|way| async { (way.hive(), arrive(way, timings).await) }).collect();
        let patience = audience.deadline(timings.hive_wait);
        let passed = patience.within(std::future::pending::<()>());
        let hush = audience.deadline(timings.stale);
        let hushed = hush.within(std::future::pending::<()>());
        tokio::pin!(passed, hushed);
        let (mut impatient, mut told) = (false, false);
        loop {
            tokio::select! {
                biased;
                next = coming.next() => match next {
                    Some((hive, Ok((reached, snapshot)))) => view.add(hive, reached, snapshot),
                    Some((hive, Err(fault))) => view.absent.push((hive.clone(), fault)),
                    None => break,
                },
                _ = &mut passed, if !impatient => impatient = true,
                _ = &mut hushed, if !told => {
                    told = true;
                    for hive in ways.iter().map(Transport::hive).filter(|hive| !view.knows(hive)) {
                        audience.silent(hive, Some(timings.stale));
                    }
                }
            }
            if view.has_a_ready_worker(want) {
                // The others are not needed, so nobody has to hear of them.
                return Ok(view);
            }
            if impatient && !view.reached.is_empty() {
                break;
            }
        }
        if view.reached.is_empty() {
            return Err(view.nobody().into());
        }
        let late = ways.iter().map(Transport::hive).filter(|hive| !view.knows(hive));
        let late: Vec<_> = late.map(|hive| (hive.clone(), slow(hive, timings))).collect();
        for (hive, why) in view.absent.iter().chain(&late) {
            audience.absent(hive, why);
        }
        Ok(view)
    }

    fn add(&mut self, hive: &HiveName, reached: Reached, snapshot: Snapshot) {
        let now = self.now();
        self.fleet.update(hive, Event::Snapshot(snapshot), now);
        self.reached.push(reached);
    }

    fn now(&self) -> Moment {
        self.began.elapsed()
    }

    fn has_a_ready_worker(&self, want: &Want) -> bool {
        takes_it_at_once(&self.fleet, want, self.now(), self.timings.stale)
    }

    fn knows(&self, hive: &HiveName) -> bool {
        self.fleet.hive(hive).is_some() || self.absent.iter().any(|(absent, _)| absent == hive)
    }

    /// Why no hive answered.
    fn nobody(&self) -> Fault {
        match self.absent.as_slice() {
            [] => Fault::new(Code::HiveUnreachable, "there is no hive").hint("rbee hive list"),
            [(_, only)] => only.clone(),
            all => all.iter().fold(
                Fault::new(Code::HiveUnreachable, "no hive answers").hint("rbee hive doctor --all"),
                |fault, (hive, why)| fault.cause(format!("{hive}: {why}")),
            ),
        }
    }

    /// Places the wish and waits until its worker takes requests; the other connections end.
    pub async fn ready_worker(
        mut self,
        want: &Want,
        keep_alive_s: Option<i64>,
        request: RequestId,
        audience: &mut impl Audience,
    ) -> Result<(Placed, Client), Failure> {
        let placement = place(&self.fleet, want, self.now(), self.timings.stale)?;
        self.reached.retain(|reached| reached.client.hive() == placement.hive());
        let mut chosen = self.reached.pop().ok_or_else(|| link::no_agent(placement.hive()))?;
        let (hive, id, mut reused, why) = match placement {
            // What the person says of `keep_alive` must reach the worker that is there, too.
            Placement::Use { hive, worker, why } if keep_alive_s.is_none() => {
                (hive, worker, true, why)
            }
            Placement::Use { hive, why, .. } => {
                let (id, reused) =
                    self.spawn(&chosen.client, want, want.device, keep_alive_s, audience).await?;
                (hive, id, reused, why)
            }
            Placement::Spawn { hive, device, why } => {
                let (id, reused) =
                    self.spawn(&chosen.client, want, Some(device), keep_alive_s, audience).await?;
                (hive, id, reused, why)
            }
        };
        let mut found = routable(&mut self.fleet, &mut chosen, &id, self.timings, audience).await;
        if reused && found.as_ref().is_err_and(had_no_room) {
            // It could not come back: a new one is refused with the figures of now, or fits.
            let (id, there) =
                self.spawn(&chosen.client, want, want.device, keep_alive_s, audience).await?;
            reused = there;
            found = routable(&mut self.fleet, &mut chosen, &id, self.timings, audience).await;
        }
        Ok((Placed { request, hive, worker: found?, reused, why }, chosen.client))
    }

    async fn spawn(
        &mut self,
        client: &Client,
        want: &Want,
        device: Option<wire::Device>,
        keep_alive_s: Option<i64>,
        audience: &mut impl Audience,
    ) -> Result<(WorkerId, bool), Fault> {
        let request = SpawnRequest {
            model: want.model.clone(),
            device,
            ctx_size: want.ctx_size,
            keep_alive_s,
            reuse: true,
        };
        let reply = match client.spawn(&request).await {
            Err(fault) if fault.details.contains_key(CAN_BE_PULLED) => {
                pull(client, &want.model, self.timings, audience).await?;
                client.spawn(&request).await?
            }
            reply => reply?,
        };
        self.fleet.adopt(client.hive(), &reply);
        Ok((reply.worker.id, reply.reused))
    }
}

/// Has a hive fetch a model, and waits until it is there.
async fn pull(
    client: &Client,
    model: &ModelRef,
    timings: &Timings,
    audience: &mut impl Audience,
) -> Result<(), Fault> {
    let request = PullRequest { model: model.clone(), source: audience.hub()? };
    let mut pulling = client.pull(&request).await?;
    loop {
        match watched(client, timings, audience, pulling.step()).await? {
            Step::Going(event) => audience.pulls(client.hive(), model, &event),
            Step::Done(_) => return Ok(()),
        }
    }
}

/// Waits until a worker of a hive that is connected takes requests.
///
/// # Errors
/// Why it never will.
pub async fn ready(
    client: Client,
    id: &WorkerId,
    timings: &Timings,
    audience: &mut impl Audience,
) -> Result<WorkerInfo, Fault> {
    let mut fleet = Fleet::default();
    let mut events = client.events().await?;
    let snapshot = events.snapshot().await?;
    fleet.update(client.hive(), Event::Snapshot(snapshot), Moment::ZERO);
    routable(&mut fleet, &mut Reached { client, events }, id, timings, audience).await
}

/// Follows the events until the worker takes requests or never will.
async fn routable(
    fleet: &mut Fleet,
    chosen: &mut Reached,
    id: &WorkerId,
    timings: &Timings,
    audience: &mut impl Audience,
) -> Result<WorkerInfo, Fault> {
    let began = Instant::now();
    let Reached { client, events } = chosen;
    loop {
        let worker = fleet.worker(client.hive(), id).ok_or_else(|| gone(id))?;
        if worker.state.is_routable() {
            return Ok(worker.clone());
        }
        if let Some(fault) = why_never(worker) {
            return Err(fault);
        }
        audience.waits(worker, began.elapsed());
        let event = watched(client, timings, audience, events.next()).await?;
        let Some(event) = event else { return Err(events.ended()) };
        if fleet.update(client.hive(), event, began.elapsed()) == Picture::Torn {
            *events = client.events().await?;
        }
    }
}

/// Reaches one hive, starting its agent where none runs.
async fn arrive(way: &Way, timings: &Timings) -> Result<(Reached, Snapshot), Fault> {
    let (client, mut events) = link::reach(way, timings).await?;
    let snapshot = events.snapshot().await?;
    Ok((Reached { client, events }, snapshot))
}

fn slow(hive: &HiveName, timings: &Timings) -> Fault {
    let waited = timings.hive_wait.as_secs_f32();
    Fault::new(Code::HiveUnreachable, format!("no answer within {waited} s"))
        .hint(link::doctor(hive))
}

fn gone(id: &WorkerId) -> Fault {
    Fault::new(Code::WorkerNotFound, format!("the worker {id} was removed while it was needed"))
        .hint("rbee worker list --all")
}

/// Whether a worker ended because there was no room for another start of it.
fn had_no_room(fault: &Fault) -> bool {
    matches!(fault.code, Code::InsufficientRam | Code::InsufficientVram | Code::DiskFull)
}

/// The fault of a worker that will not take requests; none while it still may.
fn why_never(worker: &WorkerInfo) -> Option<Fault> {
    let id = &worker.id;
    let fault = match &worker.state {
        WorkerState::Failed { why, code } => {
            let code = code.clone().unwrap_or(Code::WorkerCrashed);
            let hint = hint_after_failure(worker, &code);
            let fault = Fault::new(code, why).hint(hint);
            let limit = worker.limit.filter(|_| fault.code == Code::OutOfMemory);
            match limit {
                Some(limit) => {
                    fault.detail("limit_bytes", limit.bytes).detail("limit_by", limit.by.as_str())
                }
                None => fault,
            }
        }
        WorkerState::Crashed { exit, stderr_tail } => {
            let message = format!("the worker {id} ended with {exit} while it loaded its model");
            last_words::of(stderr_tail)
                .into_iter()
                .fold(Fault::new(Code::WorkerCrashed, message), Fault::cause)
                .hint("rbee worker list --all")
        }
        // One that is ending may be followed by another process, as after a load that stood still.
        WorkerState::Stopped => {
            Fault::new(Code::ShuttingDown, format!("the worker {id} was stopped while it loaded"))
                .hint(format!("rbee run -m {} \"…\"", shell_word(&worker.spec.model.to_string())))
        }
        _ => return None,
    };
    Some(fault.detail("worker", id.as_str()))
}

fn hint_after_failure(worker: &WorkerInfo, code: &Code) -> String {
    if *code == Code::OutOfMemory
        && let Some(ctx) = worker.spec.smaller_ctx_size()
    {
        let model = shell_word(&worker.spec.model.to_string());
        return format!("rbee run -m {model} --ctx-size {ctx} \"…\"");
    }
    match &worker.spec.model {
        ModelRef::File(path) => format!("ls -l {}", shell_word(path)),
        _ => "rbee worker list --all".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::tests::worker;
    use wire::memory::{Limit, LimitBy};
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
    fn a_worker_that_ran_out_of_memory_is_told_with_its_limit_and_a_smaller_context() {
        let state = WorkerState::Failed { why: "too much".into(), code: Some(Code::OutOfMemory) };
        let limit = Limit { bytes: Some(5 << 20), by: LimitBy::Cgroup2, cpu_percent: None };
        let fault = why_never(&WorkerInfo { limit: Some(limit), ..worker("a-1", state) }).unwrap();
        assert_eq!(fault.code, Code::OutOfMemory);
        assert_eq!(fault.details["limit_bytes"], 5 << 20);
        assert!(fault.hints[0].contains("-m demo --ctx-size 1024"), "{:?}", fault.hints);
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
        for state in [
            WorkerState::Starting,
            WorkerState::Stale,
            WorkerState::Draining,
            WorkerState::Stopping,
            WorkerState::Unknown,
        ] {
            assert!(why_never(&worker("a-1", state)).is_none());
        }
        let stopped = why_never(&worker("a-1", WorkerState::Stopped)).unwrap();
        assert_eq!(stopped.code, Code::ShuttingDown);
    }
}
