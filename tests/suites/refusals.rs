//! Bad input from a person, a file or a peer: a typed error with its exit code and a hint.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what goes wrong here is a failed test"
)]

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rbee_tests::sandbox::Finished;
use rbee_tests::{Sandbox, http, synthetic};

/// A refusal: the code, an `error:` line, a hint, and nothing left running that was not there.
#[track_caller]
fn refused(finished: Finished, code: i32) -> Finished {
    let finished = finished.expect_code(code);
    assert!(finished.stdout.is_empty(), "nothing on stdout: {}", finished.stdout);
    assert!(finished.stderr.contains("error:"), "{}", finished.stderr);
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    finished
}

#[test]
fn wrong_words_are_usage_errors_before_anything_starts() {
    let sandbox = Sandbox::new();
    let lines: &[&[&str]] = &[
        &["run", "-m", "invalid-format", "hi"],
        &["run", "-m", "hf:!@#$%/x", "hi"],
        &["run", "-m", "file:../../etc/passwd", "hi"],
        &["run", "-m", "demo", "--device", "quantum", "hi"],
        &["run", "-m", "demo", "--device", "cuda:-1", "hi"],
        &["run", "-m", "demo", "--temperature", "3", "hi"],
        &["run", "-m", "demo", "--temperature", "NaN", "hi"],
        &["run", "-m", "demo", "--top-p", "1.5", "hi"],
        &["run", "-m", "demo", "--ctx-size", "0", "hi"],
        &["run", "-m", "demo", "--max-tokens", "0", "hi"],
        &["run", "-m", "demo", "--stop", "", "hi"],
        &["run", "-m", "demo", "--hive", "a_b", "hi"],
        &["run", "-m", "demo", "--deadline", "soon", "hi"],
        &["run", "-m", "demo"],
        &["run", "demo", "hi"],
        &["run", "hf:org/repo", "hi"],
        &["worker", "stop", "; rm -rf /"],
        &["worker", "stop", "under_score"],
        &["frobnicate"],
    ];
    for args in lines {
        let finished = sandbox.rbee(args).expect_code(2);
        assert!(finished.stderr.contains("error:"), "{args:?}: {}", finished.stderr);
        assert!(!finished.stderr.contains('\u{1b}'), "{args:?}: {}", finished.stderr);
    }
    assert!(sandbox.processes().is_empty(), "nothing was started");
}

#[test]
fn no_name_of_another_alphabet_reaches_anything_and_none_is_shown_raw() {
    let sandbox = Sandbox::new();
    let long = "a".repeat(65);
    let lines: &[&[&str]] = &[
        &["run", "-m", "modèle", "hi"],
        &["run", "-m", "hf:org/<script>alert(1)</script>", "hi"],
        &["run", "-m", "hf:o/r\u{1b}[31m", "hi"],
        &["run", "-m", "hf:o/r\nlevel=error", "hi"],
        &["run", "-m", "hf:o/r\u{202e}", "hi"],
        &["run", "-m", "demo", "--device", "tpu:0", "hi"],
        &["run", "-m", "demo", "--device", "cuda:1.5", "hi"],
        &["run", "-m", "demo", "--device", "metal:x", "hi"],
        &["run", "-m", "demo", "--device", "cuda:256", "hi"],
        &["worker", "stop", "x' OR '1'='1"],
        &["worker", "stop", "x'; DROP TABLE workers; --"],
        &["worker", "stop", "`id`"],
        &["worker", "stop", "a|b"],
        &["worker", "stop", &long],
        &["hive", "add", "b@d", "host"],
        &["hive", "add", "a", "host:0"],
        &["hive", "add", "a", "host:70000"],
    ];
    for args in lines {
        let told = sandbox.rbee(args).expect_code(2).stderr;
        assert!(told.starts_with("error:") && told.contains("hint:"), "{args:?}: {told}");
        let is_raw = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!told.contains(is_raw) && !told.contains("\nlevel="), "{args:?}: {told}");
    }
    assert!(sandbox.processes().is_empty(), "nothing was started");
}

#[test]
fn a_model_as_first_word_is_answered_with_the_right_line() {
    let sandbox = Sandbox::with_config("[aliases]\ntiny = \"demo\"\n");
    for word in ["demo", "tiny", "hf:org/repo"] {
        let finished = refused(sandbox.rbee(&["run", word, "hello there"]), 2);
        let line = format!("rbee run -m {word} 'hello there'");
        assert!(finished.stderr.contains(&line), "{}", finished.stderr);
    }
}

