//! Does what the supervisor wants: it owns the processes, the timers and everyone who waits.

pub mod adopt;
pub mod guard;
pub mod process;

mod memory;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::process::Command;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;
use wire::event::Event;
use wire::guard::GuardRecord;
use wire::{Code, Fault, RequestId, WorkerId, limits, ndjson};

use self::memory::{Account, Returned};
use self::process::Setup;
use crate::inventory;
use crate::platform;
use crate::scope::Scopes;
use crate::supervisor::carryover::Carryover;
use crate::supervisor::effect::Start;
use crate::supervisor::input::BEGINNING;
use crate::supervisor::{Answer, Ask, Client, Effect, End, Input, Supervisor, Token};

/// Messages that may wait for the supervisor; beyond that, senders wait.
const INPUT_BACKLOG: usize = 1024;
/// The supervisor sees time pass at least this often while it waits for something to end.
const TICK: Duration = Duration::from_millis(250);
/// And this often while all is calm: each tick takes a processor from the engines for a moment.
const CALM_TICK: Duration = Duration::from_secs(1);
/// What a guard's process gets on top of its ladder before nobody waits for it any more.
const STOP_MARGIN: Duration = Duration::from_secs(1);
/// What a disk gets to take the last word of an agent that ends.
const LAST_WORD_TIME: Duration = Duration::from_secs(1);
/// Before free memory is looked at again that did not grow as it should.
const SECOND_LOOK: Duration = Duration::from_millis(500);

/// One input on its way to the supervisor, with the ways back to whoever sent it.
#[derive(Debug)]
pub struct Message {
    input: Input,
    reply: Option<(Token, oneshot::Sender<Answer>)>,
    revoke: Option<(Token, oneshot::Sender<Fault>)>,
    record: Option<GuardRecord>,
}

impl Message {
    /// News; no answer is wanted.
    pub fn tell(input: Input) -> Self {
        Self { input, reply: None, revoke: None, record: None }
    }

    /// A guard's engine runs, and these are the processes.
    pub fn running(record: GuardRecord) -> Self {
        let input = Input::Running {
            worker: record.id.clone(),
            pid: record.engine.pid,
            started_unix_s: platform::started_unix_s(record.engine),
        };
        Self { record: Some(record), ..Self::tell(input) }
    }
}

/// A published event as every reader gets it.
#[derive(Debug, Clone)]
pub struct Published {
    /// The hive's revision with it.
    pub revision: u64,
    /// The NDJSON line.
    pub line: Bytes,
}

/// How everyone else speaks with the supervisor.
#[derive(Debug, Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Message>,
    next_token: Arc<AtomicU64>,
    events: broadcast::Sender<Published>,
    closing: watch::Receiver<bool>,
    program: Arc<str>,
    scopes: Scopes,
}

/// A request's right to a worker. Dropping it gives the slot back.
#[derive(Debug)]
pub struct Slot {
    handle: Handle,
    token: Token,
    /// Whether the engine said by itself that it is done with the request.
    pub done: bool,
    /// Resolves when the slot is taken back, with the reason.
    pub revoked: oneshot::Receiver<Fault>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let message = Message::tell(Input::Left { token: self.token, done: self.done });
        if let Err(mpsc::error::TrySendError::Full(message)) = self.handle.inputs.try_send(message)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let inputs = self.handle.inputs.clone();
            runtime.spawn(async move {
                let _agent_ends = inputs.send(message).await;
            });
        }
    }
}

impl Handle {
    fn token(&self) -> Token {
        Token(self.next_token.fetch_add(1, Ordering::Relaxed))
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// What the supervisor refuses, `SHUTTING_DOWN` when it is gone.
    pub async fn ask(&self, ask: Ask) -> Result<Answer, Fault> {
        let (token, (sender, receiver)) = (self.token(), oneshot::channel());
        let input = Input::Ask(token, ask);
        let reply = Some((token, sender));
        self.send(Message { reply, ..Message::tell(input) }).await?;
        settle(receiver.await.map_err(|_gone| gone())?)
    }

    /// Tells of something that happened.
    pub async fn tell(&self, input: Input) {
        let _agent_ends = self.inputs.send(Message::tell(input)).await;
    }

    /// Waits for a slot of `worker`. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn slot(
        &self,
        worker: WorkerId,
        request: RequestId,
        client: Client,
    ) -> Result<Slot, Fault> {
        let token = self.token();
        let (reply, answered) = oneshot::channel();
        let (revoke, revoked) = oneshot::channel();
        let message = Message {
            reply: Some((token, reply)),
            revoke: Some((token, revoke)),
            ..Message::tell(Input::Ask(token, Ask::Slot { worker, request, client }))
        };
        self.send(message).await?;
        let slot = Slot { handle: self.clone(), token, done: false, revoked };
        settle(answered.await.map_err(|_gone| gone())?)?;
        Ok(slot)
    }

