//! Small models for tests: random weights in a real GGUF file.
//!
//! candle's own writer writes them, which knows nothing of our reader.

pub(super) mod golden;

use std::fs::File;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempPath;

/// A template of `ChatML`, the tests' own.
pub(super) const CHATML: &str = "{%- for m in messages -%}\
    {{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}\
    {%- endfor -%}\
    {%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}";

/// A model to write.
#[derive(Debug, Clone)]
pub(super) struct TestModel {
    pub family: &'static str,
    pub embedding: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub feed_forward: usize,
    pub context: u32,
    pub dtype: GgmlDType,
    /// Whether the output shares the embedding's weights.
    pub is_tied: bool,
    /// Factors of the rotary frequencies.
    pub rope_factors: Option<Vec<f32>>,
    pub rope_base: f32,
    pub template: Option<String>,
    /// More metadata, or other values for keys that are there.
    pub metadata: Vec<(String, Value)>,
    /// A tensor to leave out.
    pub without: Option<String>,
    /// A tensor to add.
    pub with: Option<(String, Vec<usize>)>,
}

impl TestModel {
    /// A tiny model of a family.
    pub(super) fn new(family: &'static str, dtype: GgmlDType) -> Self {
        Self {
            family,
            embedding: 256,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 64,
            feed_forward: 512,
            context: 2048,
            dtype,
            is_tied: true,
            rope_factors: None,
            rope_base: 10_000.0,
            template: Some(CHATML.to_owned()),
            metadata: Vec::new(),
            without: None,
            with: None,
        }
    }

    /// The same model with another value for a key.
    pub(super) fn set(mut self, key: &str, value: Value) -> Self {
        self.metadata.push((key.to_owned(), value));
        self
    }

    /// Names and shapes of all tensors, in the file's order.
    fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let (width, inner) = (self.embedding, self.feed_forward);
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let vocabulary = Words::new().tokens.len();
        let mut shapes = vec![("token_embd.weight".to_owned(), vec![vocabulary, width])];
        for layer in 0..self.layers {
            let mut add = |name: &str, shape: &[usize]| {
                shapes.push((format!("blk.{layer}.{name}"), shape.to_vec()));
            };
            add("attn_norm.weight", &[width]);
            add("attn_q.weight", &[queries, width]);
            add("attn_k.weight", &[keys, width]);
            add("attn_v.weight", &[keys, width]);
            if self.family == "qwen2" {
                add("attn_q.bias", &[queries]);
                add("attn_k.bias", &[keys]);
                add("attn_v.bias", &[keys]);
            }
            if self.family == "qwen3" {
                add("attn_q_norm.weight", &[self.head_dim]);
                add("attn_k_norm.weight", &[self.head_dim]);
            }
            add("attn_output.weight", &[width, queries]);
            add("ffn_norm.weight", &[width]);
            add("ffn_gate.weight", &[inner, width]);
            add("ffn_up.weight", &[inner, width]);
            add("ffn_down.weight", &[width, inner]);
        }
        shapes.push(("output_norm.weight".to_owned(), vec![width]));
        if !self.is_tied {
            shapes.push(("output.weight".to_owned(), vec![vocabulary, width]));
        }
        shapes.retain(|(name, _)| Some(name) != self.without.as_ref());
        shapes.extend(self.with.clone());
        shapes
    }

    /// The same random weights at every call.
    pub(super) fn tensors(&self) -> Vec<(String, QTensor)> {
        let mut rng = StdRng::seed_from_u64(7);
        let mut tensors = Vec::new();
        for (name, shape) in self.shapes() {
            let count: usize = shape.iter().product();
            let is_vector = shape.len() == 1;
            let reach = if is_vector {
                0.3
            } else {
                2.0 / f32::from(u16::try_from(shape[1]).unwrap()).sqrt()
            };
            let middle = if name.contains("norm") { 1.0 } else { 0.0 };
            let values: Vec<f32> =
                (0..count).map(|_| middle + rng.random_range(-reach..reach)).collect();
            let values = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
            let dtype = if is_vector { GgmlDType::F32 } else { self.dtype };
            tensors.push((name, QTensor::quantize(&values, dtype).unwrap()));
        }
        if let Some(factors) = &self.rope_factors {
            let factors = Tensor::from_vec(factors.clone(), factors.len(), &Device::Cpu).unwrap();
            let factors = QTensor::quantize(&factors, GgmlDType::F32).unwrap();
            tensors.push(("rope_freqs.weight".to_owned(), factors));
        }
        tensors
    }

    fn metadata(&self) -> Vec<(String, Value)> {
        let figure = |n: usize| Value::U32(u32::try_from(n).unwrap());
        let of_model = [
            ("block_count", figure(self.layers)),
            ("embedding_length", figure(self.embedding)),
            ("feed_forward_length", figure(self.feed_forward)),
            ("context_length", Value::U32(self.context)),
            ("attention.head_count", figure(self.heads)),
            ("attention.head_count_kv", figure(self.kv_heads)),
            ("attention.key_length", figure(self.head_dim)),
            ("attention.value_length", figure(self.head_dim)),
            ("attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
            ("rope.dimension_count", figure(self.head_dim)),
            ("rope.freq_base", Value::F32(self.rope_base)),
        ];
        let mut all = vec![("general.architecture".to_owned(), text(self.family))];
        all.extend(of_model.map(|(key, value)| (format!("{}.{key}", self.family), value)));
        all.extend(Words::new().metadata());
        all.extend(self.template.iter().map(|t| ("tokenizer.chat_template".to_owned(), text(t))));
        for (key, value) in &self.metadata {
            all.retain(|(other, _)| other != key);
            all.push((key.clone(), value.clone()));
        }
        all
    }

    /// Writes the model to a file that is gone with the returned path.
    pub(super) fn write(&self) -> TempPath {
        let path = tempfile::Builder::new().suffix(".gguf").tempfile().unwrap().into_temp_path();
        let (metadata, tensors) = (self.metadata(), self.tensors());
        let metadata: Vec<_> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let tensors: Vec<_> =
            tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        gguf_file::write(&mut File::create(&path).unwrap(), &metadata, &tensors).unwrap();
        path
    }
}

