//! More of everything than there is: requests, connections, descriptors, busy cores, a full disk.
//!
//! The suite's form is short; with `RBEE_LOAD=long` in the environment it takes the real times.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "what goes wrong here is a failed test"
)]

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rbee_tests::procs::{self, Role};
use rbee_tests::sandbox::{PATIENCE, finish};
use rbee_tests::watcher::Watcher;
use rbee_tests::{Fleet, Sandbox, http, wait_until};
use rustix::process::{Resource, Rlimit};

const QUESTION: &str = "What is a hive?";
/// Bytes by which a process may differ from what it was before: what allocators keep.
const KEPT_BYTES: u64 = 48 * 1024 * 1024;

/// How long: in the suite, and by the design.
fn time(short: u64, long: u64) -> Duration {
    Duration::from_secs(if is_long() { long } else { short })
}

fn is_long() -> bool {
    std::env::var_os("RBEE_LOAD").is_some_and(|value| value == "long")
}

fn greedy(sandbox: &Sandbox) -> String {
    let args = ["run", "-m", "demo", "--temperature", "0", QUESTION];
    sandbox.rbee(&args).expect_code(0).stdout
}

/// Computes on every core until it is dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn all_cores() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        for _ in 0..2 * cores {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(stop)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn with_every_core_busy_heartbeats_hold_and_requests_complete() {
    let sandbox = Sandbox::new();
    let text = greedy(&sandbox);
    let watcher = Watcher::start(sandbox.command(&["ps", "--watch", "--json"]));
    let online = watcher.online("local", PATIENCE);
    let busy = Busy::all_cores();
    let (began, mut answers) = (Instant::now(), 0);
    while began.elapsed() < time(15, 60) {
        assert_eq!(greedy(&sandbox), text);
        answers += 1;
    }
    eprintln!("{answers} answers with every core busy, {:?} each", began.elapsed() / answers);
    assert_eq!(watcher.lapses("local", online), 0, "it was heard all the time");
    drop(busy);
    drop(watcher);
    sandbox.down();
}

/// What a process has: bytes and descriptors.
fn held(pid: i32) -> (u64, usize) {
    (procs::resident_bytes(pid).expect("it runs"), procs::descriptors(pid))
}

fn chat_route(sandbox: &Sandbox) -> String {
    let workers = sandbox.workers();
    let id = workers[0]["id"].as_str().expect("an id");
    wire::routes::with_id(wire::routes::WORKER_CHAT, id)
}

const CHAT: &[u8] = br#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":1}"#;

/// How many of so many requests at once were answered, refused with a known code, and closed.
fn burst(socket: &Path, route: &str, count: usize) -> (usize, usize, usize) {
    let (mut answered, mut refused, mut closed) = (0, 0, 0);
    let asked: Vec<Option<UnixStream>> =
        (0..count).map(|_| http::open(socket, "POST", route, CHAT).ok()).collect();
    for stream in asked {
        let response = stream.and_then(|stream| http::read(stream).ok());
        match response.map(|response| (response.status, response.error_code())) {
            Some((200, _)) => answered += 1,
            Some((0, _)) | None => closed += 1,
            Some((_, code)) => {
                assert!(["QUEUE_FULL", "RATE_LIMITED"].contains(&code.as_str()), "{code}");
                refused += 1;
            }
        }
    }
    (answered, refused, closed)
}

fn allow_descriptors(count: u64) {
    let Rlimit { maximum, .. } = rustix::process::getrlimit(Resource::Nofile);
    let current = Some(maximum.map_or(count, |most| most.min(count)));
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current, maximum }).expect("a limit");
}

#[test]
fn a_spike_of_requests_is_answered_or_refused_and_leaves_nothing_behind() {
    allow_descriptors(4096);
    let sandbox = Sandbox::new();
    let _ = greedy(&sandbox);
    let (agent, route, socket) =
        (sandbox.pid_of(Role::Agent), chat_route(&sandbox), sandbox.agent_socket());
    assert_eq!(burst(&socket, &route, 100), (100, 0, 0));
    let before = held(agent);
    let began = Instant::now();
    let (answered, refused, closed) = burst(&socket, &route, 2000);
    eprintln!(
        "of 2000 at once {answered} were answered, {refused} refused, {closed} closed in {:?}",
        began.elapsed()
    );
    assert!(answered >= 100, "those that had a place");
    let ended = Instant::now();
    assert_eq!(burst(&socket, &route, 100), (100, 0, 0), "as before the spike");
    wait_until("its descriptors are closed", PATIENCE, || {
        (held(agent).1 <= before.1 + 4).then_some(())
    });
    eprintln!("after the spike all was as before within {:?}", ended.elapsed());
    let after = held(agent);
    assert!(after.0 <= before.0 + KEPT_BYTES, "{before:?} {after:?}");
    assert_eq!(sandbox.pid_of(Role::Agent), agent, "it is the same agent");
    sandbox.down();
}

