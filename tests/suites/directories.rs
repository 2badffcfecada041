//! Models in directories as Hugging Face has them, through the whole program: run, shown, and
//! refused before anything is loaded.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what goes wrong here is a failed test"
)]

use std::path::{Path, PathBuf};

use rbee_tests::synthetic::directory::{self, SMALL};
use rbee_tests::{Sandbox, http};
use serde_json::Value;

/// A sandbox with a model in a directory of `files` files of weights.
fn with_model(files: usize) -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::new();
    let path = sandbox.home().join("models/tiny");
    directory::write(&path, &SMALL, files).expect("a model");
    (sandbox, path)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Replaces a file of the model by what `change` makes of it.
fn change(path: &Path, name: &str, change: impl Fn(&mut Value)) {
    let file = path.join(name);
    let mut value = serde_json::from_slice(&std::fs::read(&file).expect("it")).expect("JSON");
    change(&mut value);
    std::fs::write(&file, value.to_string()).expect("the changed file");
}

#[test]
fn a_directory_runs_however_it_is_named_and_in_however_many_files() {
    let (sandbox, path) = with_model(1);
    directory::write(&sandbox.home().join("models/parts"), &SMALL, 3).expect("a model");
    let told = |model: &str| {
        let line = ["run", "-m", model, "--temperature", "0", "-n", "12", "--json", "--raw", "ab"];
        let events = sandbox.rbee(&line).expect_code(0).json_lines();
        let ids: Vec<Value> =
            events.iter().filter(|e| e["event"] == "token").map(|e| e["id"].clone()).collect();
        assert_eq!(ids.len(), 12, "{events:?}");
        ids
    };
    let first = told(&format!("file:{}", text(&path)));
    for same in [format!("file:{}/", text(&path)), "./models/tiny".into(), "models/tiny/".into()] {
        assert_eq!(told(&same), first, "{same}");
    }
    assert_eq!(sandbox.workers().len(), 1, "it is one model");
    assert_eq!(told("./models/parts"), first, "in three files");
    let chat = ["run", "-m", text(&path), "-n", "3", "hello"];
    let _answer = sandbox.rbee(&chat).expect_code(0);
}