/// A metadata text.
pub(super) fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// A metadata list of texts.
pub(super) fn texts(texts: &[String]) -> Value {
    Value::Array(texts.iter().map(|t| text(t)).collect())
}

/// The vocabulary of every test model: all bytes, a few merges, the marks of `ChatML`, and the tags
/// of reasoning.
pub(super) struct Words {
    pub tokens: Vec<String>,
    pub types: Vec<i32>,
    pub merges: Vec<String>,
}

impl Words {
    pub(super) fn new() -> Self {
        let byte_chars = |byte: u8| match byte {
            33..=126 | 161..=172 | 174..=255 => char::from(byte),
            0..=32 => char::from_u32(256 + u32::from(byte)).unwrap(),
            127..=160 => char::from_u32(256 + 33 + u32::from(byte) - 127).unwrap(),
            173 => '\u{143}',
        };
        let mut tokens: Vec<String> = (0..=255u8).map(|b| byte_chars(b).to_string()).collect();
        let merges = ["h e", "Ġ t", "Ġt he", "l l", "he ll", "hell o", "Ġ hello"];
        tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
        let mut types = vec![1; tokens.len()];
        for (token, kind) in [
            ("<|im_start|>", 3),
            ("<|im_end|>", 3),
            ("<|bos|>", 3),
            ("<think>", 4),
            ("</think>", 4),
        ] {
            tokens.push(token.to_owned());
            types.push(kind);
        }
        Self { tokens, types, merges: merges.map(str::to_owned).to_vec() }
    }

    pub(super) fn id(&self, token: &str) -> u32 {
        u32::try_from(self.tokens.iter().position(|t| t == token).unwrap()).unwrap()
    }

    pub(super) fn metadata(&self) -> Vec<(String, Value)> {
        let all = [
            ("model", text("gpt2")),
            ("pre", text("gpt-2")),
            ("tokens", texts(&self.tokens)),
            ("token_type", Value::Array(self.types.iter().map(|t| Value::I32(*t)).collect())),
            ("merges", texts(&self.merges)),
            ("bos_token_id", Value::U32(self.id("<|bos|>"))),
            ("eos_token_id", Value::U32(self.id("<|im_end|>"))),
            ("add_bos_token", Value::Bool(false)),
        ];
        all.map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)).to_vec()
    }
}
