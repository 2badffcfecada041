//! Directories as Hugging Face has models, with random weights of bf16.

use std::io;
use std::path::Path;

use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

use super::{Shape, byte_characters};

/// A shape that loads at once, whose tokenizer has fewer tokens than it has embeddings.
pub const SMALL: Shape = Shape {
    layers: 2,
    embedding: 64,
    heads: 4,
    kv_heads: 2,
    feed_forward: 128,
    vocab: 264,
    context: 512,
};

/// Every tensor: its name and its shape.
fn tensors(shape: &Shape) -> Vec<(String, Vec<u32>)> {
    let head_dim = shape.embedding / shape.heads;
    let (wide, keys, inner) = (shape.embedding, shape.kv_heads * head_dim, shape.feed_forward);
    let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![shape.vocab, wide])];
    for layer in 0..shape.layers {
        let mut add = |part: &str, sides: Vec<u32>| {
            all.push((format!("model.layers.{layer}.{part}.weight"), sides));
        };
        add("input_layernorm", vec![wide]);
        add("self_attn.q_proj", vec![wide, wide]);
        add("self_attn.k_proj", vec![keys, wide]);
        add("self_attn.v_proj", vec![keys, wide]);
        add("self_attn.o_proj", vec![wide, wide]);
        add("post_attention_layernorm", vec![wide]);
        add("mlp.gate_proj", vec![inner, wide]);
        add("mlp.up_proj", vec![inner, wide]);
        add("mlp.down_proj", vec![wide, inner]);
    }
    all.push(("model.norm.weight".to_owned(), vec![wide]));
    all
}

/// The content of a file of weights.
fn safetensors(tensors: &[(String, Vec<u32>)]) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, sides) in tensors {
        // Each tensor of its own seed, so that how many files there are makes no difference.
        let seed = name.bytes().fold(7u64, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into()));
        let mut random = rand::rngs::SmallRng::seed_from_u64(seed);
        let start = data.len();
        let elements: u32 = sides.iter().product();
        for _ in 0..elements {
            let middle = if sides.len() == 1 { 1.0 } else { 0.0 };
            let value = middle + random.random_range(-0.2f32..0.2);
            data.extend(half::bf16::from_f32(value).to_le_bytes());
        }
        let entry = json!({ "dtype": "BF16", "shape": sides, "data_offsets": [start, data.len()] });
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend(data);
    file
}

fn config(shape: &Shape) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
        "num_hidden_layers": shape.layers, "hidden_size": shape.embedding,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.feed_forward, "vocab_size": shape.vocab,
        "max_position_embeddings": shape.context, "rms_norm_eps": 1e-5, "rope_theta": 10_000.0,
        "hidden_act": "silu", "tie_word_embeddings": true, "eos_token_id": 256
    })
}

/// Byte-level BPE without merges, and one control token.
fn tokenizer() -> Value {
    let vocab: Map<String, Value> =
        byte_characters().into_iter().zip(0u32..).map(|(c, id)| (c, id.into())).collect();
    let level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [{
            "id": 256, "content": "<|im_end|>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true
        }],
        "pre_tokenizer": level, "post_processor": null, "decoder": level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocab, "merges": []
        }
    })
}

/// Writes a llama model of `shape` into `path`, which is made, with weights in so many files.
///
/// # Errors
/// When a file cannot be written.
pub fn write(path: &Path, shape: &Shape, files: usize) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    let write = |name: &str, bytes: &[u8]| std::fs::write(path.join(name), bytes);
    write("config.json", config(shape).to_string().as_bytes())?;
    write("tokenizer.json", tokenizer().to_string().as_bytes())?;
    let template = "{% for message in messages %}{{ message['content'] }}<|im_end|>{% endfor %}";
    let texts = json!({ "eos_token": "<|im_end|>", "chat_template": template });
    write("tokenizer_config.json", texts.to_string().as_bytes())?;
    let tensors = tensors(shape);
    if files == 1 {
        return write("model.safetensors", &safetensors(&tensors));
    }
    let mut places = Map::new();
    for (n, part) in tensors.chunks(tensors.len().div_ceil(files)).enumerate() {
        let name = format!("model-{:05}-of-{files:05}.safetensors", n + 1);
        places.extend(part.iter().map(|(tensor, _)| (tensor.clone(), name.clone().into())));
        write(&name, &safetensors(part))?;
    }
    let index = json!({ "metadata": {}, "weight_map": places });
    write("model.safetensors.index.json", index.to_string().as_bytes())
}
