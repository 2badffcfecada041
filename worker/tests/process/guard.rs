//! The guard over real programs: how they end, who ends them, and what is left.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::UnixListener;
use wire::guard::{GuardStatus, files};
use wire::hello::{Hello, Role};
use wire::worker::Exit;
use wire::{Code, limits, routes};

use crate::client::Exchange;
use crate::fixture::{
    Guarded, build, ended, exit_code, is_alive, pid, role, shell, short_dir, spec, stderr_of,
    timings, wait_until,
};
use crate::runner::tests;

tests! { "guard":
    an_engine_that_ends_by_itself_leaves_its_cause
    the_fault_of_the_last_line_is_in_the_record
    the_record_names_guard_and_engine
    a_guard_answers_hello_and_leads_its_own_session
    a_reader_gets_heartbeats_and_the_end
    an_engine_that_ignores_sigterm_is_killed_after_its_wait
    an_engine_that_ends_on_sigterm_is_not_killed
    a_deaf_engine_gets_every_step_of_the_ladder
    stopping_twice_gives_both_the_same_record
    a_signal_to_the_guard_ends_the_engine
    what_the_engine_left_in_its_group_is_killed
    a_descendant_that_holds_stderr_delays_nothing
    a_flood_on_stderr_stays_bounded_on_disk
    an_engine_that_no_agent_hears_is_ended
    an_open_connection_keeps_the_engine
    a_killed_guard_takes_its_engine_along
    a_missing_program_is_named
    a_program_that_cannot_run_is_named
    a_newer_spec_is_refused_by_its_version
    a_second_guard_in_the_same_directory_is_refused
}

/// Slack that a loaded machine may take beyond what the timings say.
const SLACK: Duration = Duration::from_secs(5);

/// Ignores SIGTERM; says when it does.
const STUBBORN: &str = "trap '' TERM; echo ready >&2; while :; do sleep 0.05; done";

async fn wait_for_stderr(guarded: &Guarded, text: &str) {
    let log = guarded.path(files::STDERR);
    let written = || std::fs::read_to_string(&log).is_ok_and(|log| log.contains(text));
    wait_until(&format!("{text} on standard error"), written).await;
}

async fn an_engine_that_ends_by_itself_leaves_its_cause() {
    let cases = [
        ("echo bye >&2; exit 0", Exit::Code(0)),
        ("echo bye >&2; exit 1", Exit::Code(1)),
        ("echo bye >&2; kill -SEGV $$", Exit::Signal(11)),
    ];
    for (script, exit) in cases {
        let mut guarded = Guarded::start(&shell(script)).await;
        let line = guarded.follow().await.until("the end", |s| ended(s).is_some()).await;
        let record = guarded.exit().await;
        assert_eq!(ended(&line), Some(&record));
        assert_eq!(record.exit, exit);
        assert!(!record.told && !record.killed && record.fault.is_none());
        assert_eq!(record.stderr_tail, "bye\n");
        assert_eq!(exit_code(&mut guarded.guard).await, 0);
        assert!(!guarded.socket().exists());
    }
}

async fn the_fault_of_the_last_line_is_in_the_record() {
    let script = r#"echo '{"level":"INFO"}' >&2
        echo '{"fault":{"code":"MODEL_CORRUPT","message":"bad magic"}}' >&2; exit 1"#;
    let guarded = Guarded::start(&shell(script)).await;
    let record = guarded.exit().await;
    let fault = record.fault.unwrap();
    assert_eq!((fault.code, fault.message.as_str()), (Code::ModelCorrupt, "bad magic"));
    assert_eq!(record.exit, Exit::Code(1));
}

