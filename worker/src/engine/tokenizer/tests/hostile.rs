//! A `tokenizer.json` that means harm, or that asks for what this engine does not do.

use serde_json::{Value, json};
use wire::{Code, Fault};

use super::super::{Files, Tokenizer};
use super::golden::file;

fn edited(name: &str, edit: impl Fn(&mut Value)) -> Result<Tokenizer, Fault> {
    let mut value: Value = serde_json::from_slice(&file(name)).unwrap();
    edit(&mut value);
    from(&serde_json::to_vec(&value).unwrap(), None, &[])
}

fn from(tokenizer: &[u8], config: Option<&[u8]>, ends: &[u32]) -> Result<Tokenizer, Fault> {
    Tokenizer::from_json(&Files { tokenizer, config, ends })
}

#[track_caller]
fn refused(tokenizer: Result<Tokenizer, Fault>, code: Code) {
    assert_eq!(tokenizer.err().map(|fault| fault.code), Some(code));
}

#[test]
fn what_is_no_tokenizer_is_refused() {
    for bytes in [&b""[..], b"{", b"null", b"{}", b"[[[[", b"{\"model\":{}}", b"\xff\xfe"] {
        refused(from(bytes, None, &[]), Code::ModelCorrupt);
    }
    let deep = "[".repeat(100_000);
    refused(from(deep.as_bytes(), None, &[]), Code::ModelCorrupt);
    let long = vec![b' '; wire::limits::MAX_TOKENIZER_JSON_BYTES + 1];
    refused(from(&long, None, &[]), Code::ModelCorrupt);
}

#[test]
fn what_this_engine_does_not_do_is_refused_and_not_ignored() {
    let unsupported: [fn(&mut Value); 5] = [
        |file| file["model"]["dropout"] = json!(0.1),
        |file| file["model"]["end_of_word_suffix"] = json!("</w>"),
        |file| file["decoder"] = Value::Null,
        |file| file["added_tokens"][0]["single_word"] = json!(true),
        |file| {
            file["model"] = json!({ "type": "WordLevel", "vocab": { "a": 0 }, "unk_token": "a" });
        },
    ];
    for edit in unsupported {
        refused(edited("bytes.json", edit), Code::ModelUnsupported);
    }
}

#[test]
fn numbers_of_tokens_that_cannot_be_are_refused() {
    refused(
        edited("bytes.json", |file| file["model"]["vocab"]["!"] = json!(4_294_967_295u32)),
        Code::ModelCorrupt,
    );
    refused(
        edited("bytes.json", |file| file["model"]["vocab"]["!"] = json!(5)),
        Code::ModelCorrupt,
    );
    refused(
        edited("bytes.json", |file| file["model"]["merges"][0] = json!(["x y", "nowhere"])),
        Code::ModelCorrupt,
    );
    let long = "x".repeat(300);
    refused(
        edited("bytes.json", |file| file["added_tokens"][0]["content"] = json!(long)),
        Code::ModelCorrupt,
    );
    refused(from(&file("bytes.json"), None, &[1_000_000]), Code::ModelCorrupt);
    refused(from(&file("bytes.json"), Some(b"no JSON"), &[]), Code::ModelCorrupt);
}

#[test]
fn the_files_beside_it_name_the_tokens_at_the_ends() {
    let config = br#"{"bos_token":{"content":"<|im_start|>"},"eos_token":"<|endoftext|>"}"#;
    let tokenizer = from(&file("bytes.json"), Some(config), &[3]).unwrap();
    assert_eq!((tokenizer.bos_text(), tokenizer.eos_text()), ("<|im_start|>", "<|endoftext|>"));
    let ends: Vec<&str> =
        tokenizer.end_tokens().iter().map(|id| tokenizer.pieces.get(*id).unwrap().0).collect();
    assert_eq!(ends, ["$", "<|endoftext|>", "<|im_end|>"]);
}
