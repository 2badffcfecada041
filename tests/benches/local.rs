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

use rbee_tests::procs::{self, Role};
use rbee_tests::{Sandbox, http, synthetic};

const COLD_RUNS: usize = 7;
const WARM_RUNS: usize = 40;
/// Pairs of answers, one from the worker's own socket and one through agent and keeper. A pair
/// scatters by several per cent on a shared machine; so many of them bring the median's interval
/// below one.
const PAIRS: usize = 240;
/// Answers whose processor time is read. They are none of the pairs: reading takes time of its own.
const ACCOUNTED: usize = 20;
/// Tokens of one measured answer.
const TOKENS: usize = 16;

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

/// When the first token of one answer came, and what the worker itself took for it.
struct Stamps {
    first_token_ms: f64,
    worker_ms: f64,
}

/// Runs the program and stamps its first token event as it arrives.
fn run_stamped(sandbox: &Sandbox, args: &[&str], start: Instant) -> Stamps {
    let (mut first_token_ms, mut worker_ms) = (None, 0.0);
    run_watched(sandbox, args, |_, event| match event["event"].as_str() {
        Some("token") => {
            first_token_ms.get_or_insert_with(|| ms(start.elapsed()));
        }
        Some("done") => {
            let part = |name: &str| event["timings"][name].as_f64().unwrap_or(0.0);
            worker_ms = part("queue_ms") + part("prefill_ms");
        }
        _ => {}
    });
    Stamps { first_token_ms: first_token_ms.expect("a token"), worker_ms }
}

/// Decode speed through agent and keeper against the worker's own socket, as the engine itself
/// times it, in pairs whose order alternates; and the processor time that agent and keeper take for
/// each token, which is the most that the engine can lose to them.
fn hop() {
    let sandbox = Sandbox::new();
    let model = sandbox.home().join("half-billion.gguf");
    synthetic::write(&model, &synthetic::HALF_BILLION).expect("a model of 0.5B shape");
    let tokens = TOKENS.to_string();
    let reference = format!("file:{}", model.display());
    let mut args = vec!["run", "-m", &reference, "--ctx-size", "1024", "--raw", "--json"];
    args.extend(["--temperature", "0", "--ignore-eos", "--max-tokens", &tokens, "hello"]);
    let _ = sandbox.rbee(&args).expect_code(0);
    let engine = engine_socket(&sandbox);
    let agent = sandbox.pid_of(Role::Agent);
    let (mut ratios, mut alone) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        let through = || through_ms(&sandbox, &args);
        let (direct, through) = if pair % 2 == 0 {
            let direct = direct_ms(&engine);
            (direct, through())
        } else {
            let through = through();
            (direct_ms(&engine), through)
        };
        alone.push(1e3 / direct);
        ratios.push(direct / through);
    }
    let (low, high) = interval_of_the_median(ratios.clone());
    println!(
        "0.5B shape, Q8_0, decode           worker alone {:.1} tokens/s   through agent and keeper \
         median {:.4} of that, 95 % interval {low:.4} to {high:.4}",
        median(alone),
        median(ratios),
    );
    let costs = (0..ACCOUNTED).map(|_| processor_share(&sandbox, &args, agent)).collect();
    println!(
        "   processor time of agent and keeper    median {:.2} % of a token's time on all cores",
        median(costs) * 100.0 / cores()
    );
}

/// Cores of this machine: the engine computes on all of them.
fn cores() -> f64 {
    let cores = std::thread::available_parallelism().expect("cores");
    u32::try_from(cores.get()).map_or(f64::NAN, f64::from)
}

/// Where the true median lies, at 95 % (order statistics of the binomial distribution).
fn interval_of_the_median(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let count = u32::try_from(values.len()).map_or(0.0, f64::from);
    let reach = 0.98 * count.sqrt();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small ranks")]
    let at = |rank: f64| values.get(rank.max(0.0) as usize).copied().unwrap_or(f64::NAN);
    (at((count / 2.0 - reach).floor()), at((count / 2.0 + reach).ceil()))
}

fn engine_socket(sandbox: &Sandbox) -> PathBuf {
    let workers = sandbox.workers();
    let id = workers[0]["id"].as_str().expect("an id");
    sandbox.home().join(".local/state/rbee/run/w").join(id).join("e.sock")
}

/// Milliseconds a token, as the engine times its decoding.
fn decode_ms(timings: &serde_json::Value) -> f64 {
    // The first token comes out of the prefill.
    let steps = u32::try_from(TOKENS - 1).map_or(f64::NAN, f64::from);
    timings["decode_ms"].as_f64().unwrap_or(f64::NAN) / steps
}

/// A token's time in an answer from the worker's own socket.
fn direct_ms(socket: &Path) -> f64 {
    let body = serde_json::json!({
        "prompt": "hello", "temperature": 0, "ignore_eos": true, "max_tokens": TOKENS,
    });
    let stream = http::open(socket, "POST", "/v1/completions", body.to_string().as_bytes());
    let lines = BufReader::new(stream.expect("the worker answers").take(1 << 24)).lines();
    lines
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
        .find_map(|chunk: serde_json::Value| {
            chunk.get("timings").filter(|timings| timings.is_object()).map(decode_ms)
        })
        .expect("the worker says how long it took")
}

/// Runs the program and shows each of its events as it arrives, until it ends.
fn run_watched(sandbox: &Sandbox, args: &[&str], mut watch: impl FnMut(i32, &serde_json::Value)) {
    let mut child = sandbox.command(args).spawn().expect("rbee starts");
    let keeper = i32::try_from(child.id()).expect("a process id");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    for line in lines.map_while(Result::ok) {
        watch(keeper, &serde_json::from_str(&line).expect("NDJSON"));
    }
    assert!(child.wait().expect("it ends").success());
}

/// A token's time in an answer through agent and keeper.
fn through_ms(sandbox: &Sandbox, args: &[&str]) -> f64 {
    let mut ms = f64::NAN;
    run_watched(sandbox, args, |_, event| {
        if event["event"] == "done" {
            ms = decode_ms(&event["timings"]);
        }
    });
    ms
}

/// The share of a token's time, as one processor's, that agent and keeper compute: from the first
/// token of an answer to the last.
fn processor_share(sandbox: &Sandbox, args: &[&str], agent: i32) -> f64 {
    let (mut count, mut first, mut spent, mut ms) = (0, 0, 0, f64::NAN);
    run_watched(sandbox, args, |keeper, event| match event["event"].as_str() {
        Some("token") => {
            count += 1;
            let spent_so_far = || procs::cpu_ns(agent) + procs::cpu_ns(keeper);
            if count == 1 {
                first = spent_so_far();
            } else if count == TOKENS {
                spent = spent_so_far() - first;
            }
        }
        Some("done") => ms = decode_ms(&event["timings"]),
        _ => {}
    });
    let steps = u32::try_from(TOKENS - 1).map_or(f64::NAN, f64::from);
    Duration::from_nanos(spent).as_secs_f64() * 1e3 / steps / ms
}
