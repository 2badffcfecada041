//! Models of a hub, as a person has them fetched: by `run` and by `pull`, kept, listed, removed.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what goes wrong here is a failed test"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rbee_tests::hub::{Fault, Hub, Repository};
use rbee_tests::procs::{self, Role};
use rbee_tests::sandbox::{Finished, PATIENCE, finish};
use rbee_tests::synthetic::directory::{self, SMALL};
use rbee_tests::{Fleet, Sandbox, wait_until};
use rustix::process::Signal;
use serde_json::Value;

const REPO: &str = "acme/tiny";
const FILE: &str = "tiny-Q8_0.gguf";
const MODEL: &str = "hf:acme/tiny";
const TOKEN: &str = "hf_aSecretOfTheTest";
const QUICK: &str = "[timings]\ndownload_stall_ms = 700\ndownload_retry_ms = 5\n";

/// The small model that every build carries, as one of a hub.
fn demo() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/demo/demo.gguf");
    std::fs::read(path).expect("the demo model")
}

/// A home and a hub with one model.
struct Place {
    sandbox: Sandbox,
    hub: Hub,
    bytes: usize,
}

impl Place {
    fn new(config: &str) -> Self {
        let (sandbox, hub, demo) = (Sandbox::with_config(config), Hub::start(), demo());
        let bytes = demo.len();
        hub.put(REPO, Repository::default().large(FILE, demo).small("README.md", "# tiny\n"));
        Self { sandbox, hub, bytes }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.sandbox.command(args);
        command.env("HF_ENDPOINT", self.hub.endpoint());
        command
    }

    fn begin(&self, args: &[&str]) -> Child {
        self.command(args).spawn().expect("rbee starts")
    }

    fn rbee(&self, args: &[&str]) -> Finished {
        finish(self.begin(args))
    }

    fn list(&self) -> Vec<Value> {
        let listed = self.rbee(&["ls", "--json"]).expect_code(0);
        serde_json::from_str(&listed.stdout).expect("a JSON array")
    }

    /// Bytes of the model's file.
    fn length(&self) -> u64 {
        u64::try_from(self.bytes).expect("a length")
    }

    fn downloads(&self) -> usize {
        self.hub.downloads(REPO, FILE).len()
    }

    fn models(&self) -> PathBuf {
        self.sandbox.home().join(".local/share/rbee/models")
    }

    /// Bytes of the file that is not whole yet.
    fn begun(&self) -> u64 {
        let files = std::fs::read_dir(self.models()).into_iter().flatten().flatten();
        let partial = files.filter(|file| file.path().extension().is_some_and(|e| e == "partial"));
        partial.filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum()
    }

    /// Waits until a third of the model is there.
    fn wait_for_a_third(&self) {
        let third = self.length() / 3;
        wait_until("a third is there", PATIENCE, || (self.begun() > third).then_some(()));
    }
}

#[track_caller]
fn fault(finished: &Finished) -> Value {
    let last = finished.json_lines().pop().expect("an event");
    assert_eq!(last["event"], "error", "{last}");
    last
}

#[test]
fn the_first_run_fetches_a_model_and_the_next_finds_it_until_it_is_removed() {
    let place = Place::new("");
    let first = place.rbee(&["run", "-m", MODEL, "--json", "What is rbee?"]).expect_code(0);
    let tokens = first.json_lines().iter().filter(|event| event["event"] == "token").count();
    assert!(tokens > 3, "{first:?}");
    assert!(first.stderr.contains("pulling hf:acme/tiny: 1 file, 6.8 MiB"), "{}", first.stderr);
    assert!(first.stderr.lines().all(|line| line.chars().count() < 100), "{}", first.stderr);
    let asked = place.hub.asked();
    assert!(asked.iter().all(|one| one.authorization.is_none()), "{asked:?}");

    place.sandbox.down();
    let _again = place.rbee(&["run", "-m", MODEL, "What is rbee?"]).expect_code(0);
    assert_eq!(place.hub.asked().len(), asked.len(), "nothing is asked for what is there");

    let kept = place.list();
    assert_eq!(kept.len(), 1, "{kept:?}");
    let (kept, path) = (&kept[0], kept[0]["path"].as_str().expect("a path"));
    assert_eq!(
        (&kept["model"], &kept["provider"], &kept["hive"]),
        (&MODEL.into(), &"hf".into(), &"local".into())
    );
    assert_eq!(kept["bytes"], place.bytes);
    assert_eq!(std::fs::metadata(path).expect("its file").len(), place.length());
    assert!(kept["pulled_at_ms"].as_u64().is_some_and(|ms| ms > 1_700_000_000_000), "{kept}");
    assert_eq!(kept["revision"].as_str().map(str::len), Some(40));
    let of = |provider| place.rbee(&["ls", "--provider", provider, "--json"]).expect_code(0).stdout;
    assert!(of("hf").contains(MODEL) && of("other").trim() == "[]");
    assert!(place.rbee(&["ls"]).expect_code(0).stdout.contains("6.8 MiB"));
    let shown = place.rbee(&["model", "show", MODEL, "--json"]).expect_code(0);
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!(shown["file_bytes"], place.bytes);

    let _removed = place.rbee(&["rm", MODEL]).expect_code(0);
    assert!(!Path::new(path).exists() && place.list().is_empty());
    let gone = place.rbee(&["rm", MODEL]).expect_code(20);
    assert!(gone.stderr.contains("hint: rbee ls"), "{}", gone.stderr);
    place.sandbox.down();
    let _anew = place.rbee(&["run", "-m", MODEL, "What is rbee?"]).expect_code(0);
    assert_eq!(place.downloads(), 2);
}