#[test]
fn a_directory_is_shown_tokenized_and_its_template_rendered_without_a_load() {
    let (sandbox, path) = with_model(2);
    std::fs::write(path.join("README.md"), "---\nlicense: mit\n---\n").expect("a card");
    let shown = sandbox.rbee(&["model", "show", text(&path), "--json"]).expect_code(0);
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!(shown["licence"], "mit");
    assert_eq!((&shown["runs_here"], &shown["why_not"]), (&true.into(), &Value::Array(Vec::new())));
    assert_eq!(
        (&shown["architecture"], &shown["tokenizer"]["model"]),
        (&"llama".into(), &"BPE".into())
    );
    assert_eq!(
        (&shown["types"][0]["kind"], &shown["figures"]["layers"]),
        (&"BF16".into(), &2.into())
    );
    // Weights of 16 bits are computed as 32.
    let (need, file) = (shown["memory"]["need_bytes"].as_u64(), shown["file_bytes"].as_u64());
    assert!(need > file.map(|bytes| 2 * bytes), "{shown}");
    let line = ["model", "tokenize", "-m", text(&path)];
    let told = sandbox.rbee_with_stdin(&line, b"ab<|im_end|>").expect_code(0);
    assert!(told.stdout.trim_end().ends_with(" 256"), "{}", told.stdout);
    let talk = sandbox.home().join("talk.json");
    std::fs::write(&talk, r#"[{"role":"user","content":"Hi"}]"#).expect("messages");
    let line = ["model", "template", "-m", text(&path), "--messages", text(&talk)];
    assert_eq!(sandbox.rbee(&line).expect_code(0).stdout, "Hi<|im_end|>");
    assert!(sandbox.processes().is_empty(), "a look starts no daemon");
}

#[test]
fn what_is_wrong_with_a_directory_is_said_before_a_worker_is_started() {
    let refused = |named: &str, code: &str, spoil: &dyn Fn(&Path)| {
        let (sandbox, path) = with_model(2);
        spoil(&path);
        let line = ["run", "-m", text(&path), "--json", "--raw", "ab"];
        let finished = sandbox.rbee(&line).expect_code(20);
        let last = finished.json_lines().pop().expect("an event");
        assert_eq!((&last["event"], &last["code"]), (&"error".into(), &code.into()), "{last}");
        assert!(last["message"].as_str().is_some_and(|m| m.contains(named)), "{last}");
        let hints = last["hints"].as_array().expect("hints");
        assert!(!hints.is_empty() && !last.to_string().contains("FILE.gguf"), "{last}");
        assert_eq!(sandbox.workers().len(), 0, "none was started");
        let shown = sandbox.rbee(&["model", "show", text(&path), "--json"]);
        if shown.code == Some(0) {
            let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
            assert_eq!(shown["runs_here"], false, "{shown}");
        } else {
            assert_eq!(shown.code, Some(20), "{}", shown.stderr);
        }
    };
    let remove = |name: &'static str| {
        move |path: &Path| std::fs::remove_file(path.join(name)).expect("it was there")
    };
    let shard = "model-00002-of-00002.safetensors";
    refused(shard, "MODEL_NOT_FOUND", &remove(shard));
    refused("config.json", "MODEL_NOT_FOUND", &remove("config.json"));
    refused("tokenizer.json", "MODEL_NOT_FOUND", &remove("tokenizer.json"));
    let config = |key: &'static str, value: Value| {
        move |path: &Path| change(path, "config.json", |config| config[key] = value.clone())
    };
    refused("mamba", "MODEL_UNSUPPORTED", &config("model_type", "mamba".into()));
    refused("MXFP4 blocks", "MODEL_UNSUPPORTED", &config("model_type", "gpt_oss".into()));
    refused("lacks tensor", "MODEL_CORRUPT", &config("num_hidden_layers", 3.into()));
    refused("has the shape", "MODEL_CORRUPT", &config("hidden_size", 128.into()));
    refused("num_hidden_layers", "MODEL_CORRUPT", &config("num_hidden_layers", (-1).into()));
    refused(
        "quantized",
        "MODEL_UNSUPPORTED",
        &config("quantization_config", serde_json::json!({})),
    );
    refused("names ../x", "MODEL_CORRUPT", &|path| {
        change(path, "model.safetensors.index.json", |index| {
            index["weight_map"]["model.norm.weight"] = "../x.safetensors".into();
        });
    });
    refused("no number", "MODEL_CORRUPT", &config("intermediate_size", u64::MAX.into()));
    refused("the file has", "MODEL_CORRUPT", &|path| {
        let file = std::fs::OpenOptions::new().write(true).open(path.join(shard)).expect("it");
        file.set_len(100).expect("it is cut");
    });
}

#[test]
fn a_link_in_a_directory_does_not_lead_out_of_the_allowed_places() {
    let outside = tempfile::tempdir().expect("a directory");
    directory::write(outside.path(), &SMALL, 1).expect("a model");
    let sandbox = Sandbox::with_config("");
    let models = sandbox.home().join("models");
    let config = format!("[agent]\nmodel_roots = [{:?}]\n", text(&models));
    let path = sandbox.home().join(".config/rbee/config.toml");
    std::fs::write(path, config).expect("a configuration");
    let inside = models.join("tiny");
    directory::write(&inside, &SMALL, 1).expect("a model");
    let line = ["run", "-m", text(&inside), "-n", "2", "--raw", "ab"];
    let _works = sandbox.rbee(&line).expect_code(0);
    let weights = inside.join("model.safetensors");
    std::fs::remove_file(&weights).expect("it");
    std::os::unix::fs::symlink(outside.path().join("model.safetensors"), &weights).expect("a link");
    let _down = sandbox.rbee(&["down"]).expect_code(0);
    let refused = sandbox.rbee(&line).expect_code(20);
    assert!(refused.stderr.contains("model_roots"), "{}", refused.stderr);
}

