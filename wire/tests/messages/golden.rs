//! What is on the wire is what the golden files say, and newer peers are understood.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;
use wire::doctor::{Check, Verdict};
use wire::event::Event;
use wire::generate::{Chunk, FinishReason};
use wire::guard::GuardStatus;
use wire::hello::{Hello, Role};
use wire::journal::{EndedBy, Entry};
use wire::status::{EnginePhase, EngineStatus};
use wire::worker::{WorkerInfo, WorkerState};

use crate::samples;

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

/// Where what this build writes is put when it differs, to be compared and copied if it was meant.
fn actual_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("golden-v1-{name}.json"))
}

fn golden(name: &str) -> Option<String> {
    std::fs::read_to_string(golden_dir().join(format!("{name}.json"))).ok()
}

/// Fields whose objects are no schema that may grow: the one key of an [`wire::worker::Exit`], a
/// fault's figures, the configured times, which refuse a misspelt name, biases by token id, and
/// tools, which are passed on as they came.
const CLOSED: [&str; 5] = ["exit", "details", "timings", "logit_bias", "tools"];

/// Every object of `value`, itself included, with a field that no build knows.
fn from_the_future(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let open = fields.iter_mut().filter(|(key, _)| !CLOSED.contains(&key.as_str()));
            open.for_each(|(_, value)| from_the_future(value));
            fields.insert("moon_phase".into(), serde_json::json!({"full": [true]}));
        }
        Value::Array(all) => all.iter_mut().for_each(from_the_future),
        _ => {}
    }
}

#[test]
fn every_message_is_written_as_its_golden_file_says() {
    let mut wrong = Vec::new();
    for sample in samples::all() {
        if golden(sample.name).as_deref() != Some(sample.written.as_str()) {
            let actual = actual_path(sample.name);
            std::fs::write(&actual, &sample.written).unwrap();
            wrong.push(actual);
        }
    }
    assert!(
        wrong.is_empty(),
        "the protocol changed: a running agent or worker of the last release would not understand \
         it. What this build writes is in {wrong:#?}"
    );
}

#[test]
fn every_golden_file_is_read_as_the_value_that_wrote_it() {
    for sample in samples::all() {
        let text = golden(sample.name).unwrap();
        (sample.read)(&text).unwrap_or_else(|error| panic!("{}: {error}", sample.name));
    }
}

#[test]
fn no_golden_file_is_left_behind_and_no_name_is_used_twice() {
    let names: Vec<_> = samples::all().iter().map(|sample| sample.name.to_owned()).collect();
    let expected: BTreeSet<_> = names.iter().cloned().collect();
    assert_eq!(expected.len(), names.len());
    let on_disk: BTreeSet<_> = std::fs::read_dir(golden_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(on_disk, expected);
}

#[test]
fn unknown_fields_are_skipped_except_in_the_configuration() {
    for sample in samples::all() {
        let mut value: Value = serde_json::from_str(&golden(sample.name).unwrap()).unwrap();
        from_the_future(&mut value);
        let text = value.to_string();
        let read = (sample.read)(&text);
        assert_eq!(read.is_ok(), sample.is_tolerant, "{}: {read:?}\n{text}", sample.name);
    }
}

/// Reads the golden file of `name` with the word at `path` replaced by one of the future.
fn with_unknown_word<T: DeserializeOwned>(name: &str, path: &str) -> T {
    let mut value: Value = serde_json::from_str(&golden(name).unwrap()).unwrap();
    *value.pointer_mut(path).unwrap() = Value::from("of_the_future");
    serde_json::from_value(value).unwrap()
}

#[test]
fn unknown_variants_are_kept_as_unknown() {
    let event: Event = with_unknown_word("event_telemetry", "/event");
    assert_eq!(event, Event::Unknown);
    let event: Event = with_unknown_word("event_worker", "/worker/state");
    let Event::Worker { revision: 42, worker } = event else { panic!("{event:?}") };
    assert_eq!(worker, samples::worker(WorkerState::Unknown));
    let worker: WorkerInfo = with_unknown_word("worker_crashed", "/state");
    assert_eq!(worker.state, WorkerState::Unknown);
    let status: EngineStatus = with_unknown_word("engine_status_loading", "/phase");
    assert_eq!((status.phase, status.active), (EnginePhase::Unknown, 1));
    let status: GuardStatus = with_unknown_word("guard_status_running", "/status");
    assert_eq!(status, GuardStatus::Unknown);
    let hello: Hello = with_unknown_word("hello", "/role");
    assert_eq!(hello.role, Role::Unknown);
    let checks: Vec<Check> = with_unknown_word("check", "/1/verdict");
    assert_eq!(checks[1].verdict, Verdict::Unknown);
    let entry: Entry = with_unknown_word("journal_entry", "/ended_by");
    assert_eq!(entry.ended_by, Some(EndedBy::Unknown));
    let chunk: Chunk = with_unknown_word("chunk_last", "/choices/0/finish_reason");
    assert_eq!(chunk.choices[0].finish_reason, Some(FinishReason::Unknown));
}

#[test]
fn no_message_has_a_key_twice() {
    for sample in samples::all() {
        // A value keeps only the last of two equal keys, so it is written shorter.
        let value: Value = serde_json::from_str(&sample.written).unwrap();
        let again = samples::pretty(&value);
        assert_eq!(again.lines().count(), sample.written.lines().count(), "{}", sample.name);
    }
}
