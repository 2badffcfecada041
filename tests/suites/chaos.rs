//! Misfortunes of the line, of the keeper and of whole hives, each with the time it was noticed in.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "what goes wrong here is a failed test"
)]

use std::io::Read;
use std::process::Child;
use std::time::{Duration, Instant};

use rbee_tests::lab::Cable;
use rbee_tests::procs::{self, Role};
use rbee_tests::sandbox::{PATIENCE, another_build, build_of, finish, program};
use rbee_tests::{Fleet, Sandbox, wait_until};
use rustix::process::Signal;

const QUESTION: &str = "What is a hive?";
/// Waits of a third, so that what takes half a minute takes ten seconds.
const SHORTER: &str = "[timings]\nheartbeat_ms = 1000\nstale_ms = 3300\ndead_ms = 10000\n\
                       reconnect_first_ms = 300\nreconnect_most_ms = 3000\n";
/// A lease that a test can wait for.
const LEASE: Duration = Duration::from_secs(6);
/// What a busy machine may take beyond it.
const SLACK: Duration = Duration::from_secs(20);

/// Answers at once on a narrow line, and the length of each.
const ANSWERS: usize = 3;
const TOKENS: &str = "800";

fn greedy(fleet: &Fleet) -> String {
    let args = ["run", "-m", "demo", "--temperature", "0", QUESTION];
    fleet.rbee(&args).expect_code(0).stdout
}

/// An answer of so many tokens of which the first byte has come.
fn streaming(mut child: Child) -> Child {
    let mut first = [0u8; 1];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut first).expect("a byte");
    child
}

fn endless(tokens: &str) -> [&str; 9] {
    let [run, flag, model] = ["run", "-m", "demo"];
    [run, flag, model, "--temperature", "0", "--ignore-eos", "--max-tokens", tokens, QUESTION]
}

#[test]
fn heartbeats_hold_on_a_narrow_line_while_tokens_flow_at_full_speed() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let _ = fleet.add("a");
    for _ in 0..ANSWERS {
        let _ = fleet.rbee(&["worker", "start", "-m", "demo", "--hive", "a"]).expect_code(0);
    }
    let whole = fleet.rbee(&endless(TOKENS)).expect_code(0).stdout;
    let watcher = fleet.watch(4 * PATIENCE);
    let began = watcher.online("a", PATIENCE);
    fleet.lab.delay("a", Cable { delay_ms: 20, kbit: 80, ..Cable::default() });
    // Each wants far more than 10 KB/s for as long as it lasts, and together they put far more than
    // ten seconds of tokens before whatever else is said.
    let asked = Instant::now();
    for child in [0; ANSWERS].map(|_| fleet.spawn(&endless(TOKENS))) {
        assert_eq!(finish(child).expect_code(0).stdout, whole, "every token, each once");
    }
    eprintln!("{ANSWERS} answers of {TOKENS} tokens at 10 KB/s took {:?}", asked.elapsed());
    assert_eq!(watcher.lapses("a", began), 0, "it was heard all the time");
    fleet.lab.delay("a", Cable::default());
    let _ = fleet.rbee(&["down"]).expect_code(0);
}

#[test]
fn heartbeats_hold_on_a_narrow_line_while_a_program_is_sent() {
    let Some(fleet) = Fleet::up_with_disks("512m", &[("a", "")], "") else { return };
    let _ = fleet.add("a");
    give_another_build(&fleet);
    let watcher = fleet.watch(4 * PATIENCE);
    let online = watcher.online("a", PATIENCE);
    fleet.lab.delay("a", Cable { delay_ms: 20, kbit: 80, ..Cable::default() });
    let mut upload = fleet.lab.keeper_spawn(&["bin/other", "hive", "install", "a"]);
    let began = Instant::now();
    wait_until("it sends for a while", PATIENCE, || {
        let time = began.elapsed();
        (time > Duration::from_secs(25)).then_some(())
    });
    assert!(matches!(upload.try_wait(), Ok(None)), "it is still being sent");
    assert_eq!(watcher.lapses("a", online), 0, "it was heard all the time");
    eprintln!("heartbeats held for {:?} beside an upload at 10 KB/s", began.elapsed());
    fleet.lab.delay("a", Cable::default());
    let _ = finish(upload).expect_code(0);
    let _ = fleet.rbee(&["down"]).expect_code(0);
}