#[test]
fn three_who_ask_at_once_wait_for_one_download() {
    let place = Place::new("");
    place.hub.misbehave(REPO, FILE, Fault::Throttle(5_000_000), usize::MAX);
    // One that waits for the agent's start would come late.
    let _started = place.rbee(&["ls"]).expect_code(0);
    let asking: Vec<Child> = (0..3).map(|_| place.begin(&["pull", "--json", MODEL])).collect();
    for finished in asking.into_iter().map(finish) {
        let events = finished.expect_code(0).json_lines();
        assert_eq!(events.last().expect("an event")["event"], "done", "{events:?}");
    }
    assert_eq!(place.downloads(), 1);
    assert_eq!(place.hub.bytes_sent(REPO, FILE), place.length());
}

#[test]
fn what_the_hub_does_not_have_or_give_is_named_with_what_to_do() {
    let place = Place::new(QUICK);
    let absent = place.rbee(&["run", "-m", "hf:acme/nothing", "--json", "x"]).expect_code(20);
    assert_eq!(fault(&absent)["code"], "MODEL_NOT_FOUND", "{absent:?}");
    assert!(fault(&absent)["message"].as_str().is_some_and(|it| it.contains("acme/nothing")));
    let quantization = place.rbee(&["pull", "hf:acme/tiny:Q4_K_M"]).expect_code(20);
    assert!(quantization.stderr.contains("rbee pull hf:acme/tiny:Q8_0"), "{}", quantization.stderr);

    place.hub.put("acme/ours", Repository::default().large(FILE, demo()).private(TOKEN));
    let gated = Repository { is_gated: true, ..Repository::default().large(FILE, demo()) };
    place.hub.put("acme/gated", gated);
    for model in ["hf:acme/ours", "hf:acme/gated"] {
        let refused = place.rbee(&["pull", "--json", model]).expect_code(1);
        assert_eq!(fault(&refused)["code"], "ACCESS_DENIED", "{refused:?}");
        assert!(!fault(&refused)["hints"].as_array().expect("hints").is_empty(), "{refused:?}");
    }
    assert!(place.list().is_empty());
}

