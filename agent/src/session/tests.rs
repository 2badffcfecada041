//! The session over a real socket, with an engine that the test itself plays.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use wire::event::Event;
use wire::fault::ErrorEnvelope;
use wire::guard::{EngineCommand, ExitRecord, GuardSpec, RECORD_VERSION, files};
use wire::hello::{Hello, Role, agent_protocol};
use wire::journal::Entry;
use wire::memory::Wanted;
use wire::status::{EnginePhase, EngineStatus};
use wire::worker::{Exit, SpawnReply, WorkerInfo, WorkerSpec, WorkerState};
use wire::{Code, Device, Fault, ModelRef, RequestId, Timings, WorkerId, layout, routes};

use super::{Hive, router, server};
use crate::carried::Carried;
use crate::client::{self, Connection, Values};
use crate::dirs::Dirs;
use crate::executor::process::Setup;
use crate::executor::{Executor, Handle};
use crate::inventory::{Gpus, Inventory};
use crate::pulls::Pulls;
use crate::scope::Scopes;
use crate::settings::Settings;
use crate::store::Store;
use crate::supervisor::input::BEGINNING;
use crate::supervisor::{Answer, Ask, Client, End, Input, Supervisor};

/// No condition of these tests takes longer, unless it never comes.
const LIMIT: Duration = Duration::from_secs(20);

/// An agent without a process of its own, on a socket in a directory of its own.
struct Agent {
    dir: TempDir,
    handle: Handle,
    socket: PathBuf,
}

impl Agent {
    fn start(timings: &Timings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let dirs = Dirs {
            data: path("data"),
            log: path("log"),
            runtime: path("run").to_str().unwrap().to_owned(),
            config: path("config.toml"),
        };
        dirs.prepare().unwrap();
        let settings = Settings { timings: timings.clone(), ..Settings::default() };
        let setup = Setup {
            program: path("no such program").to_str().unwrap().to_owned(),
            workers_dir: PathBuf::from(layout::workers_dir(&dirs.runtime)),
            timings: timings.clone(),
            threads: None,
            scopes: Scopes::default(),
            margin_bytes: 0,
            cpu_percent: None,
            peaks: Arc::default(),
            carried: Carried::default(),
            gpus: Gpus::none(),
        };
        let supervisor = Supervisor::new(timings.clone(), settings.agent.clone(), 0, BEGINNING);
        let (executor, handle) = Executor::new(supervisor, setup);
        tokio::spawn(executor.run());
        let hello = Hello {
            role: Role::Agent,
            protocol: agent_protocol::SPOKEN,
            build: "0123456789abcdef".parse().unwrap(),
            version: "0.0.0".to_owned(),
            pid: std::process::id(),
            features: Vec::new(),
        };
        let socket = PathBuf::from(layout::agent_socket(&dirs.runtime));
        let listener = server::bind(&socket).unwrap();
        let settings = Settings { timings: timings.clone(), ..Settings::default() };
        let store = Arc::new(Store::new(dirs.models(), &[]));
        let program = PathBuf::from("no such program");
        let pulls =
            Pulls::new(program, Arc::clone(&store), settings.agent.clone(), timings.clone());
        let places = (dirs, store, Arc::new(pulls));
        let hive =
            Hive::new(handle.clone(), hello, places, Inventory::look(Gpus::none()), settings);
        let (handle_of_server, timings) = (handle.clone(), timings.clone());
        tokio::spawn(async move {
            server::serve(listener, router(Arc::new(hive)), handle_of_server, &timings).await;
        });
        Self { dir, handle, socket }
    }

    async fn send(&self, request: http::Request<Full<Bytes>>) -> client::Reply {
        let connection = Connection::open(&self.socket).await.unwrap();
        tokio::time::timeout(LIMIT, connection.send(request)).await.expect("a reply").unwrap()
    }

    async fn post(&self, path: &str, body: &str) -> (StatusCode, Bytes) {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let request = client::request(Method::POST, path, body).unwrap();
        let reply = self.send(request).await;
        let status = reply.response.status();
        let body = reply.response.into_body().collect();
        (status, tokio::time::timeout(LIMIT, body).await.expect("a body").unwrap().to_bytes())
    }

