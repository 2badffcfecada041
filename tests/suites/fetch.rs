//! `rbee worker fetch` against a hub on this machine: what comes, what goes wrong, what is kept.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what goes wrong here is a failed test"
)]

use std::io::Write;
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use rbee_tests::hub::{self, Fault, Hub, Repository};
use rbee_tests::sandbox::{Finished, PATIENCE, finish};
use rbee_tests::{Sandbox, wait_until};
use serde_json::{Value, json};

const REPO: &str = "org/repo";
const FILE: &str = "m-Q4_K_M.gguf";
const TOKEN: &str = "hf_aSecretOfTheTest";

/// A hub with one model, and a directory for it.
struct Bench {
    hub: Hub,
    sandbox: Sandbox,
    content: Vec<u8>,
    order: Value,
}

impl Bench {
    fn new() -> Self {
        let content: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let (hub, sandbox) = (Hub::start(), Sandbox::new());
        hub.put(REPO, Repository::default().large(FILE, content.clone()));
        let order = json!({
            "repo": REPO, "selector": null, "dir": sandbox.home(), "reserve_bytes": 0,
            "source": { "endpoint": hub.endpoint() },
            "timings": { "download_retry_ms": 1 },
        });
        Self { hub, sandbox, content, order }
    }

    fn begin(&self) -> (Child, ChildStdin) {
        let mut command = self.sandbox.command(&["worker", "fetch"]);
        // hf-hub would take it of its own accord.
        command.env("HF_TOKEN", "hf_OfTheEnvironment").stdin(Stdio::piped());
        let mut child = command.spawn().expect("rbee starts");
        let mut stdin = child.stdin.take().expect("a piped stdin");
        stdin.write_all(format!("{}\n", self.order).as_bytes()).expect("an order");
        (child, stdin)
    }

    /// Runs it to its end, which says nothing that is secret.
    fn fetch(&self, code: i32) -> Vec<Value> {
        let (child, stdin) = self.begin();
        let finished = finish(child).expect_code(code);
        drop(stdin);
        says_no_secret(&finished);
        finished.json_lines()
    }

    fn blob(&self) -> std::path::PathBuf {
        self.sandbox.home().join(format!("sha256-{}", hub::sha256(&self.content)))
    }

    fn partial(&self) -> std::path::PathBuf {
        self.blob().with_extension("partial")
    }

    #[track_caller]
    fn is_whole(&self) {
        assert!(std::fs::read(self.blob()).expect("the file") == self.content);
        assert!(!self.partial().exists());
    }

    fn ranges(&self) -> Vec<Option<String>> {
        self.hub.downloads(REPO, FILE).into_iter().map(|asked| asked.range).collect()
    }
}

#[track_caller]
fn says_no_secret(finished: &Finished) {
    for secret in [TOKEN, "SECRET", "OfTheEnvironment", "Signature"] {
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert!(!said.contains(secret), "{secret} in {said}");
    }
}

#[track_caller]
fn last<'a>(events: &'a [Value], word: &str) -> &'a Value {
    let last = events.last().expect("a last event");
    assert_eq!(last["event"], word, "{events:?}");
    last
}

#[track_caller]
fn failed(events: &[Value], code: &str) -> Value {
    let fault = last(events, "failed")["fault"].clone();
    assert_eq!(fault["code"], code, "{fault}");
    fault
}

fn retried(events: &[Value]) -> Vec<&Value> {
    events.iter().filter(|event| event["event"] == "retrying").collect()
}

#[test]
fn a_model_comes_whole_once_and_without_a_token_that_nobody_gave() {
    let bench = Bench::new();
    let events = bench.fetch(0);
    assert_eq!(events[0]["event"], "found");
    assert_eq!(
        (&events[0]["bytes_total"], &events[0]["bytes_done"]),
        (&json!(4_000_000), &json!(0))
    );
    let fetched = last(&events, "fetched");
    assert_eq!(fetched["files"][0]["sha256"], hub::sha256(&bench.content));
    assert_eq!(fetched["revision"], events[0]["revision"]);
    bench.is_whole();
    let asked = bench.hub.asked();
    assert!(asked.iter().all(|asked| asked.authorization.is_none()), "{asked:?}");
    let agent = asked[0].user_agent.clone().unwrap_or_default();
    assert!(agent.starts_with("rbee/"), "{agent}");
    let again = bench.fetch(0);
    assert_eq!(again[0]["bytes_done"], 4_000_000);
    assert_eq!(bench.hub.downloads(REPO, FILE).len(), 1);
}