    /// How many requests are served before one that waits; nothing when it does not wait.
    pub async fn ahead(&self, request: RequestId) -> Option<u64> {
        match self.ask(Ask::Ahead(request)).await {
            Ok(Answer::Ahead(ahead)) => ahead,
            _ => None,
        }
    }

    async fn send(&self, message: Message) -> Result<(), Fault> {
        self.inputs.send(message).await.map_err(|_gone| gone())
    }

    /// Every event from now on.
    pub fn events(&self) -> broadcast::Receiver<Published> {
        self.events.subscribe()
    }

    /// Turns true when the agent ends.
    pub fn closing(&self) -> watch::Receiver<bool> {
        self.closing.clone()
    }

    /// The program that workers are started from, where they are started.
    pub fn command(&self) -> Command {
        self.scopes.command(&*self.program)
    }

    /// Where workers' news go.
    pub fn inputs(&self) -> guard::Inputs {
        self.inputs.clone()
    }
}

fn settle(answer: Answer) -> Result<Answer, Fault> {
    match answer {
        Answer::Refused(fault) => Err(*fault),
        answer => Ok(answer),
    }
}

fn gone() -> Fault {
    Fault::new(Code::ShuttingDown, "the agent has ended")
}

/// The one task that owns the supervisor.
#[derive(Debug)]
pub struct Executor {
    supervisor: Supervisor,
    setup: Arc<Setup>,
    started: Instant,
    inputs: mpsc::Receiver<Message>,
    handle: Handle,
    closing: watch::Sender<bool>,
    replies: HashMap<Token, oneshot::Sender<Answer>>,
    revokes: HashMap<Token, oneshot::Sender<Fault>>,
    /// The guards and engines that run: their files may be moved under this agent.
    records: HashMap<WorkerId, GuardRecord>,
    /// What is known of the engines' memory.
    account: Account,
    /// What the next agent shall know; written elsewhere, for a disk may take its time.
    carryover: watch::Sender<Carryover>,
    /// Whether the agent shall end.
    exit: bool,
}

impl Executor {
    /// An executor, and the handle to speak with it.
    pub fn new(supervisor: Supervisor, setup: Setup) -> (Self, Handle) {
        let (sender, inputs) = mpsc::channel(INPUT_BACKLOG);
        let (closing, is_closing) = watch::channel(false);
        let handle = Handle {
            inputs: sender,
            next_token: Arc::new(AtomicU64::new(0)),
            events: broadcast::Sender::new(limits::MAX_EVENT_BACKLOG),
            closing: is_closing,
            program: setup.program.as_str().into(),
            scopes: setup.scopes.clone(),
        };
        let executor = Self {
            supervisor,
            account: Account::new(Arc::clone(&setup.peaks), setup.gpus.clone()),
            setup: Arc::new(setup),
            started: Instant::now(),
            carryover: watch::Sender::default(),
            inputs,
            handle: handle.clone(),
            closing,
            replies: HashMap::new(),
            revokes: HashMap::new(),
            records: HashMap::new(),
            exit: false,
        };
        (executor, handle)
    }

    /// Runs until the supervisor ends the agent.
    pub async fn run(mut self) {
        let mut ticked = Instant::now();
        let carried = self.setup.carried.clone();
        let writer = tokio::spawn(carried.follow(self.carryover.subscribe()));
        loop {
            let pace = if self.supervisor.is_calm() { CALM_TICK } else { TICK };
            let tick = ticked + pace.min(self.setup.timings.heartbeat);
            let message = tokio::select! {
                Some(message) = self.inputs.recv() => message,
                () = tokio::time::sleep_until(tick) => {
                    ticked = Instant::now();
                    Message::tell(Input::Tick)
                }
            };
            self.take(message);
            if self.exit {
                self.closing.send_replace(true);
                break;
            }
        }
        drop(self.carryover);
        if tokio::time::timeout(LAST_WORD_TIME, writer).await.is_err() {
            tracing::warn!("the disk did not take what the next agent should know");
        }
    }

    /// Hands one message to the supervisor and does what follows.
    fn take(&mut self, mut message: Message) {
        self.replies.extend(message.reply);
        self.revokes.extend(message.revoke);
        self.records.extend(message.record.map(|record| (record.id.clone(), record)));
        if let Input::Ended { worker, .. } = &message.input {
            match self.account.returned(worker) {
                Returned::LookAgain => return self.say_later(message.input),
                Returned::Known(back) => {
                    let worker = worker.clone();
                    self.update(Input::Returned { worker, back });
                }
                Returned::Unknown => {}
            }
        }
        match &mut message.input {
            Input::Adopted(spec) => self.account.adopts(spec),
            Input::Ended { worker, end } => {
                self.account.ended(worker, end);
                self.records.remove(worker);
                let remaining = self.records.len();
                tracing::info!(%worker, remaining, "a worker's end is known");
            }
            // Who looks or wants memory gets figures of this moment.
            Input::Ask(_, Ask::Look) => self.measure(),
            Input::Ask(_, Ask::Spawn(ask)) => {
                self.account.correct(ask);
                self.measure();
            }
            Input::Left { token, .. } => {
                self.revokes.remove(token);
                self.replies.remove(token);
            }
            _ => {}
        }
        self.update(message.input);
    }

