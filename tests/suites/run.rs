//! `run` and its neighbours as a person types them, against the real program in an empty home.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what goes wrong here is a failed test"
)]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rbee_tests::procs::{self, Role};
use rbee_tests::sandbox::{self, PATIENCE};
use rbee_tests::{Fleet, Sandbox, Terminal, http, wait_until};
use rustix::process::Signal;

const QUESTION: &str = "What is a hive?";

#[test]
fn the_first_command_answers_in_an_empty_home() {
    let sandbox = Sandbox::new();
    let asked = sandbox.rbee(&["run", QUESTION]).expect_code(0);
    assert!(asked.stdout.contains("machine"), "an answer about hives: {}", asked.stdout);
    assert!(asked.stderr.contains("demo"), "says that the demo model answers: {}", asked.stderr);
    let pids: Vec<i32> = sandbox.processes().iter().map(|process| process.pid).collect();
    assert_eq!(pids.len(), 3, "agent, guard, engine: {:?}", sandbox.processes());
    assert_eq!(procs::listeners_of(&pids), Vec::<String>::new(), "no process listens");
    sandbox.down();
    assert!(!sandbox.agent_socket().exists(), "no socket is left");
}

#[test]
fn a_second_run_finds_the_model_warm() {
    let sandbox = Sandbox::new();
    let first = sandbox.rbee(&["run", "--json", "-m", "demo", QUESTION]).expect_code(0);
    let engine = sandbox.pid_of(Role::Engine);
    let second = sandbox.rbee(&["run", "--json", "-m", "demo", QUESTION]).expect_code(0);
    assert_eq!(sandbox.pid_of(Role::Engine), engine, "the same process");
    let placed = |finished: &sandbox::Finished| finished.json_lines()[0].clone();
    assert_eq!(placed(&first)["event"], "placed");
    assert_eq!(placed(&first)["reused"], false);
    assert_eq!(placed(&second)["reused"], true);
    assert_eq!(placed(&first)["worker"], placed(&second)["worker"]);
}

#[test]
fn json_events_tell_the_whole_story_and_the_text_is_the_same() {
    let sandbox = Sandbox::new();
    let plain = sandbox.rbee(&["run", "-m", "demo", "--temperature", "0", QUESTION]).expect_code(0);
    let json = sandbox
        .rbee(&["run", "-m", "demo", "--temperature", "0", "--json", QUESTION])
        .expect_code(0);
    let lines = json.json_lines();
    assert_eq!(lines.len(), json.stdout.lines().count(), "every line is JSON");
    let (placed, done) = (&lines[0], lines.last().expect("lines"));
    assert_eq!(placed["hive"], "local");
    assert_eq!(placed["device"], "cpu");
    assert_eq!(placed["model"], "demo");
    assert_eq!(done["event"], "done");
    assert_eq!(done["finish_reason"], "stop");
    let tokens: Vec<_> = lines.iter().filter(|line| line["event"] == "token").collect();
    assert!(tokens.iter().all(|token| token["id"].is_u64()));
    let text: String = tokens.iter().filter_map(|token| token["text"].as_str()).collect();
    assert_eq!(text.trim(), plain.stdout.trim());
    let usage = &done["usage"];
    let prompt = usage["prompt_tokens"].as_u64().expect("a count");
    let completion = usage["completion_tokens"].as_u64().expect("a count");
    assert!(prompt > 4 && completion > 4);
    assert_eq!(usage["total_tokens"], prompt + completion);
    assert_eq!(usage["cached_tokens"], 0);
    assert_eq!(tokens.len() as u64, completion, "a token event a token");
    for part in ["load_ms", "queue_ms", "prefill_ms", "decode_ms"] {
        assert!(done["timings"][part].as_f64().is_some_and(|ms| ms >= 0.0), "{part}: {done}");
    }
}

