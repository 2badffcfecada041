//! A hive is the same by every way to it: this machine's socket, rbee's SSH, the person's `ssh`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "what goes wrong here is a failed test"
)]

use std::io::Read;
use std::process::Child;
use std::time::{Duration, Instant};

use rbee_tests::sandbox::{Finished, finish};
use rbee_tests::terminal::CTRL_C;
use rbee_tests::{Fleet, Terminal, wait_until};

const QUESTION: &str = "What is a hive?";
/// The same question as one word of a shell's line.
const QUOTED: &str = "'What is a hive?'";
/// How long what should take a moment may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// What makes an answer last.
const ENDLESS: [&str; 5] = ["--ignore-eos", "--max-tokens", "1900", "--temperature", "2"];

/// How a hive is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Through this machine's own socket.
    Socket,
    /// By the SSH that is part of the program.
    BuiltIn,
    /// By the person's `ssh`.
    System,
}

/// Makes of each claim a test for every way.
macro_rules! by_every_way {
    ($($claim:ident),* $(,)?) => {
        by_every_way!(in socket, Socket, $($claim),*);
        by_every_way!(in built_in, BuiltIn, $($claim),*);
        by_every_way!(in system, System, $($claim),*);
    };
    (in $name:ident, $way:ident, $($claim:ident),*) => {
        mod $name {
            $(
                #[test]
                fn $claim() {
                    if let Some(place) = super::Place::by(super::Way::$way) {
                        super::$claim(&place);
                    }
                }
            )*
        }
    };
}

by_every_way!(
    every_command_tells_the_same_of_it,
    ctrl_c_at_a_terminal_and_a_killed_keeper_free_the_slot,
    a_killed_engine_is_named_and_what_came_is_kept,
    a_killed_agents_worker_is_adopted_by_the_next_one,
    an_agent_that_does_not_react_is_told_in_time_and_ended_by_down,
    requests_at_once_share_a_worker_and_refusals_have_their_exit_codes,
);

/// A keeper and one hive.
struct Place {
    fleet: Fleet,
    way: Way,
}

impl Place {
    /// A hive that is reached by `way`; the machine itself is another one than the keeper's where
    /// it can be.
    fn by(way: Way) -> Option<Self> {
        let config = if way == Way::System { "[ssh]\nclient = \"system\"\n" } else { "" };
        let fleet = Fleet::up(&[("a", "")], config)?;
        if way != Way::Socket {
            let _ = fleet.add("a");
        }
        Some(Self { fleet, way })
    }

    fn hive(&self) -> &'static str {
        if self.way == Way::Socket { "local" } else { "a" }
    }

    fn machine(&self) -> &'static str {
        if self.way == Way::Socket { "keeper" } else { "a" }
    }

    /// Asks the demo model of the hive with more options.
    fn ask(&self, options: &[&str]) -> Finished {
        self.fleet.rbee(&[&["run", "-m", "demo"], options, &[QUESTION]].concat())
    }

    /// Whether the next answer is of the worker that was there before.
    #[track_caller]
    fn is_warm(&self) -> bool {
        let placed = self.ask(&["--json"]).expect_code(0).json_lines()[0].clone();
        assert_eq!(placed["hive"], self.hive());
        placed["reused"].as_bool().expect("it says so")
    }

    /// An endless answer of which the first byte has come.
    fn streaming(&self) -> Child {
        let args = [&["run", "-m", "demo"], &ENDLESS[..], &[QUESTION]].concat();
        let mut child = self.fleet.spawn(&args);
        let mut first = [0u8; 1];
        child.stdout.as_mut().expect("a pipe").read_exact(&mut first).expect("a byte");
        child
    }

    fn wait_until_idle(&self) {
        wait_until("the slot is free", PATIENCE, || {
            (self.fleet.workers().first()?["state"] == "ready").then_some(())
        });
    }

    fn wait_until_gone(&self, pid: &str) {
        wait_until("the process is gone", PATIENCE, || {
            let is_there = |line: &String| line.starts_with(&format!("{pid} "));
            (!self.fleet.lab.ps(self.machine()).iter().any(is_there)).then_some(())
        });
    }
}

fn every_command_tells_the_same_of_it(place: &Place) {
    let fleet = &place.fleet;
    assert!(!place.is_warm());
    assert!(place.is_warm());
    let greedy = ["--temperature", "0"];
    let text = place.ask(&greedy).expect_code(0).stdout;
    let workers = fleet.workers();
    assert_eq!((workers.len(), &workers[0]["hive"]), (1, &place.hive().into()), "{workers:?}");
    let pid = fleet.pid(place.machine(), "worker serve");
    assert_eq!(workers[0]["pid"].to_string(), pid, "its number there");
    let doctor: &[&str] =
        if place.way == Way::Socket { &["doctor"] } else { &["hive", "doctor", "a"] };
    let checked = fleet.rbee(doctor).expect_code(0);
    assert!(checked.stdout.contains("0 network sockets"), "{}", checked.stdout);
    let listeners = fleet.lab.listeners(place.machine());
    assert!(listeners.iter().all(|line| line.contains(":22 sshd")), "{listeners:?}");
    let id = workers[0]["id"].as_str().expect("an id");
    let _ = fleet.rbee(&["worker", "stop", id]).expect_code(0);
    assert!(fleet.workers().is_empty());
    place.wait_until_gone(&pid);
    assert!(!place.is_warm());
    let own = place.ask(&[&greedy[..], &["--hive", "local"]].concat()).expect_code(0);
    assert_eq!(own.stdout, text, "the same bytes as of this machine");
    let _ = fleet.rbee(&["down"]).expect_code(0);
    for machine in ["keeper", "a"] {
        assert_eq!(fleet.processes(machine), Vec::<String>::new());
    }
}

