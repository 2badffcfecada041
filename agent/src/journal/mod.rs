//! What became of each request: those that go on, and the last ones that ended, on disk too.

mod disk;
pub mod reading;
mod tempo;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use wire::journal::{ClientName, EndedBy, Entry, RequestPrefix};
use wire::worker::WorkerInfo;
use wire::{Code, Fault, ModelRef, RequestId, WorkerId, limits, ndjson};

use self::reading::Reading;
use self::tempo::Tempo;
use crate::supervisor::Client;

/// How near to its deadline a client may leave for its deadline to be why: its own clock began
/// before ours, and what it sent needed its time.
const DEADLINE_SLACK: Duration = Duration::from_millis(100);

/// The requests of this hive.
#[derive(Debug)]
pub struct Journal {
    state: Mutex<State>,
    disk: Option<(NonBlocking, WorkerGuard)>,
}

#[derive(Debug, Default)]
struct State {
    /// Requests that go on, in the order of their arrival.
    running: BTreeMap<u64, Entry>,
    /// The number of the next one.
    next: u64,
    /// Those that ended, oldest first.
    ended: VecDeque<Entry>,
    /// Models of the workers that were asked for lately.
    models: HashMap<WorkerId, ModelRef>,
    /// How fast workers decode; those that had a slot lately.
    tempos: HashMap<WorkerId, Arc<Mutex<Tempo>>>,
}

/// A request as it comes in.
#[derive(Debug)]
pub struct Arrival {
    /// Which request.
    pub request: RequestId,
    /// Over which connection.
    pub client: Client,
    /// Who asks, as it calls itself.
    pub name: Option<ClientName>,
    /// Of which worker.
    pub worker: WorkerId,
    /// When it is worth nothing any more.
    pub deadline: Option<Instant>,
}

impl Journal {
    /// Goes on with the journal in `dir`. Where that cannot be written, it is kept in memory.
    pub fn open(dir: &Path) -> Arc<Self> {
        let disk = match disk::open(dir) {
            Ok(file) => Some(file.in_background()),
            Err(error) => {
                tracing::warn!(%error, "the journal of requests cannot be written");
                None
            }
        };
        let state = State { ended: disk::load(dir), ..State::default() };
        Arc::new(Self { state: Mutex::new(state), disk })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// Begins to follow a request.
    pub fn begin(self: &Arc<Self>, arrival: Arrival) -> Trace {
        let Arrival { request, client, name, worker, deadline } = arrival;
        let received = Instant::now();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(received));
        let entry = Entry {
            connection: client.0,
            client: name,
            deadline_ms: left.map(millis),
            ..Entry::received(request, worker, now_unix_ms())
        };
        tracing::info!(
            %request, worker = %entry.worker, connection = client.0,
            client = entry.client.as_ref().map(ClientName::as_str),
            deadline_ms = entry.deadline_ms, "request received"
        );
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.running.insert(number, entry);
        drop(state);
        let journal = Arc::clone(self);
        Trace { journal, number, request, received, deadline, tempo: None }
    }

    /// The model of a worker that was asked for before.
    pub fn model_of(&self, worker: &WorkerId) -> Option<ModelRef> {
        self.lock().models.get(worker).cloned()
    }

    /// Remembers the models of all workers.
    pub fn learn_models(&self, models: impl Iterator<Item = (WorkerId, ModelRef)>) {
        self.lock().models = models.take(limits::MAX_WORKERS).collect();
    }

    /// Tells of each worker how fast it decodes now.
    pub fn pace(&self, workers: &mut [WorkerInfo]) {
        let (state, now) = (self.lock(), Instant::now());
        for worker in workers {
            let tempo = state.tempos.get(&worker.id);
            worker.millitokens_per_s = tempo.and_then(|tempo| locked(tempo).millitokens_per_s(now));
        }
    }

    /// The tempo of a worker, for those who count its tokens.
    fn tempo(&self, worker: &WorkerId) -> Arc<Mutex<Tempo>> {
        let (mut state, now) = (self.lock(), Instant::now());
        state.tempos.retain(|_, tempo| {
            Arc::strong_count(tempo) > 1 || locked(tempo).millitokens_per_s(now).is_some()
        });
        Arc::clone(state.tempos.entry(worker.clone()).or_default())
    }

