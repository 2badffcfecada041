//! What the TUI costs: its first frame, a key beside answers that stream, and its processor time
//! alone and with a hundred hives.
//!
//! `cargo bench --workspace --bench tui` on any machine; the hundred hives are a hundred SSH
//! connections to one host of a lab, each with the agent's events at 1 Hz, and need what
//! scripts/lab needs. Keys are timed from the write to the terminal until a person would see them:
//! what reads the screen here is part of the figure.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends where it cannot measure"
)]

use std::fmt::Write as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use rbee_tests::bench::{self, median, ms};
use rbee_tests::{Fleet, Sandbox, Seat, Terminal, procs, synthetic};

const STARTS: usize = 30;
const KEYS: usize = 400;
const HIVES: usize = 100;
/// How long processor time is counted.
const SPAN: Duration = Duration::from_secs(30);
/// Ctrl-Q.
const QUIT: &str = "\u{11}";

fn main() {
    bench::run(&[("frame", frame), ("keys", keys), ("idle", idle), ("hundred", hundred)]);
}

/// The value that so many of a hundred do not exceed.
fn percentile(mut values: Vec<f64>, of_a_hundred: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * of_a_hundred).div_ceil(100).saturating_sub(1);
    values.get(rank).copied().unwrap_or(f64::NAN)
}

/// From the start of the process to its first frame, with ten hives that cannot be reached: half
/// of them say nothing, the others have names that nobody knows.
fn frame() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("its address");
    let config = (0..5).fold(String::new(), |mut config, n| {
        let says_nothing = format!("[hives.s{n}]\naddress = \"ada@{address}\"\n");
        writeln!(config, "{says_nothing}[hives.n{n}]\naddress = \"n{n}.invalid\"").expect("room");
        config
    });
    let sandbox = Sandbox::with_config(&config);
    let times: Vec<f64> = (0..STARTS)
        .map(|_| {
            let mut seat = Seat::at(&sandbox, 120, 40);
            seat.shows("1 Hives");
            let took = ms(seat.elapsed());
            // A key would be asked what becomes of workers that nobody knows of.
            seat.signal(rustix::process::Signal::TERM);
            let _ = seat.ends();
            took
        })
        .collect();
    let most = percentile(times.clone(), 100);
    println!(
        "first frame, 10 hives not there   median {:6.1} ms   worst {most:6.1} ms",
        median(times)
    );
}

/// From a key to the frame that shows it, while four lanes stream.
fn keys() {
    let sandbox = Sandbox::new();
    let model = sandbox.home().join("stream.gguf");
    synthetic::write(&model, &synthetic::TINY).expect("a small model");
    let config = sandbox.home().join(".config/rbee/config.toml");
    std::fs::create_dir_all(config.parent().expect("a directory")).expect("made");
    let text = format!("default_model = \"file:{}\"\n[run]\nctx_size = 4096\n", model.display());
    std::fs::write(config, text).expect("written");
    let mut seat = Seat::at(&sandbox, 160, 50);
    seat.shows("1 Hives");
    // F5, the first model four times, Enter.
    seat.types("\u{1b}[15~");
    seat.shows("0 marked");
    seat.types(" \u{1b}[C\u{1b}[C\u{1b}[C");
    seat.shows("4 marked");
    seat.types("\rgo\r");
    seat.shows("tok");
    let (mut times, mut typed) = (Vec::new(), String::new());
    for number in 0..KEYS {
        let key = char::from(b'A' + u8::try_from(number % 26).unwrap_or(0));
        typed.push(key);
        // A line that is full goes on below: a new message begins before that.
        if typed.len() > 60 {
            seat.types("\u{15}");
            typed = key.to_string();
        }
        let tail = typed.get(typed.len().saturating_sub(12)..).unwrap_or_default().to_owned();
        let began = Instant::now();
        seat.types(&key.to_string());
        seat.shows(&tail);
        times.push(ms(began.elapsed()));
    }
    println!(
        "key to frame, 4 lanes stream      median {:6.1} ms   p99 {:6.1} ms",
        median(times.clone()),
        percentile(times, 99)
    );
}

/// Processor time with one hive at which nothing happens.
fn idle() {
    let sandbox = Sandbox::new();
    let _ = sandbox.rbee(&["run", "-m", "demo", "hello"]).expect_code(0);
    let mut seat = Seat::at(&sandbox, 120, 40);
    seat.shows("1 of 1 online");
    let (before, began) = (procs::cpu_ns(seat.pid()), Instant::now());
    let resident = procs::resident_bytes(seat.pid()).unwrap_or(0);
    seat.watches(SPAN);
    report("idle", procs::cpu_ns(seat.pid()) - before, began.elapsed());
    println!("memory idle                       {} MiB", resident >> 20);
}

/// Processor time and memory with a hundred hives, each of which says something every second.
fn hundred() {
    let config = (0..HIVES).fold(String::new(), |mut config, number| {
        writeln!(config, "[hives.h{number}]\naddress = \"a\"").expect("room");
        config
    });
    let Some(fleet) = Fleet::up(&[("a", "")], &config) else { return };
    let _ = fleet.rbee(&["hive", "start", "h0"]).expect_code(0);
    let mut tui = Terminal::start(&fleet, &[]);
    tui.shows("Hives");
    let all = fleet.lab.ps("keeper");
    let is_tui = |line: &&String| line.split(' ').skip(3).collect::<String>() == "bin/rbee";
    let line = all.iter().find(is_tui).expect("the TUI runs");
    let pid = line.split(' ').next().expect("its number").to_owned();
    let connected = || {
        let table = fleet.lab.keeper(&["cat", "/proc/net/tcp", "/proc/net/tcp6"]).stdout;
        table.lines().filter(|line| line.contains(":0016 01 ")).count()
    };
    // Connections that sshd turned away at first are made again after a while.
    rbee_tests::wait_until("all hives are there", Duration::from_secs(120), || {
        tui.looks();
        (connected() >= HIVES).then_some(())
    });
    let figure = |file: &str| fleet.lab.keeper(&["cat", &format!("/proc/{pid}/{file}")]).stdout;
    let spent = || {
        // The 14th and 15th field, in hundredths of a second (`proc_pid_stat(5)`).
        let text = figure("stat");
        let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>()
    };
    let resident = || {
        let text = figure("status");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.map(|line| line.trim().to_owned()).unwrap_or_default()
    };
    let (before, memory, began) = (spent(), resident(), Instant::now());
    while began.elapsed() < SPAN {
        tui.looks();
    }
    report("100 hives at 1 Hz", (spent() - before) * 10_000_000, began.elapsed());
    println!("memory, 100 hives                 {memory}, {SPAN:?} later {}", resident());
    tui.types(QUIT);
    let _ = tui.ends();
}

fn report(what: &str, spent_ns: u64, span: Duration) {
    let share = ms(Duration::from_nanos(spent_ns)) / ms(span) * 100.0;
    println!(
        "processor time, {what:<17} {share:5.2} % of one core over {:.0} s",
        span.as_secs_f64()
    );
}