#[test]
fn a_directory_of_safetensors_comes_with_its_small_files() {
    let bench = Bench::new();
    let repository = Repository::default()
        .large("model.safetensors", "weights")
        .small("config.json", "{}")
        .small("evil.py", "import os")
        .small("README.md", "# card");
    bench.hub.put(REPO, repository);
    let events = bench.fetch(0);
    let fetched = last(&events, "fetched");
    let files: Vec<&Value> = fetched["files"].as_array().expect("files").iter().collect();
    let names: Vec<&Value> = files.iter().map(|file| &file["name"]).collect();
    assert_eq!(names, ["README.md", "config.json", "model.safetensors"]);
    for file in files {
        let sha256 = file["sha256"].as_str().expect("a digest");
        let path = bench.sandbox.home().join(format!("sha256-{sha256}"));
        assert_eq!(hub::sha256(&std::fs::read(path).expect("a file")), sha256);
    }
    let files = std::fs::read_dir(bench.sandbox.home()).expect("a directory");
    assert_eq!(files.count(), 3, "nothing else is left");
}

#[test]
fn a_connection_that_is_cut_is_gone_on_from_where_it_was() {
    let bench = Bench::new();
    bench.hub.misbehave(REPO, FILE, Fault::Cut(1_000_000), 3);
    let events = bench.fetch(0);
    bench.is_whole();
    assert_eq!(retried(&events).len(), 3, "{events:?}");
    let ranges = bench.ranges();
    assert_eq!(ranges.len(), 4, "{ranges:?}");
    assert!(ranges[0].is_none() && ranges[1..].iter().all(Option::is_some), "{ranges:?}");
    assert!(bench.hub.bytes_sent(REPO, FILE) < 4_200_000);
}

#[test]
fn what_a_killed_process_left_is_gone_on_from() {
    let bench = Bench::new();
    bench.hub.misbehave(REPO, FILE, Fault::Stall(1_500_000), 1);
    let (mut child, _stdin) = bench.begin();
    let length = || std::fs::metadata(bench.partial()).map_or(0, |meta| meta.len());
    wait_until("a beginning", PATIENCE, || (length() == 1_500_000).then_some(()));
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
    let events = bench.fetch(0);
    assert_eq!(events[0]["bytes_done"], 1_500_000);
    bench.is_whole();
    assert_eq!(bench.ranges()[1].as_deref(), Some("bytes=1500000-3999999"));
}

#[test]
fn a_hub_that_ignores_ranges_is_begun_with_anew() {
    let bench = Bench::new();
    std::fs::write(bench.partial(), &bench.content[..5000]).expect("a beginning");
    bench.hub.misbehave(REPO, FILE, Fault::NoRange, usize::MAX);
    let events = bench.fetch(0);
    assert_eq!(retried(&events).len(), 0, "{events:?}");
    bench.is_whole();
}

#[test]
fn wrong_bytes_are_thrown_away_and_in_the_end_given_up() {
    let bench = Bench::new();
    bench.hub.misbehave(REPO, FILE, Fault::Wrong, 1);
    let events = bench.fetch(0);
    assert_eq!(retried(&events)[0]["why"]["code"], "CHECKSUM_MISMATCH");
    bench.is_whole();
    std::fs::remove_file(bench.blob()).expect("it was there");
    bench.hub.misbehave(REPO, FILE, Fault::Wrong, usize::MAX);
    let fault = failed(&bench.fetch(1), "CHECKSUM_MISMATCH");
    assert_eq!(fault["details"]["expected"], hub::sha256(&bench.content));
    assert!(!bench.blob().exists() && !bench.partial().exists());
}

