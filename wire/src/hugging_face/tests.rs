//! Directories that tell the truth, and those that do not.

use serde_json::{Value, json};

use super::*;
use crate::fault::Code;
use crate::gguf::ModelShape;
use crate::limits;
use crate::safetensors::Header;

fn config() -> Value {
    json!({
        "model_type": "mistral", "num_hidden_layers": 2, "hidden_size": 8,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 3,
        "intermediate_size": 16, "max_position_embeddings": 128, "vocab_size": 10
    })
}

fn parse(config: &Value) -> Result<Config, DirectoryError> {
    Config::parse(config.to_string().as_bytes())
}

/// A header of tensors of bf16, and the length of its file.
fn header(tensors: &[(&str, &[u64])]) -> Result<Header, crate::safetensors::SafetensorsError> {
    let (mut table, mut at) = (serde_json::Map::new(), 0);
    for (name, shape) in tensors {
        let bytes: u64 = 2 * shape.iter().product::<u64>();
        let entry = json!({ "dtype": "BF16", "shape": shape, "data_offsets": [at, at + bytes] });
        table.insert((*name).to_owned(), entry);
        at += bytes;
    }
    let table = Value::Object(table).to_string();
    let mut file = u64::try_from(table.len()).unwrap().to_le_bytes().to_vec();
    file.extend(table.bytes());
    let end = u64::try_from(file.len()).unwrap() + at;
    Header::parse(&file, end)
}

const ALL: [(&str, &[u64]); 7] = [
    ("model.embed_tokens.weight", &[10, 8]),
    ("model.layers.0.self_attn.o_proj.weight", &[8, 12]),
    ("model.layers.0.self_attn.k_proj.weight", &[6, 8]),
    ("model.layers.0.mlp.down_proj.weight", &[8, 16]),
    ("model.layers.1.self_attn.o_proj.weight", &[8, 12]),
    ("model.layers.1.self_attn.k_proj.weight", &[6, 8]),
    ("model.layers.1.mlp.down_proj.weight", &[8, 16]),
];

fn tensors(all: &[(&str, &[u64])]) -> Tensors {
    let mut tensors = Tensors::default();
    tensors.add(SINGLE, header(all), None).unwrap();
    tensors
}

#[test]
fn a_config_has_the_figures_of_its_family() {
    let tensors = tensors(&ALL);
    let shape = parse(&config()).unwrap().shape(&tensors).unwrap();
    let bytes = 2 * (80 + 2 * (96 + 48 + 128));
    let expected = ModelShape {
        architecture: "llama".to_owned(),
        layers: 2,
        embedding: 8,
        heads: 4,
        kv_heads: 2,
        head_dim: 3,
        value_dim: 3,
        feed_forward: 16,
        context: 128,
        vocab: 10,
        weight_bytes: bytes,
        half_float_bytes: bytes,
    };
    assert_eq!(shape, expected);
    tensors.check_shape(&shape).unwrap();
    let mut gemma = config();
    gemma["model_type"] = "gemma2".into();
    gemma["head_dim"] = Value::Null;
    assert_eq!(parse(&gemma).unwrap().shape(&tensors).unwrap().head_dim, 256);
    let families = MODEL_TYPES.iter().map(|(_, family)| family);
    assert!(families.into_iter().all(|f| crate::gguf::SUPPORTED_ARCHITECTURES.contains(f)));
}

