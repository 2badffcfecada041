//! The keeper's half of the protocol: one HTTP/2 connection, typed calls.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wire::doctor::Check;
use wire::fault::ErrorEnvelope;
use wire::generate::{ChatRequest, CompletionRequest, Prompt};
use wire::hello::{Hello, agent_protocol};
use wire::journal::{ClientName, Entry, RequestPrefix};
use wire::pull::{ModelList, PullRequest, RemoveReply, RemoveRequest};
use wire::sampling::SamplingFields;
use wire::settings::Lifetime;
use wire::silence::sign_pause;
use wire::worker::{HandoverReply, SpawnReply, SpawnRequest, StopReply, StopRequest};
use wire::{Code, Fault, HiveName, ModelRef, RequestId, Timings, WorkerId, limits, ndjson, routes};

use super::generation::Generation;
use super::signs::{self, Sent};
use super::streams::{Events, Lines, Pulling};
use super::voice::{self, Hearing};
use super::{Opened, doctor, named};

/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connection to one hive's agent. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Client {
    peer: Peer,
    sender: SendRequest<Sent>,
    /// Whether the agent ends with its keepers.
    is_ephemeral: bool,
}

/// The agent at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its hive.
    pub hive: HiveName,
    /// Its process id there, where the transport knows it.
    pub agent_pid: Option<i32>,
    /// How it is heard.
    pub hearing: watch::Receiver<Hearing>,
}

/// One request to a worker: what to continue and how.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Its id, from here to the decode loop.
    pub id: RequestId,
    /// What to continue.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: SamplingFields,
    /// When its answer is worth nothing any more.
    pub deadline: Option<Instant>,
}

/// Runs what belongs to one connection, until that is given up: requests that nobody answers would
/// keep it open, and wait, for as long as its stream is there.
#[derive(Debug, Clone, Default)]
struct Tasks(CancellationToken);

impl Tasks {
    /// Ends all of them at once; whoever waits for an answer gets an error.
    fn end(&self) {
        self.0.cancel();
    }
}

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        tokio::spawn(self.0.clone().run_until_cancelled_owned(task));
    }
}

impl Client {
    /// Speaks HTTP/2 over a stream to an agent of `hive`.
    ///
    /// # Errors
    /// `HIVE_UNREACHABLE` when the stream breaks at once.
    pub async fn over(hive: &HiveName, opened: Opened, timings: &Timings) -> Result<Self, Fault> {
        let (stream, ear) = voice::listen(opened.stream);
        let (agent_pid, hearing) = (opened.agent_pid, ear.hearing());
        let peer = Peer { hive: hive.clone(), agent_pid, hearing };
        let tasks = Tasks::default();
        let handshake = http2::Builder::new(tasks.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
            .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
            .max_header_list_size(limits::MAX_HEADER_BYTES)
            // Pings make the other end say something. Who gives up, and when, the ear decides: it
            // hears other bytes than answers to pings, too.
            .keep_alive_interval(timings.heartbeat)
            .keep_alive_timeout(Duration::from_millis(limits::MAX_WAIT_MS))
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(|error| peer.lost(&error))?;
        let unneeded = Box::pin(ear.until_unneeded());
        let alive = builder(hive, Method::POST, routes::ALIVE);
        tokio::spawn(signs::give(sender.clone(), alive, sign_pause(timings.stale), unneeded));
        let waits = timings.clone();
        tokio::spawn(async move {
            tokio::select! {
                // Each request of it fails with the same error; here it is only recorded.
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                },
                () = ear.until_dead(&waits) => {
                    tracing::debug!("a silent connection is given up");
                    tasks.end();
                }
            }
        });
        Ok(Self { peer, sender, is_ephemeral: false })
    }

    /// Which hive is at the other end.
    pub fn hive(&self) -> &HiveName {
        &self.peer.hive
    }

    /// How the agent is heard, from now on.
    pub fn hearing(&self) -> watch::Receiver<Hearing> {
        self.peer.hearing.clone()
    }

    /// The hive said nothing for `silence`.
    pub fn silent(&self, silence: Duration) -> Fault {
        self.peer.silent(silence)
    }