    async fn refused(&self, path: &str, body: &str) -> (StatusCode, Fault) {
        let (status, body) = self.post(path, body).await;
        let text = String::from_utf8_lossy(&body).into_owned();
        let envelope: ErrorEnvelope = serde_json::from_slice(&body).expect(&text);
        (status, envelope.error)
    }

    async fn events(&self) -> Values<Event> {
        Values::open(&self.socket, routes::EVENTS).await.unwrap()
    }

    /// A worker that serves, whose engine is the test: the listener of its socket.
    async fn worker(&self) -> (WorkerId, UnixListener) {
        let id: WorkerId = "demo-0".parse().unwrap();
        let spec = GuardSpec {
            version: RECORD_VERSION,
            id: id.clone(),
            nonce: "n".to_owned(),
            spec: WorkerSpec {
                model: ModelRef::Demo,
                device: Device::CPU,
                ctx_size: 512,
                slots: 1,
                keep_alive_s: -1,
            },
            model_ctx: 512,
            need_bytes: 0,
            wanted: Wanted::default(),
            restarts: 0,
            attempts: 0,
            last_end: None,
            model_path: String::new(),
            engine: EngineCommand { program: String::new(), args: Vec::new(), can_be_asked: true },
            timings: Timings::default(),
        };
        let dir = self.dir.path().join("run/w").join(id.as_str());
        std::fs::create_dir(&dir).unwrap();
        let listener = UnixListener::bind(dir.join(files::ENGINE_SOCKET)).unwrap();
        self.handle.tell(Input::Adopted(Box::new(spec))).await;
        self.says(&id, 0).await;
        (id, listener)
    }

    async fn says(&self, id: &WorkerId, active: u32) {
        let status = EngineStatus {
            phase: EnginePhase::Serving,
            pid: 1,
            ctx_size: 512,
            slots: 1,
            active,
            queued: 0,
            load_ms: None,
        };
        self.handle.tell(Input::Engine { worker: id.clone(), status }).await;
    }
}

