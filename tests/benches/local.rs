//! What the local hive costs: a cold start, a warm first token, the hop from worker to keeper.
//!
//! `cargo bench --workspace --bench local` on any machine. Ratios come from pairs measured in turn
//! in one run, so that a busy machine slows both sides.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends where it cannot measure"
)]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rbee_tests::{Sandbox, http, synthetic};

const COLD_RUNS: usize = 7;
const WARM_RUNS: usize = 40;
const PAIRS: usize = 7;
/// Tokens of one measured answer.
const TOKENS: usize = 64;

fn main() {
    // `cargo test --benches` passes this to skip the measuring; a benchmark is no test.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    cold();
    warm();
    hop();
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn worst(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::max)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// From an empty home to the end of an answer of the demo model.
fn cold() {
    let times: Vec<f64> = (0..COLD_RUNS)
        .map(|_| {
            let sandbox = Sandbox::new();
            let start = Instant::now();
            let _ = sandbox.rbee(&["run", "-m", "demo", "What is rbee?"]).expect_code(0);
            ms(start.elapsed())
        })
        .collect();
    let most = worst(&times);
    println!(
        "cold run of demo, whole process    median {:7.1} ms   worst {most:7.1} ms",
        median(times)
    );
}

/// The first token of a warm `run`, beyond what the worker says it needed itself.
fn warm() {
    let sandbox = Sandbox::new();
    let args = ["run", "-m", "demo", "--json", "What is rbee?"];
    let _ = sandbox.rbee(&args).expect_code(0);
    let added: Vec<f64> = (0..WARM_RUNS)
        .map(|_| {
            let start = Instant::now();
            let stamps = run_stamped(&sandbox, &args, start);
            stamps.first_token_ms - stamps.worker_ms
        })
        .collect();
    let most = worst(&added);
    println!(
        "warm run, added to first token     median {:7.1} ms   worst {most:7.1} ms",
        median(added)
    );
}

/// When the tokens of one answer came.
struct Stamps {
    first_token_ms: f64,
    worker_ms: f64,
    decode_tps: f64,
}

/// Runs the program and stamps its token events as they arrive.
fn run_stamped(sandbox: &Sandbox, args: &[&str], start: Instant) -> Stamps {
    let mut child = sandbox.command(args).spawn().expect("rbee starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut stamps = Vec::new();
    let mut worker_ms = 0.0;
    for line in lines.map_while(Result::ok) {
        let event: serde_json::Value = serde_json::from_str(&line).expect("NDJSON");
        match event["event"].as_str() {
            Some("token") => stamps.push(ms(start.elapsed())),
            Some("done") => {
                let part = |name: &str| event["timings"][name].as_f64().unwrap_or(0.0);
                worker_ms = part("queue_ms") + part("prefill_ms");
            }
            _ => {}
        }
    }
    assert!(child.wait().expect("it ends").success());
    Stamps { first_token_ms: first(&stamps), worker_ms, decode_tps: rate(&stamps) }
}

fn first(stamps: &[f64]) -> f64 {
    stamps.first().copied().unwrap_or(f64::NAN)
}

/// Tokens a second between the first and the last one.
fn rate(stamps: &[f64]) -> f64 {
    let span = stamps.last().copied().unwrap_or(f64::NAN) - first(stamps);
    let intervals = u32::try_from(stamps.len().saturating_sub(1)).unwrap_or(0);
    f64::from(intervals) / span * 1e3
}

/// Decode speed through worker, agent and keeper against the worker's own socket, in turn.
fn hop() {
    let sandbox = Sandbox::new();
    let model = sandbox.home().join("half-billion.gguf");
    synthetic::write(&model, &synthetic::HALF_BILLION).expect("a model of 0.5B shape");
    let tokens = TOKENS.to_string();
    let reference = format!("file:{}", model.display());
    let args = [
        "run",
        "-m",
        &reference,
        "--ctx-size",
        "1024",
        "--raw",
        "--json",
        "--temperature",
        "0",
        "--ignore-eos",
        "--max-tokens",
        &tokens,
        "hello",
    ];
    let _ = sandbox.rbee(&args).expect_code(0);
    let engine = engine_socket(&sandbox);
    let mut ratios = Vec::new();
    let mut direct_tps = Vec::new();
    for _ in 0..PAIRS {
        let direct = direct_rate(&engine);
        let through = run_stamped(&sandbox, &args, Instant::now()).decode_tps;
        direct_tps.push(direct);
        ratios.push(through / direct);
    }
    println!(
        "0.5B shape, Q8_0, decode           worker alone {:.1} tokens/s   through agent and keeper \
         median {:.4} of that",
        median(direct_tps),
        median(ratios)
    );
}

fn engine_socket(sandbox: &Sandbox) -> PathBuf {
    let workers = sandbox.workers();
    let id = workers[0]["id"].as_str().expect("an id");
    sandbox.home().join(".local/state/rbee/run/w").join(id).join("e.sock")
}

/// Tokens a second as a client of the worker's own socket sees them.
fn direct_rate(socket: &Path) -> f64 {
    let body = serde_json::json!({
        "prompt": "hello", "temperature": 0, "ignore_eos": true, "max_tokens": TOKENS,
    });
    let stream = http::open(socket, "POST", "/v1/completions", body.to_string().as_bytes());
    let stream = stream.expect("the worker answers");
    let start = Instant::now();
    let stamps: Vec<f64> = BufReader::new(stream.take(1 << 24))
        .lines()
        .map_while(Result::ok)
        .filter(|line| line.contains("\"token_ids\":["))
        .map(|_| ms(start.elapsed()))
        .collect();
    rate(&stamps)
}