    /// Process id of the agent, where the transport knows it.
    pub fn agent_pid(&self) -> Option<i32> {
        self.peer.agent_pid
    }

    /// Asks who answers, and whether both sides can speak with each other.
    ///
    /// # Errors
    /// `VERSION_MISMATCH` when they share no protocol version.
    pub async fn hello(&self) -> Result<Hello, Fault> {
        let hello = self.greeting().await?;
        agent_protocol::SPOKEN.agree(hello.protocol)?;
        Ok(hello)
    }

    /// Asks who answers, whatever it speaks.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn greeting(&self) -> Result<Hello, Fault> {
        self.get(routes::HELLO).await
    }

    /// Opens the stream of events; its first is a snapshot.
    ///
    /// # Errors
    /// Those of the agent, `HIVE_UNREACHABLE` when it does not answer.
    pub async fn events(&self) -> Result<Events, Fault> {
        let request = self.request(Method::GET, routes::EVENTS, Bytes::new());
        let response = self.send(request?).await?;
        Ok(Events::new(response.into_body(), self.peer.clone()))
    }

    /// Asks for a worker.
    ///
    /// # Errors
    /// Those of admission: no such model, does not fit, no such device.
    pub async fn spawn(&self, spawn: &SpawnRequest) -> Result<SpawnReply, Fault> {
        self.post(routes::WORKERS_SPAWN, spawn).await
    }

    /// All models that the hive keeps.
    ///
    /// # Errors
    /// `VERSION_MISMATCH` for an agent that keeps none, and those of the connection.
    pub async fn models(&self) -> Result<ModelList, Fault> {
        self.get(routes::MODELS_LIST).await.map_err(|fault| self.too_old(fault))
    }

    /// Has the hive fetch a model. It does so for as long as somebody listens.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a model of no hub, and as [`Self::models`].
    pub async fn pull(&self, pull: &PullRequest) -> Result<Pulling, Fault> {
        let request = self.request(Method::POST, routes::MODELS_PULL, encode(pull)?)?;
        let response = self.send(request).await.map_err(|fault| self.too_old(fault))?;
        Ok(Pulling::new(response.into_body(), self.peer.clone()))
    }

    /// Has the hive forget a model.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND` for one that it does not keep, and those of the connection.
    pub async fn remove_model(&self, model: &ModelRef) -> Result<RemoveReply, Fault> {
        let request = RemoveRequest { model: model.clone() };
        let removed = self.post(routes::MODELS_REMOVE, &request).await;
        removed.map_err(|fault| self.too_old(fault))
    }

    /// What it means that an agent does not have a route about models.
    fn too_old(&self, fault: Fault) -> Fault {
        if fault.code != Code::NotFound {
            return fault;
        }
        let hive = &self.peer.hive;
        let message = format!("the agent of {} is of a build that keeps no models", named(hive));
        let fault = Fault::new(Code::VersionMismatch, message);
        if *hive == HiveName::local() {
            return fault.hint("rbee down  # the next command starts an agent of this build");
        }
        fault.hint(format!("rbee hive install {hive}"))
    }

    /// Sends a request to a worker and waits until its stream begins.
    ///
    /// # Errors
    /// Those of the worker before its first token: a prompt that does not fit, a full queue.
    pub async fn generate(&self, worker: &WorkerId, ask: &Ask) -> Result<Generation, Fault> {
        let sampling = ask.sampling.clone();
        let (route, body) = match &ask.prompt {
            Prompt::Chat(messages) => {
                let request = ChatRequest { messages: messages.clone(), tools: None, sampling };
                (routes::WORKER_CHAT, encode(&request)?)
            }
            Prompt::Tools { messages, tools } => {
                let (messages, tools) = (messages.clone(), Some(tools.clone()));
                (routes::WORKER_CHAT, encode(&ChatRequest { messages, tools, sampling })?)
            }
            Prompt::Raw(prompt) => {
                let request = CompletionRequest { prompt: prompt.clone(), sampling };
                (routes::WORKER_COMPLETE, encode(&request)?)
            }
        };
        let mut request = self.request(Method::POST, &routes::with_id(route, worker), body)?;
        let headers = request.headers_mut();
        let id = header_value(&ask.id.to_string())?;
        headers.insert(routes::REQUEST_HEADER, id);
        if let Some(name) = own_name() {
            headers.insert(routes::CLIENT_HEADER, header_value(name.as_str())?);
        }
        headers.insert(header::ACCEPT, http::HeaderValue::from_static(routes::EVENT_STREAM));
        if let Some(deadline) = ask.deadline {
            let left = deadline.saturating_duration_since(Instant::now()).as_millis();
            headers.insert(routes::DEADLINE_HEADER, header_value(&left.max(1).to_string())?);
        }
        let response = self.send(request).await?;
        Ok(Generation::new(response.into_body(), self.peer.clone()))
    }

    /// Cancels a request and waits until its slot is free.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn cancel(&self, id: RequestId) -> Result<(), Fault> {
        let path = routes::with_id(routes::REQUEST_CANCEL, id);
        let request = self.request(Method::POST, &path, Bytes::new())?;
        self.send(request).await.map(|_| ())
    }

    /// What the hive remembers of the requests whose id begins so, or of all, newest first.
    ///
    /// # Errors
    /// `NOT_FOUND` for an agent that keeps no journal, and those of the connection.
    pub async fn requests(&self, prefix: Option<&RequestPrefix>) -> Result<Vec<Entry>, Fault> {
        let query = prefix.map(|prefix| format!("?id={prefix}")).unwrap_or_default();
        self.get(&format!("{}{query}", routes::REQUESTS)).await
    }

    /// The last `lines` of a log, and with `follow` what comes after them, too. `route` is
    /// [`routes::LOGS`] or that of a worker.
    ///
    /// # Errors
    /// `NOT_FOUND` for an agent without the route, `WORKER_NOT_FOUND` for a worker without a log.
    pub async fn logs(&self, route: &str, lines: u32, follow: bool) -> Result<Lines, Fault> {
        let path = format!("{route}?lines={lines}&follow={}", u8::from(follow));
        let response = self.send(self.request(Method::GET, &path, Bytes::new())?).await?;
        Ok(Lines::new(response.into_body(), self.peer.clone()))
    }

    /// Stops one worker and waits for its end.
    ///
    /// # Errors
    /// `WORKER_NOT_FOUND` for an id that the hive does not know.
    pub async fn stop(&self, id: &WorkerId, stop: StopRequest) -> Result<StopReply, Fault> {
        self.post(&routes::with_id(routes::WORKER_STOP, id), &stop).await
    }

    /// Starts one worker again with the same spec, once its active requests had their time, and
    /// waits until its next process has been asked for.
    ///
    /// # Errors
    /// `WORKER_NOT_FOUND` for an id that the hive does not know, `INSUFFICIENT_RAM` when it does
    /// not fit any more.
    pub async fn restart(&self, id: &WorkerId, stop: StopRequest) -> Result<SpawnReply, Fault> {
        self.post(&routes::with_id(routes::WORKER_RESTART, id), &stop).await
    }

    /// Stops all workers and the agent.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn down(&self, stop: StopRequest) -> Result<StopReply, Fault> {
        self.post(routes::DOWN, &stop).await
    }

    /// Remembers what the agent said of itself.
    #[must_use]
    pub fn knowing(mut self, hello: &Hello) -> Self {
        self.is_ephemeral = hello.features.iter().any(|one| one == Lifetime::Ephemeral.word());
        self
    }

    /// Tells an agent that ends with its keepers that this one leaves. When it does not hear that,
    /// its lease ends it.
    pub async fn leave(&self) {
        if self.is_ephemeral
            && let Ok(request) = self.request(Method::POST, routes::LEAVE, Bytes::new())
        {
            let _unheard = tokio::time::timeout(FAREWELL, self.send(request)).await;
        }
    }

    /// Lets requests end and then the agent; its workers stay for the next agent.
    ///
    /// # Errors
    /// `NOT_FOUND` for an agent that cannot do that, and those of the connection.
    pub async fn hand_over(&self, stop: StopRequest) -> Result<HandoverReply, Fault> {
        self.post(routes::HANDOVER, &stop).await
    }

    /// Asks the hive for its own health.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn doctor(&self) -> Result<Vec<Check>, Fault> {
        self.get(routes::DOCTOR).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Fault> {
        let request = self.request(Method::GET, path, Bytes::new())?;
        self.reply(request).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Fault> {
        let request = self.request(Method::POST, path, encode(body)?)?;
        self.reply(request).await
    }

    async fn reply<T: DeserializeOwned>(&self, request: Request<Sent>) -> Result<T, Fault> {
        let body = self.send(request).await?.into_body();
        ndjson::decode(&self.whole(body).await?)
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Sent>, Fault> {
        builder(&self.peer.hive, method, path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Either::Left(Full::new(body)))
            .map_err(|error| Fault::new(Code::Internal, "a request cannot be built").cause(error))
    }

    /// Sends a request; an answer that refuses it is an error.
    async fn send(&self, request: Request<Sent>) -> Result<Response<Incoming>, Fault> {
        let sent = self.sender.clone().send_request(request).await;
        let response = sent.map_err(|error| self.peer.lost(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = self.whole(response.into_body()).await?;
        Err(refusal(status, &body))
    }

    async fn whole(&self, body: Incoming) -> Result<Bytes, Fault> {
        let collected = Limited::new(body, limits::MAX_MESSAGE_BYTES).collect();
        match collected.await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => match error.downcast::<hyper::Error>() {
                Ok(error) => Err(self.peer.lost(&error)),
                Err(error) => {
                    Err(Fault::new(Code::ProtocolError, "a reply is too long").cause(error))
                }
            },
        }
    }
}

/// How long an agent may take to end after it said that it does.
pub fn end_bound(timings: &Timings) -> Duration {
    timings.stop_ask.saturating_add(timings.stop_term)
}

/// What this program calls itself in a hive's journal: its machine and its process.
fn own_name() -> Option<ClientName> {
    let host = crate::platform::host_name().unwrap_or_else(|| "keeper".to_owned());
    format!("{host}/{}", std::process::id()).parse().ok()
}

fn builder(hive: &HiveName, method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(format!("http://{hive}{path}"))
}

fn encode(value: &impl Serialize) -> Result<Bytes, Fault> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|error| Fault::new(Code::Internal, "a request cannot be encoded").cause(error))
}