#[test]
fn the_same_seed_gives_the_same_text_and_another_seed_another() {
    let sandbox = Sandbox::new();
    let run = |seed: &str| {
        let args =
            ["run", "-m", "demo", "--raw", "--temperature", "2", "--seed", seed, "-n", "24", "The"];
        sandbox.rbee(&args).expect_code(0).stdout
    };
    let first = run("7");
    assert_eq!(first, run("7"));
    assert!(["8", "9", "10"].iter().any(|seed| run(seed) != first), "a seed has an effect");
}

#[test]
fn arguments_come_before_stdin_and_either_is_enough() {
    let sandbox = Sandbox::new();
    let ask = |args: &[&str], input: &[u8]| {
        let mut all = vec!["run", "-m", "demo", "--temperature", "0"];
        all.extend_from_slice(args);
        sandbox.rbee_with_stdin(&all, input).expect_code(0).stdout
    };
    let by_argument = ask(&[QUESTION], b"");
    assert_eq!(ask(&[], QUESTION.as_bytes()), by_argument);
    assert_eq!(ask(&["--prompt", QUESTION], b""), by_argument);
    assert_eq!(ask(&["What", "is", "a", "hive?"], b""), by_argument);

    let json = |args: &[&str], input: &[u8]| {
        let mut all = vec!["run", "-m", "demo", "--raw", "--json", "-n", "1"];
        all.extend_from_slice(args);
        let finished = sandbox.rbee_with_stdin(&all, input).expect_code(0);
        let done = finished.json_lines().pop().expect("done");
        done["usage"]["prompt_tokens"].as_u64().expect("a count")
    };
    let both = json(&["summarise:"], b"the quick brown fox");
    assert!(both > json(&["summarise:"], b""), "stdin is part of the prompt");
    assert!(both > json(&[], b"the quick brown fox"), "and so are the arguments");
}

#[test]
fn a_file_is_part_of_the_prompt() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.home().join("question.txt"), QUESTION).expect("a file");
    let args = ["run", "-m", "demo", "--temperature", "0"];
    let by_file = sandbox.rbee(&[&args[..], &["-f", "question.txt"]].concat()).expect_code(0);
    let by_argument = sandbox.rbee(&[&args[..], &[QUESTION]].concat()).expect_code(0);
    assert_eq!(by_file.stdout, by_argument.stdout);
    let missing = sandbox.rbee(&[&args[..], &["-f", "absent.txt"]].concat());
    assert!(missing.code.is_some_and(|code| code != 0));
    assert!(missing.stderr.contains("absent.txt"), "{}", missing.stderr);
}

#[test]
fn the_token_bound_ends_the_answer_and_says_so() {
    let sandbox = Sandbox::new();
    let args = ["run", "-m", "demo", "--json", "--ignore-eos", "--max-tokens", "5", QUESTION];
    let lines = sandbox.rbee(&args).expect_code(0).json_lines();
    let done = lines.last().expect("done");
    assert_eq!(done["finish_reason"], "length");
    assert_eq!(done["usage"]["completion_tokens"], 5);
}

#[test]
fn a_stop_text_ends_the_answer_and_is_not_in_it() {
    let sandbox = Sandbox::new();
    let args = ["run", "-m", "demo", "--temperature", "0"];
    let whole = sandbox.rbee(&[&args[..], &[QUESTION]].concat()).expect_code(0).stdout;
    let third = whole.split_whitespace().nth(3).expect("four words").to_owned();
    let cut = sandbox.rbee(&[&args[..], &["--stop", &third, QUESTION]].concat()).expect_code(0);
    let expected = whole.split(&third).next().expect("a beginning");
    assert_eq!(cut.stdout.trim_end(), expected.trim_end());
}

