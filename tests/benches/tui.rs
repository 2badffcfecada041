//! What the TUI costs: its first frame, a key beside answers that stream, and its processor time
//! alone and with a hundred hives.
//!
//! `cargo bench --workspace --bench tui` on any machine, or with `-- keys` and the like for a part.
//! The hundred hives are a hundred SSH connections to one host of a lab, whose agent sends each of
//! them what its eight devices do, at 1 Hz; they need what scripts/lab needs. Keys are timed from
//! the write to the terminal until a person would see them. What reads the screen here and the
//! system's terminals are part of that, so each key is given to `cat` in a second terminal as well,
//! beside the same answers: that is what the machine takes for a key when no program adds to it.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends where it cannot measure"
)]

use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use rbee_tests::bench::{self, median, ms};
use rbee_tests::synthetic::Shape;
use rbee_tests::{Fleet, Sandbox, Seat, procs, synthetic};

const STARTS: usize = 30;
const KEYS: usize = 400;
/// Answers that stream at once.
const LANES: usize = 4;
/// Columns and rows of the screen beside which keys are timed.
const SCREEN: (u16, u16) = (160, 50);
/// The row of what is written, above a frame and two lines.
const WRITTEN: u16 = SCREEN.1 - 4;
/// The row of the lanes' figures, above a rule.
const FIGURES: u16 = WRITTEN - 2;
const HIVES: usize = 100;
/// GPUs of each hive; with its CPU they are eight devices.
const GPUS: usize = 7;
/// How long processor time is counted.
const SPAN: Duration = Duration::from_secs(30);

