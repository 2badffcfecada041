//! Configs of Hugging Face as transformers 4 wrote them, and those that are refused.

use serde_json::{Value, json};
use wire::Code;
use wire::hugging_face::Tensors;

use super::super::super::testing::golden::Golden;
use super::*;

fn parse(config: &Value) -> Result<Config, Fault> {
    Description::parse(config.to_string().as_bytes(), &Tensors::default())
        .map(|description| description.config)
}

/// The config of a golden model with other values for some keys; `null` removes a key.
fn changed(name: &str, changes: &Value) -> Value {
    let mut config = Golden::read(name).config;
    let map = config.as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        if value.is_null() {
            map.remove(key);
        } else {
            map.insert(key.clone(), value.clone());
        }
    }
    config
}

#[test]
fn transformers_4_and_5_say_the_same_in_their_own_words() {
    let longrope = Golden::read("phi3-longrope").config["rope_parameters"].clone();
    let cases = [
        ("llama", json!({ "rope_theta": 10_000.0, "rope_scaling": null })),
        (
            "llama-linear",
            json!({
                "rope_theta": 10_000, "rope_scaling": { "type": "linear", "factor": 4 }
            }),
        ),
        (
            "llama-llama3",
            json!({ "rope_theta": 500_000.0, "rope_scaling": {
                "rope_type": "llama3", "factor": 8.0,
                "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 256
            }}),
        ),
        (
            "qwen3-yarn",
            json!({ "rope_theta": 1_000_000, "layer_types": null, "rope_scaling": {
                "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512
            }}),
        ),
        ("qwen2-window", json!({ "rope_theta": 10_000.0, "layer_types": null })),
        ("gemma2", json!({ "rope_theta": 10_000.0, "layer_types": null })),
        (
            "gemma3",
            json!({
                "rope_theta": 1_000_000, "rope_local_base_freq": 10_000, "layer_types": null,
                "sliding_window_pattern": 6, "_sliding_window_pattern": null,
                "rope_scaling": { "rope_type": "linear", "factor": 8.0 }
            }),
        ),
        (
            "phi3-longrope",
            json!({
                "rope_theta": 10_000.0, "partial_rotary_factor": 0.75, "rope_scaling": {
                    "type": "longrope", "short_factor": longrope["short_factor"],
                    "long_factor": longrope["long_factor"]
                }
            }),
        ),
        ("smollm3", json!({ "rope_theta": 10_000.0, "no_rope_layers": null })),
        ("mixtral", json!({ "rope_theta": 1e6 })),
    ];
    for (name, mut changes) in cases {
        changes["rope_parameters"] = Value::Null;
        let mut old = changed(name, &changes);
        if name == "smollm3" {
            old["rope_theta"] = Golden::read(name).config["rope_parameters"]["rope_theta"].clone();
        }
        let new = parse(&Golden::read(name).config).unwrap();
        assert_eq!(parse(&old).unwrap(), new, "{name}");
    }
}

#[test]
fn a_config_that_asks_for_what_the_decoder_lacks_is_refused_by_name() {
    let cases = [
        ("llama", json!({ "model_type": "mamba" }), "mamba"),
        ("llama", json!({ "hidden_act": "relu" }), "relu"),
        ("gemma2", json!({ "hidden_activation": "gelu" }), "gelu"),
        ("llama", json!({ "quantization_config": { "bits": 4 } }), "quantized"),
        (
            "llama",
            json!({ "rope_parameters": { "rope_type": "dynamic", "factor": 2.0 } }),
            "dynamic",
        ),
        (
            "qwen3-yarn",
            json!({ "rope_parameters": {
                "rope_type": "yarn", "factor": 2.0, "truncate": false
            }}),
            "YaRN",
        ),
        ("gemma3", json!({ "use_bidirectional_attention": true }), "bidirectional"),
        ("qwen3moe", json!({ "mlp_only_layers": [1] }), "experts in every block"),
        ("qwen3moe", json!({ "decoder_sparse_step": 2 }), "experts in every block"),
        ("qwen3moe", json!({ "use_sliding_window": true }), "use_sliding_window"),
        (
            "qwen2-window",
            json!({ "layer_types": ["full_attention", "linear_attention", "x"] }),
            "layer_types",
        ),
    ];
    for (name, changes, named) in cases {
        let fault = parse(&changed(name, &changes)).unwrap_err();
        assert_eq!(fault.code, Code::ModelUnsupported, "{fault:?}");
        assert!(fault.message.contains(named), "{} lacks {named}", fault.message);
        assert!(!fault.hints.is_empty());
    }
}

#[test]
fn a_config_with_figures_that_no_model_has_is_refused() {
    let cases = [
        ("llama", json!({ "num_hidden_layers": 0 })),
        ("llama", json!({ "num_hidden_layers": 4_000_000_000u64 })),
        ("llama", json!({ "num_hidden_layers": 1e99 })),
        ("llama", json!({ "hidden_size": -1 })),
        ("llama", json!({ "hidden_size": null })),
        ("llama", json!({ "hidden_size": "64" })),
        ("llama", json!({ "num_key_value_heads": 3 })),
        ("llama", json!({ "head_dim": 15 })),
        ("llama", json!({ "rms_norm_eps": 2.0 })),
        ("llama", json!({ "tie_word_embeddings": "yes" })),
        ("llama", json!({ "rope_parameters": { "rope_theta": 0.0 } })),
        ("llama", json!({ "rope_parameters": { "rope_type": "linear" } })),
        ("llama", json!({ "rope_parameters": { "rope_type": "linear", "factor": -2.0 } })),
        (
            "llama-llama3",
            json!({ "rope_parameters": {
                "rope_type": "llama3", "factor": 8.0,
                "low_freq_factor": 4.0, "high_freq_factor": 1.0
            }}),
        ),
        (
            "phi3-longrope",
            json!({ "rope_parameters": {
                "rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]
            }}),
        ),
        ("phi3", json!({ "rope_parameters": { "partial_rotary_factor": 1.5 } })),
        ("gemma2", json!({ "layer_types": ["full_attention"] })),
        ("gemma2", json!({ "query_pre_attn_scalar": 0 })),
        ("gemma3", json!({ "rope_parameters": { "full_attention": {} } })),
        ("granite", json!({ "residual_multiplier": 1e30 })),
        ("mixtral", json!({ "num_experts_per_tok": 5 })),
        ("mixtral", json!({ "num_local_experts": 100_000 })),
    ];
    for (name, changes) in cases {
        let fault = parse(&changed(name, &changes)).unwrap_err();
        assert_eq!(fault.code, Code::ModelCorrupt, "{name} {changes}: {fault:?}");
    }
    for text in ["", "[]", "null", "{", &"[".repeat(100_000)] {
        let fault = Description::parse(text.as_bytes(), &Tensors::default()).err().unwrap();
        assert_eq!(fault.code, Code::ModelCorrupt, "{fault:?}");
    }
}
