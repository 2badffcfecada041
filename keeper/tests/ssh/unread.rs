//! Streams that nobody reads hold up nobody else on the same connection.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keeper::link::client::Ask;
use keeper::link::{Client, Opened};
use keeper::ssh::Stream;
use tokio::net::UnixStream;
use wire::event::Event;
use wire::generate::{ChatRole, Message, Prompt};
use wire::sampling::SamplingFields;
use wire::worker::SpawnRequest;
use wire::{Fault, HiveName, ModelRef, RequestId, Timings, limits};

use crate::server::{self, Server, is_there};

/// Streams that are opened and left alone.
const UNREAD: usize = 50;
/// Events that the one reader takes meanwhile: far more than an unread stream has room for.
const READ: usize = 4000;
/// A bound on every single wait; the events come a millisecond apart.
const PATIENCE: Duration = Duration::from_secs(10);

/// The agent of a home of its own, ended with the test.
struct Hive {
    home: tempfile::TempDir,
    agent: Child,
}

impl Hive {
    fn start() -> Self {
        let home = tempfile::Builder::new().prefix("rbee-").tempdir().unwrap();
        let config = home.path().join(".config/rbee");
        std::fs::create_dir_all(&config).unwrap();
        std::fs::write(config.join("config.toml"), "[timings]\nheartbeat_ms = 1\n").unwrap();
        let agent = Self::command(home.path(), &["agent", "serve"]).spawn().unwrap();
        Self { home, agent }
    }

    fn command(home: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rbee"));
        command.args(args).env_clear().env("HOME", home).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn socket(&self) -> PathBuf {
        self.home.path().join(".local/state/rbee/run/agent.sock")
    }
}

impl Drop for Hive {
    fn drop(&mut self) {
        let _ = Self::command(self.home.path(), &["down"]).status();
        let _ = self.agent.wait();
    }
}

/// HTTP/2 over a stream to the agent, once it answers.
async fn connected(open: impl AsyncFn() -> Option<Stream>) -> Client {
    let mut look = tokio::time::interval(Duration::from_millis(10));
    let answered = async {
        loop {
            look.tick().await;
            let Some(stream) = open().await else { continue };
            let opened = Opened { stream, agent_pid: None };
            let client = Client::over(&HiveName::local(), opened, &Timings::default()).await;
            if let Ok(client) = client
                && client.hello().await.is_ok()
            {
                return client;
            }
        }
    };
    tokio::time::timeout(PATIENCE, answered).await.expect("the agent answers")
}

async fn in_time<T>(what: &str, work: impl Future<Output = Result<T, Fault>>) -> T {
    let done = tokio::time::timeout(PATIENCE, work).await;
    let done = done.unwrap_or_else(|_| panic!("{what} did not come within {PATIENCE:?}"));
    done.unwrap_or_else(|fault| panic!("{what}: {fault}"))
}

#[tokio::test]
async fn fifty_unread_streams_stop_neither_heartbeats_nor_requests_nor_an_answer() {
    let hive = Hive::start();
    let open = async || {
        let stream = UnixStream::connect(hive.socket()).await.ok()?;
        Some(Box::new(stream) as Stream)
    };
    leaves_fifty_unread(connected(open).await).await;
}

#[tokio::test]
async fn fifty_unread_streams_over_one_channel_of_ssh_stop_nothing_either() {
    if !is_there("fifty_unread_streams_over_one_channel_of_ssh_stop_nothing_either") {
        return;
    }
    let (server, hive) = (Server::start(""), Hive::start());
    let session = server::connected(&server.resolved()).await;
    let path = hive.socket().to_str().expect("UTF-8").to_owned();
    let open = async || session.socket(&path).await.ok();
    leaves_fifty_unread(connected(open).await).await;
}

async fn leaves_fifty_unread(client: Client) {
    let mut unread = Vec::new();
    for _ in 0..UNREAD {
        unread.push(in_time("a stream", client.events()).await);
    }
    let mut read = in_time("one more stream", client.events()).await;
    let mut bytes = 0;
    for count in 0..READ {
        let event = in_time("an event", read.next()).await.expect("the stream goes on");
        bytes += wire::ndjson::encode(&event).unwrap().len();
        if count % 500 == 0 {
            in_time("a greeting", client.hello()).await;
        }
    }
    let window = usize::try_from(limits::STREAM_WINDOW_BYTES).unwrap();
    assert!(bytes > window, "the unread streams are full: {bytes} bytes each by now");

    let spawn = SpawnRequest {
        model: ModelRef::Demo,
        device: None,
        ctx_size: None,
        keep_alive_s: None,
        reuse: true,
    };
    let worker = in_time("a worker", client.spawn(&spawn)).await.worker.id;
    loop {
        let event = in_time("an event", read.next()).await.expect("the stream goes on");
        if matches!(&event, Event::Worker { worker, .. } if worker.state.is_routable()) {
            break;
        }
    }
    let ask = Ask {
        id: RequestId::random(),
        prompt: Prompt::Chat(vec![Message::new(ChatRole::User, "What is a hive?")]),
        sampling: SamplingFields { temperature: Some(0.0), ..SamplingFields::default() },
        deadline: None,
    };
    let mut answer = in_time("an answer", client.generate(&worker, &ask)).await;
    let mut text = String::new();
    while let Some(chunk) = in_time("a token", answer.next()).await {
        text.extend(chunk.choices.iter().map(|choice| choice.delta.content.as_str()));
    }
    assert!(text.contains("machine"), "{text}");
    drop(unread);
}
