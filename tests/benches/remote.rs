//! What a hive over SSH costs, on machines of a lab: a warm answer against `ssh HOST true`, the
//! upload against `scp`, twenty hives against one, a message's way, and streaming.
//!
//! `sudo cargo bench --workspace --bench remote`, or with `-- upload` that part alone; needs what
//! scripts/lab needs, and curl. Both sides of a ratio are measured in turn in one run.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends where it cannot measure"
)]

use rbee_tests::bench::{self, Compared, median, number, timed};
use rbee_tests::sandbox::finish;
use rbee_tests::{Fleet, procs, synthetic};

const WARM_PAIRS: usize = 25;
const UPLOADS: usize = 5;
const HIVES: usize = 20;

fn main() {
    bench::run(&[("warm", warm), ("upload", upload), ("many", many), ("streaming", streaming)]);
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

/// Decode speed over SSH against the worker's own socket, read by `curl` beside it, as the engine
/// itself times it; and what agent, sshd and keeper compute for each token, which is the most that
/// the engine can lose to them.
fn streaming() {
    // The disk holds two programs and the model.
    let Some(fleet) = Fleet::up_with_disks("2g", &[("a", "")], "") else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let model = dir.path().join("half-billion.gguf");
    synthetic::write(&model, &synthetic::HALF_BILLION).expect("a model of 0.5B shape");
    fleet.give("a", &model, "/home/rbee/model.gguf");
    let _ = fleet.add("a");
    let run = bench::run_of("file:/home/rbee/model.gguf");
    let run: Vec<&str> = run.iter().map(String::as_str).collect();
    let _ = fleet.rbee(&run).expect_code(0);
    let direct = direct_line(&fleet);
    let direct_ms = || {
        // As the user that the worker belongs to, and past SSH.
        let as_user = ["setpriv", "--reuid=rbee", "--clear-groups", "sh", "-c", &direct];
        let answer = fleet.lab.exec("a", &as_user).expect_code(0).stdout;
        bench::token_ms_of_stream(answer.lines().map(str::to_owned))
    };
    let whole_way = || bench::token_ms_of_run(fleet.spawn(&run));
    // What the machine allows: on loopback both ends of SSH compute where the engine does.
    let plain = || {
        let answer = fleet.lab.ssh("a", &direct).expect_code(0).stdout;
        bench::token_ms_of_stream(answer.lines().map(str::to_owned))
    };
    let [ours, ssh] = bench::compare(&direct_ms, [&whole_way, &plain]);
    println!("0.5B shape, Q8_0, decode             worker alone {:.1} tokens/s", ours.alone);
    for (name, Compared { ratio, interval: (low, high), .. }) in
        [("over SSH", ours), ("by `ssh HOST curl`", ssh)]
    {
        println!("{name:36} median {ratio:.4} of that, 95 % interval {low:.4} to {high:.4}");
    }
    let share = |_| bench::processor_share(fleet.spawn(&run), way_cpu_ns);
    println!(
        "streaming over SSH, processor time   median {:6.2} % of a token's time on all cores",
        median((0..bench::ACCOUNTED).map(share).collect()) * 100.0
    );
}

/// Asks the one worker there by its own socket.
fn direct_line(fleet: &Fleet) -> String {
    let workers = fleet.workers();
    let id = workers[0]["id"].as_str().expect("an id");
    let socket = format!("/home/rbee/.local/state/rbee/run/w/{id}/e.sock");
    let body = bench::completion();
    format!("curl -sSN --unix-socket {socket} -d '{body}' http://hive/v1/completions")
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
    // The first start installs the program for the keeper itself, too; that is done once for all.
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
