//! Models of real shapes with random weights: for speed and for refusals, never for answers.

pub mod directory;

use std::io::Write;
use std::path::Path;

use rand::{RngExt, SeedableRng};

/// Widths of a model.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Layers.
    pub layers: u32,
    /// Width of the residual stream; a multiple of 32.
    pub embedding: u32,
    /// Attention heads.
    pub heads: u32,
    /// Heads of keys and values.
    pub kv_heads: u32,
    /// Width of the feed-forward network; a multiple of 32.
    pub feed_forward: u32,
    /// Tokens of the vocabulary.
    pub vocab: u32,
    /// Context that the file claims.
    pub context: u32,
}

/// The shape of Qwen2.5-0.5B.
pub const HALF_BILLION: Shape = Shape {
    layers: 24,
    embedding: 896,
    heads: 14,
    kv_heads: 2,
    feed_forward: 4864,
    vocab: 151_936,
    context: 32_768,
};

/// A shape that loads at once.
pub const TINY: Shape = Shape {
    layers: 2,
    embedding: 256,
    heads: 4,
    kv_heads: 2,
    feed_forward: 512,
    vocab: 512,
    context: 4096,
};

/// Builds the bytes of a GGUF header (version 3, little endian).
#[derive(Debug, Default)]
struct Header {
    metadata: Vec<u8>,
    metadata_count: u64,
    tensors: Vec<u8>,
    tensor_count: u64,
    weights_bytes: u64,
}

/// Writes what is said and nothing else.
const TEMPLATE: &str = "{% for message in messages %}{{ message['content'] }}{% endfor %}";

const TYPE_U32: u32 = 4;
const TYPE_F32: u32 = 6;
const TYPE_BOOL: u32 = 7;
const TYPE_TEXT: u32 = 8;
const TYPE_ARRAY: u32 = 9;
const TYPE_I32: u32 = 5;
/// ggml's ids of the two tensor kinds that are written.
const KIND_F32: u32 = 0;
const KIND_Q8_0: u32 = 8;
const ALIGNMENT: u64 = 32;

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

impl Header {
    fn key(&mut self, key: &str, kind: u32) -> &mut Vec<u8> {
        put_text(&mut self.metadata, key);
        self.metadata.extend_from_slice(&kind.to_le_bytes());
        self.metadata_count += 1;
        &mut self.metadata
    }

    fn u32(&mut self, key: &str, value: u32) {
        self.key(key, TYPE_U32).extend_from_slice(&value.to_le_bytes());
    }

    fn f32(&mut self, key: &str, value: f32) {
        self.key(key, TYPE_F32).extend_from_slice(&value.to_le_bytes());
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.key(key, TYPE_BOOL).push(u8::from(value));
    }

    fn text(&mut self, key: &str, value: &str) {
        put_text(self.key(key, TYPE_TEXT), value);
    }

    fn texts(&mut self, key: &str, values: &[String]) {
        let out = self.key(key, TYPE_ARRAY);
        out.extend_from_slice(&TYPE_TEXT.to_le_bytes());
        out.extend_from_slice(&(values.len() as u64).to_le_bytes());
        for value in values {
            put_text(out, value);
        }
    }

