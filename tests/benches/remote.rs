//! What a hive over SSH costs, on machines of a lab: a warm answer against `ssh HOST true`, the
//! upload against `scp`, twenty hives against one, a message's way, and what streaming takes of the
//! processor.
//!
//! `sudo cargo bench --workspace --bench remote`; needs what scripts/lab needs. Both sides of a
//! ratio are measured in turn in one run.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends where it cannot measure"
)]

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use rbee_tests::sandbox::finish;
use rbee_tests::{Fleet, procs, synthetic};
use serde_json::Value;

const WARM_PAIRS: usize = 25;
const UPLOADS: usize = 5;
const HIVES: usize = 20;
const ANSWERS: usize = 5;
/// Tokens of one answer of the 0.5B shape.
const TOKENS: &str = "48";

fn main() {
    // `cargo test --benches` passes this to skip the measuring; a benchmark is no test.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    warm();
    upload();
    streaming();
    many();
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e3
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// A whole warm `run` against a whole `ssh HOST true`, and a message's way.
fn warm() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let _ = fleet.add("a");
    let run = ["run", "-m", "demo", "--json", "--max-tokens", "8", "What is a hive?"];
    let _ = fleet.rbee(&run).expect_code(0);
    let (mut ratios, mut runs, mut shells) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..WARM_PAIRS {
        let shell = timed(|| drop(fleet.lab.ssh("a", "true").expect_code(0)));
        let mut worker = 0.0;
        let whole = timed(|| {
            let events = fleet.rbee(&run).expect_code(0).json_lines();
            let times = &events.last().expect("an end")["timings"];
            worker = ["queue_ms", "prefill_ms", "decode_ms"]
                .map(|part| number(&times[part]))
                .iter()
                .sum();
        });
        ratios.push((whole - worker) / shell);
        runs.push(whole - worker);
        shells.push(shell);
    }
    println!(
        "warm run beyond the worker's time    median {:6.1} ms   ssh true {:6.1} ms   ratio {:.2}",
        median(runs),
        median(shells),
        median(ratios)
    );
    let way = |hive: &str| {
        let shown = fleet.rbee(&["hive", "show", hive, "--json"]).expect_code(0);
        number(&shown.json_lines()[0]["agent"]["latency_ms"]) / 2.0
    };
    let _ = fleet.rbee(&["run", "-m", "demo", "--hive", "local", "hello"]).expect_code(0);
    let added: Vec<f64> = (0..UPLOADS).map(|_| way("a") - way("local")).collect();
    println!("one way of a message, added by SSH   median {:6.3} ms", median(added));
    let _ = fleet.rbee(&["down"]).expect_code(0);
}

/// A whole `hive install` against a whole `scp` of the same program.
fn upload() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let _ = fleet.add("a");
    let mut ratios = Vec::new();
    for _ in 0..UPLOADS {
        let _ = fleet.rbee(&["down"]).expect_code(0);
        let _ = fleet.lab.exec("a", &["rm", "-rf", "/home/rbee/.local/share/rbee"]).expect_code(0);
        let copy = timed(|| {
            let _ = fleet.lab.keeper(&["scp", "-q", "bin/rbee", "a:copy"]).expect_code(0);
        });
        let _ = fleet.lab.exec("a", &["rm", "/home/rbee/copy"]).expect_code(0);
        let install = timed(|| {
            let said = fleet.rbee(&["hive", "install", "a"]).expect_code(0);
            assert!(said.stderr.contains("upload"), "{}", said.stderr);
        });
        ratios.push(copy / install);
    }
    println!("upload, of the speed of scp          median {:6.2} (whole commands)", median(ratios));
}