#[test]
fn models_that_are_not_there_or_not_models_have_their_codes() {
    let sandbox = Sandbox::new();
    let home = sandbox.home().to_string_lossy().into_owned();
    std::fs::write(sandbox.home().join("text.gguf"), "this is not a model").expect("a file");
    std::fs::write(
        sandbox.home().join("short.gguf"),
        b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f",
    )
    .expect("a file");
    for model in [
        format!("file:{home}/absent.gguf"),
        "./absent.gguf".to_owned(),
        format!("file:{home}/text.gguf"),
        "./short.gguf".to_owned(),
        format!("file:{home}"),
    ] {
        let finished = refused(sandbox.rbee(&["run", "-m", &model, "hi"]), 20);
        assert!(finished.stderr.contains("hint:"), "{model}: {}", finished.stderr);
    }
}

#[test]
fn every_truncation_of_a_model_is_refused() {
    let sandbox = Sandbox::new();
    let whole = sandbox.home().join("whole.gguf");
    synthetic::write(&whole, &synthetic::TINY).expect("a model");
    let bytes = std::fs::read(&whole).expect("readable");
    let lengths = [0, 3, 4, 8, 16, 24, 40, 300, 2000, bytes.len() / 2, bytes.len() - 1];
    for length in lengths {
        std::fs::write(sandbox.home().join("cut.gguf"), &bytes[..length]).expect("a file");
        let finished = refused(sandbox.rbee(&["run", "-m", "./cut.gguf", "hi"]), 20);
        assert!(!finished.stderr.contains("crash"), "{length}: {}", finished.stderr);
    }
    let _ = sandbox.rbee(&["run", "-m", "./whole.gguf", "-n", "2", "hi"]).expect_code(0);
}

/// A model whose template is `template`, asked once.
fn asked_with_template(sandbox: &Sandbox, template: &str) -> Finished {
    let model = sandbox.home().join("hostile.gguf");
    synthetic::write_with_template(&model, &synthetic::TINY, template).expect("a model");
    let finished = sandbox.rbee(&["run", "-m", "./hostile.gguf", "-n", "2", "hi"]);
    let _ = sandbox.rbee(&["run", "-m", "demo", "hello"]).expect_code(0);
    finished
}

#[test]
fn a_template_that_eats_memory_ends_its_own_worker_at_a_bound() {
    let sandbox = Sandbox::new();
    let doubling = "{% set ns = namespace(s='a') %}{% for i in range(60) %}\
                    {% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s|length }}";
    let finished = refused(asked_with_template(&sandbox, doubling), 21);
    assert!(finished.stderr.contains("the worker ran out of memory"), "{}", finished.stderr);
}

#[test]
fn a_template_that_nests_or_loops_without_end_is_refused_and_its_worker_lives() {
    let sandbox = Sandbox::new();
    let nested = "{% set ns = namespace(s=[]) %}{% for i in range(40000) %}\
                  {% set ns.s = [ns.s] %}{% endfor %}";
    let endless =
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}";
    for template in [&format!("{nested}{{{{ ns.s|tojson }}}}"), endless] {
        let finished = asked_with_template(&sandbox, template);
        assert!(finished.code.is_some_and(|code| code != 0 && code != 22), "{finished:?}");
        assert!(finished.stderr.contains("template"), "{}", finished.stderr);
        let workers = sandbox.workers();
        assert_eq!(workers.len(), 2, "the model is still loaded: {workers:?}");
        let _ = sandbox.rbee(&["down"]).expect_code(0);
    }
}

/// A million steps of a millisecond each: it would run for a quarter of an hour.
const SLOW_TEMPLATE: &str = "{% set a = 'x' * 30000000 %}{% set b = 'x' * 30000000 %}\
    {% for n in range(99999) %}{% if a == b %}{% endif %}{% endfor %}";