#[test]
fn a_token_opens_what_is_private_and_is_seen_nowhere() {
    let place = Place::new(QUICK);
    place.hub.put("acme/ours", Repository::default().large(FILE, demo()).private(TOKEN));
    let file = place.sandbox.home().join(".config/rbee/hub-token");
    std::fs::write(&file, format!("{TOKEN}\n")).expect("a token");
    let mode = |mode| std::fs::set_permissions(&file, PermissionsExt::from_mode(mode));
    mode(0o644).expect("a mode");
    let refused = place.rbee(&["pull", "hf:acme/ours"]).expect_code(1);
    assert!(refused.stderr.contains("chmod 600"), "{}", refused.stderr);
    mode(0o600).expect("a mode");
    place.hub.misbehave("acme/ours", FILE, Fault::Throttle(5_000_000), 1);
    let pulling = place.begin(&["pull", "hf:acme/ours"]);
    place.wait_for_a_third();
    for process in place.sandbox.processes() {
        for what in ["cmdline", "environ"] {
            let text = std::fs::read(format!("/proc/{}/{what}", process.pid)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            assert!(!text.contains(TOKEN), "{process:?} shows it in {what}");
            if process.role == Role::Fetch && what == "environ" {
                assert!(text.contains("HF_HUB_DISABLE_TELEMETRY=1"), "{text}");
                assert!(text.contains("HF_XET_CHUNK_CACHE_SIZE_BYTES=0"), "{text}");
            }
        }
    }
    let pulled = finish(pulling).expect_code(0);
    assert!(!pulled.stderr.contains(TOKEN) && !pulled.stdout.contains(TOKEN));
    place.sandbox.down();
    let home = place.sandbox.home();
    let found = Command::new("grep").args(["-rlF", TOKEN]).arg(home).output().expect("grep");
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    assert_eq!(found.trim(), file.to_str().expect("a plain path"));
}

#[test]
fn what_stands_still_or_breaks_is_tried_again_where_it_was_and_given_up_at_last() {
    let place = Place::new(QUICK);
    let part = place.bytes * 2 / 5;
    place.hub.misbehave(REPO, FILE, Fault::Cut(part), 1);
    let pulled = place.rbee(&["pull", MODEL]).expect_code(0);
    assert!(pulled.stderr.contains("attempt 2 of 6"), "{}", pulled.stderr);
    let range = place.hub.downloads(REPO, FILE)[1].range.clone().expect("a range");
    assert!(!range.starts_with("bytes=0-"), "{range}");
    assert!(place.hub.bytes_sent(REPO, FILE) < place.length() + 100_000);

    for (wrong, code, exit) in [
        (Fault::Stall(0), "DOWNLOAD_TIMEOUT", 124),
        (Fault::Cut(0), "DOWNLOAD_FAILED", 1),
        (Fault::Wrong, "CHECKSUM_MISMATCH", 20),
    ] {
        let _removed = place.rbee(&["rm", MODEL]);
        place.hub.misbehave(REPO, FILE, wrong, usize::MAX);
        let given_up = place.rbee(&["pull", "--json", MODEL]).expect_code(exit);
        assert_eq!(fault(&given_up)["code"], code, "{given_up:?}");
        let events = given_up.json_lines();
        let tried = events.iter().filter(|event| event["event"] == "retrying").count();
        assert_eq!(tried, 5, "{code}: {events:?}");
        assert!(place.list().is_empty(), "{code}");
    }
    assert_eq!(place.begun(), 0, "of what was wrong nothing is kept");
    place.hub.misbehave(REPO, FILE, Fault::Wrong, 1);
    let _pulled = place.rbee(&["pull", MODEL]).expect_code(0);
    let _answered = place.rbee(&["run", "-m", MODEL, "What is rbee?"]).expect_code(0);
}

#[test]
fn whoever_is_ended_in_the_middle_loses_nothing_of_what_came() {
    let place = Place::new("");
    place.hub.misbehave(REPO, FILE, Fault::Throttle(2_000_000), 2);
    let pulling = place.begin(&["pull", MODEL]);
    place.wait_for_a_third();
    let keeper = i32::try_from(pulling.id()).expect("a pid");
    procs::signal(keeper, Signal::INT);
    let ended = finish(pulling).expect_code(130);
    assert!(ended.stderr.contains("goes on where it was"), "{}", ended.stderr);
    let fetching = || {
        let all = place.sandbox.processes();
        all.iter().filter(|process| process.role == Role::Fetch).count()
    };
    wait_until("nobody fetches any more", PATIENCE, || (fetching() == 0).then_some(()));

    let before = place.begun();
    let pulling = place.begin(&["pull", MODEL]);
    let goes_on = || (place.begun() > before).then_some(());
    wait_until("it goes on", PATIENCE, goes_on);
    procs::signal(place.sandbox.pid_of(Role::Agent), Signal::KILL);
    let _lost = finish(pulling).expect_code(10);
    wait_until("nobody fetches any more", PATIENCE, || (fetching() == 0).then_some(()));

    let last = place.rbee(&["pull", MODEL]).expect_code(0);
    assert!(last.stderr.contains("resuming from"), "{}", last.stderr);
    // What was on its way when somebody ended is sent twice.
    let slack = 4_000_000;
    assert!(place.hub.bytes_sent(REPO, FILE) < place.length() + slack);
    let _answered = place.rbee(&["run", "-m", MODEL, "What is rbee?"]).expect_code(0);
}

#[test]
fn a_damaged_entry_is_set_aside_and_costs_one_pull_that_fetches_nothing() {
    let place = Place::new("");
    place.hub.put("acme/other", Repository::default().large("other.gguf", b"GGUF".to_vec()));
    let _pulled = place.rbee(&["pull", MODEL]).expect_code(0);
    let _other = place.rbee(&["pull", "hf:acme/other"]).expect_code(0);
    let entries = std::fs::read_dir(place.models().join("catalog")).expect("the entries");
    for entry in entries.flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("an entry");
        if text.contains("acme/tiny") {
            std::fs::write(entry.path(), &text[..text.len() / 2]).expect("damage");
        }
    }
    let listed = place.rbee(&["ls", "--json"]).expect_code(0);
    assert!(listed.stderr.contains(".corrupt") && listed.stderr.contains("pull its model again"));
    assert!(listed.stdout.contains("acme/other") && !listed.stdout.contains("acme/tiny"));
    let _pulled = place.rbee(&["pull", MODEL]).expect_code(0);
    assert_eq!((place.downloads(), place.list().len()), (1, 2));
}

