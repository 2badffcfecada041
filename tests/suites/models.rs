//! `model show` and `model template`, and the probabilities that an answer comes with, as a person
//! types them, against the real program in an empty home.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what goes wrong here is a failed test"
)]

use std::path::PathBuf;

use rbee_tests::Sandbox;
use rbee_tests::synthetic::{self, TINY};
use serde_json::Value;

/// Writes a file into the sandbox's home, and names it as it is typed.
fn file(sandbox: &Sandbox, name: &str, text: &str) -> String {
    let path: PathBuf = sandbox.home().join(name);
    std::fs::write(&path, text).expect("a file in the sandbox");
    path.to_str().expect("a plain path").to_owned()
}

const TALK: &str = r#"[{"role":"user","content":"Hi <|im_end|>"}]"#;

#[test]
fn show_says_what_the_demo_model_is_and_starts_nothing() {
    let sandbox = Sandbox::new();
    let shown = sandbox.rbee(&["model", "show", "demo"]).expect_code(0);
    for word in ["architecture", "llama", "tokenizer", "template", "runs here", "yes"] {
        assert!(shown.stdout.contains(word), "{word}: {}", shown.stdout);
    }
    let json = sandbox.rbee(&["model", "show", "-m", "demo", "--json"]).expect_code(0);
    let all: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!((&all["runs_here"], &all["why_not"]), (&true.into(), &Value::Array(Vec::new())));
    assert!(all["parameters"].as_u64().is_some_and(|count| count > 1_000_000), "{all}");
    assert!(all["memory"]["need_bytes"].as_u64() > all["file_bytes"].as_u64(), "{all}");
    assert_eq!(sandbox.processes().len(), 0, "nothing runs");
}

#[test]
fn show_says_why_a_model_cannot_run_here_in_the_words_of_the_refusal() {
    let sandbox = Sandbox::new();
    let path = sandbox.home().join("tiny.gguf");
    synthetic::write(&path, &TINY).expect("a model");
    let path = path.to_str().expect("a plain path");
    let fits = sandbox.rbee(&["model", "show", path, "--json"]).expect_code(0);
    let fits: Value = serde_json::from_str(&fits.stdout).expect("JSON");
    assert_eq!(fits["runs_here"], true, "{fits}");
    let beyond = (TINY.context + 1).to_string();
    let shown =
        sandbox.rbee(&["model", "show", path, "--ctx-size", &beyond, "--json"]).expect_code(0);
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!(shown["runs_here"], false, "{shown}");
    let asked = ["run", "-m", path, "--ctx-size", &beyond, "--raw", "--json", "hi"];
    let refused = sandbox.rbee(&asked);
    let refused = refused.json_lines().last().expect("an event").clone();
    assert_eq!(shown["why_not"][0]["message"], refused["message"], "{refused}");
    let text = file(&sandbox, "notes.gguf", "no model at all");
    let not_one = sandbox.rbee(&["model", "show", &text]).expect_code(20);
    assert!(not_one.stderr.contains("GGUF"), "{}", not_one.stderr);
}

#[test]
fn a_model_is_known_by_its_first_bytes_and_told_by_its_header_whatever_its_name_is() {
    let sandbox = Sandbox::new();
    let path = sandbox.home().join("weights.txt");
    synthetic::write(&path, &TINY).expect("a model");
    let path = path.to_str().expect("a plain path");
    let shown = sandbox.rbee(&["model", "show", path, "--json"]).expect_code(0);
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    let figures = &shown["figures"];
    for (key, expected) in [
        ("vocab", TINY.vocab),
        ("layers", TINY.layers),
        ("context", TINY.context),
        ("kv_heads", TINY.kv_heads),
    ] {
        assert_eq!(figures[key], expected, "{key}: {shown}");
    }
    assert_eq!(shown["types"][0]["kind"], "Q8_0", "{shown}");
    assert_eq!((&shown["architecture"], &shown["runs_here"]), (&"qwen2".into(), &true.into()));
    let answered = sandbox.rbee(&["run", "-m", path, "--raw", "--max-tokens", "2", "--json", "a"]);
    let last = answered.expect_code(0).json_lines().pop().expect("an event");
    assert_eq!(last["event"], "done", "{last}");
}

/// Whoever has one gets the reason before anything is loaded.
#[test]
fn a_gpt_oss_is_refused_with_what_the_engine_lacks_for_it() {
    let sandbox = Sandbox::new();
    let path = sandbox.home().join("gpt-oss.gguf");
    synthetic::write_of_family(&path, &TINY, "gpt-oss").expect("a model");
    let path = path.to_str().expect("a plain path");
    let shown = sandbox.rbee(&["model", "show", path]).expect_code(0).stdout;
    let (facts, why) = shown.split_once("runs here").expect("a verdict");
    assert!(facts.contains("gpt-oss") && facts.contains("context"), "{shown}");
    let refused = sandbox.rbee(&["run", "-m", path, "--raw", "a"]).expect_code(20).stderr;
    for told in [why, &refused] {
        assert!(told.contains("MXFP4") && told.contains("sinks"), "{told}");
    }
    assert!(sandbox.workers().is_empty(), "none was started");
}