#[test]
fn a_config_that_cannot_be_is_refused_by_the_key() {
    let cases = [
        ("hidden_size", Value::Null, "lacks hidden_size"),
        ("hidden_size", (-8).into(), "hidden_size is no number"),
        ("num_hidden_layers", u64::MAX.into(), "num_hidden_layers is no number from 1 to 1024"),
        ("num_key_value_heads", 3.into(), "do not divide"),
        ("vocab_size", "ten".into(), "vocab_size"),
        ("max_position_embeddings", 0.into(), "max_position_embeddings"),
    ];
    for (key, value, named) in cases {
        let mut changed = config();
        changed[key] = value;
        let error = parse(&changed).unwrap().shape(&Tensors::default()).unwrap_err();
        assert!(error.to_string().contains(named), "{error} lacks {named}");
        assert_eq!(error.fault().code, Code::ModelCorrupt);
    }
    for text in ["", "[]", "null", "{", &"[".repeat(100_000)] {
        let error = Config::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(error, DirectoryError::NotJson { .. }), "{error:?}");
    }
    let mut other = config();
    other["model_type"] = "mamba\u{1b}[2J".into();
    let error = parse(&other).unwrap_err();
    assert!(error.to_string().contains("mamba") && !error.to_string().contains('\u{1b}'));
    assert_eq!(error.fault().code, Code::ModelUnsupported);
    let mut quantized = config();
    quantized["quantization_config"] = json!({ "bits": 4 });
    assert_eq!(parse(&quantized), Err(DirectoryError::Quantized));
}

#[test]
fn a_config_that_lies_about_its_tensors_is_refused_by_the_tensor() {
    let all = tensors(&ALL);
    let cases = [
        ("num_hidden_layers", 3, "lacks tensor model.layers.2.self_attn.o_proj.weight"),
        ("hidden_size", 16, "model.embed_tokens.weight has the shape [10, 8]"),
        ("vocab_size", 1_000_000, "by config.json it is [1000000, 8]"),
        ("head_dim", 4, "model.layers.0.self_attn.o_proj.weight has the shape [8, 12]"),
        ("num_key_value_heads", 4, "model.layers.0.self_attn.k_proj.weight"),
        ("intermediate_size", 15, "model.layers.0.mlp.down_proj.weight"),
    ];
    for (key, value, named) in cases {
        let mut changed = config();
        changed[key] = value.into();
        let shape = parse(&changed).unwrap().shape(&all).unwrap();
        let error = all.check_shape(&shape).unwrap_err();
        assert!(error.to_string().contains(named), "{error} lacks {named}");
        assert_eq!(error.fault().code, Code::ModelCorrupt);
    }
}

#[test]
fn an_index_names_plain_files_that_have_what_it_says() {
    let parse = |map: &Value| Index::parse(json!({ "weight_map": map }).to_string().as_bytes());
    let many: serde_json::Map<String, Value> = (0..=limits::MAX_MODEL_SHARDS)
        .map(|n| (format!("t{n}"), format!("{n}.safetensors").into()))
        .collect();
    let cases = [
        (json!({}), "names 0 files"),
        (json!({ "a": "../m.safetensors" }), "names ../m.safetensors"),
        (json!({ "a": "/etc/passwd" }), "names /etc/passwd"),
        (json!({ "a": "m.bin" }), "names m.bin"),
        (Value::Object(many), "names 1025 files"),
    ];
    for (map, named) in cases {
        let error = parse(&map).unwrap_err();
        assert!(error.to_string().contains(named), "{error} lacks {named}");
    }
    assert!(matches!(parse(&json!({ "a": 1 })), Err(DirectoryError::NotJson { .. })));

    let index = parse(&json!({ "a": "1.safetensors", "b": "2.safetensors" })).unwrap();
    assert_eq!(index.files(), ["1.safetensors", "2.safetensors"]);
    let mut tensors = Tensors::default();
    tensors.add("1.safetensors", header(&[("a", &[1])]), Some(&index)).unwrap();
    let absent = DirectoryError::Absent { tensor: "b".to_owned() };
    assert_eq!(tensors.check_index(&index), Err(absent));
    for wrong in [("b", "1.safetensors"), ("c", "2.safetensors"), ("a", "2.safetensors")] {
        let added = tensors.add(wrong.1, header(&[(wrong.0, &[1])]), Some(&index));
        assert!(matches!(added, Err(DirectoryError::Misplaced { .. })), "{wrong:?}");
    }
    tensors.add("2.safetensors", header(&[("b", &[2])]), Some(&index)).unwrap();
    tensors.check_index(&index).unwrap();
    assert_eq!(tensors.find("b").map(|(file, info)| (file, info.bytes)), Some((1, 4)));
}