async fn the_record_names_guard_and_engine() {
    let guarded = Guarded::start(&shell("echo $$ >&2; read x")).await;
    let record = guarded.record().await;
    assert_eq!(Some(record.guard.pid), guarded.guard.id());
    assert_eq!((record.nonce.as_str(), &record.build), ("nonce", &build()));
    wait_for_stderr(&guarded, &record.engine.pid.to_string()).await;
    assert!(record.engine.start_time >= record.guard.start_time && record.guard.start_time > 0);
    for name in [files::RECORD, files::STDERR, files::GUARD_SOCKET] {
        let mode = std::fs::metadata(guarded.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    guarded.stop().await;
}

async fn a_guard_answers_hello_and_leads_its_own_session() {
    let guarded = Guarded::start(&shell("read x")).await;
    let hello: Hello = Exchange::get(&guarded.socket(), routes::HELLO).await.json().await;
    assert_eq!((hello.role, Some(hello.pid)), (Role::Guard, guarded.guard.id()));
    let session = rustix::process::getsid(Some(pid(hello.pid))).unwrap();
    assert_eq!(session, pid(hello.pid));
    let engine = guarded.record().await.engine.pid;
    assert_eq!(rustix::process::getpgid(Some(pid(engine))).unwrap(), pid(engine));
    assert_eq!(
        Exchange::get(&guarded.socket(), "/nowhere").await.fault().await.code,
        Code::NotFound
    );
    guarded.stop().await;
}

async fn a_reader_gets_heartbeats_and_the_end() {
    let guarded = Guarded::start(&shell("read x")).await;
    let mut lines = guarded.follow().await;
    let record = guarded.record().await;
    for _ in 0..3 {
        let running = lines.until("a heartbeat", |s| matches!(s, GuardStatus::Running(_))).await;
        assert_eq!(running, GuardStatus::Running(record.clone()));
    }
    let (stopped, _) = guarded.stop().await;
    let last = lines.until("the end", |s| ended(s).is_some()).await;
    assert_eq!(ended(&last), Some(&stopped));
    assert!(lines.next::<GuardStatus>().await.is_none(), "a line after the last");
}

async fn an_engine_that_ignores_sigterm_is_killed_after_its_wait() {
    let guarded = Guarded::start(&shell(STUBBORN)).await;
    wait_for_stderr(&guarded, "ready").await;
    let (record, took) = guarded.stop().await;
    assert_eq!(record.exit, Exit::Signal(9));
    assert!(record.told && record.killed);
    assert!(took >= timings().stop_term && took < timings().stop_term + SLACK, "{took:?}");
}

async fn an_engine_that_ends_on_sigterm_is_not_killed() {
    let script = "trap 'exit 7' TERM; echo ready >&2; while :; do sleep 0.05; done";
    let guarded = Guarded::start(&shell(script)).await;
    wait_for_stderr(&guarded, "ready").await;
    let (record, _) = guarded.stop().await;
    assert_eq!(record.exit, Exit::Code(7));
    assert!(record.told && !record.killed);
}

async fn a_deaf_engine_gets_every_step_of_the_ladder() {
    let mut deaf = shell(STUBBORN);
    deaf.engine.can_be_asked = true;
    let guarded = Guarded::start(&deaf).await;
    wait_for_stderr(&guarded, "ready").await;
    // A socket that takes connections and never answers.
    let _silent = UnixListener::bind(guarded.path(files::ENGINE_SOCKET)).unwrap();
    let (record, took) = guarded.stop().await;
    let both = timings().stop_ask + timings().stop_term;
    assert!(record.told && record.killed);
    assert!(took >= both && took < both + SLACK, "{took:?}");
    wait_until("no sockets", || {
        !guarded.path(files::ENGINE_SOCKET).exists() && !guarded.socket().exists()
    })
    .await;
}

async fn stopping_twice_gives_both_the_same_record() {
    let guarded = Guarded::start(&shell(STUBBORN)).await;
    wait_for_stderr(&guarded, "ready").await;
    let ((first, _), (second, _)) = tokio::join!(guarded.stop(), guarded.stop());
    assert_eq!(first, second);
    assert_eq!(first, guarded.exit().await);
}

async fn a_signal_to_the_guard_ends_the_engine() {
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let mut guarded = Guarded::start(&shell("sleep 1000")).await;
        let engine = guarded.record().await.engine.pid;
        guarded.signal_guard(signal);
        let record = guarded.exit().await;
        assert!(record.told && !record.killed);
        assert_eq!(exit_code(&mut guarded.guard).await, 0);
        assert!(!is_alive(engine));
    }
}

async fn what_the_engine_left_in_its_group_is_killed() {
    let script = "trap '' TERM; sleep 1000 & echo $! >&2; exit 3";
    let guarded = Guarded::start(&shell(script)).await;
    let record = guarded.exit().await;
    assert_eq!(record.exit, Exit::Code(3));
    let left: u32 = record.stderr_tail.trim().parse().unwrap();
    wait_until("no leftover", || !is_alive(left)).await;
}

async fn a_descendant_that_holds_stderr_delays_nothing() {
    // In a session of its own it is out of the group's reach, and its parent's pipe stays open.
    let script = "trap 'exit 4' USR1; PARENT=$$; export PARENT
        setsid sh -c 'echo $$ >&2; kill -USR1 $PARENT; exec sleep 1000' & wait";
    let mut guarded = Guarded::start(&shell(script)).await;
    wait_for_stderr(&guarded, "\n").await;
    let record = guarded.exit().await;
    assert_eq!(record.exit, Exit::Code(4));
    let escaped: u32 = record.stderr_tail.trim().parse().unwrap();
    assert_eq!(exit_code(&mut guarded.guard).await, 0);
    assert!(is_alive(escaped));
    rustix::process::kill_process(pid(escaped), Signal::KILL).unwrap();
}

async fn a_flood_on_stderr_stays_bounded_on_disk() {
    let script =
        "yes 0123456789012345678901234567890 | head -c 50000000 >&2; echo last >&2; exit 5";
    let guarded = Guarded::start(&shell(script)).await;
    let record = guarded.exit().await;
    assert_eq!(record.exit, Exit::Code(5));
    assert!(record.stderr_tail.ends_with("\nlast\n"), "{}", record.stderr_tail);
    let bytes: u64 = std::fs::read_dir(guarded.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_str().unwrap().starts_with(files::STDERR))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert!(bytes > 0 && bytes <= limits::MAX_STDERR_FILE_BYTES, "{bytes} bytes");
}

async fn an_engine_that_no_agent_hears_is_ended() {
    let mut orphan = shell("sleep 1000");
    orphan.timings.orphan_timeout = Duration::from_millis(300);
    let guarded = Guarded::start(&orphan).await;
    let engine = guarded.record().await.engine.pid;
    let record = guarded.exit().await;
    assert!(record.told && !record.killed);
    assert!(!is_alive(engine));
}

async fn an_open_connection_keeps_the_engine() {
    let mut heard = shell("sleep 1000");
    heard.timings.orphan_timeout = Duration::from_millis(2500);
    let guarded = Guarded::start(&heard).await;
    let mut lines = guarded.follow().await;
    // Fifty-five heartbeats of 100 ms are more than two orphan timeouts.
    for _ in 0..55 {
        lines.until("a heartbeat", |s| matches!(s, GuardStatus::Running(_))).await;
    }
    drop(lines);
    assert!(guarded.exit().await.told);
}

async fn a_killed_guard_takes_its_engine_along() {
    let guarded = Guarded::start(&shell("read x; exit 0")).await;
    let engine = guarded.record().await.engine.pid;
    assert!(is_alive(engine));
    guarded.signal_guard(Signal::KILL);
    wait_until("no engine", || !is_alive(engine)).await;
}

async fn a_missing_program_is_named() {
    let mut guarded = Guarded::start(&spec("/nonexistent/engine", &[])).await;
    let line = guarded.follow().await.until("the end", |s| ended(s).is_some()).await;
    let record = guarded.exit().await;
    assert_eq!(ended(&line), Some(&record));
    assert_eq!(record.exit, Exit::Code(127));
    let fault = record.fault.unwrap();
    assert_eq!(fault.code, Code::WorkerCrashed);
    assert!(fault.message.contains("/nonexistent/engine"), "{}", fault.message);
    assert!(fault.causes[0].contains("No such file"), "{:?}", fault.causes);
    assert_eq!(exit_code(&mut guarded.guard).await, 1);
}

async fn a_program_that_cannot_run_is_named() {
    let guarded = Guarded::start(&spec("/etc/passwd", &[])).await;
    let record = guarded.exit().await;
    assert_eq!(record.exit, Exit::Code(126));
    assert!(record.fault.unwrap().causes[0].contains("ermission denied"));
}

async fn a_newer_spec_is_refused_by_its_version() {
    let dir = short_dir();
    std::fs::write(dir.path().join(files::SPEC), r#"{"version":2,"what":"ever"}"#).unwrap();
    let mut guard = role(&["guard", "--dir", dir.path().to_str().unwrap()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = stderr_of(&mut guard).await;
    assert!(stderr.contains("VERSION_MISMATCH") && stderr.contains("version 2"), "{stderr}");
    assert_eq!(exit_code(&mut guard).await, 1);
    assert!(!dir.path().join(files::GUARD_SOCKET).exists());
}

async fn a_second_guard_in_the_same_directory_is_refused() {
    let guarded = Guarded::start(&shell("read x")).await;
    let mut second =
        role(&["guard", "--dir", guarded.dir.path().to_str().unwrap()]).spawn().unwrap();
    assert_eq!(exit_code(&mut second).await, 1);
    let hello: Hello = Exchange::get(&guarded.socket(), routes::HELLO).await.json().await;
    assert_eq!(Some(hello.pid), guarded.guard.id());
    guarded.stop().await;
}