fn header_value(text: &str) -> Result<http::HeaderValue, Fault> {
    text.parse()
        .map_err(|error| Fault::new(Code::Internal, "a header cannot be encoded").cause(error))
}

/// The fault in a refused request's body.
fn refusal(status: StatusCode, body: &[u8]) -> Fault {
    match serde_json::from_slice::<ErrorEnvelope>(body) {
        Ok(envelope) => envelope.error,
        Err(_) => Fault::new(Code::ProtocolError, format!("the agent answered {status}")),
    }
}

impl Peer {
    /// What a failed HTTP/2 exchange means: the one place where hyper's errors become a fault.
    pub fn lost(&self, error: &hyper::Error) -> Fault {
        let silent = *self.hearing.borrow() == Hearing::Dead;
        let whose = named(&self.hive);
        let message = if silent {
            format!("the agent of {whose} does not answer any more")
        } else {
            format!("the connection to the agent of {whose} broke")
        };
        let fault = Fault::new(Code::HiveUnreachable, message).caused_by(error);
        match self.agent_pid {
            // Workers outlive their agent; the next one finds them.
            Some(pid) if silent && self.hive == HiveName::local() => {
                fault.hint(format!("kill -KILL {pid}  # its workers go on"))
            }
            _ => fault.hint(doctor(&self.hive)),
        }
    }

    /// The hive said nothing for `silence`.
    pub fn silent(&self, silence: Duration) -> Fault {
        let message = format!("{} was silent for {} s", named(&self.hive), silence.as_secs());
        Fault::new(Code::HiveUnreachable, message).hint(doctor(&self.hive))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_the_agents_fault_and_survives_nonsense() {
        let fault = Fault::new(Code::QueueFull, "full").detail("retry_after_s", 10);
        let body = serde_json::to_vec(&ErrorEnvelope { error: fault.clone() }).unwrap();
        assert_eq!(refusal(StatusCode::TOO_MANY_REQUESTS, &body), fault);
        let nonsense = refusal(StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(nonsense.code, Code::ProtocolError);
        assert!(nonsense.message.contains("502"));
    }
}