#[test]
fn down_ends_in_time_although_a_hive_is_cut_off_and_another_does_not_react() {
    let names = ["a", "b", "c"];
    let hives = names.map(|name| format!("[hives.{name}]\naddress = \"{name}\"\n")).concat();
    let Some(fleet) = Fleet::up(&names.map(|name| (name, "")), &hives) else { return };
    for name in names {
        let _ = fleet.rbee(&["run", "-m", "demo", "--hive", name, QUESTION]).expect_code(0);
    }
    fleet.lab.cut("b");
    let frozen = fleet.signal("STOP", "c", "agent serve");
    let began = Instant::now();
    let down = fleet.rbee(&["down"]).expect_code(10);
    let took = began.elapsed();
    eprintln!("down with one hive cut off and one frozen took {took:?}");
    assert!(took < Duration::from_secs(33), "{took:?}");
    for told in ["of the hive a has ended", &format!("process {frozen}"), "without the hive b"] {
        assert!(down.stderr.contains(told), "{told}: {}", down.stderr);
    }
    for name in ["a", "c"] {
        assert_eq!(fleet.processes(name), Vec::<String>::new());
    }
    fleet.lab.heal("b");
    let _ = fleet.rbee(&["down"]).expect_code(0);
    assert_eq!(fleet.processes("b"), Vec::<String>::new());
}

#[test]
fn a_line_that_is_silent_for_a_moment_ends_no_answer() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let _ = fleet.add("a");
    let whole = fleet.rbee(&endless("1900")).expect_code(0).stdout;
    let child = fleet.spawn(&endless("1900"));
    fleet.lab.cut("a");
    let cut = Instant::now();
    wait_until("some seconds passed", PATIENCE, || {
        (cut.elapsed() > Duration::from_secs(5)).then_some(())
    });
    fleet.lab.heal("a");
    assert_eq!(finish(child).expect_code(0).stdout, whole);
    eprintln!("an answer over a line that was silent for 5 s took {:?}", cut.elapsed());
    let _ = fleet.rbee(&["down"]).expect_code(0);
}

/// Whether a hive's worker is busy, as its agent says on the hive itself.
fn is_busy(fleet: &Fleet) -> bool {
    let agent = "/home/rbee/.local/state/rbee/run/agent.sock";
    let list = "http://hive/v1/workers/list";
    let as_user = ["setpriv", "--reuid=rbee", "--clear-groups"];
    let asked = [&as_user[..], &["curl", "-sS", "--unix-socket", agent, list]].concat();
    fleet.lab.exec("a", &asked).expect_code(0).stdout.contains("\"busy\"")
}

/// Has something happen to a keeper that nobody reads, so that what it asked would go on for as
/// long as it is not cancelled, and waits until it is; how the keeper ended once it was over.
fn struck(fleet: &Fleet, what: &str, (strikes, is_over): (&dyn Fn(), &dyn Fn())) -> Option<i32> {
    let child = streaming(fleet.spawn(&endless("1900")));
    assert!(is_busy(fleet));
    strikes();
    let struck = Instant::now();
    wait_until("its slot is free", PATIENCE, || (!is_busy(fleet)).then_some(()));
    let took = struck.elapsed();
    eprintln!("what a keeper asked that was {what} was cancelled after {took:?}");
    assert!((5..=11).contains(&took.as_secs()), "{took:?}");
    is_over();
    finish(child).code
}