    /// Notes that a client cancelled a request, also when it has left before it said so.
    pub fn cancelled(&self, request: RequestId) {
        let mut state = self.lock();
        let left = |entry: &&mut Entry| {
            entry.request == request
                && entry.ended_by == Some(EndedBy::Client)
                && entry.code.is_none()
        };
        let Some(entry) = state.ended.iter_mut().rev().find(left) else { return };
        entry.code = Some(Code::Cancelled);
        let entry = entry.clone();
        drop(state);
        self.write(&entry);
    }

    /// Entries of the requests whose id begins so, or of all, newest first.
    pub fn find(&self, prefix: Option<&RequestPrefix>) -> Vec<Entry> {
        let state = self.lock();
        let newest = state.running.values().rev().chain(state.ended.iter().rev());
        let wanted = newest.filter(|entry| prefix.is_none_or(|prefix| prefix.is_of(entry.request)));
        wanted.take(limits::MAX_JOURNAL_ANSWER).cloned().collect()
    }

    fn write(&self, entry: &Entry) {
        let Some((disk, _)) = &self.disk else { return };
        match ndjson::encode(entry) {
            // It only hands the line to the thread that writes.
            Ok(line) => drop(disk.clone().write_all(&line)),
            Err(error) => tracing::error!(%error, "an entry could not be encoded"),
        }
    }
}

/// A panic elsewhere leaves nothing half done in here, so poison is passed over.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn now_unix_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, millis)
}

/// One request that goes on. Dropped before its end it is one whose client has left.
#[derive(Debug)]
pub struct Trace {
    journal: Arc<Journal>,
    number: u64,
    request: RequestId,
    received: Instant,
    deadline: Option<Instant>,
    /// Of its worker, once it has a slot there.
    tempo: Option<Arc<Mutex<Tempo>>>,
}

impl Trace {
    fn note(&self, change: impl FnOnce(&mut Entry, u64)) {
        let now = millis(self.received.elapsed());
        if let Some(entry) = self.journal.lock().running.get_mut(&self.number) {
            change(entry, now);
        }
    }

    /// It asks for a slot of its worker, which has this model.
    pub fn queued(&self, model: Option<ModelRef>) {
        self.note(|entry, now| (entry.queued_ms, entry.model) = (Some(now), model));
    }

    /// So many are served before it.
    pub fn waits_behind(&self, ahead: u64) {
        tracing::info!(request = %self.request, ahead, "request waits");
        self.note(|entry, _| entry.ahead = Some(ahead));
    }

    /// It has a slot.
    pub fn granted(&mut self) {
        let (mut waited, mut worker) = (0, None);
        self.note(|entry, now| {
            entry.slot_ms = Some(now);
            waited = now.saturating_sub(entry.queued_ms.unwrap_or(now));
            worker = Some(entry.worker.clone());
        });
        self.tempo = worker.map(|worker| self.journal.tempo(&worker));
        tracing::info!(request = %self.request, waited_ms = waited, "slot granted");
    }

    /// A part of its answer passed.
    pub fn passed(&self, reading: &Reading) {
        let mut new = 0;
        self.note(|entry, now| {
            if reading.parts > 0 {
                entry.first_token_ms.get_or_insert(now);
            }
            new = reading.completion_tokens().saturating_sub(entry.completion_tokens);
            entry.completion_tokens = reading.completion_tokens();
        });
        if new > 0
            && let Some(tempo) = &self.tempo
        {
            locked(tempo).add(new, Instant::now());
        }
    }

    /// Its answer is complete.
    pub fn finished(self, reading: &Reading) {
        self.end(|entry| {
            entry.ended_by = Some(EndedBy::Worker);
            entry.finish_reason = reading.finish_reason;
            entry.timings = reading.timings;
            entry.prompt_tokens = reading.usage.map(|usage| usage.prompt_tokens);
            entry.completion_tokens = reading.completion_tokens();
        });
    }

    /// It was refused or broke off.
    pub fn failed(self, fault: &Fault) {
        self.end(|entry| {
            entry.code = Some(fault.code.clone());
            entry.ended_by = Some(who_ended(&fault.code));
        });
    }

