//! Directories of safetensors that are not as they should be.

use std::path::Path;

use serde_json::json;
use wire::Code;

use super::super::decoder::{Description, Weights};
use super::super::testing::golden::{Golden, Held};
use super::*;

fn refused(path: &Path) -> Fault {
    Directory::open(path).err().unwrap()
}

#[test]
fn a_directory_without_weights_or_config_is_refused() {
    let directory = Golden::read("llama").write_directory(Held::F32, 1);
    let weights = directory.path().join("model.safetensors");
    std::fs::rename(&weights, directory.path().join("pytorch_model.bin")).unwrap();
    let fault = refused(directory.path());
    assert_eq!(fault.code, Code::ModelUnsupported, "{fault:?}");
    assert!(fault.message.contains("model.safetensors.index.json"), "{fault:?}");
    std::fs::remove_file(directory.path().join("config.json")).unwrap();
    assert_eq!(refused(directory.path()).code, Code::ModelNotFound);
}

#[test]
fn an_index_names_plain_files_that_have_what_it_says() {
    let golden = Golden::read("llama");
    let cases = [
        (json!({}), "names 0 files"),
        (json!({ "a": "../model.safetensors" }), "names ../model.safetensors"),
        (json!({ "a": "/etc/passwd" }), "names /etc/passwd"),
        (json!({ "a": "model-00001-of-00002.safetensors" }), "which the index has elsewhere"),
    ];
    for (map, named) in cases {
        let directory = golden.write_directory(Held::F32, 2);
        let index = json!({ "weight_map": map }).to_string();
        std::fs::write(directory.path().join("model.safetensors.index.json"), index).unwrap();
        let fault = refused(directory.path());
        assert_eq!(fault.code, Code::ModelCorrupt, "{fault:?}");
        assert!(fault.message.contains(named), "{} lacks {named}", fault.message);
    }
    let directory = golden.write_directory(Held::F32, 2);
    let path = directory.path().join("model.safetensors.index.json");
    let index = std::fs::read_to_string(&path).unwrap();
    let more = index
        .replace("\"weight_map\":{", "\"weight_map\":{\"x\":\"model-00001-of-00002.safetensors\",");
    std::fs::write(&path, more).unwrap();
    assert!(refused(directory.path()).message.contains("no file has x"));
}

#[test]
fn a_config_over_its_limit_is_not_read() {
    let directory = Golden::read("llama").write_directory(Held::F32, 1);
    let config = std::fs::File::create(directory.path().join("config.json")).unwrap();
    config.set_len(wire::limits::MAX_MODEL_CONFIG_BYTES + 1).unwrap();
    assert!(refused(directory.path()).message.contains("more than the limit"));
}

#[test]
fn weights_of_other_types_and_unknown_tensors_are_refused_by_name() {
    let directory = Golden::read("llama").write_directory(Held::F16, 1);
    let path = directory.path().join("model.safetensors");
    let file = std::fs::read(&path).unwrap();
    let with = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = file.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
        let mut changed = file.clone();
        changed[at..at + to.len()].copy_from_slice(to.as_bytes());
        std::fs::write(&path, changed).unwrap();
        let directory = Directory::open(directory.path()).unwrap();
        let description = Description::of(&directory);
        let loaded = description
            .and_then(|found| Weights::load_directory(found, &directory, &mut |_, _| {}));
        loaded.err().unwrap()
    };
    let fault = with("\"dtype\":\"F16\"", "\"dtype\":\"I16\"");
    assert_eq!(fault.code, Code::ModelUnsupported, "{fault:?}");
    assert!(fault.message.contains("type I16") && fault.hints[0].contains("convert_hf"));
    let fault =
        with("model.layers.2.self_attn.q_proj.weight", "model.layers.2.self_attn.q_pxyz.weight");
    assert_eq!(fault.code, Code::ModelCorrupt, "{fault:?}");
    assert!(fault.message.contains("lacks tensor blk.2.attn_q.weight"), "{fault:?}");
}