    /// Hears of the same again in a moment: the kernel may take its time to give memory back.
    fn say_later(&self, input: Input) {
        let inputs = self.handle.inputs();
        tokio::spawn(async move {
            tokio::time::sleep(SECOND_LOOK).await;
            guard::tell(&inputs, input).await;
        });
    }

    fn update(&mut self, input: Input) {
        for effect in self.supervisor.update(input, BEGINNING + self.started.elapsed()) {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Start(start) => {
                self.account.starts(&start);
                self.start(start);
            }
            Effect::StopGuard(id) => {
                let timings = &self.setup.timings;
                let limit = timings.stop_ask + timings.stop_term + STOP_MARGIN;
                let record = self.records.get(&id);
                let pid = record.map(|record| record.engine.pid);
                self.account.leaves(&id, pid);
                let seen = self.account.gpus_before(&id, pid);
                let process = record.map(|record| record.guard);
                let socket = self.setup.dir(&id).join(wire::guard::files::GUARD_SOCKET);
                tracing::info!(worker = %id, "stopping");
                tokio::spawn(async move {
                    seen.await;
                    guard::stop(socket, process, limit).await;
                });
            }
            Effect::Measure(worker) => {
                let (inputs, setup) = (self.handle.inputs(), Arc::clone(&self.setup));
                tokio::spawn(async move {
                    let look = move || {
                        let obstacle = inventory::full_disk(&setup.workers_dir).map(Box::new);
                        (inventory::available_bytes(), obstacle)
                    };
                    let looked = tokio::task::spawn_blocking(look).await;
                    let (available_bytes, obstacle) = looked.unwrap_or_default();
                    let free = Input::Free { worker, available_bytes, obstacle };
                    guard::tell(&inputs, free).await;
                });
            }
            Effect::Kill(id) => {
                let (known, dir) = (self.records.get(&id).cloned(), self.setup.dir(&id));
                tokio::spawn(async move {
                    let read =
                        move || known.or_else(|| process::read(&dir, wire::guard::files::RECORD));
                    if let Ok(Some(record)) = tokio::task::spawn_blocking(read).await {
                        process::kill(&record, STOP_MARGIN).await;
                    }
                });
            }
            Effect::Revoke { token, fault } => {
                if let Some(revoke) = self.revokes.remove(&token) {
                    // The bearer may have left in the meantime.
                    let _left = revoke.send(*fault);
                }
            }
            Effect::CarryOver(carryover) => drop(self.carryover.send_replace(*carryover)),
            Effect::Publish(event) => self.publish(&event),
            Effect::Reply(token, answer) => {
                if let Some(reply) = self.replies.remove(&token) {
                    // Whoever asked may be gone; a slot is then given back by its drop.
                    let _left = reply.send(answer);
                }
            }
            Effect::Exit => self.exit = true,
        }
    }

    fn start(&self, start: Start) {
        let (setup, inputs) = (Arc::clone(&self.setup), self.handle.inputs());
        tokio::spawn(async move {
            match setup.start(&start).await {
                Ok((place, child)) => {
                    tracing::info!(worker = %start.id, model = %start.spec.model, "guard started");
                    guard::tend(place, Some(child), inputs).await;
                }
                Err(error) => {
                    let why = format!("its guard could not be started: {error}");
                    let end = Box::new(End::NotStarted { why });
                    guard::tell(&inputs, Input::Ended { worker: start.id, end }).await;
                }
            }
        });
    }

    fn publish(&self, event: &Event) {
        let revision = match event {
            Event::Worker { revision, worker } => {
                let state = worker.state.name();
                tracing::info!(worker = %worker.id, state, pid = worker.pid, "worker changed");
                *revision
            }
            Event::WorkerGone { revision, .. } => *revision,
            _ => return,
        };
        match ndjson::encode(event) {
            // Nobody may be listening.
            Ok(line) => drop(self.handle.events.send(Published { revision, line: line.into() })),
            Err(error) => tracing::error!(%error, "an event could not be encoded"),
        }
    }

    fn measure(&mut self) {
        let measured: Vec<(WorkerId, u64)> = self
            .records
            .iter()
            .filter_map(|(id, record)| {
                Some((id.clone(), platform::resident_bytes(record.engine.pid)?))
            })
            .collect();
        for (worker, bytes) in measured {
            self.update(Input::Memory { worker, bytes });
        }
    }
}
