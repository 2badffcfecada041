//! Requests from their arrival to their end: deadlines, cancelling, the queue, the journal, and
//! many at once.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "what goes wrong here is a failed test, and what was measured is shown"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rbee_tests::procs::{self, Role};
use rbee_tests::sandbox::{self, PATIENCE};
use rbee_tests::{Sandbox, Seat, http, wait_until};
use rustix::process::Signal;
use serde_json::Value;
use wire::routes;

const QUESTION: &str = "What is a hive?";
/// As many tokens as the demo model's context takes.
const LONG: [&str; 6] = ["run", "-m", "demo", "--ignore-eos", "--max-tokens", "1900"];

fn warm(config: &str) -> Sandbox {
    let sandbox = Sandbox::with_config(config);
    let _ = sandbox.rbee(&["run", "-m", "demo", QUESTION]).expect_code(0);
    sandbox
}

fn long(more: &[&'static str]) -> Vec<&'static str> {
    [&LONG[..], more, &[QUESTION]].concat()
}

/// What `rbee why --json` says of the last request.
fn why(sandbox: &Sandbox) -> Value {
    let said = sandbox.rbee(&["why", "--json"]).expect_code(0);
    let mut entries: Vec<Value> = serde_json::from_str(&said.stdout).expect("an array");
    entries.pop().expect("an entry")
}

/// What the agent's journal says, newest first.
fn journal(sandbox: &Sandbox) -> Vec<Value> {
    let answer = http::request(&sandbox.agent_socket(), "GET", routes::REQUESTS, b"");
    serde_json::from_slice(&answer.expect("an answer").body).expect("an array")
}

fn chat_route(sandbox: &Sandbox) -> String {
    let id = sandbox.workers()[0]["id"].as_str().expect("an id").to_owned();
    routes::with_id(routes::WORKER_CHAT, id)
}

fn chat(max_tokens: u32) -> Vec<u8> {
    format!(
        "{{\"messages\":[{{\"role\":\"user\",\"content\":\"{QUESTION}\"}}],\
         \"max_tokens\":{max_tokens},\"ignore_eos\":true,\"temperature\":0}}"
    )
    .into_bytes()
}

/// Whether a line of the TUI shows a busy worker, and a pace of it.
fn has_pace(line: &str) -> bool {
    let is_pace = |word: &str| word.contains('.') && word.parse::<f64>().is_ok_and(|it| it > 0.0);
    line.contains("1/1") && line.split_whitespace().any(is_pace)
}

#[test]
fn how_fast_a_worker_decodes_is_told_to_everybody_while_it_does() {
    let sandbox = warm("");
    let mut seat = Seat::at(&sandbox, 160, 30);
    let pace = || sandbox.workers()[0]["tokens_per_s"].as_f64();
    wait_until("the first answer is forgotten", PATIENCE, || pace().is_none().then_some(()));
    seat.shows("TOK/S");
    assert!(!seat.screen().lines().any(has_pace), "{}", seat.screen());
    // Another program asks; neither `ps` nor the screen has anything of it but what the agent says.
    let asked = Instant::now();
    let child = begun(&sandbox, &long(&["--json"]));
    seat.until("a pace on the screen", |screen| screen.lines().any(has_pace).then_some(()));
    let done = sandbox::finish(child).expect_code(0).json_lines().pop().expect("its end");
    let took = asked.elapsed().as_secs_f64();
    let seen = pace().expect("a pace of what just ended");
    let tokens = done["usage"]["completion_tokens"].as_f64().expect("a count");
    println!("{tokens} tokens in {took:.2} s, {seen} a second seen");
    assert!(seen <= tokens, "all of them in a second is the most: {seen}");
    assert!(seen >= tokens / took.max(1.0) / 4.0, "{seen}: {tokens} in {took}");
    wait_until("nothing is said of it any more", PATIENCE, || pace().is_none().then_some(()));
}

/// Starts a request and waits for the first byte of its answer.
fn begun(sandbox: &Sandbox, args: &[&str]) -> Child {
    let mut child = sandbox.command(args).spawn().expect("rbee starts");
    let mut first = [0u8; 1];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut first).expect("a byte");
    child
}

#[test]
fn a_deadline_ends_an_answer_in_time_and_what_came_is_kept() {
    let sandbox = warm("");
    // The first one in which a busy machine gets as far as a few tokens.
    let ended = [500, 1000, 2000, 4000].into_iter().find_map(|ms| {
        let asked = Instant::now();
        let deadline = format!("--deadline={ms}ms");
        let ended = sandbox.rbee(&[&LONG[..], &[&deadline, QUESTION]].concat()).expect_code(124);
        println!("a deadline of {ms} ms ended it after {:?}", asked.elapsed());
        assert!(asked.elapsed() < Duration::from_millis(ms + 3000), "{:?}", asked.elapsed());
        (ended.stdout.len() > 10).then_some((ended, ms))
    });
    let (ended, ms) = ended.expect("what came is kept");
    assert!(ended.stderr.contains("/partial/"), "{}", ended.stderr);
    assert!(ended.stderr.contains("hint: rbee why "), "{}", ended.stderr);
    let entry = why(&sandbox);
    assert_eq!(
        (&entry["ended_by"], &entry["code"]),
        (&"deadline".into(), &"DEADLINE_EXCEEDED".into())
    );
    assert!(entry["completion_tokens"].as_u64().expect("a count") > 0);
    let left = entry["deadline_ms"].as_u64().expect("what was left at the agent");
    let log = worker_log(&sandbox);
    let line = log.lines().rfind(|line| line.contains("request received")).expect("a line");
    let line: Value = serde_json::from_str(line).expect("JSON");
    let at_worker = line["fields"]["deadline_ms"].as_u64().expect("what was left at the worker");
    println!("{ms} ms at the keeper, {left} ms at the agent, {at_worker} ms at the worker");
    assert!(left <= ms && at_worker <= left, "each hop sends on what remains");
    // The logs of both name it by its id and say how it ended: the worker's that it failed, or that
    // the agent cancelled it first.
    let id = entry["request"].as_str().expect("an id");
    let agent = sandbox.home().join(".local/state/rbee/log/agent.jsonl");
    wait_until("the agent's log has how it ended", PATIENCE, || {
        let log = std::fs::read_to_string(&agent).ok()?;
        let is_it = |line: &&str| line.contains(id) && line.contains("DEADLINE_EXCEEDED");
        log.lines().find(is_it)?.contains("\"timestamp\":").then_some(())
    });
    wait_until("the worker's log has it", PATIENCE, || {
        let log = worker_log(&sandbox);
        let last = log.lines().rfind(|line| line.contains(id))?;
        ["cancelled", "DEADLINE_EXCEEDED"].iter().any(|word| last.contains(word)).then_some(())
    });
    let _ = sandbox.wait_for_state("ready");
}

/// What the one worker's engine wrote.
fn worker_log(sandbox: &Sandbox) -> String {
    let workers = sandbox.home().join(".local/state/rbee/run/w");
    let dir = std::fs::read_dir(workers).expect("workers").flatten().next().expect("a worker");
    std::fs::read_to_string(dir.path().join("stderr.log")).expect("a log")
}

#[test]
fn a_request_whose_deadline_passes_in_the_queue_is_never_begun() {
    let sandbox = warm("[timings]\nstale_ms = 120000\n");
    let path = chat_route(&sandbox);
    procs::signal(sandbox.pid_of(Role::Engine), Signal::STOP);
    let first = http::open(&sandbox.agent_socket(), "POST", &path, &chat(1)).expect("a connection");
    wait_until("the slot is taken", PATIENCE, || {
        (sandbox.workers()[0]["active"] == 1).then_some(())
    });
    let ended = sandbox.rbee(&["run", "-m", "demo", "--deadline", "3s", QUESTION]);
    let ended = ended.expect_code(124);
    assert_eq!(ended.stdout, "");
    let entry = why(&sandbox);
    assert_eq!(entry["ended_by"], "deadline");
    assert!(entry["slot_ms"].is_null() && entry["queued_ms"].is_u64(), "{entry}");
    assert_eq!(sandbox.workers()[0]["queued"], 0, "it is gone from the queue");
    drop(first);
    procs::signal(sandbox.pid_of(Role::Engine), Signal::CONT);
}

#[test]
fn a_deadline_counts_the_load_that_the_request_waits_for() {
    let sandbox = Sandbox::with_config("[timings]\nstale_ms = 120000\n");
    let asked = Instant::now();
    let args = ["run", "-m", "demo", "--json", "--deadline", "3s", QUESTION];
    let mut child = sandbox.command(&args).spawn().expect("rbee starts");
    let engine = wait_until("its worker begins to load", PATIENCE, || {
        let processes = sandbox.processes();
        processes.iter().find(|process| process.role == Role::Engine).map(|process| process.pid)
    });
    procs::signal(engine, Signal::STOP);
    wait_until("the command ends", PATIENCE, || child.try_wait().expect("its end"));
    let ended = sandbox::finish(child).expect_code(124);
    println!("a deadline of 3 s in a load that stood still: {:?}", asked.elapsed());
    assert!(asked.elapsed() < Duration::from_secs(9), "{:?}", asked.elapsed());
    procs::signal(engine, Signal::CONT);
    let error = ended.json_lines().pop().expect("an error event");
    assert_eq!(error["code"], "DEADLINE_EXCEEDED", "{error}");
    let given = error["details"]["deadline_ms"].as_u64().expect("how long it had");
    assert!((2000..=3000).contains(&given), "{error}");
}

#[test]
fn an_engine_that_stands_still_stalls_its_request() {
    let sandbox = warm("[timings]\ntoken_stall_ms = 2000\nstale_ms = 120000\n");
    let child = begun(&sandbox, &long(&[]));
    procs::signal(sandbox.pid_of(Role::Engine), Signal::STOP);
    let ended = sandbox::finish(child).expect_code(124);
    procs::signal(sandbox.pid_of(Role::Engine), Signal::CONT);
    assert!(ended.stderr.contains("sent nothing for 2 s"), "{}", ended.stderr);
    let entry = why(&sandbox);
    assert_eq!((&entry["ended_by"], &entry["code"]), (&"agent".into(), &"STALLED".into()));
    let _ = sandbox.wait_for_state("ready");
}

#[test]
fn a_cancel_is_acknowledged_as_soon_as_the_slot_is_free() {
    let sandbox = warm("");
    let path = chat_route(&sandbox);
    let mut times = Vec::new();
    for _ in 0..5 {
        let answer = http::open(&sandbox.agent_socket(), "POST", &path, &chat(1900));
        let mut answer = BufReader::new(answer.expect("a connection"));
        let mut line = String::new();
        while !line.contains("data: ") {
            line.clear();
            assert_ne!(answer.read_line(&mut line).expect("text"), 0, "it ended");
        }
        let id = journal(&sandbox)[0]["request"].as_str().expect("an id").to_owned();
        let cancel = routes::with_id(routes::REQUEST_CANCEL, &id);
        let asked = Instant::now();
        let done = http::request(&sandbox.agent_socket(), "POST", &cancel, b"").expect("an answer");
        times.push(asked.elapsed());
        assert_eq!(done.status, 204);
        let entry = &journal(&sandbox)[0];
        assert_eq!((&entry["ended_by"], &entry["code"]), (&"client".into(), &"CANCELLED".into()));
        assert_eq!(sandbox.workers()[0]["active"], 0, "its slot is free");
        let mut rest = String::new();
        answer.read_to_string(&mut rest).expect("the end");
        assert!(rest.contains("CANCELLED"), "its stream has a last word: {rest}");
        let again = http::request(&sandbox.agent_socket(), "POST", &cancel, b"").expect("it");
        assert_eq!(again.status, 204, "harmless to repeat");
    }
    println!("from the cancel to its acknowledgement: {times:?}");
    // A decode step of the demo model has a few milliseconds.
    assert!(times.iter().min().expect("five") < &Duration::from_secs(1), "{times:?}");
}

#[test]
fn a_killed_keepers_request_is_cancelled_and_the_journal_says_that_it_left() {
    let sandbox = warm("");
    let mut child = begun(&sandbox, &long(&[]));
    child.kill().expect("kill -9");
    let killed = Instant::now();
    let _ = child.wait();
    let entry = wait_until("the request has ended", PATIENCE, || {
        journal(&sandbox).into_iter().next().filter(|entry| entry["ended_ms"].is_u64())
    });
    let took = killed.elapsed();
    println!("from the keeper's death to the end of its request: {took:?}");
    // A second, and threefold slack for a busy machine.
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(entry["ended_by"], "client");
    let said = sandbox.rbee(&["why"]).expect_code(0).stdout;
    assert!(said.contains("its client left"), "{said}");
    assert_eq!(sandbox.wait_for_state("ready")["active"], 0, "the worker stays warm");
}

#[test]
fn why_tells_the_way_of_a_request_also_after_its_agent_was_killed() {
    let sandbox = warm("");
    let asked = sandbox.rbee(&["run", "-m", "demo", "--json", QUESTION]).expect_code(0);
    let lines = asked.json_lines();
    let id = lines[0]["request"].as_str().expect("an id").to_owned();
    assert_eq!(lines.last().expect("done")["request"], id.as_str());
    let told = sandbox.rbee(&["why"]).expect_code(0).stdout;
    for words in [&id[..], "worker demo-", "(demo) on local", "got its slot", "complete (stop)"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    wait_until("it is on disk", PATIENCE, || {
        let file = sandbox.home().join(".local/state/rbee/log/requests.jsonl");
        std::fs::read_to_string(file).ok()?.contains(&id).then_some(())
    });
    let agent = sandbox.pid_of(Role::Agent);
    procs::signal(agent, Signal::KILL);
    wait_until("the agent is dead", PATIENCE, || (!procs::is_alive(agent)).then_some(()));
    let again = sandbox.rbee(&["why", &id[..8]]).expect_code(0).stdout;
    assert_eq!(again, told, "the next agent knows it as well");
    let none = sandbox.rbee(&["why", "ffffffff"]).expect_code(1);
    assert!(none.stderr.contains("no hive remembers"), "{}", none.stderr);
    let _ = sandbox.rbee(&["why", "x"]).expect_code(2);
}

#[test]
fn one_id_is_in_every_log_and_no_log_has_a_word_of_the_prompt() {
    let sandbox = warm("");
    let mut command = sandbox.command(&["run", "-m", "demo", "--json", "-n", "8", "xyzzyplugh?"]);
    command.env("RBEE_LOG", "info");
    let asked = sandbox::finish(command.spawn().expect("rbee starts")).expect_code(0);
    let id = asked.json_lines()[0]["request"].as_str().expect("an id").to_owned();
    let state = sandbox.home().join(".local/state/rbee");
    let agent = wait_until("the agent's log has it", PATIENCE, || {
        let text = std::fs::read_to_string(state.join("log/agent.jsonl")).ok()?;
        let of_it: Vec<_> = text.lines().filter(|line| line.contains(&id)).collect();
        (of_it.len() >= 3).then(|| text.clone())
    });
    let worker = worker_log(&sandbox);
    assert!(worker.lines().filter(|line| line.contains(&id)).count() >= 2, "{worker}");
    let keeper = std::fs::read_dir(state.join("log")).expect("logs").flatten();
    let keeper = keeper.filter(|file| file.file_name().to_string_lossy().starts_with("keeper"));
    let keeper: String =
        keeper.map(|file| std::fs::read_to_string(file.path()).expect("text")).collect();
    assert!(keeper.contains(&id), "{keeper}");
    let journal = std::fs::read_to_string(state.join("log/requests.jsonl")).expect("a journal");
    for text in [agent, worker, keeper, journal] {
        assert!(!text.contains("xyzzyplugh"), "a log has the prompt: {text}");
    }
}

/// One request in the slot of a worker that stands still, and `count` that wait, each of its own
/// connection.
fn crowd(sandbox: &Sandbox, count: usize) -> Vec<UnixStream> {
    let path = chat_route(sandbox);
    procs::signal(sandbox.pid_of(Role::Engine), Signal::STOP);
    let ask =
        || http::open(&sandbox.agent_socket(), "POST", &path, &chat(1)).expect("a connection");
    let crowd: Vec<_> = (0..=count).map(|_| ask()).collect();
    wait_until("all wait", PATIENCE, || (sandbox.workers()[0]["queued"] == count).then_some(()));
    crowd
}

#[test]
fn a_full_queue_is_told_once_and_waited_for_within_the_deadline() {
    let sandbox = warm("[timings]\nstale_ms = 120000\n[agent]\nmax_queue = 4\n");
    let crowd = crowd(&sandbox, 4);
    let path = chat_route(&sandbox);
    let refused = http::request(&sandbox.agent_socket(), "POST", &path, &chat(1)).expect("it");
    assert_eq!((refused.status, refused.error_code().as_str()), (429, "QUEUE_FULL"));
    let after = refused.json()["error"]["details"]["retry_after_s"].as_u64().expect("seconds");
    println!("4 wait for 1 slot: come back in {after} s");
    let soon = ["run", "-m", "demo", "--deadline", "500ms", QUESTION];
    let refused = sandbox.rbee(&soon).expect_code(23);
    assert!(refused.stderr.contains("after the deadline"), "{}", refused.stderr);
    let ask = ["run", "-m", "demo", "--deadline", "50s", QUESTION];
    let mut waiting = sandbox.command(&ask).spawn().expect("rbee starts");
    let mut stderr = BufReader::new(waiting.stderr.take().expect("a pipe"));
    let mut said = String::new();
    while !said.contains("trying again in") {
        assert_ne!(stderr.read_line(&mut said).expect("text"), 0, "it only said: {said}");
    }
    drop(crowd);
    procs::signal(sandbox.pid_of(Role::Engine), Signal::CONT);
    assert!(sandbox::finish(waiting).expect_code(0).stdout.contains("machine"));
    stderr.read_to_string(&mut said).expect("text");
    assert_eq!(said.matches("trying again").count(), 1, "said once: {said}");
}

#[test]
fn whoever_waits_at_a_terminal_sees_how_many_are_before() {
    let sandbox = warm("[timings]\nstale_ms = 120000\n");
    let crowd = crowd(&sandbox, 3);
    let line = format!("{} run -m demo hello", sandbox::program().display());
    let mut terminal = Command::new("script");
    terminal.args(["-qefc", &line, "/dev/null"]).env_clear().env("HOME", sandbox.home());
    terminal.env("PATH", "/usr/bin:/bin").env("TERM", "xterm").stdin(Stdio::null());
    let mut child = terminal.stdout(Stdio::piped()).spawn().expect("a terminal");
    let mut screen = child.stdout.take().expect("a pipe");
    let (mut shown, mut piece) = (String::new(), [0; 1024]);
    while !shown.contains("3 requests before this one") {
        let count = screen.read(&mut piece).expect("readable");
        assert!(count > 0, "it ended: {shown}");
        shown.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    drop(crowd);
    procs::signal(sandbox.pid_of(Role::Engine), Signal::CONT);
    screen.read_to_string(&mut shown).expect("the rest");
    assert!(child.wait().expect("it ends").success(), "{shown}");
}

/// Bytes that break the protocol, and what they are.
fn broken() -> Vec<(&'static str, Vec<u8>)> {
    let h2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let frame = |bytes: &[u8]| [&h2[..], bytes].concat();
    let post = |length: u64| {
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")
    };
    vec![
        ("half a greeting", h2[..9].to_vec()),
        ("half a head", b"GET /v1/hello HTTP/1.1\r\nhos".to_vec()),
        // An empty SETTINGS frame, and the first five bytes of the next frame's head.
        ("half a frame", frame(&[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 9, 4, 0])),
        ("garbage", (0..4096u32).map(|n| u8::try_from(n * 31 % 251).expect("a byte")).collect()),
        // The longest frame that a head can announce: 16 MiB; the limit is 16 KiB.
        ("an endless frame", frame(&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1])),
        ("half a body", [post(100).into_bytes(), b"{\"messages\":[".to_vec()].concat()),
        ("a body of 4 GiB", post(1 << 32).into_bytes()),
        (
            "a head of 64 KiB",
            format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(64 * 1024)).into_bytes(),
        ),
    ]
}

#[test]
fn what_breaks_the_protocol_is_closed_costs_nothing_and_harms_nobody() {
    let sandbox = warm("");
    let (agent, engine) = (sandbox.pid_of(Role::Agent), sandbox.pid_of(Role::Engine));
    let workers = sandbox.home().join(".local/state/rbee/run/w");
    let dir = std::fs::read_dir(workers).expect("workers").flatten().next().expect("a worker");
    let sockets = [(sandbox.agent_socket(), agent), (dir.path().join("e.sock"), engine)];
    for (socket, pid) in sockets {
        let before = procs::resident_bytes(pid).expect("it lives");
        let mut open = Vec::new();
        for (name, bytes) in broken() {
            for _ in 0..20 {
                let mut stream = UnixStream::connect(&socket).expect("a connection");
                stream.set_read_timeout(Some(PATIENCE)).expect("a bound");
                // It may be closed before all of it was sent.
                let _ = stream.write_all(&bytes);
                open.push((name, stream));
            }
        }
        let others = sandbox.rbee(&["run", "-m", "demo", "-n", "4", QUESTION]).expect_code(0);
        assert!(!others.stdout.is_empty(), "others are answered meanwhile");
        let now = procs::resident_bytes(pid).expect("it lives");
        println!(
            "{pid}: {} KiB more with 160 broken connections",
            now.saturating_sub(before) / 1024
        );
        assert!(now < before + 32 * 1024 * 1024, "{before} bytes became {now}");
        for (name, mut stream) in open {
            let mut said = Vec::new();
            let ended = stream.read_to_end(&mut said);
            let reset =
                |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
            assert!(
                ended.as_ref().is_ok() || ended.as_ref().is_err_and(reset),
                "{name}: {ended:?}"
            );
            if name == "a body of 4 GiB" {
                let said = String::from_utf8_lossy(&said);
                assert!(said.contains("413") || said.contains("404"), "{name}: {said}");
            }
        }
        assert!(procs::is_alive(pid));
    }
    assert_eq!(sandbox.pid_of(Role::Agent), agent);
    let _ = sandbox.rbee(&["run", "-m", "demo", QUESTION]).expect_code(0);
}

#[test]
fn a_thousand_control_requests_in_a_minute_are_quick_while_a_worker_computes() {
    let sandbox = warm("");
    let mut busy = begun(&sandbox, &long(&[]));
    let asked = Instant::now();
    let mut times: Vec<Duration> = (0..1000)
        .map(|n| {
            let path = [routes::HELLO, routes::WORKERS_LIST, routes::LIVE, routes::REQUESTS][n % 4];
            let asked = Instant::now();
            let answer = http::request(&sandbox.agent_socket(), "GET", path, b"").expect("it");
            assert_eq!(answer.status, 200, "{path}");
            asked.elapsed()
        })
        .collect();
    let took = asked.elapsed();
    times.sort_unstable();
    let mean = times.iter().sum::<Duration>() / 1000;
    println!("1000 control requests in {took:?}: mean {mean:?}, p99 {:?}", times[990]);
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert!(mean < Duration::from_millis(100) && times[990] < Duration::from_millis(500));
    busy.kill().expect("it runs still, or has just ended");
    let _ = busy.wait();
}
