//! Models whose figures lie, in each family and both formats: refused by name, or computed; never a
//! panic.

use candle_core::quantized::GgmlDType;
use serde_json::json;
use wire::Code;
use wire::gguf::{Array, Value};

use super::super::super::testing::golden::{Golden, Held};
use super::super::*;
use super::rows;

/// One model of each family and of each way to scale positions, as directories.
const MODELS: [&str; 9] = [
    "llama-llama3",
    "qwen2-window",
    "qwen3-yarn",
    "qwen3moe",
    "gemma2",
    "gemma3",
    "phi3-longrope",
    "smollm3",
    "granite",
];

/// Keys that a header may have beside those that are in the golden ones.
const KEYS: [&str; 24] = [
    "attention.key_length",
    "attention.value_length",
    "attention.head_count_kv",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attention.scale",
    "attention.layer_norm_rms_epsilon",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "embedding_scale",
    "residual_scale",
    "logit_scale",
    "expert_count",
    "expert_used_count",
    "expert_feed_forward_length",
    "expert_gating_func",
    "expert_weights_norm",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.original_context_length",
];

fn lies() -> Vec<Value> {
    let numbers = [0, 1, 2, 3, 7, 64, 65, 4096, u64::from(u32::MAX), 1 << 32, u64::MAX];
    let floats = [0.0, -1.0, 1e-30, 1e-6, 0.5, 1e6, 1e30, f64::NAN, f64::INFINITY];
    let texts = ["", "none", "linear", "yarn", "longrope", "\u{1b}[2J"];
    let arrays = [Array::Bool(vec![true; 2]), Array::Bool(vec![]), Array::Unsigned(vec![1; 64])];
    let mut all: Vec<Value> = numbers.map(Value::Unsigned).into();
    all.extend([Value::Signed(-1), Value::Signed(i64::MIN), Value::Bool(false), Value::Bool(true)]);
    all.extend(floats.map(Value::Float));
    all.extend(texts.map(|text| Value::Text(text.to_owned())));
    all.extend(arrays.map(Value::Array));
    all
}

/// A model that was let in computes, and one that was not says why; whether it was let in.
fn holds(loaded: Result<Weights, Fault>, what: &str) -> bool {
    let weights = match loaded {
        Ok(weights) => weights,
        Err(fault) => {
            let named = [Code::ModelCorrupt, Code::ModelUnsupported];
            assert!(named.contains(&fault.code), "{what}: {fault:?}");
            assert!(!fault.message.contains(char::is_control), "{what}: {fault:?}");
            return false;
        }
    };
    let mut decoder = Decoder::new(weights, 64, 1).unwrap();
    let tokens: Vec<u32> = (1..41).collect();
    for (from, to) in [(0, 1), (1, 33), (33, 40)] {
        let computed = decoder.forward(&rows(&tokens[from..to], from, 0), &[to - from - 1]);
        assert!(computed.is_ok_and(|logits| logits.len() == 1), "{what}");
    }
    true
}

#[test]
fn a_header_that_lies_about_a_figure_is_refused_or_computed() {
    let (mut let_in, mut refused) = (0, 0);
    for name in ["qwen2-window", "qwen3moe", "gemma3", "phi3-longrope", "granite"] {
        // Some are made as directories only.
        let Some(path) = Golden::read(name).write_gguf(GgmlDType::F32) else { continue };
        let mut file = MappedModel::open(&path).unwrap();
        let honest = Config::from_header(&file.header).unwrap();
        let family = file.header.architecture().unwrap().to_owned();
        let own = file.header.metadata.keys().filter(|key| key.starts_with(&family)).cloned();
        let mut keys: Vec<String> = own.collect();
        keys.extend(KEYS.map(|key| format!("{family}.{key}")));
        keys.sort();
        keys.dedup();
        for key in keys {
            let before = file.header.metadata.remove(&key);
            let mut tried = vec![None];
            tried.extend(lies().into_iter().map(Some));
            for lie in tried {
                let what = format!("{name}: {key} is {lie:?}");
                match lie {
                    Some(lie) => drop(file.header.metadata.insert(key.clone(), lie)),
                    None => drop(file.header.metadata.remove(&key)),
                }
                if Config::from_header(&file.header).is_ok_and(|config| config == honest) {
                    continue;
                }
                let is_in = holds(Weights::load(&file, &mut |_, _| {}), &what);
                *if is_in { &mut let_in } else { &mut refused } += 1;
            }
            match before {
                Some(before) => drop(file.header.metadata.insert(key, before)),
                None => drop(file.header.metadata.remove(&key)),
            }
        }
    }
    assert!(let_in > 100 && refused > 1000, "{let_in} {refused}");
}

#[test]
fn a_config_that_lies_about_a_figure_is_refused_or_computed() {
    let lies = [
        json!(null),
        json!(true),
        json!(""),
        json!("yarn"),
        json!(-1),
        json!(0),
        json!(1),
        json!(2),
        json!(7),
        json!(64),
        json!(u32::MAX),
        json!(u64::MAX),
        json!(0.5),
        json!(1e-30),
        json!(1e300),
        json!([]),
        json!([0, 1]),
        json!({}),
        json!({ "rope_type": "yarn", "factor": 1e-3, "rope_theta": 1.0 }),
        json!({ "rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4 }),
        json!({ "rope_type": "longrope", "short_factor": [0], "long_factor": [1e308] }),
    ];
    let (mut let_in, mut refused) = (0, 0);
    for name in MODELS {
        let golden = Golden::read(name);
        let files = golden.write_directory(Held::F32, 1);
        let mut directory = Directory::open(files.path()).unwrap();
        let honest = Description::of(&directory).unwrap().config;
        let serde_json::Value::Object(config) = golden.config.clone() else { panic!("{name}") };
        let mut keys: Vec<String> = config.keys().cloned().collect();
        keys.extend(["sliding_window", "head_dim", "rope_scaling"].map(str::to_owned));
        for key in keys {
            for lie in &lies {
                let mut changed = config.clone();
                changed.insert(key.clone(), lie.clone());
                directory.config = serde_json::Value::Object(changed).to_string().into_bytes();
                let description = Description::of(&directory);
                if description.as_ref().is_ok_and(|description| description.config == honest) {
                    continue;
                }
                let loaded = description.and_then(|description| {
                    Weights::load_directory(description, &directory, &mut |_, _| {})
                });
                let is_in = holds(loaded, &format!("{name}: {key} is {lie}"));
                *if is_in { &mut let_in } else { &mut refused } += 1;
            }
        }
    }
    assert!(let_in > 100 && refused > 500, "{let_in} {refused}");
}