#[test]
fn a_conversation_is_rendered_with_the_models_template_or_with_a_file() {
    let sandbox = Sandbox::new();
    let talk = file(&sandbox, "talk.json", TALK);
    let args = ["model", "template", "-m", "demo", "--messages", &talk];
    let rendered = sandbox.rbee(&args).expect_code(0).stdout;
    assert!(rendered.ends_with("user\nHi <|im_end|><|im_end|>\n"), "{rendered:?}");
    let mut more = args.to_vec();
    more.push("--add-generation-prompt");
    let longer = sandbox.rbee(&more).expect_code(0).stdout;
    assert_eq!(longer, format!("{rendered}<|im_start|>assistant\n"));

    let source = "{{ bos_token }}{{ messages|tojson }}{{ tools|tojson }} {{ strftime_now('%F') }}\
                  {{ eos_token }}\n";
    let source = file(&sandbox, "chat.jinja", source);
    let tools = file(&sandbox, "tools.json", r#"[{"b":1,"a":2}]"#);
    let args = ["model", "template", "--template", &source, "--messages", &talk];
    let more = ["--tools", &tools, "--date", "2024-02-29", "--bos", "<s>", "--eos", "</s>"];
    let rendered = sandbox.rbee(&[&args[..], &more[..]].concat()).expect_code(0).stdout;
    let expected =
        r#"<s>[{"role": "user", "content": "Hi <|im_end|>"}][{"b": 1, "a": 2}] 2024-02-29</s>"#;
    assert_eq!(rendered, expected);
}

#[test]
fn a_template_that_refuses_or_means_harm_ends_with_its_reason() {
    let sandbox = Sandbox::new();
    let talk = file(&sandbox, "talk.json", TALK);
    let render = |source: &str| {
        let source = file(&sandbox, "chat.jinja", source);
        sandbox.rbee(&["model", "template", "--template", &source, "--messages", &talk])
    };
    let refused = render("{{ raise_exception('No \u{1b}[2J tools') }}").expect_code(20);
    assert!(refused.stderr.contains("tools") && !refused.stderr.contains('\u{1b}'));
    let endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    let _refused = render(endless).expect_code(20);
    let doubling = "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(60) %}\
                    {% set ns.x = ns.x ~ ns.x %}{% endfor %}";
    let full = render(doubling).expect_code(20);
    assert!(full.stderr.contains("the chat template takes more memory"), "{}", full.stderr);
    let talk = file(&sandbox, "talk.json", "{}");
    let args = ["model", "template", "-m", "demo", "--messages", &talk];
    let wrong = sandbox.rbee(&args).expect_code(2);
    assert!(wrong.stderr.contains("messages"), "{}", wrong.stderr);
    let _usage = sandbox.rbee(&["model", "template", "--messages", &talk]).expect_code(2);
}

#[test]
fn an_answer_tells_its_probabilities_and_obeys_biases() {
    let sandbox = Sandbox::new();
    let ask = |more: &[&str]| {
        let args = ["run", "-m", "demo", "--temperature", "0", "-n", "8", "--json"];
        let mut args = args.to_vec();
        args.extend(more);
        args.push("What is a hive?");
        sandbox.rbee(&args)
    };
    let told = ask(&["--logprobs", "2"]).expect_code(0).json_lines();
    let tokens: Vec<&Value> = told.iter().filter(|event| event["event"] == "token").collect();
    assert!(!tokens.is_empty());
    for token in &tokens {
        let rivals = token["logprobs"]["top_logprobs"].as_array().expect("rivals");
        assert_eq!((rivals.len(), &rivals[0]["id"]), (2, &token["id"]), "{token}");
        assert!(token["logprobs"]["logprob"].as_f64().expect("a number") <= 0.0);
    }
    let first = tokens[0]["id"].as_u64().expect("an id");
    let banned = ask(&["--logit-bias", &format!("{first}=-100")]).expect_code(0).json_lines();
    let other = banned.iter().find(|event| event["event"] == "token").expect("a token");
    assert_ne!(other["id"], tokens[0]["id"], "a bias of -100 bans it");
    assert_eq!(other.get("logprobs"), None, "nobody asked");
    let _no_token = ask(&["--logit-bias", "4294967295=1"]).expect_code(2);
    let _no_json = sandbox.rbee(&["run", "--logprobs", "2", "hi"]).expect_code(2);
    for wrong in [["--typical-p", "1.5"], ["--repeat-last-n", "-2"], ["--min-tokens", "9"]] {
        let _usage = ask(&wrong).expect_code(2);
    }
}