#[test]
fn a_reader_that_leaves_ends_the_run_cleanly() {
    let sandbox = Sandbox::new();
    let args = ["run", "-m", "demo", "--ignore-eos", "--max-tokens", "1500", QUESTION];
    let mut child = sandbox.command(&args).spawn().expect("rbee starts");
    let mut head = [0u8; 20];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut head).expect("20 bytes");
    drop(child.stdout.take());
    let finished = sandbox::finish(child);
    assert_eq!(finished.code, Some(141), "stderr: {}", finished.stderr);
    assert!(!finished.stderr.contains("error"), "quiet: {}", finished.stderr);
    let _ = sandbox.wait_for_state("ready");
}

#[test]
fn ctrl_c_leaves_a_warm_idle_worker() {
    let sandbox = Sandbox::new();
    let args = ["run", "-m", "demo", "--ignore-eos", "--max-tokens", "1900", QUESTION];
    let mut child = sandbox.command(&args).spawn().expect("rbee starts");
    let mut head = [0u8; 1];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut head).expect("a first byte");
    let engine = sandbox.pid_of(Role::Engine);
    procs::signal(i32::try_from(child.id()).expect("a pid"), Signal::INT);
    let finished = sandbox::finish(child).expect_code(130);
    assert!(!finished.stderr.contains("error"), "{}", finished.stderr);
    // The keeper waited for the acknowledgement: the slot is free at once.
    assert_eq!(sandbox.workers()[0]["active"], 0);
    let _ = sandbox.wait_for_state("ready");
    assert_eq!(sandbox.pid_of(Role::Engine), engine);
    let again = sandbox.rbee(&["run", "-m", "demo", "--json", QUESTION]).expect_code(0);
    assert_eq!(again.json_lines()[0]["reused"], true);
}

#[test]
fn a_killed_keeper_frees_its_slot_within_a_second() {
    let sandbox = Sandbox::new();
    let args = ["run", "-m", "demo", "--ignore-eos", "--max-tokens", "1900", QUESTION];
    let mut child = sandbox.command(&args).spawn().expect("rbee starts");
    let mut head = [0u8; 1];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut head).expect("a first byte");
    child.kill().expect("kill -9");
    let killed = Instant::now();
    let _ = child.wait();
    wait_until("the slot is free", PATIENCE, || {
        (sandbox.workers().first()?.get("active")? == 0).then_some(())
    });
    // Threefold slack for a busy machine.
    assert!(killed.elapsed() < Duration::from_secs(3), "{:?}", killed.elapsed());
}

#[test]
fn two_runs_at_once_share_one_worker() {
    let sandbox = Sandbox::new();
    let args = ["run", "-m", "demo", "--temperature", "0", QUESTION];
    let spawn = || sandbox.command(&args).spawn().expect("rbee starts");
    let children: Vec<_> = (0..4).map(|_| spawn()).collect();
    let answers: Vec<_> =
        children.into_iter().map(|child| sandbox::finish(child).expect_code(0).stdout).collect();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    let _ = sandbox.pid_of(Role::Engine);
    let _ = sandbox.pid_of(Role::Agent);
}

/// Requests that may wait at the worker of the test below.
const QUEUE: usize = 4;

/// As many requests as its only worker takes: one is served, the others wait. Their worker stands
/// still, so that they stay until they are dropped.
fn crowd(sandbox: &Sandbox) -> Vec<UnixStream> {
    let id = sandbox.workers()[0]["id"].as_str().expect("an id").to_owned();
    procs::signal(sandbox.pid_of(Role::Engine), Signal::STOP);
    let chat = wire::routes::with_id(wire::routes::WORKER_CHAT, id);
    let body = br#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":1}"#;
    let ask = || http::open(&sandbox.agent_socket(), "POST", &chat, body).expect("a connection");
    let crowd: Vec<_> = (0..=QUEUE).map(|_| ask()).collect();
    wait_until("the queue is full", PATIENCE, || {
        (sandbox.workers()[0]["queued"] == QUEUE).then_some(())
    });
    crowd
}

