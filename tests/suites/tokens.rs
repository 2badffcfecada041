//! `rbee model tokenize` through the whole program: what a model sees of a text, and back.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what goes wrong here is a failed test"
)]

use std::path::{Path, PathBuf};

use rbee_tests::Sandbox;
use serde_json::Value;

fn golden(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/tests/golden/tokens");
    let path: PathBuf = dir.join(name).canonicalize().expect("a golden file");
    path.to_str().expect("UTF-8").to_owned()
}

fn ids(line: &str) -> Vec<u32> {
    line.split_whitespace().map(|id| id.parse().expect("a number")).collect()
}

#[test]
fn a_text_comes_back_from_the_numbers_of_its_tokens() {
    let sandbox = Sandbox::new();
    let text = "What is rbee?\n  Tabs\t, 日本語 and 🐝 <|im_end|>\n";
    for model in ["demo", &golden("bytes.gguf"), &golden("pieces.gguf"), &golden("bytes.json")] {
        let line = ["model", "tokenize", "-m", model];
        let told = sandbox.rbee_with_stdin(&line, text.as_bytes()).expect_code(0);
        assert_eq!(told.stdout.lines().count(), 1, "{}", told.stdout);
        let json = [&line[..], &["--json"]].concat();
        let json = sandbox.rbee_with_stdin(&json, text.as_bytes()).expect_code(0);
        let tokens: Vec<Value> = serde_json::from_str(&json.stdout).expect("an array");
        let of_json: Vec<u64> = tokens.iter().map(|t| t["id"].as_u64().expect("an id")).collect();
        let of_line: Vec<u64> = ids(&told.stdout).into_iter().map(u64::from).collect();
        assert_eq!(of_json, of_line, "{model}");
        assert!(tokens.iter().any(|token| token["piece"] == "<|im_end|>"), "{model}");
        let back = [&line[..], &["--detokenize"]].concat();
        let back = sandbox.rbee_with_stdin(&back, told.stdout.as_bytes()).expect_code(0);
        assert_eq!(back.stdout, text, "{model}");
    }
    assert!(sandbox.processes().is_empty(), "a look starts no daemon");
}

#[test]
fn control_tokens_and_the_beginning_can_be_left_out() {
    let sandbox = Sandbox::new();
    let model = golden("bytes.gguf");
    let tokens = |more: &[&str]| {
        let line = [&["model", "tokenize", "-m", &model], more].concat();
        ids(&sandbox.rbee_with_stdin(&line, b"a<|im_end|>").expect_code(0).stdout)
    };
    let whole = tokens(&[]);
    assert_eq!(whole.len(), 3, "a beginning, a letter, a control token: {whole:?}");
    assert_eq!(tokens(&["--no-bos"]), whole[1..]);
    let plain = tokens(&["--no-bos", "--no-parse-special"]);
    assert!(plain.len() > 2 && !plain.contains(&whole[2]), "{plain:?}");
}

#[test]
fn what_cannot_be_tokenized_is_refused_with_its_exit_code() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.home().join("no.gguf"), "GGUF").expect("a file");
    std::fs::write(sandbox.home().join("tokenizer.json"), "{}").expect("a file");
    let long = vec![b'a'; 1024 * 1024 + 1];
    let cases: &[(&[&str], &[u8], i32, &str)] = &[
        (&["-m", "demo"], b"a\xff", 2, "byte 1"),
        (&["-m", "demo"], &long, 2, "longer"),
        (&["-m", "demo", "--detokenize"], b"1 x", 2, "no number"),
        (&["-m", "demo", "--detokenize"], b"4000000000", 2, "4000000000"),
        (&["-m", "./absent.gguf"], b"a", 20, "absent.gguf"),
        (&["-m", "./no.gguf"], b"a", 20, "no.gguf"),
        (&["-m", "./tokenizer.json"], b"a", 20, "tokenizer.json"),
        (&["-m", "hf:org/repo"], b"a", 20, "hf:org/repo"),
        (&["-m", "file:/dev"], b"a", 20, "/dev"),
        (&["-m", "demo", "--detokenize", "--no-bos"], b"1", 2, "no-bos"),
        (&[], b"a", 2, "--model"),
    ];
    for (words, input, code, told) in cases {
        let line = [&["model", "tokenize"], *words].concat();
        let refused = sandbox.rbee_with_stdin(&line, input).expect_code(*code);
        assert!(refused.stdout.is_empty(), "{words:?}: {}", refused.stdout);
        assert!(refused.stderr.contains("error:"), "{words:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(told), "{words:?}: {}", refused.stderr);
        assert!(!refused.stderr.contains("panicked"), "{words:?}: {}", refused.stderr);
    }
    let line = ["model", "tokenize", "-m", "./absent.gguf", "--json"];
    let refused = sandbox.rbee_with_stdin(&line, b"a").expect_code(20);
    let error: Value = serde_json::from_str(&refused.stdout).expect("JSON");
    assert_eq!(error["error"]["code"], "MODEL_NOT_FOUND");
}
