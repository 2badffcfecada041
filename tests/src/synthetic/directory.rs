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

/// The token that ends an answer: the first behind those of the bytes.
const END: u32 = 256;

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

/// The numbers of a tensor. Each has a seed of its own, so that how many files there are makes no
/// difference.
fn values(name: &str, sides: &[u32]) -> Vec<f32> {
    let seed = name.bytes().fold(7u64, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into()));
    let mut random = rand::rngs::SmallRng::seed_from_u64(seed);
    let middle = if sides.len() == 1 { 1.0 } else { 0.0 };
    let elements: u32 = sides.iter().product();
    (0..elements).map(|_| middle + random.random_range(-0.2f32..0.2)).collect()
}

/// The content of a file of weights.
fn safetensors(
    tensors: &[(String, Vec<u32>)],
    values: impl Fn(&str, &[u32]) -> Vec<f32>,
) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, sides) in tensors {
        let start = data.len();
        for value in values(name, sides) {
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
        "hidden_act": "silu", "tie_word_embeddings": true, "eos_token_id": END
    })
}

/// Byte-level BPE without merges, a control token, and whole texts as tokens.
fn tokenizer(texts: &[&str]) -> Value {
    let added = |(id, text): (u32, &&str)| {
        json!({
            "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": id == END
        })
    };
    let added: Vec<Value> =
        (END..).zip([&["<|im_end|>"], texts].concat().iter()).map(added).collect();
    let vocab: Map<String, Value> =
        byte_characters().into_iter().zip(0u32..).map(|(c, id)| (c, id.into())).collect();
    let level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": added,
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
    write("tokenizer.json", tokenizer(&[]).to_string().as_bytes())?;
    let template = "{% for message in messages %}{{ message['content'] }}<|im_end|>{% endfor %}";
    let texts = json!({ "eos_token": "<|im_end|>", "chat_template": template });
    write("tokenizer_config.json", texts.to_string().as_bytes())?;
    let tensors = tensors(shape);
    if files == 1 {
        return write("model.safetensors", &safetensors(&tensors, values));
    }
    let mut places = Map::new();
    for (n, part) in tensors.chunks(tensors.len().div_ceil(files)).enumerate() {
        let name = format!("model-{:05}-of-{files:05}.safetensors", n + 1);
        places.extend(part.iter().map(|(tensor, _)| (tensor.clone(), name.clone().into())));
        write(&name, &safetensors(part, values))?;
    }
    let index = json!({ "metadata": {}, "weight_map": places });
    write("model.safetensors.index.json", index.to_string().as_bytes())
}

/// Writes a model into `path` that answers every chat with `says`, each of them one token, whatever
/// it is asked. `template` shall end where an answer begins, with `GO`.
///
/// # Errors
/// When a file cannot be written.
pub fn write_that_says(path: &Path, says: &[&str], template: &str) -> io::Result<()> {
    const OUTPUT: &str = "lm_head.weight";
    write(path, &SMALL, 1)?;
    let texts = [&["GO"], says].concat();
    let write = |name: &str, bytes: &[u8]| std::fs::write(path.join(name), bytes);
    write("tokenizer.json", tokenizer(&texts).to_string().as_bytes())?;
    let names = json!({ "eos_token": "<|im_end|>", "chat_template": template });
    write("tokenizer_config.json", names.to_string().as_bytes())?;
    let mut config = config(&SMALL);
    if let Some(tied) = config.get_mut("tie_word_embeddings") {
        *tied = false.into();
    }
    write("config.json", config.to_string().as_bytes())?;
    let mut tensors = tensors(&SMALL);
    tensors.push((OUTPUT.to_owned(), vec![SMALL.vocab, SMALL.embedding]));
    let width = usize::try_from(SMALL.embedding).unwrap_or_default();
    // Blocks add nothing to a token, and each token's output is what the one before it looks like.
    let said = |name: &str, sides: &[u32]| {
        let elements = usize::try_from(sides.iter().product::<u32>()).unwrap_or_default();
        if name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") {
            return vec![0.0; elements];
        }
        if name != OUTPUT {
            return values(name, sides);
        }
        let looks = values("model.embed_tokens.weight", sides);
        let mut rows = vec![vec![0.0; width]; elements / width];
        let (first, count) = (END as usize + 1, texts.len());
        for (n, look) in looks.chunks(width).skip(first).take(count).enumerate() {
            let next = if n + 1 == count { END as usize } else { first + n + 1 };
            if let Some(row) = rows.get_mut(next) {
                *row = look.iter().map(|value| 50.0 * value).collect();
            }
        }
        rows.concat()
    };
    write("model.safetensors", &safetensors(&tensors, said))
}