fn main() {
    bench::run(&[
        ("frame", frame),
        ("keys", keys),
        ("flood", flood),
        ("idle", idle),
        ("hundred", hundred),
        ("memory", memory),
    ]);
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

/// From a key to the frame that shows it, while four answers of a small real model stream.
fn keys() {
    keys_beside(&synthetic::HALF_BILLION);
}

/// The same beside answers that come as fast as all programs on their way can take them.
fn flood() {
    keys_beside(&synthetic::TINY);
}

fn keys_beside(shape: &Shape) {
    let sandbox = Sandbox::new();
    write_config(&sandbox, &four_models(&sandbox, shape));
    let mut seat = Seat::at(&sandbox, SCREEN.0, SCREEN.1);
    seat.shows("1 Hives");
    // F5, each of the models by its name, Enter.
    seat.types("\u{1b}[15~");
    for lane in 0..LANES {
        seat.types(&format!("lane{lane} "));
        seat.shows(&format!("{} marked", lane + 1));
        seat.types(&"\u{7f}".repeat("lane0".len()));
    }
    seat.types("\r");
    seat.shows(&format!("comparing {LANES}"));
    let mut echo = Seat::with_echo(&sandbox);
    let mut times = Vec::new();
    while times.len() < KEYS {
        // Alt-N: each round is a conversation of its own, so that no context fills up.
        seat.until_in_row(FIGURES, |row| (streams(row) == 0).then_some(()));
        seat.types("\u{15}\u{1b}n");
        seat.until_in_row(WRITTEN, |row| written(row).is_empty().then_some(()));
        seat.types("go\r");
        seat.until_in_row(FIGURES, |row| (streams(row) == LANES).then_some(()));
        time_keys(&mut seat, &mut echo, &mut times);
    }
    let (shown, given_back): (Vec<f64>, Vec<f64>) = times.into_iter().unzip();
    for (what, times) in [("key to frame", shown), ("key through `cat`", given_back)] {
        println!(
            "{what:<17}, {LANES} answers stream   median {:6.1} ms   p99 {:6.1} ms   \
             worst {:6.1} ms",
            median(times.clone()),
            percentile(times.clone(), 99),
            percentile(times, 100)
        );
    }
}

/// An engine computes one answer at a time: so each answer has a model, and a worker, of its own.
fn four_models(sandbox: &Sandbox, shape: &Shape) -> String {
    let mut config = "[run]\nctx_size = 4096\n[aliases]\n".to_owned();
    let file = sandbox.home().join("model.gguf");
    synthetic::write(&file, shape).expect("a model");
    for lane in 0..LANES {
        let model = sandbox.home().join(format!("lane{lane}.gguf"));
        std::fs::hard_link(&file, &model).expect("another name");
        writeln!(config, "lane{lane} = \"file:{}\"", model.display()).expect("room");
    }
    config
}

fn write_config(sandbox: &Sandbox, text: &str) {
    let path = sandbox.home().join(".config/rbee/config.toml");
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    std::fs::write(path, text).expect("written");
}

/// Times keys, as long as all answers stream: until they are seen, and until `cat` gave them back.
fn time_keys(seat: &mut Seat, echo: &mut Seat, times: &mut Vec<(f64, f64)>) {
    let mut typed = String::new();
    for number in 0.. {
        if times.len() == KEYS {
            return;
        }
        // Keys come at every phase of the frames that nobody asked for.
        seat.watches(Duration::from_millis(number * 7 % 41));
        // A line that is full would go on below.
        if typed.len() > 60 {
            typed.clear();
            seat.types("\u{15}");
            seat.until_in_row(WRITTEN, |row| written(row).is_empty().then_some(()));
        }
        let key = char::from(b'A' + u8::try_from(number % 26).unwrap_or(0));
        typed.push(key);
        let began = Instant::now();
        seat.types(&key.to_string());
        // The whole of what is written: no key is seen before it was typed.
        seat.until_in_row(WRITTEN, |row| (written(row) == typed).then_some(()));
        let took = ms(began.elapsed());
        if streams(&seat.row(FIGURES)) < LANES {
            return;
        }
        times.push((took, given_back(echo, &typed, key)));
    }
}

/// How long `cat` takes for a key.
fn given_back(echo: &mut Seat, typed: &str, key: char) -> f64 {
    if typed.len() == 1 {
        // Its screen is cleared by what it gives back.
        echo.types("\u{1b}[2J\u{1b}[H");
        echo.until_in_row(0, |row| row.trim().is_empty().then_some(()));
    }
    let began = Instant::now();
    echo.types(&key.to_string());
    echo.until_in_row(0, |row| (row.trim() == typed).then_some(()));
    ms(began.elapsed())
}

/// What is written, of its row.
fn written(row: &str) -> &str {
    row.trim_matches(|c: char| c.is_whitespace() || c == '│' || c == '›')
}

/// Answers that stream, of the row of their figures.
fn streams(row: &str) -> usize {
    row.matches("tok/s").count() + row.matches("tokens/s").count()
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
    give_gpus(&fleet);
    let _ = fleet.rbee(&["hive", "start", "h0"]).expect_code(0);
    let mut seat = Seat::in_lab(&fleet, SCREEN.0, SCREEN.1);
    // Connections that sshd turned away at first are made again after a while.
    seat.shows_within(&format!("{HIVES} of {HIVES} online"), Duration::from_secs(100));
    seat.shows(&format!("cuda:{}", GPUS - 1));
    let pid = tui_of(&fleet);
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
    seat.watches(SPAN);
    report("100 hives at 1 Hz", (spent() - before) * 10_000_000, began.elapsed());
    println!("memory, 100 hives                 {memory}, {SPAN:?} later {}", resident());
}

/// Gives the host a program that tells of GPUs what changes each second.
fn give_gpus(fleet: &Fleet) {
    let script = format!(
        "#!/bin/sh\ncase $1 in *compute-apps*) exit;; esac\nnow=$(date +%s)\n\
         for gpu in $(seq 0 {}); do\n\
         echo \"$gpu, GPU-$gpu, NVIDIA A100-SXM4-80GB, 550.1, 81920, $((now * 97 % 70000)), \
         $((now * (gpu + 3) % 100)), $((40 + (now + gpu) % 40)), $((90 + now % 200)).50, 400.00, \
         Disabled\"\ndone\n",
        GPUS - 1
    );
    let home = Sandbox::new();
    let file = home.home().join("nvidia-smi");
    std::fs::write(&file, script).expect("written");
    let program = "/usr/local/bin/nvidia-smi";
    fleet.give("a", &file, program);
    let _ = fleet.lab.exec("a", &["chmod", "755", program]).expect_code(0);
}

/// The number of the TUI, on the keeper's machine.
fn tui_of(fleet: &Fleet) -> String {
    let all = fleet.lab.ps("keeper");
    let is_tui = |line: &&String| line.split(' ').skip(3).collect::<String>() == "bin/rbee";
    let line = all.iter().find(is_tui).expect("the TUI runs");
    line.split(' ').next().expect("its number").to_owned()
}

/// Memory over an hour of a hundred hives, whose events are taken as fast as it goes. Only the
/// keeper's own tests reach the path that they take there.
fn memory() {
    let test = "tui::tests::the_process_that_lives_for_an_hour";
    let build = ["test", "--release", "--quiet", "-p", "rbee", "--lib", "--", "--exact", test];
    let ran = Command::new(env!("CARGO")).args(build).args(["--ignored", "--nocapture"]).output();
    let ran = ran.expect("cargo runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    for line in said.lines().filter(|line| line.starts_with("memory, ")) {
        println!("{line}");
    }
    assert!(ran.status.success(), "{said}");
}

fn report(what: &str, spent_ns: u64, span: Duration) {
    let share = ms(Duration::from_nanos(spent_ns)) / ms(span) * 100.0;
    println!(
        "processor time, {what:<17} {share:5.2} % of one core over {:.0} s",
        span.as_secs_f64()
    );
}
