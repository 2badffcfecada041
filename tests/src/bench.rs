//! What the benchmarks share: medians, pairs that are measured in turn, answers of the 0.5B shape.

use std::io::{BufRead, BufReader};
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Tokens of one measured answer.
pub const TOKENS: u32 = 32;
/// Pairs of answers, one from the worker's own socket and one the whole way. A pair scatters by
/// several per cent on a shared machine; so many of them bring the median's interval below one.
pub const PAIRS: usize = 130;
/// Answers whose processor time is read. They are none of the pairs: reading takes time of its own.
pub const ACCOUNTED: usize = 10;

/// Runs the parts of a benchmark that its command line names, else all of them.
pub fn run(parts: &[(&str, fn())]) {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` passes this to skip the measuring; a benchmark is no test.
    if words.iter().any(|word| word == "--test") {
        return;
    }
    let named = |name: &str| words.iter().any(|word| word == name);
    let all = !parts.iter().any(|(name, _)| named(name));
    for (name, part) in parts {
        if all || named(name) {
            part();
        }
    }
}

/// The value in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Where the true median lies, at 95 % (order statistics of the binomial distribution).
pub fn interval_of_the_median(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let count = u32::try_from(values.len()).map_or(0.0, f64::from);
    let reach = 0.98 * count.sqrt();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small ranks")]
    let at = |rank: f64| values.get(rank.max(0.0) as usize).copied().unwrap_or(f64::NAN);
    (at((count / 2.0 - reach).floor()), at((count / 2.0 + reach).ceil()))
}

/// Milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Milliseconds that something takes.
pub fn timed(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    ms(start.elapsed())
}

/// Cores of this machine: the engine computes on all of them.
///
/// # Panics
/// When the system does not tell.
pub fn cores() -> f64 {
    let cores = std::thread::available_parallelism().expect("cores");
    u32::try_from(cores.get()).map_or(f64::NAN, f64::from)
}

/// A number of an answer.
pub fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// The arguments of a `run` whose answer has [`TOKENS`] tokens of a model without meaning.
pub fn run_of(model: &str) -> Vec<String> {
    let tokens = TOKENS.to_string();
    let words = ["run", "-m", model, "--ctx-size", "1024", "--raw", "--json", "--temperature", "0"];
    let end = ["--ignore-eos", "--max-tokens", &tokens, "hello"];
    words.iter().chain(&end).map(|&word| word.to_owned()).collect()
}

/// The same request as [`run_of`] makes, as the worker's own socket takes it.
pub fn completion() -> String {
    serde_json::json!({
        "prompt": "hello", "temperature": 0, "ignore_eos": true, "max_tokens": TOKENS,
    })
    .to_string()
}

/// A token's time in the answer to [`completion`], in milliseconds as the engine times it.
///
/// # Panics
/// When the answer does not say.
pub fn token_ms_of_stream(lines: impl Iterator<Item = String>) -> f64 {
    lines
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
        .find_map(|chunk: Value| {
            chunk.get("timings").filter(|timings| timings.is_object()).map(token_ms)
        })
        .expect("the worker says how long it took")
}

/// A token's time in an answer of the program, in milliseconds as the engine times it.
///
/// # Panics
/// As [`watch`].
pub fn token_ms_of_run(child: Child) -> f64 {
    let mut ms = f64::NAN;
    watch(child, |event| {
        if event.get("event").is_some_and(|name| name == "done") {
            ms = event.get("timings").map_or(f64::NAN, token_ms);
        }
    });
    ms
}

fn token_ms(timings: &Value) -> f64 {
    // The first token comes out of the prefill.
    timings.get("decode_ms").map_or(f64::NAN, number) / f64::from(TOKENS - 1)
}

/// Shows each event of a program that runs as it arrives, until the program ends.
///
/// # Panics
/// When it prints something else, or fails.
pub fn watch(mut child: Child, mut look: impl FnMut(&Value)) {
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    for line in lines.map_while(Result::ok) {
        look(&serde_json::from_str(&line).expect("NDJSON"));
    }
    assert!(child.wait().expect("it ends").success());
}

/// The share of a token's time, on all cores, that the processes compute whose time `spent_ns`
/// tells: from the first token of an answer to the last.
///
/// # Panics
/// As [`watch`].
pub fn processor_share(child: Child, spent_ns: impl Fn() -> u64) -> f64 {
    let (mut count, mut first, mut spent, mut token) = (0, 0, 0, f64::NAN);
    watch(child, |event| match event.get("event").and_then(Value::as_str) {
        Some("token") => {
            count += 1;
            if count == 1 {
                first = spent_ns();
            } else if count == TOKENS {
                spent = spent_ns().saturating_sub(first);
            }
        }
        Some("done") => token = event.get("timings").map_or(f64::NAN, token_ms),
        _ => {}
    });
    ms(Duration::from_nanos(spent)) / f64::from(TOKENS - 1) / token / cores()
}

/// Decode speed some way against the worker's own socket.
#[derive(Debug, Clone, Copy)]
pub struct Compared {
    /// Tokens a second from the worker's own socket.
    pub alone: f64,
    /// That way's speed, of that.
    pub ratio: f64,
    /// Where the true ratio lies at 95 %.
    pub interval: (f64, f64),
}

/// Measures each way beside `direct` in turn, so that a busy machine slows all of them, in an order
/// that rotates. All give a token's time in milliseconds.
pub fn compare<const WAYS: usize>(
    direct: &dyn Fn() -> f64,
    ways: [&dyn Fn() -> f64; WAYS],
) -> [Compared; WAYS] {
    let (mut ratios, mut alone) = (ways.map(|_| Vec::new()), Vec::new());
    for round in 0..PAIRS {
        let mut times = ways.map(|_| f64::NAN);
        let mut of_direct = f64::NAN;
        for place in 0..=WAYS {
            let which = (place + round) % (WAYS + 1);
            match (times.get_mut(which), ways.get(which)) {
                (Some(time), Some(way)) => *time = way(),
                _ => of_direct = direct(),
            }
        }
        alone.push(1e3 / of_direct);
        for (ratios, time) in ratios.iter_mut().zip(times) {
            ratios.push(of_direct / time);
        }
    }
    let alone = median(alone);
    ratios.map(|ratios| {
        let interval = interval_of_the_median(ratios.clone());
        Compared { alone, ratio: median(ratios), interval }
    })
}