#[test]
fn what_lasts_is_said_at_once_with_what_to_do() {
    let mut bench = Bench::new();
    bench.order["repo"] = "org/absent".into();
    failed(&bench.fetch(1), "MODEL_NOT_FOUND");
    bench.order["repo"] = REPO.into();
    bench.order["selector"] = "Q8_0".into();
    let fault = failed(&bench.fetch(1), "MODEL_NOT_FOUND");
    assert_eq!(fault["hints"][0], "rbee pull hf:org/repo:Q4_K_M");
    bench.order["selector"] = Value::Null;
    let repository = Repository::default().large(FILE, bench.content.clone());
    bench.hub.put(REPO, repository.clone().private(TOKEN));
    let fault = failed(&bench.fetch(1), "ACCESS_DENIED");
    assert!(fault["hints"][0].as_str().expect("a hint").contains("hf auth login"), "{fault}");
    bench.hub.put(REPO, Repository { is_gated: true, ..repository });
    let fault = failed(&bench.fetch(1), "ACCESS_DENIED");
    let hint = fault["hints"][0].as_str().expect("a hint");
    assert!(hint.contains("accept its terms"), "{fault}");
}

#[test]
fn a_token_opens_what_is_private_and_is_shown_to_nobody() {
    let mut bench = Bench::new();
    let repository = Repository::default().large(FILE, bench.content.clone()).private(TOKEN);
    bench.hub.put(REPO, repository);
    bench.order["source"]["token"] = TOKEN.into();
    bench.fetch(0);
    bench.is_whole();
    bench.order["source"]["token"] = format!("{TOKEN}2").into();
    failed(&bench.fetch(1), "ACCESS_DENIED");
    bench.order["source"]["endpoint"] = "http://mirror.example".into();
    failed(&bench.fetch(1), "INVALID_ARGUMENT");
    bench.order["source"]["endpoint"] = format!("not an address {TOKEN}").into();
    failed(&bench.fetch(1), "INVALID_ARGUMENT");
}

#[test]
fn a_silence_ends_an_attempt_and_many_end_it_all() {
    let mut bench = Bench::new();
    bench.order["timings"]["download_stall_ms"] = 300.into();
    bench.hub.misbehave(REPO, FILE, Fault::Stall(100_000), 1);
    let events = bench.fetch(0);
    assert_eq!(retried(&events)[0]["why"]["code"], "DOWNLOAD_TIMEOUT");
    bench.is_whole();
    bench.hub.misbehave_at_info(REPO, Fault::Stall(0), usize::MAX);
    let events = bench.fetch(1);
    failed(&events, "DOWNLOAD_TIMEOUT");
    assert_eq!(retried(&events).len(), 5);
}

#[test]
fn a_busy_hub_is_asked_again_when_it_said_so() {
    let bench = Bench::new();
    bench.hub.misbehave_at_info(REPO, Fault::Status(503), 2);
    bench.hub.misbehave(REPO, FILE, Fault::Status(429), 1);
    let events = bench.fetch(0);
    bench.is_whole();
    let pauses: Vec<u64> =
        retried(&events).iter().filter_map(|event| event["pause_ms"].as_u64()).collect();
    assert_eq!(pauses.len(), 3);
    assert_eq!(pauses[2], 1000, "{events:?}");
    bench.hub.misbehave_at_info(REPO, Fault::Status(500), usize::MAX);
    failed(&bench.fetch(1), "DOWNLOAD_FAILED");
}

#[test]
fn a_disk_without_room_is_said_before_a_byte_comes() {
    let mut bench = Bench::new();
    bench.order["reserve_bytes"] = (1_u64 << 60).into();
    let fault = failed(&bench.fetch(1), "DISK_FULL");
    assert_eq!(fault["details"]["required_bytes"], 4_000_000);
    assert_eq!(bench.hub.downloads(REPO, FILE).len(), 0);
}

#[test]
fn it_ends_when_nobody_waits_and_keeps_what_is_there() {
    let bench = Bench::new();
    bench.hub.misbehave(REPO, FILE, Fault::Throttle(400_000), usize::MAX);
    let (child, stdin) = bench.begin();
    let length = || std::fs::metadata(bench.partial()).map_or(0, |meta| meta.len());
    wait_until("a beginning", PATIENCE, || (length() > 100_000).then_some(()));
    let start = std::time::Instant::now();
    drop(stdin);
    let finished = finish(child).expect_code(1);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    failed(&finished.json_lines(), "CANCELLED");
    assert!(length() > 100_000);
}