#[test]
fn a_disk_that_would_be_full_is_said_with_figures_before_anything_comes() {
    let place = Place::new("[agent]\nreserve_disk_bytes = 4611686018427387904\n");
    let refused = place.rbee(&["pull", "--json", MODEL]).expect_code(1);
    let fault = fault(&refused);
    assert_eq!(
        (&fault["code"], &fault["details"]["required_bytes"]),
        (&"DISK_FULL".into(), &place.bytes.into())
    );
    assert_eq!(place.downloads(), 0);
}

#[test]
fn a_repository_of_safetensors_becomes_a_directory_that_runs() {
    let place = Place::new("");
    let local = place.sandbox.home().join("there");
    directory::write(&local, &SMALL, 2).expect("a model");
    let mut repository = Repository::default();
    for file in std::fs::read_dir(&local).expect("its files").flatten() {
        let (name, bytes) = (file.file_name(), std::fs::read(file.path()).expect("a file"));
        let name = name.to_str().expect("a plain name");
        let is_large = name.ends_with(".safetensors");
        repository =
            if is_large { repository.large(name, bytes) } else { repository.small(name, bytes) };
    }
    place.hub.put("acme/parts", repository);
    let line = ["run", "-m", "hf:acme/parts", "--temperature", "0", "-n", "8", "--json", "--raw"];
    let ids = |model: &str| {
        let mut line: Vec<&str> = line.to_vec();
        line[2] = model;
        line.push("ab");
        let events = place.rbee(&line).expect_code(0).json_lines();
        let tokens = events.iter().filter(|event| event["event"] == "token");
        tokens.map(|event| event["id"].clone()).collect::<Vec<_>>()
    };
    let fetched = ids("hf:acme/parts");
    assert_eq!((fetched.len(), &fetched), (8, &ids("./there")));
}

#[test]
fn a_hive_fetches_for_itself_what_its_first_run_needs() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let hub = Hub::start_on(&fleet.lab, "keeper");
    hub.put(REPO, Repository::default().large(FILE, demo()));
    let _added = fleet.add("a");
    fleet.configure(&format!("[hub]\nendpoint = \"{}\"\n{}", hub.endpoint(), fleet.config()));
    let answered = fleet.rbee(&["run", "--hive", "a", "-m", MODEL, "--json", "What is rbee?"]);
    let events = answered.expect_code(0).json_lines();
    assert_eq!(events[0]["hive"], "a", "{events:?}");
    assert!(events.iter().filter(|event| event["event"] == "token").count() > 3, "{events:?}");
    let listed = fleet.rbee(&["ls", "--json"]).expect_code(0).stdout;
    assert!(listed.contains(MODEL) && listed.contains("\"hive\":\"a\""), "{listed}");
    assert_eq!(hub.downloads(REPO, FILE).len(), 1);
    let _removed = fleet.rbee(&["rm", MODEL]).expect_code(0);
    let _down = fleet.rbee(&["down"]).expect_code(0);
}

#[test]
fn a_backup_is_compared_and_put_back_without_destroying_anything() {
    let place = Place::new("theme = \"light\"\n");
    let _pulled = place.rbee(&["pull", MODEL]).expect_code(0);
    let made = place.rbee(&["backup", "copy"]).expect_code(0);
    assert!(made.stderr.contains("hint: rbee restore copy"), "{}", made.stderr);
    let config = place.sandbox.home().join(".config/rbee/config.toml");
    std::fs::write(&config, "theme = \"dark\"\n").expect("another one");
    let refused = place.rbee(&["restore", "copy"]).expect_code(2);
    assert!(refused.stderr.contains("rbee restore --force copy"), "{}", refused.stderr);
    let restored = place.rbee(&["restore", "--force", "copy"]).expect_code(0);
    assert!(restored.stderr.contains("hint: rbee pull --hive local hf:acme/tiny"), "{restored:?}");
    assert_eq!(std::fs::read_to_string(&config).expect("it"), "theme = \"light\"\n");
    let dir = std::fs::read_dir(config.parent().expect("a directory")).expect("its files");
    assert_eq!(dir.count(), 2, "what was there is beside it");
    std::fs::write(place.sandbox.home().join("copy/config.toml"), "theme = 7\n").expect("damage");
    let damaged = place.rbee(&["restore", "--force", "copy"]).expect_code(20);
    assert!(damaged.stderr.contains("config.toml"), "{}", damaged.stderr);
}