#[test]
fn a_template_that_runs_for_long_ends_with_its_request_and_its_worker_serves_the_next() {
    let sandbox = Sandbox::new();
    let model = sandbox.home().join("slow.gguf");
    synthetic::write_with_template(&model, &synthetic::TINY, SLOW_TEMPLATE).expect("a model");
    let run = |more: &[&str]| {
        let args = [&["run", "-m", "./slow.gguf", "-n", "2"], more, &["hi"]].concat();
        sandbox.rbee(&args)
    };
    let _ = run(&["--raw"]).expect_code(0);
    for _request in 0..4 {
        let asked = Instant::now();
        let _ = refused(run(&["--deadline", "1s"]), 124);
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        // The slot and every thread are free again.
        let asked = Instant::now();
        let _ = run(&["--raw"]).expect_code(0);
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    }
    assert_eq!(sandbox.workers().len(), 1, "it is the same worker");
}

#[test]
fn a_record_that_is_a_pipe_does_not_hang_the_next_agent() {
    let sandbox = Sandbox::new();
    let dir = sandbox.home().join(".local/state/rbee/run/w/pipe");
    std::fs::create_dir_all(&dir).expect("a directory");
    let pipe = dir.join("spec.json");
    let made = rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR);
    made.expect("a pipe");
    let _ = sandbox.rbee(&["run", "-m", "demo", "hello"]).expect_code(0);
    assert!(!pipe.exists(), "what is no worker's is removed");
}