#[test]
fn what_a_keeper_asked_is_cancelled_in_time_when_it_is_cut_off_or_stopped() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let _ = fleet.add("a");
    let cut = struck(&fleet, "cut off", (&|| fleet.lab.cut("a"), &|| fleet.lab.heal("a")));
    assert_eq!(cut, Some(10));
    let sleep: (&dyn Fn(), &dyn Fn()) =
        (&|| fleet.lab.freeze("keeper"), &|| fleet.lab.thaw("keeper"));
    assert_eq!(struck(&fleet, "stopped", sleep), Some(124));
    let _ = fleet.rbee(&["down"]).expect_code(0);
}

#[test]
fn a_suspended_keeper_reconnects_by_itself() {
    let hive = format!("[hives.a]\naddress = \"a\"\n{SHORTER}");
    let Some(fleet) = Fleet::up(&[("a", "")], &hive) else { return };
    fleet.configure_host("a", SHORTER);
    let text = greedy(&fleet);
    let watcher = fleet.watch(4 * PATIENCE);
    let _ = watcher.online("a", PATIENCE);
    fleet.lab.freeze("keeper");
    let frozen = Instant::now();
    // Longer than the hive holds a connection, and than the keeper would.
    wait_until("it slept", PATIENCE, || (frozen.elapsed().as_secs() > 12).then_some(()));
    fleet.lab.thaw("keeper");
    let woken = Instant::now();
    let _ = watcher.until("a", "unreachable", frozen, PATIENCE);
    let back = watcher.until("a", "online", woken, PATIENCE);
    eprintln!("after its sleep it was back within {:?}", back.duration_since(woken));
    assert_eq!(greedy(&fleet), text);
    let _ = fleet.rbee(&["down"]).expect_code(0);
}

#[test]
fn a_host_key_that_changes_while_a_hive_is_watched_is_refused_and_never_tried_again() {
    let hive = format!("[hives.a]\naddress = \"a\"\n{SHORTER}");
    let Some(fleet) = Fleet::up(&[("a", "")], &hive) else { return };
    let _ = greedy(&fleet);
    let mut watcher = fleet.watch(4 * PATIENCE);
    let _ = watcher.online("a", PATIENCE);
    fleet.lab.sshd("a", "cut");
    let renew = "rm /etc/ssh/lab_key* && ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/lab_key";
    let _ = fleet.lab.exec("a", &["sh", "-c", renew]).expect_code(0);
    fleet.lab.sshd("a", "start");
    let changed = Instant::now();
    let refused = watcher.until("a", "refused", changed, PATIENCE);
    eprintln!("a changed host key was refused after {:?}", refused.duration_since(changed));
    // With nothing left to wait for, it ends and says why.
    wait_until("the watcher has ended", PATIENCE, || (!watcher.is_alive()).then_some(()));
    assert_eq!(watcher.first("a", "online", refused), None);
    let asked = fleet.rbee(&["run", "-m", "demo", QUESTION]).expect_code(11);
    assert!(asked.stderr.contains("known_hosts"), "{}", asked.stderr);
}

fn ephemeral() -> String {
    format!("[agent]\nlifetime = \"ephemeral\"\n[timings]\nlease_ms = {}\n", LEASE.as_millis())
}

fn wait_until_empty(sandbox: &Sandbox, what: &str, began: Instant, bound: Duration) {
    wait_until("nothing runs any more", bound, || sandbox.processes().is_empty().then_some(()));
    eprintln!("{what}: nothing was left after {:?}", began.elapsed());
}