const CHAT: &str = r#"{"messages":[{"role":"user","content":"hi"}],"x":1}"#;
const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// Reads a request's head and as much body as it announces.
async fn read_request(engine: &mut UnixStream) -> String {
    let mut text = String::new();
    while !text.ends_with(CHAT) {
        let mut bytes = [0; 4096];
        let read = tokio::time::timeout(LIMIT, engine.read(&mut bytes)).await.expect("a request");
        let read = read.unwrap();
        assert_ne!(read, 0, "the request broke off: {text}");
        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    text
}

fn patient() -> Timings {
    Timings::default()
}

#[tokio::test]
async fn every_refusal_has_a_code_a_status_an_id_and_nothing_of_the_request() {
    let agent = Agent::start(&patient());
    let stop = |id: &str| routes::with_id(routes::WORKER_STOP, id);
    let chat = routes::with_id(routes::WORKER_CHAT, "demo-0");
    let cases: Vec<(String, &str, Code)> = vec![
        (routes::WORKERS_SPAWN.into(), r#"{"model":"payload; rm -rf /"}"#, Code::InvalidArgument),
        (routes::WORKERS_SPAWN.into(), r#"{"model":"payload"#, Code::InvalidArgument),
        (
            routes::WORKERS_SPAWN.into(),
            r#"{"model":"demo","ctx_size":"payload"}"#,
            Code::InvalidArgument,
        ),
        (
            routes::WORKERS_SPAWN.into(),
            r#"{"model":"demo","device":"payload"}"#,
            Code::InvalidArgument,
        ),
        (
            routes::WORKERS_SPAWN.into(),
            r#"{"model":"demo","device":"cuda:7"}"#,
            Code::BackendUnavailable,
        ),
        (
            routes::WORKERS_SPAWN.into(),
            r#"{"model":"demo","keep_alive_s":-2}"#,
            Code::InvalidArgument,
        ),
        (routes::WORKERS_SPAWN.into(), r#"{"model":"hf:org/payload"}"#, Code::ModelNotFound),
        (stop("pay_load"), "{}", Code::InvalidArgument),
        (stop("none"), "{}", Code::WorkerNotFound),
        (routes::with_id(routes::REQUEST_CANCEL, "payload"), "", Code::InvalidArgument),
        (chat.clone(), r#"{"messages":[{"role":"payload","content":""}]}"#, Code::InvalidArgument),
        (chat.clone(), r#"{"messages":[]}"#, Code::InvalidArgument),
        (
            chat.clone(),
            r#"{"messages":[{"role":"user","content":"payload"}],"top_p":7}"#,
            Code::InvalidArgument,
        ),
        (chat, CHAT, Code::WorkerNotFound),
        ("/payload".into(), "{}", Code::NotFound),
        (routes::HELLO.into(), "{}", Code::NotFound),
    ];
    for (path, body, code) in cases {
        let (status, fault) = agent.refused(&path, body).await;
        assert_eq!(fault.code, code, "{path} {body}");
        assert_eq!(status.as_u16(), code.http_status());
        assert!(fault.correlation_id.is_some());
        let hub = code == Code::ModelNotFound;
        assert!(hub || !format!("{fault:?}").contains("payload"), "{fault:?}");
    }
}

#[tokio::test]
async fn a_body_over_its_limit_is_refused_before_it_is_read() {
    let agent = Agent::start(&patient());
    let mut stream = UnixStream::connect(&agent.socket).await.unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: 10000000\r\n\r\n",
        routes::WORKERS_SPAWN
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let read = tokio::time::timeout(LIMIT, stream.read_exact(&mut answer)).await;
    read.expect("an answer before the body").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn too_many_invalid_requests_in_a_second_are_rate_limited_and_valid_ones_pass() {
    let agent = Agent::start(&patient());
    let limited =
        async { while agent.refused("/nowhere", "{}").await.1.code != Code::RateLimited {} };
    tokio::time::timeout(LIMIT, limited).await.expect("a second with too many refusals");
    assert_eq!(agent.post(routes::DOWN, "{}").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_guard_that_cannot_start_is_a_failed_worker_and_an_event() {
    let agent = Agent::start(&patient());
    let mut events = agent.events().await;
    assert!(matches!(events.next().await, Some(Event::Snapshot(s)) if s.workers.is_empty()));
    let (status, body) = agent.post(routes::WORKERS_SPAWN, r#"{"model":"demo"}"#).await;
    assert_eq!(status, StatusCode::OK);
    let reply: SpawnReply = serde_json::from_slice(&body).unwrap();
    let failed = async {
        while let Some(event) = events.next().await {
            if let Event::Worker { revision, worker } = event
                && let WorkerState::Failed { why, .. } = worker.state
            {
                assert!(revision > reply.revision);
                return why;
            }
        }
        panic!("the stream ended");
    };
    let why = tokio::time::timeout(LIMIT, failed).await.expect("the worker's failure");
    assert!(why.contains("could not be started"), "{why}");
}

#[tokio::test]
async fn an_answer_goes_through_byte_by_byte_and_the_request_as_it_came() {
    let agent = Agent::start(&patient());
    let (id, listener) = agent.worker().await;
    let engine = tokio::spawn(async move {
        let (mut engine, _) = listener.accept().await.unwrap();
        let request = read_request(&mut engine).await;
        let body = [
            HEAD,
            &chunk("data: {\"odd\" : 1}\n\ndata:"),
            &chunk(" [DO"),
            &chunk("NE]\n\n"),
            "0\r\n\r\n",
        ]
        .concat();
        engine.write_all(body.as_bytes()).await.unwrap();
        request
    });
    let mut request = client::request(
        Method::POST,
        &routes::with_id(routes::WORKER_CHAT, &id),
        Bytes::from_static(CHAT.as_bytes()),
    )
    .unwrap();
    let request_id = RequestId::random().to_string();
    let headers = request.headers_mut();
    headers.insert(routes::REQUEST_HEADER, request_id.parse().unwrap());
    headers.insert(routes::DEADLINE_HEADER, "9000".parse().unwrap());
    let reply = agent.send(request).await;
    let body = reply.response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "data: {\"odd\" : 1}\n\ndata: [DONE]\n\n");
    let seen = engine.await.unwrap();
    assert!(seen.starts_with("POST /v1/chat/completions") && seen.ends_with(CHAT), "{seen}");
    assert!(seen.contains(&request_id), "{seen}");
    let left = seen.split("x-rbee-deadline-ms: ").nth(1).unwrap().split('\r').next().unwrap();
    assert!((1..=9000).contains(&left.parse::<u32>().unwrap()), "{left}");
}

/// Sends a chat to an engine that begins an answer, and returns what the client reads after
/// `then` has happened to the engine's side.
async fn cut(
    timings: Timings,
    then: impl AsyncFnOnce(&Agent, WorkerId, UnixStream) -> Option<UnixStream>,
) -> Fault {
    let agent = Agent::start(&timings);
    let (id, listener) = agent.worker().await;
    let chat = routes::with_id(routes::WORKER_CHAT, &id);
    let (began, has_begun) = tokio::sync::oneshot::channel();
    let client = async {
        let body = Bytes::from_static(CHAT.as_bytes());
        let reply = agent.send(client::request(Method::POST, &chat, body).unwrap()).await;
        began.send(reply.response.status()).unwrap();
        let body = tokio::time::timeout(LIMIT, reply.response.into_body().collect()).await;
        body.expect("the end of the answer").unwrap().to_bytes()
    };
    let engine = async {
        let (mut engine, _) = listener.accept().await.unwrap();
        read_request(&mut engine).await;
        let half = [HEAD, &chunk("data: {\"half\"")].concat();
        engine.write_all(half.as_bytes()).await.unwrap();
        assert_eq!(has_begun.await.unwrap(), StatusCode::OK);
        then(&agent, id.clone(), engine).await
    };
    let (body, _kept_open) = tokio::join!(client, engine);
    let text = std::str::from_utf8(&body).unwrap();
    let last = text.lines().rfind(|line| !line.is_empty()).unwrap();
    let envelope: ErrorEnvelope =
        serde_json::from_str(last.strip_prefix("data: ").expect(text)).expect(text);
    envelope.error
}

#[tokio::test]
async fn a_crash_in_the_middle_of_an_answer_is_told_with_its_cause() {
    let fault = cut(patient(), async |agent, id, engine| {
        drop(engine);
        let record = ExitRecord {
            version: RECORD_VERSION,
            id: id.clone(),
            exit: Exit::Signal(11),
            told: false,
            killed: false,
            stderr_tail: "thread panicked\nnote".to_owned(),
            fault: None,
            memory: None,
        };
        let end = Box::new(End::Recorded(record));
        agent.handle.tell(Input::Ended { worker: id, end }).await;
        None
    });
    let fault = fault.await;
    assert_eq!((fault.code, &fault.details["exit"]), (Code::WorkerCrashed, &"signal 11".into()));
    assert_eq!(fault.causes, ["note", "thread panicked"]);
}

#[tokio::test]
async fn a_stream_that_breaks_without_a_word_of_the_guard_is_an_error_all_the_same() {
    let fault = cut(patient(), async |_, _, engine| {
        drop(engine);
        None
    });
    assert_eq!(fault.await.code, Code::WorkerCrashed);
}

#[tokio::test]
async fn an_engine_that_sends_nothing_is_stalled() {
    let timings = Timings { token_stall: Duration::from_millis(200), ..patient() };
    let fault = cut(timings, async |_, _, engine| Some(engine)).await;
    assert_eq!(fault.code, Code::Stalled);
}

#[tokio::test]
async fn a_client_that_leaves_closes_the_engines_socket_and_frees_the_slot() {
    let agent = Agent::start(&patient());
    let (id, listener) = agent.worker().await;
    let chat = routes::with_id(routes::WORKER_CHAT, &id);
    let request =
        client::request(Method::POST, &chat, Bytes::from_static(CHAT.as_bytes())).unwrap();
    let client = Connection::open(&agent.socket).await.unwrap();
    let client = tokio::spawn(client.send(request));
    let (mut engine, _) = listener.accept().await.unwrap();
    read_request(&mut engine).await;
    agent.says(&id, 1).await;
    client.abort();
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(LIMIT, engine.read_to_end(&mut rest)).await;
    closed.expect("the engine's socket to close").unwrap();
    let busy: Vec<WorkerInfo> = client::get(&agent.socket, routes::WORKERS_LIST).await.unwrap();
    assert_eq!((&busy[0].state, busy[0].active), (&WorkerState::Busy, 1), "the engine still works");
    agent.says(&id, 0).await;
    let idle: Vec<WorkerInfo> = client::get(&agent.socket, routes::WORKERS_LIST).await.unwrap();
    assert_eq!(idle[0].state, WorkerState::Ready);
}

type Sender = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

/// A keeper that can vanish: everything that moves its bytes lives in a runtime of its own, and the
/// socket has a second owner.
struct Keeper {
    runtime: Option<tokio::runtime::Runtime>,
    sender: Sender,
    _hold: std::os::unix::net::UnixStream,
}

impl Keeper {
    async fn connect(agent: &Agent) -> Self {
        let stream = std::os::unix::net::UnixStream::connect(&agent.socket).unwrap();
        stream.set_nonblocking(true).unwrap();
        let hold = stream.try_clone().unwrap();
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let connected = runtime.spawn(async move {
            let io = TokioIo::new(UnixStream::from_std(stream).unwrap());
            let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
            let (sender, connection) = handshake.await.unwrap();
            tokio::spawn(async move { drop(connection.await) });
            sender
        });
        Self { sender: connected.await.unwrap(), runtime: Some(runtime), _hold: hold }
    }

    /// The socket stays open, and nobody reads or answers any more.
    fn vanish(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn lively() -> Timings {
    let millis = Duration::from_millis;
    Timings { heartbeat: millis(100), stale: millis(600), ..Timings::default() }
}

/// A full URI, as HTTP/2 needs it.
fn request_for(method: Method, path: &str, body: &'static str) -> http::Request<Full<Bytes>> {
    let body = Bytes::from_static(body.as_bytes());
    client::request(method, &format!("http://hive{path}"), body).unwrap()
}

#[tokio::test]
async fn a_keeper_that_vanishes_without_a_word_cancels_its_requests() {
    let agent = Agent::start(&lively());
    let (id, listener) = agent.worker().await;
    let mut keeper = Keeper::connect(&agent).await;
    let chat = request_for(Method::POST, &routes::with_id(routes::WORKER_CHAT, &id), CHAT);
    let asked = tokio::spawn(keeper.sender.send_request(chat));
    let (mut engine, _) = listener.accept().await.unwrap();
    read_request(&mut engine).await;
    engine.write_all([HEAD, &chunk("data: {}\n\n")].concat().as_bytes()).await.unwrap();
    let _response = asked.await.unwrap().unwrap();
    keeper.vanish();
    let cut = std::time::Instant::now();
    let ended = tokio::time::timeout(LIMIT, engine.read(&mut [0; 16])).await;
    assert_eq!(ended.expect("the request is cancelled").unwrap(), 0);
    assert!(cut.elapsed() < 3 * lively().stale, "{:?}", cut.elapsed());
}

#[tokio::test]
async fn a_keeper_that_only_listens_is_kept() {
    let agent = Agent::start(&lively());
    let mut keeper = Keeper::connect(&agent).await;
    let events =
        keeper.sender.send_request(request_for(Method::GET, routes::EVENTS, "")).await.unwrap();
    let mut body = events.into_body();
    let begun = std::time::Instant::now();
    while begun.elapsed() < 3 * lively().stale {
        let frame = tokio::time::timeout(LIMIT, body.frame()).await.expect("a heartbeat");
        assert!(matches!(frame, Some(Ok(_))), "the connection was closed");
    }
    let hello =
        keeper.sender.send_request(request_for(Method::GET, routes::HELLO, "")).await.unwrap();
    assert_eq!(hello.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_keeper_with_many_requests_lets_another_one_in_between() {
    let agent = Agent::start(&patient());
    let (id, listener) = agent.worker().await;
    let (greedy, modest) = (Keeper::connect(&agent).await, Keeper::connect(&agent).await);
    let path = routes::with_id(routes::WORKER_CHAT, &id);
    let ask = |keeper: &Keeper| {
        let request = RequestId::random();
        let mut chat = request_for(Method::POST, &path, CHAT);
        let value = request.to_string().parse().unwrap();
        chat.headers_mut().insert(routes::REQUEST_HEADER, value);
        let mut sender = keeper.sender.clone();
        tokio::spawn(async move { drop(sender.send_request(chat).await) });
        request
    };
    let queued = async |count: u32| {
        let waits = async {
            loop {
                let all: Vec<WorkerInfo> =
                    client::get(&agent.socket, routes::WORKERS_LIST).await.unwrap();
                if (all[0].active, all[0].queued) == (1, count) {
                    return;
                }
            }
        };
        tokio::time::timeout(LIMIT, waits).await.expect("as many wait");
    };
    let mut asked = vec![ask(&greedy)];
    for count in 1..=3 {
        queued(count - 1).await;
        asked.push(ask(&greedy));
    }
    queued(3).await;
    let late = ask(&modest);
    queued(4).await;
    let path = format!("{}?id={late}", routes::REQUESTS);
    let entries: Vec<Entry> = client::get(&agent.socket, &path).await.unwrap();
    assert_eq!((entries[0].ahead, entries[0].slot_ms), (Some(1), None));
    let mut served = Vec::new();
    for _ in 0..5 {
        let (mut engine, _) = listener.accept().await.unwrap();
        let request = read_request(&mut engine).await;
        let id = request.split("x-rbee-request: ").nth(1).unwrap();
        served.push(id.split('\r').next().unwrap().parse::<RequestId>().unwrap());
        let answer = [HEAD, &chunk("data: [DONE]\n\n"), "0\r\n\r\n"].concat();
        engine.write_all(answer.as_bytes()).await.unwrap();
    }
    assert_eq!(served, [asked[0], asked[1], late, asked[2], asked[3]]);
}

#[tokio::test]
async fn a_reader_that_fell_behind_gets_a_snapshot_and_every_revision_after_it() {
    const CHANGES: u32 = 8 * 1024;
    let agent = Agent::start(&patient());
    let (id, _listener) = agent.worker().await;
    let mut reader = agent.events().await;
    let first = tokio::time::timeout(LIMIT, reader.next()).await.expect("a line");
    let Some(Event::Snapshot(first)) = first else { panic!("{first:?} is no snapshot") };
    // Far more than the socket, the stream and the backlog hold together, and nobody reads.
    for n in 0..CHANGES {
        agent.says(&id, n % 2).await;
        let request = RequestId::random();
        drop(agent.handle.slot(id.clone(), request, Client::default()).await);
    }
    let (mut known, mut snapshots) = (first.revision, 0);
    let Answer::Look { revision: last, .. } = agent.handle.ask(Ask::Look).await.unwrap() else {
        panic!("it looks")
    };
    while known < last {
        let line = tokio::time::timeout(LIMIT, reader.next()).await.expect("a line");
        match line.expect("the stream goes on") {
            Event::Snapshot(snapshot) => {
                assert!(snapshot.revision > known + 1, "only where something was missed");
                (known, snapshots) = (snapshot.revision, snapshots + 1);
            }
            Event::Worker { revision, .. } => {
                assert_eq!(revision, known + 1, "no gap");
                known = revision;
            }
            _ => {}
        }
    }
    assert!(snapshots > 0, "it had fallen behind");
}