fn ctrl_c_at_a_terminal_and_a_killed_keeper_free_the_slot(place: &Place) {
    let fleet = &place.fleet;
    assert!(!place.is_warm());
    let args = [&["run", "-m", "demo"], &ENDLESS[..], &[QUOTED]].concat();
    // Every process of the terminal hears it, an `ssh` too.
    let mut terminal = Terminal::start(fleet, &args);
    terminal.shows(" ");
    terminal.types(CTRL_C);
    let (code, shown) = terminal.ends();
    assert_eq!(code, Some(130), "{shown}");
    assert!(!shown.contains("error"), "{shown}");
    assert_eq!(fleet.workers()[0]["active"], 0, "the slot was free before the command ended");

    let child = place.streaming();
    fleet.signal("KILL", "keeper", "bin/rbee run");
    let _ = finish(child);
    place.wait_until_idle();
    assert!(place.is_warm());
}

fn a_killed_engine_is_named_and_what_came_is_kept(place: &Place) {
    let fleet = &place.fleet;
    let child = place.streaming();
    fleet.signal("KILL", place.machine(), "worker serve");
    let ended = finish(child).expect_code(22);
    assert!(ended.stderr.contains("signal 9"), "{}", ended.stderr);
    assert!(ended.stderr.contains("/.local/state/rbee/partial/"), "{}", ended.stderr);
    assert!(place.is_warm(), "it is started again by itself");
}

fn a_killed_agents_worker_is_adopted_by_the_next_one(place: &Place) {
    let fleet = &place.fleet;
    let child = place.streaming();
    let engine = fleet.pid(place.machine(), "worker serve");
    let agent = fleet.signal("KILL", place.machine(), "agent serve");
    let ended = finish(child).expect_code(10);
    assert!(ended.stderr.contains("partial"), "{}", ended.stderr);
    assert!(place.is_warm(), "adopted, not reloaded");
    assert_eq!(fleet.pid(place.machine(), "worker serve"), engine);
    assert_ne!(fleet.pid(place.machine(), "agent serve"), agent);
}

fn an_agent_that_does_not_react_is_told_in_time_and_ended_by_down(place: &Place) {
    let fleet = &place.fleet;
    assert!(!place.is_warm());
    let shorter = "[timings]\nheartbeat_ms = 300\nstale_ms = 2000\ndead_ms = 6000\n";
    fleet.configure(&format!("{}\n{shorter}", fleet.config()));
    let answering = place.streaming();
    let agent = fleet.signal("STOP", place.machine(), "agent serve");
    // Its machine and its socket are there; nothing but its own words can tell.
    let frozen = Instant::now();
    for asked in [finish(answering), place.ask(&[])] {
        let said = asked.expect_code(10).stderr;
        assert!(said.contains("does not answer any more"), "{said}");
    }
    eprintln!("two requests ended {:?} after their agent froze", frozen.elapsed());
    assert!(frozen.elapsed() < PATIENCE, "{:?}", frozen.elapsed());
    let down = fleet.rbee(&["down"]).expect_code(0);
    assert!(down.stderr.contains(&format!("process {agent}")), "{}", down.stderr);
    assert_eq!(fleet.processes(place.machine()), Vec::<String>::new());
    assert!(!place.is_warm());
}

fn requests_at_once_share_a_worker_and_refusals_have_their_exit_codes(place: &Place) {
    let fleet = &place.fleet;
    let args = ["run", "-m", "demo", "--temperature", "0", QUESTION];
    let children: Vec<_> = (0..4).map(|_| fleet.spawn(&args)).collect();
    let answers: Vec<_> =
        children.into_iter().map(|child| finish(child).expect_code(0).stdout).collect();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    let _ = fleet.pid(place.machine(), "worker serve");
    let long = vec!["word"; 5000].join(" ");
    let cases: [(&[&str], i32); 5] = [
        (&["-m", "file:/no/such.gguf"], 20),
        (&["-m", "demo", "--device", "cuda:0"], 21),
        (&["-m", "demo", &long], 24),
        (&["-m", "demo", "--deadline", "1ms"], 124),
        (&["-m", "demo", "--hive", "nobody"], 10),
    ];
    for (options, code) in cases {
        let refused = fleet.rbee(&[&["run"], options, &[QUESTION]].concat()).expect_code(code);
        assert!(refused.stderr.contains("error"), "{code}: {}", refused.stderr);
    }
    assert!(place.is_warm(), "none of them harmed it");
}