    /// Once: an entry that has ended is not among those that go on.
    fn end(&self, change: impl FnOnce(&mut Entry)) {
        let ended_ms = millis(self.received.elapsed());
        let mut state = self.journal.lock();
        let Some(mut entry) = state.running.remove(&self.number) else { return };
        entry.ended_ms = Some(ended_ms);
        change(&mut entry);
        disk::remember(&mut state.ended, entry.clone());
        drop(state);
        tracing::info!(
            request = %entry.request, worker = %entry.worker, took_ms = ended_ms,
            slot_ms = entry.slot_ms, first_token_ms = entry.first_token_ms,
            prompt_tokens = entry.prompt_tokens, completion_tokens = entry.completion_tokens,
            finish_reason = entry.finish_reason.map(wire::generate::FinishReason::as_str),
            code = entry.code.as_ref().map(Code::as_str), by = entry.ended_by.map(EndedBy::as_str),
            "request ended"
        );
        self.journal.write(&entry);
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let deadline = self.deadline.and_then(|deadline| deadline.checked_sub(DEADLINE_SLACK));
        let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        self.end(|entry| {
            if is_late {
                (entry.code, entry.ended_by) =
                    (Some(Code::DeadlineExceeded), Some(EndedBy::Deadline));
            } else {
                entry.ended_by = Some(EndedBy::Client);
            }
        });
    }
}

fn who_ended(code: &Code) -> EndedBy {
    match code {
        Code::Cancelled => EndedBy::Client,
        Code::DeadlineExceeded => EndedBy::Deadline,
        Code::QueueFull
        | Code::InvalidArgument
        | Code::TooLarge
        | Code::RateLimited
        | Code::WorkerNotFound
        | Code::WorkerNotReady
        | Code::ShuttingDown
        | Code::Stalled => EndedBy::Agent,
        _ => EndedBy::Worker,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How a request is made to end.
    type End = Box<dyn FnOnce(Trace)>;

    fn arrival(deadline: Option<Instant>) -> Arrival {
        Arrival {
            request: RequestId::random(),
            client: Client(3),
            name: Some("ada@laptop".parse().unwrap()),
            worker: "demo-1".parse().unwrap(),
            deadline,
        }
    }

    fn only(journal: &Journal, request: RequestId) -> Entry {
        let found = journal.find(Some(&request.into()));
        assert_eq!(found.len(), 1);
        found[0].clone()
    }

    #[test]
    fn every_request_ends_once_with_who_ended_it_and_the_next_agent_knows() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path());
        let late = Instant::now().checked_add(Duration::from_millis(50));
        let cases: Vec<(Arrival, End, EndedBy, Option<Code>)> = vec![
            (arrival(None), Box::new(drop), EndedBy::Client, None),
            (arrival(late), Box::new(drop), EndedBy::Deadline, Some(Code::DeadlineExceeded)),
            (
                arrival(None),
                Box::new(|trace| trace.finished(&Reading::default())),
                EndedBy::Worker,
                None,
            ),
            (
                arrival(None),
                Box::new(|trace| trace.failed(&Fault::new(Code::QueueFull, "full"))),
                EndedBy::Agent,
                Some(Code::QueueFull),
            ),
        ];
        let mut ended = Vec::new();
        for (arrival, end, by, code) in cases {
            let request = arrival.request;
            let mut trace = journal.begin(arrival);
            trace.queued(Some(ModelRef::Demo));
            trace.granted();
            assert_eq!(only(&journal, request).ended_ms, None);
            end(trace);
            let entry = only(&journal, request);
            assert_eq!((entry.ended_by, &entry.code), (Some(by), &code));
            assert!(entry.ended_ms >= entry.slot_ms && entry.slot_ms >= entry.queued_ms);
            assert_eq!((entry.connection, entry.model.as_ref()), (3, Some(&ModelRef::Demo)));
            ended.push(entry);
        }
        // What waits for the disk is written when the journal is dropped.
        drop(journal);
        let next = Journal::open(dir.path());
        ended.reverse();
        assert_eq!(next.find(None), ended);
    }

    #[test]
    fn a_cancel_that_comes_after_its_client_left_is_still_a_cancel() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path());
        let arrival = arrival(None);
        let request = arrival.request;
        drop(journal.begin(arrival));
        journal.cancelled(request);
        assert_eq!(only(&journal, request).code, Some(Code::Cancelled));
        drop(journal);
        assert_eq!(only(&Journal::open(dir.path()), request).code, Some(Code::Cancelled));
    }
}