#[test]
fn two_long_homes_are_two_hives() {
    let sandbox = Sandbox::new();
    let homes = ["a", "b"].map(|name| sandbox.home().join(name.repeat(60)).join(name.repeat(60)));
    let run = |home: &std::path::Path, args: &[&str]| {
        let output = sandbox.command(args).env("HOME", home).output().expect("rbee runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for home in &homes {
        std::fs::create_dir_all(home).expect("a home");
    }
    let _ = run(&homes[0], &["run", "-m", "demo", "hello"]);
    assert_eq!(run(&homes[1], &["ps", "--json"]).trim(), "[]", "the other home has its own");
    let _ = run(&homes[0], &["down"]);
    let left = rbee_tests::procs::under(sandbox.home());
    assert_eq!(left, Vec::new());
}

#[test]
fn a_context_that_does_not_fit_says_by_how_much() {
    let sandbox = Sandbox::new();
    let long = "hive ".repeat(4000);
    let finished = refused(sandbox.rbee_with_stdin(&["run", "-m", "demo"], long.as_bytes()), 24);
    let says_how_many = finished.stderr.split_whitespace().any(|word| word.parse::<u32>().is_ok());
    assert!(says_how_many, "{}", finished.stderr);
    let _ = sandbox.rbee(&["run", "-m", "demo", "hi"]).expect_code(0);
}

#[test]
fn a_prompt_over_a_mebibyte_is_refused_while_it_is_read() {
    let sandbox = Sandbox::new();
    let long = vec![b'a'; 3 * 1024 * 1024];
    let finished = sandbox.rbee_with_stdin(&["run", "-m", "demo"], &long);
    assert!(finished.code.is_some_and(|code| code == 2 || code == 24), "{finished:?}");
    assert!(sandbox.processes().is_empty(), "nothing was started for it");
    let binary = sandbox.rbee_with_stdin(&["run", "-m", "demo"], b"\xff\xfe\x00");
    let _ = binary.expect_code(2);
}

#[test]
fn devices_that_this_build_lacks_are_named_never_replaced() {
    let sandbox = Sandbox::new();
    for device in ["cuda:0", "metal:0"] {
        let finished = refused(sandbox.rbee(&["run", "-m", "demo", "--device", device, "hi"]), 21);
        assert!(finished.stderr.contains("cpu"), "what there is: {}", finished.stderr);
    }
}

#[test]
fn a_context_beyond_the_model_is_refused() {
    let sandbox = Sandbox::new();
    let finished = sandbox.rbee(&["run", "-m", "demo", "--ctx-size", "1000000", "hi"]);
    assert!(finished.code.is_some_and(|code| code != 0), "{finished:?}");
    assert!(finished.stderr.contains("hint:"), "{}", finished.stderr);
}

#[test]
fn a_broken_configuration_is_named_by_line_for_every_command() {
    for (toml, word) in [
        ("default_model = 7\n", "default_model"),
        ("[agent]\nkeep_alive = 3\n", "keep_alive"),
        ("[timings]\nheartbeat_ms = 0\n", "heartbeat_ms"),
        ("[aliases]\nx = \"nonsense\"\n", "aliases"),
        ("oops", "line 1"),
    ] {
        let sandbox = Sandbox::with_config(toml);
        for command in [&["ps"][..], &["config", "check"], &["run", "-m", "demo", "hi"]] {
            let finished = sandbox.rbee(command).expect_code(3);
            assert!(finished.stderr.contains(word), "{toml:?}: {}", finished.stderr);
            assert!(finished.stderr.contains("config.toml"), "{}", finished.stderr);
        }
        assert!(sandbox.processes().is_empty());
    }
}

/// A hive with its agent running, asked over its socket without the keeper.
fn hive() -> Sandbox {
    let sandbox = Sandbox::new();
    let _ = sandbox.rbee(&["run", "-m", "demo", "hello"]).expect_code(0);
    sandbox
}

#[test]
fn the_agent_refuses_what_a_keeper_would_never_send() {
    let sandbox = hive();
    let socket = sandbox.agent_socket();
    let ask = |method: &str, path: &str, body: &str| {
        http::request(&socket, method, path, body.as_bytes()).expect("the agent answers")
    };
    let id = sandbox.workers()[0]["id"].as_str().expect("an id").to_owned();
    let chat = format!("/v1/workers/{id}/chat/completions");
    let cases = [
        ("POST", "/v1/workers/spawn", "{", 400),
        ("POST", "/v1/workers/spawn", "{\"model\":\"file:/../x\"}", 400),
        ("POST", "/v1/workers/spawn", "{\"model\":\"demo\",\"device\":\"quantum\"}", 400),
        ("POST", "/v1/workers/spawn", "{\"model\":\"demo\\u001b[31m\"}", 400),
        ("POST", "/v1/workers/under_score/stop", "{}", 400),
        ("POST", "/v1/workers/no-such-worker/stop", "{}", 404),
        ("POST", "/v1/workers/no-such-worker/chat/completions", "{\"messages\":[]}", 400),
        ("POST", chat.as_str(), "{\"messages\":[]}", 400),
        (
            "POST",
            chat.as_str(),
            "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"temperature\":9}",
            400,
        ),
        ("POST", chat.as_str(), "{\"messages\":[{\"role\":\"wizard\",\"content\":\"x\"}]}", 400),
        ("GET", "/v1/nothing", "", 404),
        ("DELETE", "/v1/hello", "", 404),
    ];
    for (method, path, body, status) in cases {
        let response = ask(method, path, body);
        let shown = String::from_utf8_lossy(&response.body).into_owned();
        assert_eq!(response.status, status, "{method} {path} {body}: {shown}");
        let error = &response.json()["error"];
        assert!(error["code"].is_string() && error["message"].is_string(), "{path}: {shown}");
        assert!(error["correlation_id"].is_string(), "{path}: {shown}");
        assert!(!shown.contains("wizard") && !shown.contains("u001b"), "no echo: {shown}");
    }
    assert_eq!(ask("GET", "/health/live", "").status, 200);
}

#[test]
fn oversized_bodies_and_headers_are_refused_unread() {
    let sandbox = hive();
    let socket = sandbox.agent_socket();
    let big = vec![b' '; 10 * 1024 * 1024];
    for path in ["/v1/workers/spawn", "/v1/down", "/v1/workers/x/chat/completions"] {
        let response = http::request(&socket, "POST", path, &big).expect("an answer");
        assert_eq!(response.status, 413, "{path}");
        assert_eq!(response.error_code(), "TOO_LARGE", "{path}");
    }
    let mut stream = http::open(&socket, "GET", "/v1/hello\r\nx-long: ", b"").expect("connects");
    let _ = stream.write_all(&vec![b'a'; 64 * 1024]);
    assert_eq!(http::request(&socket, "GET", "/v1/hello", b"").expect("alive").status, 200);
}

#[test]
fn garbage_on_the_socket_harms_nobody() {
    let sandbox = hive();
    let socket = sandbox.agent_socket();
    for garbage in
        [&b"\0\0\0\xff\xff\xff"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrubbish", b"GET", b"\n"]
    {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).expect("connects");
        let _ = stream.write_all(garbage);
    }
    // Half a frame, then silence, held open while others work.
    let mut half = std::os::unix::net::UnixStream::connect(&socket).expect("connects");
    half.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x40").expect("half a frame");
    let _ = sandbox.rbee(&["run", "-m", "demo", "hello"]).expect_code(0);
}

#[test]
fn nonsense_in_an_agents_place_is_named_with_what_was_broken_and_what_to_try() {
    let sandbox = Sandbox::with_config("[timings]\nagent_start_ms = 500\n");
    let socket = sandbox.agent_socket();
    std::fs::create_dir_all(socket.parent().expect("a directory")).expect("a directory");
    let listener = UnixListener::bind(&socket).expect("a socket");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _greeting = stream.read(&mut [0; 4096]);
            let _closed =
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"role\":");
            let _rest = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    for args in [&["ps"][..], &["run", "-m", "demo", "hi"], &["worker", "list"]] {
        let began = Instant::now();
        let refused = refused(sandbox.rbee(args), 10);
        assert!(began.elapsed() < Duration::from_secs(10), "{args:?}: {:?}", began.elapsed());
        for part in ["this machine broke", "http2 error", "hint: rbee doctor"] {
            assert!(refused.stderr.contains(part), "{args:?}: {}", refused.stderr);
        }
    }
    assert_eq!(sandbox.processes(), Vec::new(), "none is started beside it");
}