#[test]
fn an_ephemeral_hive_ends_with_its_keeper_however_the_keeper_ended() {
    let sandbox = Sandbox::with_config(&ephemeral());
    let _ = sandbox.rbee(&["run", "-m", "demo", QUESTION]).expect_code(0);
    wait_until_empty(&sandbox, "a keeper that was done", Instant::now(), LEASE / 2 + SLACK);
    let signals = [Signal::HUP, Signal::TERM, Signal::INT, Signal::KILL];
    for signal in signals.into_iter().filter(|signal| !procs::is_ignored_here(*signal)) {
        let child = streaming(sandbox.command(&endless("1900")).spawn().expect("a keeper"));
        let keeper = i32::try_from(child.id()).expect("a pid");
        procs::signal(keeper, signal);
        let ended = Instant::now();
        let code = finish(child).code;
        assert_eq!(code, (signal != Signal::KILL).then_some(130), "{signal:?}");
        wait_until_empty(&sandbox, &format!("a keeper by {signal:?}"), ended, LEASE + SLACK);
    }
}

#[test]
fn an_ephemeral_hive_over_ssh_outlives_a_short_cut_and_ends_after_its_keeper() {
    let hive = "[hives.a]\naddress = \"a\"\nlifetime = \"ephemeral\"\n";
    let Some(fleet) = Fleet::up(&[("a", "")], hive) else { return };
    fleet.configure_host("a", &format!("[timings]\nlease_ms = {}\n", 2 * LEASE.as_millis()));
    let watcher = fleet.watch(4 * PATIENCE);
    let child = streaming(fleet.spawn(&endless("1900")));
    let _ = watcher.online("a", PATIENCE);
    let engine = fleet.pid("a", "worker serve");
    let _ = finish(child).expect_code(0);
    // The line is cut for longer than the agent waits for its keeper, and shorter than the lease.
    let cut = Instant::now();
    fleet.lab.cut("a");
    let _ = watcher.until("a", "unreachable", cut, PATIENCE);
    fleet.lab.heal("a");
    let healed = Instant::now();
    let back = watcher.until("a", "online", healed, PATIENCE);
    eprintln!("a cut line was back after {:?}", back.duration_since(healed));
    assert_eq!(fleet.pid("a", "worker serve"), engine, "it is the same worker");
    // The keeper is killed: nobody says good-bye.
    let namespace = fleet.lab.namespace("keeper");
    let keeper = procs::inmates(&namespace).into_iter().find(|one| one.args.contains(&"ps".into()));
    let killed = Instant::now();
    procs::signal(keeper.expect("it runs").pid, Signal::KILL);
    wait_until("nothing of it is left", 2 * LEASE + 2 * SLACK, || {
        fleet.processes("a").is_empty().then_some(())
    });
    eprintln!("a killed keeper: nothing was left after {:?}", killed.elapsed());
    assert!(killed.elapsed() > LEASE, "it had its lease");
}

#[test]
fn two_keepers_of_two_builds_share_a_hive_and_neither_harms_the_others_worker() {
    let dir = tempfile::tempdir().expect("a directory");
    let other = another_build(dir.path());
    let sandbox = Sandbox::new();
    let run = |build: &std::path::Path, args: &[&str]| {
        finish(sandbox.command_of(build, args).spawn().expect("it starts"))
    };
    let ask = ["run", "-m", "demo", "--json", "--temperature", "0", QUESTION];
    let own = program();
    let first = run(&own, &ask).expect_code(0).json_lines();
    let (agent, engine) = (sandbox.pid_of(Role::Agent), sandbox.pid_of(Role::Engine));
    let second = run(&other, &ask).expect_code(0).json_lines();
    assert_eq!(second[0]["reused"], true, "the worker of the other build is used");
    assert_eq!(second.len(), first.len(), "the same answer");
    assert_eq!(sandbox.pid_of(Role::Agent), agent, "no agent was replaced");
    // Both at once.
    let whole = run(&own, &endless("600")).expect_code(0).stdout;
    let both = [&own, &other]
        .map(|build| sandbox.command_of(build, &endless("600")).spawn().expect("it starts"));
    for child in both {
        assert_eq!(finish(child).expect_code(0).stdout, whole);
    }
    // The agent dies; the keeper of the other build starts its own, which adopts the worker.
    procs::signal(agent, Signal::KILL);
    wait_until("the agent is dead", PATIENCE, || (!procs::is_alive(agent)).then_some(()));
    let killed = Instant::now();
    let adopted = run(&other, &ask).expect_code(0).json_lines();
    eprintln!("the other build's agent answered after {:?}", killed.elapsed());
    assert_eq!(adopted[0]["reused"], true, "adopted, not reloaded");
    assert_eq!(sandbox.pid_of(Role::Engine), engine);
    let next = sandbox.pid_of(Role::Agent);
    let exe = std::fs::read_link(format!("/proc/{next}/exe")).expect("its program");
    assert!(exe.to_string_lossy().contains(&build_of(&other)), "{}", exe.display());
    let back = run(&own, &ask).expect_code(0).json_lines();
    assert_eq!((&back[0]["reused"], sandbox.pid_of(Role::Agent)), (&true.into(), next));
    let told = run(&own, &["down"]).expect_code(0);
    assert!(told.stderr.contains("demo"), "{}", told.stderr);
    wait_until_empty(&sandbox, "down by a keeper of another build", killed, PATIENCE);
}

