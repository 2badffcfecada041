//! The same tokens as the references make: `scripts/golden-tokens` wrote the vocabularies, the
//! texts, and a digest of the tokens of each text.

use std::collections::BTreeMap;
use std::path::PathBuf;

use wire::gguf::{Header, Value};

use super::super::{Files, Reading, Tokenizer};

const TEXT: Reading = Reading { ends: false, control: false };
const PROMPT: Reading = Reading { ends: true, control: true };

pub(super) fn file(name: &str) -> Vec<u8> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokens");
    std::fs::read(dir.join(name)).unwrap()
}

fn header(name: &str, changes: &[(&str, Value)]) -> Header {
    let bytes = file(name);
    let mut header = Header::parse(&bytes, bytes.len() as u64).unwrap();
    for (key, value) in changes {
        header.metadata.insert((*key).to_owned(), value.clone());
    }
    header
}

fn gguf(name: &str, changes: &[(&str, Value)]) -> Tokenizer {
    Tokenizer::from_header(&header(name, changes)).unwrap()
}

fn json(name: &str, edit: impl Fn(&mut serde_json::Value)) -> Tokenizer {
    let mut value = serde_json::from_slice(&file(name)).unwrap();
    edit(&mut value);
    let tokenizer = serde_json::to_vec(&value).unwrap();
    Tokenizer::from_json(&Files { tokenizer: &tokenizer, config: None, ends: &[] }).unwrap()
}

fn texts() -> Vec<String> {
    let texts: Vec<String> = serde_json::from_slice(&file("texts.json")).unwrap();
    assert!(texts.len() >= 1000, "{}", texts.len());
    texts
}

/// The reference's digest of each text, by the name of the set.
fn digests() -> BTreeMap<String, Vec<u32>> {
    let file = String::from_utf8(file("digests.txt")).unwrap();
    let mut lines = file.lines();
    let names: Vec<&str> = lines.next().unwrap().split(' ').collect();
    let mut sets: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for line in lines {
        for (name, digest) in names.iter().zip(line.split(' ')) {
            let digest = u32::from_str_radix(digest, 16).unwrap();
            sets.entry((*name).to_owned()).or_default().push(digest);
        }
    }
    sets
}

/// FNV-1a of the numbers, four bytes each.
fn digest(ids: &[u32]) -> u32 {
    let bytes = ids.iter().flat_map(|id| id.to_le_bytes());
    bytes.fold(0x811c_9dc5, |state, byte| (state ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[track_caller]
fn agrees(set: &str, tokenizer: &Tokenizer, reading: Reading) {
    let (texts, digests) = (texts(), digests());
    let expected = digests.get(set).unwrap();
    assert_eq!(expected.len(), texts.len(), "{set}");
    let mut wrong = Vec::new();
    for (text, expected) in texts.iter().zip(expected) {
        let ids = tokenizer.read(text, reading).unwrap();
        if digest(&ids) != *expected {
            wrong.push(format!("{text:?}: {ids:?}"));
        }
    }
    let first = wrong.first();
    assert!(first.is_none(), "{set}: {} of {}: {}", wrong.len(), texts.len(), first.unwrap());
}

/// The tokenizer reads what it wrote.
#[track_caller]
fn comes_back(tokenizer: &Tokenizer, reading: Reading) {
    for text in texts() {
        let ids = tokenizer.read(&text, reading).unwrap();
        assert_eq!(tokenizer.text(&ids).unwrap(), text, "{ids:?}");
    }
}

#[test]
fn byte_pairs_are_cut_as_each_models_own_file_says() {
    let names = [
        "gpt-2",
        "smollm",
        "command-r",
        "llama-bpe",
        "dbrx",
        "qwen2",
        "qwen35",
        "stablelm2",
        "tekken",
        "gpt-4o",
        "deepseek-llm",
        "deepseek-coder",
        "deepseek-v3",
        "seed-coder",
        "falcon",
    ];
    for name in names {
        let pre = Value::Text(name.to_owned());
        let tokenizer = gguf("bytes.gguf", &[("tokenizer.ggml.pre", pre)]);
        agrees(name, &tokenizer, TEXT);
        if !["command-r", "qwen2", "qwen35"].contains(&name) {
            comes_back(&tokenizer, TEXT);
        }
    }
}

#[test]
fn a_prompt_of_byte_pairs_has_its_control_tokens() {
    let tokenizer = gguf("bytes.gguf", &[]);
    agrees("llama-bpe+control", &tokenizer, PROMPT);
    let tokenizer = json("bytes.json", |_| {});
    agrees("llama-bpe+control", &tokenizer, PROMPT);
    agrees("llama-bpe", &tokenizer, TEXT);
    comes_back(&tokenizer, TEXT);
}

#[test]
fn pieces_are_joined_as_sentencepiece_joins_them() {
    let tokenizer = gguf("pieces.gguf", &[]);
    agrees("pieces", &tokenizer, TEXT);
    agrees("pieces+control", &tokenizer, PROMPT);
    let prefix = ("tokenizer.ggml.add_space_prefix", Value::Bool(false));
    agrees("pieces-unprefixed", &gguf("pieces.gguf", &[prefix]), TEXT);
}

#[test]
fn special_tokens_of_phi_3_swallow_the_blanks_behind_them() {
    let name = ("general.name", Value::Text("Phi-3 mini".to_owned()));
    agrees("pieces+phi-3", &gguf("pieces.gguf", &[name]), PROMPT);
}

#[test]
fn pieces_of_a_json_file_are_those_of_the_library() {
    agrees("pieces.json", &json("pieces.json", |_| {}), PROMPT);
    let first = json("pieces.json", |file| {
        file["normalizer"] = serde_json::Value::Null;
        file["pre_tokenizer"] = serde_json::json!({
            "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false,
        });
    });
    agrees("pieces.json+first", &first, PROMPT);
    let never = json("pieces.json", |file| {
        file["normalizer"] = serde_json::json!({
            "type": "Replace", "pattern": { "String": " " }, "content": "▁",
        });
    });
    agrees("pieces.json+never", &never, PROMPT);
}

#[test]
fn words_are_cut_as_bert_cuts_them() {
    agrees("words", &gguf("words.gguf", &[]), PROMPT);
    agrees("words", &json("words.json", |_| {}), PROMPT);
}

#[test]
fn unigrams_of_a_json_file_are_those_of_the_library() {
    agrees("unigram.json", &json("unigram.json", |_| {}), PROMPT);
}