/// What agent, sshd and keeper compute for each token of a 0.5B shape, of the token's time: the
/// most that the engine can lose to them.
fn streaming() {
    // The disk holds two programs and the model.
    let Some(fleet) = Fleet::up_with_disks("2g", &[("a", "")], "") else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let model = dir.path().join("half-billion.gguf");
    synthetic::write(&model, &synthetic::HALF_BILLION).expect("a model of 0.5B shape");
    fleet.give("a", &model, "/home/rbee/model.gguf");
    let _ = fleet.add("a");
    let mut run = vec!["run", "-m", "file:/home/rbee/model.gguf", "--ctx-size", "1024", "--raw"];
    run.extend(["--json", "--temperature", "0", "--ignore-eos", "--max-tokens", TOKENS, "hello"]);
    let _ = fleet.rbee(&run).expect_code(0);
    let mut costs = Vec::new();
    for _ in 0..ANSWERS {
        let mut child = fleet.spawn(&run);
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let (mut first, mut last, mut ms) = (None, 0, f64::NAN);
        for line in lines.map_while(Result::ok) {
            let event: Value = serde_json::from_str(&line).expect("NDJSON");
            match event["event"].as_str() {
                Some("token") => {
                    // A process that has ended has no time any more.
                    last = way_cpu_ns().max(last);
                    first.get_or_insert(last);
                }
                Some("done") => ms = number(&event["timings"]["decode_ms"]),
                _ => {}
            }
        }
        assert!(child.wait().expect("it ends").success());
        let spent = Duration::from_nanos(last.saturating_sub(first.expect("a token")));
        costs.push(spent.as_secs_f64() * 1e3 / ms / cores() * 100.0);
    }
    println!(
        "streaming over SSH, processor time   median {:6.2} % of a token's time on all cores",
        median(costs)
    );
}

/// Cores of this machine: the engine computes on all of them.
fn cores() -> f64 {
    let cores = std::thread::available_parallelism().expect("cores");
    u32::try_from(cores.get()).map_or(f64::NAN, f64::from)
}

/// Processor time of everything between the engine and the reader.
fn way_cpu_ns() -> u64 {
    let parts = [&["rbee agent serve"][..], &["bin/rbee run"], &["sshd: rbee"], &["agent attach"]];
    parts.iter().flat_map(|words| procs::with_words(words)).map(procs::cpu_ns).sum()
}

/// From nothing to agents that answer, on one host and on many at once.
fn many() {
    let names: Vec<String> = (1..=HIVES).map(|n| format!("h{n}")).collect();
    let hosts: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let table = |name: &String| format!("[hives.{name}]\naddress = \"{name}\"\n");
    let config = names.iter().map(table).collect::<Vec<_>>().concat();
    let Some(fleet) = Fleet::up(&hosts, &config) else { return };
    // The first upload compresses the program; that is done once for all.
    let _ = fleet.rbee(&["hive", "start", "h1"]).expect_code(0);
    let _ = fleet.rbee(&["hive", "stop", "h1"]).expect_code(0);
    let _ = fleet.lab.exec("h1", &["rm", "-rf", "/home/rbee/.local"]).expect_code(0);
    let one = timed(|| drop(fleet.rbee(&["hive", "start", "h1"]).expect_code(0)));
    let _ = fleet.rbee(&["hive", "stop", "h1"]).expect_code(0);
    let _ = fleet.lab.exec("h1", &["rm", "-rf", "/home/rbee/.local"]).expect_code(0);
    let all = timed(|| drop(fleet.rbee(&["hive", "start", "--all"]).expect_code(0)));
    let copies = timed(|| {
        let copying: Vec<_> = names
            .iter()
            .map(|name| fleet.lab.keeper_spawn(&["scp", "-q", "bin/rbee", &format!("{name}:copy")]))
            .collect();
        for child in copying {
            let _ = finish(child).expect_code(0);
        }
    });
    println!(
        "bootstrap   one hive {one:.0} ms   {HIVES} hives {all:.0} ms   scp of the program to all \
         of them {copies:.0} ms   ({HIVES} hives are {:.2} of three times one plus the copies)",
        all / (3.0 * one + copies)
    );
    let _ = fleet.rbee(&["down"]).expect_code(0);
}