/// Gives the keeper another build as `bin/other`; its id.
fn give_another_build(fleet: &Fleet) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let other = another_build(dir.path());
    fleet.write("bin/other", &std::fs::read(&other).expect("the program"));
    let _ = fleet.lab.keeper(&["chmod", "755", "bin/other"]).expect_code(0);
    build_of(&other)
}

#[test]
fn two_builds_over_ssh_stay_installed_side_by_side_and_use_one_agent() {
    let Some(fleet) = Fleet::up_with_disks("512m", &[("a", "")], "") else { return };
    let other = give_another_build(&fleet);
    let _ = fleet.add("a");
    let ask = ["run", "-m", "demo", "--json", "--temperature", "0", QUESTION];
    let by_other = |args: &[&str]| fleet.lab.keeper(&[&["bin/other"], args].concat());
    let _ = fleet.rbee(&ask).expect_code(0);
    let engine = fleet.pid("a", "worker serve");
    let reused = |said: rbee_tests::Finished| said.expect_code(0).json_lines()[0]["reused"].clone();
    assert_eq!(reused(by_other(&ask)), true);
    let killed = fleet.signal("KILL", "a", "agent serve");
    assert_eq!(reused(by_other(&ask)), true, "adopted by an agent of the other build");
    let next = fleet.pid("a", "agent serve");
    assert_ne!(next, killed);
    assert_eq!(reused(fleet.rbee(&ask)), true);
    assert_eq!(fleet.pid("a", "agent serve"), next);
    assert_eq!(fleet.pid("a", "worker serve"), engine);
    let files = fleet.lab.files("a");
    for build in [build_of(&program()), other] {
        assert!(files.iter().any(|path| path.contains(&build)), "{build} is there: {files:?}");
    }
    let _ = by_other(&["down"]).expect_code(0);
    assert_eq!(fleet.processes("a"), Vec::<String>::new());
}

#[test]
fn a_signal_to_any_part_ends_it_on_one_path_and_in_time() {
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        for role in [Role::Engine, Role::Guard, Role::Agent] {
            let sandbox = Sandbox::new();
            let _ = sandbox.rbee(&["run", "-m", "demo", QUESTION]).expect_code(0);
            procs::signal(sandbox.pid_of(role), signal);
            let began = Instant::now();
            let left = usize::from(role != Role::Agent);
            wait_until("what belongs to it has ended", PATIENCE, || {
                (sandbox.processes().len() == left).then_some(())
            });
            eprintln!("{signal:?} to the {role:?}: over after {:?}", began.elapsed());
            assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
            if role != Role::Agent {
                wait_until("the hive knows", PATIENCE, || {
                    let all = sandbox.rbee(&["worker", "list", "--all", "--json"]).expect_code(0);
                    (!all.stdout.contains("\"ready\"")).then_some(())
                });
            }
            sandbox.down();
        }
    }
}