/// Reads what a command says until `words` are in it.
fn says(child: &mut Child, words: &str) -> String {
    let mut said = String::new();
    let mut stderr = BufReader::new(child.stderr.as_mut().expect("a pipe"));
    while !said.contains(words) {
        assert_ne!(stderr.read_line(&mut said).expect("text"), 0, "it only said: {said}");
    }
    said
}

#[test]
fn a_full_queue_is_tried_again_and_given_up_when_it_stays_full() {
    let config = format!("[timings]\nstale_ms = 120000\n[agent]\nmax_queue = {QUEUE}\n");
    let sandbox = Sandbox::with_config(&config);
    let ask = ["run", "-m", "demo", QUESTION];
    let _ = sandbox.rbee(&ask).expect_code(0);
    let crowd = crowd(&sandbox);
    let given_up = sandbox.rbee(&ask).expect_code(23);
    let told = given_up.stderr.matches("trying again in").count();
    assert_eq!(told, 1, "{}", given_up.stderr);
    assert!(given_up.stderr.contains("hint:"), "{}", given_up.stderr);
    let mut waiting = sandbox.command(&ask).spawn().expect("rbee starts");
    let _ = says(&mut waiting, "trying again in");
    drop(crowd);
    procs::signal(sandbox.pid_of(Role::Engine), Signal::CONT);
    assert!(sandbox::finish(waiting).expect_code(0).stdout.contains("machine"));
}

#[test]
fn ps_and_worker_list_have_the_documented_fields() {
    let sandbox = Sandbox::new();
    let idle = sandbox.rbee(&["ps", "--json"]).expect_code(0);
    assert_eq!(idle.stdout.trim(), "[]");
    assert!(sandbox.processes().is_empty(), "looking starts nothing");
    let _ = sandbox.rbee(&["run", "-m", "demo", QUESTION]).expect_code(0);
    let rows: serde_json::Value =
        serde_json::from_str(&sandbox.rbee(&["ps", "--json"]).expect_code(0).stdout).expect("JSON");
    let row = rows[0].as_object().expect("an object");
    let mut keys: Vec<_> = row.keys().map(String::as_str).collect();
    keys.sort_unstable();
    let mut expected = [
        "hive",
        "id",
        "pid",
        "model",
        "device",
        "state",
        "slots",
        "active",
        "queued",
        "memory_bytes",
        "keep_alive_s",
        "limit",
        "restarts",
        "started_unix_s",
        "tokens_per_s",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(row["pid"].as_i64(), Some(i64::from(sandbox.pid_of(Role::Engine))));
    let resident = procs::resident_bytes(sandbox.pid_of(Role::Engine)).expect("it lives");
    let shown = row["memory_bytes"].as_u64().expect("a figure");
    assert!(shown > resident / 2 && shown < resident * 2, "{shown} of {resident}");
    let table = sandbox.rbee(&["ps"]).expect_code(0).stdout;
    assert!(table.contains("demo") && table.contains("ready") && table.contains("cpu"), "{table}");
    assert!(!table.contains('\u{1b}'), "no colour in a pipe");
}

#[test]
fn chat_keeps_the_conversation() {
    let sandbox = Sandbox::new();
    let lines = format!("{QUESTION}\nhello\n/quit\n");
    let chat =
        sandbox.rbee_with_stdin(&["chat", "-m", "demo", "--temperature", "0"], lines.as_bytes());
    let chat = chat.expect_code(0);
    let alone = sandbox.rbee(&["run", "-m", "demo", "--temperature", "0", QUESTION]).expect_code(0);
    assert!(chat.stdout.contains(alone.stdout.trim()), "{}", chat.stdout);
}

#[test]
fn doctor_finds_nothing_wrong_and_proves_that_nothing_listens() {
    let sandbox = Sandbox::new();
    let _ = sandbox.rbee(&["run", "-m", "demo", QUESTION]).expect_code(0);
    let doctor = sandbox.rbee(&["doctor", "--json"]).expect_code(0);
    let checks: Vec<serde_json::Value> = serde_json::from_str(&doctor.stdout).expect("an array");
    assert!(checks.iter().all(|check| check["verdict"] != "failed"), "{checks:?}");
    let sockets = checks.iter().find(|check| check["name"] == "network sockets").expect("a check");
    assert_eq!(sockets["verdict"], "ok");
    let seen = sockets["seen"].as_str().expect("what was seen");
    assert!(seen.starts_with("0 ") && seen.contains("3 processes"), "{seen}");
}

#[test]
fn a_run_without_a_keeper_environment_writes_only_under_its_home() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["run", "-m", "demo", QUESTION]);
    let scratch = tempfile::tempdir().expect("a directory");
    command.env("TMPDIR", scratch.path()).stdin(Stdio::null());
    let _ = sandbox::finish(command.spawn().expect("rbee starts")).expect_code(0);
    let left = std::fs::read_dir(scratch.path()).expect("readable").count();
    assert_eq!(left, 0, "nothing in TMPDIR");
    let mut top: Vec<_> = std::fs::read_dir(sandbox.home())
        .expect("readable")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    top.sort();
    let allowed = [".cache", ".config", ".local"];
    assert!(top.iter().all(|name| allowed.contains(&name.as_str())), "{top:?}");
}