#[test]
fn a_flood_of_bad_requests_is_limited_and_good_ones_pass() {
    let sandbox = hive();
    let socket = sandbox.agent_socket();
    let codes: Vec<u16> = (0..400)
        .map(|_| http::request(&socket, "POST", "/v1/workers/spawn", b"{").expect("answers").status)
        .collect();
    assert!(codes.contains(&400) && codes.contains(&429), "{codes:?}");
    let _ = sandbox.rbee(&["run", "-m", "demo", "hello"]).expect_code(0);
}

#[test]
fn the_same_refusals_hold_in_json() {
    let sandbox = Sandbox::new();
    let finished =
        sandbox.rbee(&["run", "--json", "-m", "file:/absent.gguf", "hi"]).expect_code(20);
    let line = finished.json_lines().pop().expect("an event");
    assert_eq!(line["event"], "error");
    assert_eq!(line["code"], "MODEL_NOT_FOUND");
    assert!(line["hints"].as_array().is_some_and(|hints| !hints.is_empty()), "{line}");
    // What the worker refuses comes back with its figures, and the id that its logs have.
    let prompt = "hive ".repeat(4000);
    let args = ["run", "--json", "-m", "demo"];
    let finished = sandbox.rbee_with_stdin(&args, prompt.as_bytes()).expect_code(24);
    let line = finished.json_lines().pop().expect("an event");
    assert_eq!((&line["event"], &line["code"]), (&"error".into(), &"CONTEXT_OVERFLOW".into()));
    assert!(line["details"]["over_tokens"].as_u64() > Some(0), "{line}");
    let id = line["correlation_id"].as_str().expect("an id");
    let log = sandbox.home().join(".local/state/rbee/log/agent.jsonl");
    let log = std::fs::read_to_string(log).expect("a log");
    assert!(log.lines().any(|line| line.contains(id)), "{log}");
}

#[test]
fn errors_of_keys_and_themes_are_named_with_file_line_and_column_and_cost_no_command() {
    let sandbox = Sandbox::with_config("theme = \"mine\"\n");
    let dir = sandbox.home().join(".config/rbee");
    std::fs::create_dir_all(dir.join("themes")).expect("a directory");
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).expect("a file");
    let check = || sandbox.rbee(&["config", "check"]);
    let absent = refused(check(), 3);
    assert!(absent.stderr.contains("config.toml, line 1"), "{}", absent.stderr);
    write("themes/mine.toml", "error = \"red\"\ncode = \"bold plaid\"\n");
    write("themes/other.toml", "error = \"red\"\n\nwrong = \"red\"\n");
    write("keys.toml", "[panels]\nzoom = \"f\"\nsort = \"f\"\n");
    let wrong = refused(check(), 3);
    for place in [
        "themes/mine.toml, line 2, column 8:",
        "themes/other.toml, line 3, column 1:",
        "keys.toml, line 3, column 8:",
        "hint: ${EDITOR:-vi} +2 ",
    ] {
        assert!(wrong.stderr.contains(place), "{place}: {}", wrong.stderr);
    }
    // A command goes on, in other colours.
    let _ = sandbox.rbee(&["ps"]).expect_code(0);
    write("themes/mine.toml", "error = \"red\"\n");
    write("themes/other.toml", "");
    write("keys.toml", "[panels]\nzoom = \"f\"\n");
    let valid = check().expect_code(0);
    assert!(valid.stderr.contains("is valid"), "{}", valid.stderr);
}