#[test]
fn generating_without_end_takes_no_more_memory() {
    let sandbox = Sandbox::new();
    let _ = greedy(&sandbox);
    let pids =
        [sandbox.pid_of(Role::Agent), sandbox.pid_of(Role::Guard), sandbox.pid_of(Role::Engine)];
    let all = time(20, 600);
    let (began, mut warm, mut answers) = (Instant::now(), None, 0);
    while began.elapsed() < all {
        let args = ["run", "-m", "demo", "--ignore-eos", "--max-tokens", "1900", QUESTION];
        let _ = sandbox.rbee(&args).expect_code(0);
        answers += 1;
        if warm.is_none() && began.elapsed() > all / 4 {
            warm = Some(pids.map(held));
        }
    }
    let (warm, end) = (warm.expect("it warmed up"), pids.map(held));
    eprintln!("{answers} answers of 1900 tokens; bytes and descriptors {warm:?}, then {end:?}");
    for (before, after) in warm.iter().zip(end) {
        assert!(after.0 <= before.0 + KEPT_BYTES / 3, "{before:?} {after:?}");
        assert!(after.1 <= before.1 + 2, "{before:?} {after:?}");
    }
    sandbox.down();
}

/// Bytes that are taken, page by page, and given back when it is dropped.
fn memory(bytes: usize) -> Vec<u8> {
    let mut taken = vec![0u8; bytes];
    taken.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    taken
}

/// Of the memory that nobody uses, nine tenths; in the short form at most 1 GiB.
fn much_memory() -> usize {
    let info = std::fs::read_to_string("/proc/meminfo").expect("figures");
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:")).expect("a line");
    let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("KiB");
    let nine_tenths = kib * 1024 / 10 * 9;
    if is_long() { nine_tenths } else { nine_tenths.min(1 << 30) }
}

/// Opens a thousand connections to the agent of a host, as its own user, and says so.
const CROWD: &str = r#"
import resource, socket, sys
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
crowd = [socket.socket(socket.AF_UNIX) for _ in range(1000)]
for one in crowd:
    one.connect("/home/rbee/.local/state/rbee/run/agent.sock")
print("ready", flush=True)
sys.stdin.read()
"#;

/// The crowd of a host; it leaves when it is dropped.
struct Crowd(Child);

impl Crowd {
    fn come(fleet: &Fleet, host: &str) -> Self {
        let python = ["exec", host, "setpriv", "--reuid=rbee", "--clear-groups", "python3", "-c"];
        let mut command = fleet.lab.command(&[&python[..], &[CROWD]].concat());
        let mut child = command.stdin(Stdio::piped()).spawn().expect("a crowd");
        let mut ready = [0; 5];
        child.stdout.as_mut().expect("a pipe").read_exact(&mut ready).expect("it came");
        Self(child)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn everything_short_at_once_and_then_everything_is_as_before() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let _ = fleet.add("a");
    let ask = ["run", "-m", "demo", "--temperature", "0", QUESTION];
    let text = fleet.rbee(&ask).expect_code(0).stdout;
    let inmates = procs::inmates(&fleet.lab.namespace("a"));
    let agent = inmates.iter().find(|one| one.role == Role::Agent).expect("an agent").pid;
    let before = held(agent);
    let began = Instant::now();
    // One after the other, and at last all together.
    for what in ["cores", "memory", "disk", "descriptors and connections", "all"] {
        let is = |one: &str| what == one || what == "all";
        let busy = is("cores").then(Busy::all_cores);
        let taken = is("memory").then(|| memory(much_memory()));
        if is("disk") {
            fleet.lab.fill_disk("a");
        }
        let crowd = is("descriptors and connections").then(|| Crowd::come(&fleet, "a"));
        if crowd.is_some() {
            wait_until("they are all there", PATIENCE, || {
                (procs::descriptors(agent) > 900).then_some(())
            });
        }
        let asked = Instant::now();
        let said = fleet.rbee(&ask);
        eprintln!("short of {what}: exit code {:?} after {:?}", said.code, asked.elapsed());
        // It is answered, or it is said why not; never anything else.
        assert!(said.code == Some(0) || said.stderr.contains("hint:"), "{what}: {said:?}");
        assert!(said.code != Some(0) || said.stdout == text, "{what}: {said:?}");
        drop((busy, taken, crowd));
        fleet.lab.free_disk("a");
        let freed = Instant::now();
        wait_until("it answers as before", PATIENCE, || {
            let again = finish(fleet.spawn(&ask));
            (again.code == Some(0) && again.stdout == text).then_some(())
        });
        eprintln!("after it was short of {what} it answered within {:?}", freed.elapsed());
    }
    wait_until("its descriptors are closed", PATIENCE, || {
        (held(agent).1 <= before.1 + 4).then_some(())
    });
    let after = held(agent);
    assert!(after.0 <= before.0 + KEPT_BYTES, "{before:?} {after:?}");
    eprintln!("all shortages took {:?}; the agent is the same one", began.elapsed());
    let _ = fleet.rbee(&["down"]).expect_code(0);
    assert_eq!(fleet.processes("a"), Vec::<String>::new());
}