/// What the one worker answers to a chat.
fn chat(sandbox: &Sandbox, body: &Value) -> http::Response {
    let id = sandbox.workers()[0]["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/workers/{id}/chat/completions");
    let socket = sandbox.agent_socket();
    let body = body.to_string();
    http::request(&socket, "POST", &path, body.as_bytes()).expect("an answer")
}

const WITH_TOOLS: &str = "{{ messages|tojson }}{{ tools|tojson }}\
    {% if tools %}<tool_call></tool_call>{% endif %}GO";

#[test]
fn calls_of_tools_are_events_of_their_own_where_tools_were_given_and_text_elsewhere() {
    let sandbox = Sandbox::new();
    let path = sandbox.home().join("caller");
    let call = "{\"name\": \"weather\", \"arguments\": {\"city\": \"Köln\"}}";
    let says = ["Let me see.", "<tool_call>", call, "</tool_call>"];
    directory::write_that_says(&path, &says, WITH_TOOLS).expect("a model");
    let line = ["run", "-m", text(&path), "--temperature", "0", "-n", "9", "hi"];
    let plain = sandbox.rbee(&line).expect_code(0).stdout;
    assert_eq!(plain.trim_end(), says.concat(), "nobody gave it tools");

    let tool = serde_json::json!({ "type": "function", "function": { "name": "weather" } });
    let asked = serde_json::json!({ "role": "user", "content": "hi" });
    let mut body = serde_json::json!({
        "messages": [asked], "tools": [tool], "temperature": 0, "max_tokens": 9
    });
    let events = chat(&sandbox, &body).events();
    let deltas = || events.iter().map(|event| &event["choices"][0]["delta"]);
    let content: String = deltas().filter_map(|delta| delta["content"].as_str()).collect();
    assert_eq!(content, "Let me see.");
    let calls: Vec<&Value> =
        deltas().filter_map(|delta| delta["tool_calls"].as_array()).flatten().collect();
    assert_eq!(calls.len(), 1, "{events:?}");
    assert_eq!((&calls[0]["index"], &calls[0]["type"]), (&0.into(), &"function".into()));
    assert_eq!(calls[0]["function"]["name"], "weather");
    let arguments = calls[0]["function"]["arguments"].as_str().expect("a text");
    let arguments: Value = serde_json::from_str(arguments).expect("JSON");
    assert_eq!(arguments["city"], "Köln");
    let reasons: Vec<&str> =
        events.iter().filter_map(|e| e["choices"][0]["finish_reason"].as_str()).collect();
    assert_eq!(reasons, ["tool_calls"]);

    // The tool's answer goes back with the call.
    let told = serde_json::json!({
        "role": "tool", "content": "rain", "tool_call_id": calls[0]["id"]
    });
    let called = serde_json::json!({ "role": "assistant", "content": null, "tool_calls": calls });
    body["messages"].as_array_mut().expect("messages").extend([called, told]);
    let events = chat(&sandbox, &body).events();
    assert!(events.iter().any(|event| event["usage"]["prompt_tokens"].is_u64()), "{events:?}");
}

#[test]
fn a_template_that_knows_no_tools_refuses_them() {
    let sandbox = Sandbox::new();
    let path = sandbox.home().join("plain");
    directory::write_that_says(&path, &["Hi"], "{{ messages[0].content }}GO").expect("a model");
    let line = ["run", "-m", text(&path), "--temperature", "0", "-n", "9", "hello"];
    assert_eq!(sandbox.rbee(&line).expect_code(0).stdout.trim_end(), "Hi");
    let refused = chat(
        &sandbox,
        &serde_json::json!({
            "messages": [{ "role": "user", "content": "hi" }],
            "tools": [{ "type": "function", "function": { "name": "f" } }]
        }),
    );
    assert_eq!(refused.error_code(), "TEMPLATE_FAILED");
}