#[test]
fn a_closed_standard_output_is_no_success() {
    let sandbox = Sandbox::new();
    let shell = |redirected: &str| {
        let program = sandbox.command(&["run", "-m", "demo", QUESTION]);
        let mut line = std::process::Command::new("sh");
        line.arg("-c").arg(format!("exec \"$0\" \"$@\" {redirected}"));
        line.arg(program.get_program()).args(program.get_args()).env_clear();
        let variables = program.get_envs().filter_map(|(name, value)| Some((name, value?)));
        line.envs(variables).stdin(Stdio::null()).output().expect("a shell").status.code()
    };
    assert_eq!(shell(">&-"), Some(141));
    assert_eq!(shell(">/dev/null"), Some(0), "that is a place to write to");
}

#[test]
fn a_program_that_was_stopped_says_why_its_answer_ended_and_keeps_what_came() {
    let sandbox = Sandbox::with_config("[timings]\nheartbeat_ms = 200\nstale_ms = 700\n");
    let args = ["run", "-m", "demo", "--ignore-eos", "--max-tokens", "1900", QUESTION];
    let mut child = sandbox.command(&args).spawn().expect("rbee starts");
    let mut first = [0u8; 1];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut first).expect("a byte");
    let pid = i32::try_from(child.id()).expect("a pid");
    procs::signal(pid, Signal::STOP);
    wait_until("its slot is free", PATIENCE, || {
        (sandbox.workers()[0]["active"] == 0).then_some(())
    });
    procs::signal(pid, Signal::CONT);
    let finished = sandbox::finish(child).expect_code(10);
    assert!(finished.stderr.contains("Ctrl-Z"), "{}", finished.stderr);
    assert!(finished.stderr.contains("/partial/"), "{}", finished.stderr);
}

#[test]
fn a_chat_answers_the_next_line_after_its_hive_lost_its_power_and_came_back() {
    let Some(fleet) = Fleet::up(&[("a", "")], "") else { return };
    let _ = fleet.add("a");
    let mut chat = Terminal::start(&fleet, &["chat", "-m", "demo", "--temperature", "0"]);
    chat.shows(">>> ");
    for _ in 0..2 {
        chat.types("What is a hive?\r");
        // The end of the answer, and then the next line's beginning.
        chat.shows("`local`");
        chat.shows(">>> ");
        fleet.lab.power_off("a");
        fleet.lab.boot("a");
    }
    chat.types("/quit\r");
    let (code, shown) = chat.ends();
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("error:"), "{shown}");
}
