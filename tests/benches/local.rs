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
use std::process::Child;
use std::time::Instant;

use rbee_tests::bench::{self, Compared, median, ms, timed};
use rbee_tests::procs::{self, Role};
use rbee_tests::{Sandbox, http, synthetic};

const COLD_RUNS: usize = 7;
const WARM_RUNS: usize = 40;

fn main() {
    bench::run(&[("cold", cold), ("warm", warm), ("hop", hop)]);
}

fn worst(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::max)
}

/// From an empty home to the end of an answer of the demo model.
fn cold() {
    let times: Vec<f64> = (0..COLD_RUNS)
        .map(|_| {
            let sandbox = Sandbox::new();
            timed(|| drop(sandbox.rbee(&["run", "-m", "demo", "What is rbee?"]).expect_code(0)))
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
    bench::watch(spawn(sandbox, args), |event| match event["event"].as_str() {
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

fn spawn(sandbox: &Sandbox, args: &[&str]) -> Child {
    sandbox.command(args).spawn().expect("rbee starts")
}

/// Decode speed through agent and keeper against the worker's own socket, as the engine itself
/// times it, in pairs whose order alternates; and the processor time that agent and keeper take for
/// each token, which is the most that the engine can lose to them.
fn hop() {
    let sandbox = Sandbox::new();
    let model = sandbox.home().join("half-billion.gguf");
    synthetic::write(&model, &synthetic::HALF_BILLION).expect("a model of 0.5B shape");
    let run = bench::run_of(&format!("file:{}", model.display()));
    let run: Vec<&str> = run.iter().map(String::as_str).collect();
    let _ = sandbox.rbee(&run).expect_code(0);
    let (engine, agent) = (engine_socket(&sandbox), sandbox.pid_of(Role::Agent));
    let whole_way = || bench::token_ms_of_run(spawn(&sandbox, &run));
    let [Compared { alone, ratio, interval: (low, high) }] =
        bench::compare(&|| direct_ms(&engine), [&whole_way]);
    println!(
        "0.5B shape, Q8_0, decode           worker alone {alone:.1} tokens/s   through agent and \
         keeper median {ratio:.4} of that, 95 % interval {low:.4} to {high:.4}"
    );
    let share = |_| {
        let child = spawn(&sandbox, &run);
        let keeper = i32::try_from(child.id()).expect("a process id");
        bench::processor_share(child, || procs::cpu_ns(agent) + procs::cpu_ns(keeper))
    };
    println!(
        "   processor time of agent and keeper    median {:.2} % of a token's time on all cores",
        median((0..bench::ACCOUNTED).map(share).collect()) * 100.0
    );
}

fn engine_socket(sandbox: &Sandbox) -> PathBuf {
    let workers = sandbox.workers();
    let id = workers[0]["id"].as_str().expect("an id");
    sandbox.home().join(".local/state/rbee/run/w").join(id).join("e.sock")
}

/// A token's time in an answer from the worker's own socket.
fn direct_ms(socket: &Path) -> f64 {
    let stream = http::open(socket, "POST", "/v1/completions", bench::completion().as_bytes());
    let lines = BufReader::new(stream.expect("the worker answers").take(1 << 24)).lines();
    bench::token_ms_of_stream(lines.map_while(Result::ok))
}