    fn i32s(&mut self, key: &str, values: &[i32]) {
        let out = self.key(key, TYPE_ARRAY);
        out.extend_from_slice(&TYPE_I32.to_le_bytes());
        out.extend_from_slice(&(values.len() as u64).to_le_bytes());
        for value in values {
            out.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn tensor(&mut self, name: &str, shape: &[u32], kind: u32) {
        put_text(&mut self.tensors, name);
        self.tensors
            .extend_from_slice(&u32::try_from(shape.len()).unwrap_or(u32::MAX).to_le_bytes());
        for &side in shape {
            self.tensors.extend_from_slice(&u64::from(side).to_le_bytes());
        }
        self.tensors.extend_from_slice(&kind.to_le_bytes());
        self.tensors.extend_from_slice(&self.weights_bytes.to_le_bytes());
        self.tensor_count += 1;
        let elements: u64 = shape.iter().map(|&side| u64::from(side)).product();
        let bytes = if kind == KIND_Q8_0 { elements / 32 * 34 } else { elements * 4 };
        self.weights_bytes += bytes.next_multiple_of(ALIGNMENT);
    }

    fn finish(self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend_from_slice(&3u32.to_le_bytes());
        out.extend_from_slice(&self.tensor_count.to_le_bytes());
        out.extend_from_slice(&self.metadata_count.to_le_bytes());
        out.extend_from_slice(&self.metadata);
        out.extend_from_slice(&self.tensors);
        out.resize(out.len().next_multiple_of(32), 0);
        out
    }
}

/// The characters that stand for the 256 bytes in a byte-level vocabulary (GPT-2's table).
fn byte_characters() -> Vec<String> {
    let printable = |b: u32| (33..=126).contains(&b) || (161..=172).contains(&b) || b >= 174;
    let mut next = 256;
    (0..256u32)
        .map(|byte| {
            let code = if printable(byte) {
                byte
            } else {
                next += 1;
                next - 1
            };
            char::from_u32(code).map(String::from).unwrap_or_default()
        })
        .collect()
}

fn describe(header: &mut Header, shape: &Shape, template: &str, family: &str) {
    let key = |name: &str| format!("{family}.{name}");
    header.text("general.architecture", family);
    header.text("general.name", "synthetic");
    header.u32(&key("block_count"), shape.layers);
    header.u32(&key("context_length"), shape.context);
    header.u32(&key("embedding_length"), shape.embedding);
    header.u32(&key("feed_forward_length"), shape.feed_forward);
    header.u32(&key("attention.head_count"), shape.heads);
    header.u32(&key("attention.head_count_kv"), shape.kv_heads);
    header.f32(&key("attention.layer_norm_rms_epsilon"), 1e-6);
    header.f32(&key("rope.freq_base"), 1e6);
    let mut tokens = byte_characters();
    // Words, and here and there the end of a paragraph, as answers have them: to this kind of
    // tokenizer `Ġ` is a space and `Ċ` the end of a line.
    tokens.extend((256..shape.vocab - 1).map(|n| match n % 8 {
        0 => format!(".ĊĊW{n}"),
        _ => format!("Ġw{n}"),
    }));
    tokens.push("<|im_end|>".to_owned());
    let mut types = vec![1; tokens.len()];
    if let Some(last) = types.last_mut() {
        *last = 3;
    }
    header.text("tokenizer.ggml.model", "gpt2");
    header.text("tokenizer.ggml.pre", "qwen2");
    header.texts("tokenizer.ggml.tokens", &tokens);
    header.i32s("tokenizer.ggml.token_type", &types);
    header.texts("tokenizer.ggml.merges", &[]);
    header.u32("tokenizer.ggml.eos_token_id", shape.vocab - 1);
    header.flag("tokenizer.ggml.add_bos_token", false);
    header.text("tokenizer.chat_template", template);
}

/// Every tensor in file order: name, shape with the columns first, kind.
fn tensors(shape: &Shape) -> Vec<(String, Vec<u32>, u32)> {
    let head_dim = shape.embedding / shape.heads;
    let kv = shape.kv_heads * head_dim;
    let (wide, ff) = (shape.embedding, shape.feed_forward);
    let mut all = vec![
        ("token_embd.weight".to_owned(), vec![wide, shape.vocab], KIND_Q8_0),
        ("output_norm.weight".to_owned(), vec![wide], KIND_F32),
    ];
    for layer in 0..shape.layers {
        let mut add = |name: &str, sides: Vec<u32>, kind| {
            all.push((format!("blk.{layer}.{name}"), sides, kind));
        };
        add("attn_norm.weight", vec![wide], KIND_F32);
        add("attn_q.weight", vec![wide, wide], KIND_Q8_0);
        add("attn_q.bias", vec![wide], KIND_F32);
        add("attn_k.weight", vec![wide, kv], KIND_Q8_0);
        add("attn_k.bias", vec![kv], KIND_F32);
        add("attn_v.weight", vec![wide, kv], KIND_Q8_0);
        add("attn_v.bias", vec![kv], KIND_F32);
        add("attn_output.weight", vec![wide, wide], KIND_Q8_0);
        add("ffn_norm.weight", vec![wide], KIND_F32);
        add("ffn_gate.weight", vec![wide, ff], KIND_Q8_0);
        add("ffn_up.weight", vec![wide, ff], KIND_Q8_0);
        add("ffn_down.weight", vec![ff, wide], KIND_Q8_0);
    }
    all
}

/// Writes a qwen2 model of `shape` with random `Q8_0` weights from a fixed seed.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, shape: &Shape) -> std::io::Result<()> {
    write_with_template(path, shape, TEMPLATE)
}

/// As [`write`], with the figures of a model of another family: its header is that of one.
///
/// # Errors
/// When the file cannot be written.
pub fn write_of_family(path: &Path, shape: &Shape, family: &str) -> std::io::Result<()> {
    write_all(path, shape, TEMPLATE, family)
}

/// As [`write`], with a chat template of the caller's.
///
/// # Errors
/// When the file cannot be written.
pub fn write_with_template(path: &Path, shape: &Shape, template: &str) -> std::io::Result<()> {
    write_all(path, shape, template, "qwen2")
}

fn write_all(path: &Path, shape: &Shape, template: &str, family: &str) -> std::io::Result<()> {
    let mut header = Header::default();
    describe(&mut header, shape, template, family);
    let tensors = tensors(shape);
    for (name, sides, kind) in &tensors {
        header.tensor(name, sides, *kind);
    }
    let mut file = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?);
    file.write_all(&header.finish())?;
    let mut random = rand::rngs::SmallRng::seed_from_u64(1);
    for (_, sides, kind) in &tensors {
        let elements: u64 = sides.iter().map(|&side| u64::from(side)).product();
        let written = if *kind == KIND_Q8_0 {
            write_q8_0(&mut file, elements / 32, &mut random)?
        } else {
            for _ in 0..elements {
                file.write_all(&1.0f32.to_le_bytes())?;
            }
            elements * 4
        };
        let padding = usize::try_from(written.next_multiple_of(ALIGNMENT) - written).unwrap_or(0);
        file.write_all(&vec![0; padding])?;
    }
    file.flush()
}

/// Writes blocks of one f16 scale and 32 signed bytes; returns the bytes written.
fn write_q8_0(
    file: &mut impl Write,
    blocks: u64,
    random: &mut rand::rngs::SmallRng,
) -> std::io::Result<u64> {
    let scale = half::f16::from_f32(0.02 / 74.0).to_le_bytes();
    let mut block = [0u8; 34];
    for _ in 0..blocks {
        random.fill(&mut block);
        if let Some(head) = block.get_mut(..2) {
            head.copy_from_slice(&scale);
        }
        file.write_all(&block)?;
    }
    Ok(blocks * 34)
}
