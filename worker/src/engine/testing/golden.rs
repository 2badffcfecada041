//! The tiny models of `scripts/golden-logits`: their files, made from names, and their logits.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use half::{bf16, f16};
use serde::Deserialize;
use tempfile::{TempDir, TempPath};

/// A model with the logits that transformers computes.
#[derive(Deserialize)]
pub(in super::super) struct Golden {
    /// `config.json` as transformers saved it.
    pub config: serde_json::Value,
    /// Tokens of the prompt.
    prompt: usize,
    /// Tokens that were decoded after it.
    chosen: Vec<u32>,
    /// Positions whose logits are kept whole.
    pub kept: Vec<usize>,
    /// The context that a worker needs for it.
    pub ctx_size: usize,
    tensors: Vec<Described>,
    #[serde(default)]
    pub metadata: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    gguf: Vec<Made>,
    #[serde(skip)]
    numbers: Vec<f32>,
}

/// A tensor as transformers saved it: `middle + noise / 2^bits`.
#[derive(Deserialize)]
struct Described {
    name: String,
    shape: Vec<usize>,
    middle: f32,
    bits: i32,
}

/// A tensor as llama.cpp's converter makes it.
#[derive(Deserialize)]
struct Made {
    name: String,
    /// What it is made of; several are stacked.
    #[serde(default)]
    of: Vec<String>,
    /// Heads whose halves are interleaved.
    interleave: Option<usize>,
    /// What is added to it.
    #[serde(default)]
    add: f32,
    /// What it is, if it follows from the config.
    #[serde(default)]
    values: Vec<f32>,
}

/// How safetensors hold numbers.
#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Held {
    F32,
    F16,
    Bf16,
}

/// The directory with the golden files.
pub(in super::super) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Little-endian numbers.
pub(in super::super) fn numbers(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Numbers from -128 to 127 that follow from a name: FNV-1a, then `SplitMix64`'s finaliser.
fn noise(name: &str, count: usize) -> Vec<i8> {
    let mut state = 0xCBF2_9CE4_8422_2325u64;
    for byte in name.bytes() {
        state = (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    }
    let number = |n: usize| {
        let n = u64::try_from(n + 1).unwrap();
        let x = state.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let x = x ^ (x >> 31);
        i8::try_from(i16::try_from(x >> 56).unwrap() - 128).unwrap()
    };
    (0..count).map(number).collect()
}

impl Described {
    fn values(&self) -> Vec<f32> {
        let is_norm = self.name.contains("norm");
        let noise = noise(&self.name, self.shape.iter().product());
        let value = |n: i8| f32::from(if is_norm { n >> 2 } else { n });
        noise.into_iter().map(|n| self.middle + value(n) / 2f32.powi(self.bits)).collect()
    }
}

impl Golden {
    pub(in super::super) fn read(name: &str) -> Self {
        let text = std::fs::read(directory().join(format!("{name}.json"))).unwrap();
        let mut golden: Self = serde_json::from_slice(&text).unwrap();
        golden.numbers = numbers(&directory().join(format!("{name}.f32")));
        golden
    }

    fn vocabulary(&self) -> usize {
        usize::try_from(self.config["vocab_size"].as_u64().unwrap()).unwrap()
    }

    /// All tokens, those chosen included.
    pub(in super::super) fn tokens(&self) -> Vec<u32> {
        let vocabulary = i64::try_from(self.vocabulary()).unwrap();
        let token = |n: i8| u32::try_from((i64::from(n) + 128) % vocabulary).unwrap();
        let prompt = noise("prompt", self.prompt).into_iter().map(token);
        prompt.chain(self.chosen.iter().copied()).collect()
    }

    /// The logits after the `index`-th of the kept positions.
    pub(in super::super) fn kept_logits(&self, index: usize) -> &[f32] {
        let width = self.vocabulary();
        &self.numbers[index * width..][..width]
    }

    /// For each position, the sum of its logits with random signs, and their length as a vector.
    pub(in super::super) fn sums_and_lengths(&self) -> (&[f32], &[f32]) {
        let rest = &self.numbers[self.kept.len() * self.vocabulary()..];
        rest.split_at(rest.len() / 2)
    }

    /// What [`Self::sums_and_lengths`] has for some logits.
    pub(in super::super) fn sum_and_length(logits: &[f32]) -> (f32, f32) {
        let signs = noise("signs", logits.len());
        let signed = logits.iter().zip(signs).map(|(x, n)| f64::from(if n < 0 { -x } else { *x }));
        let squares = logits.iter().map(|x| f64::from(*x) * f64::from(*x));
        #[expect(clippy::cast_possible_truncation, reason = "what it is compared with is f32")]
        let narrow = |x: f64| x as f32;
        (narrow(signed.sum()), narrow(squares.sum::<f64>().sqrt()))
    }

    fn made(&self, made: &Made, dtype: GgmlDType) -> QTensor {
        let sources: Vec<&Described> = made
            .of
            .iter()
            .map(|name| self.tensors.iter().find(|tensor| tensor.name == *name).unwrap())
            .collect();
        let Some(first) = sources.first() else {
            let values = Tensor::new(made.values.as_slice(), &Device::Cpu).unwrap();
            return QTensor::quantize(&values, GgmlDType::F32).unwrap();
        };
        let mut values: Vec<f32> = sources.iter().flat_map(|source| source.values()).collect();
        if let Some(heads) = made.interleave {
            values = interleaved(&values, heads, first.shape.get(1).copied().unwrap_or(1));
        }
        for value in &mut values {
            *value += made.add;
        }
        let mut shape = first.shape.clone();
        if sources.len() > 1 {
            shape.insert(0, sources.len());
        }
        let dtype = if shape.len() == 1 { GgmlDType::F32 } else { dtype };
        let values = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        QTensor::quantize(&values, dtype).unwrap()
    }

    /// Writes the GGUF file that llama.cpp's converter makes of it, if there is one.
    pub(in super::super) fn write_gguf(&self, dtype: GgmlDType) -> Option<TempPath> {
        use serde_json::Value as Json;
        if self.gguf.is_empty() {
            return None;
        }
        let value = |value: &Json| match value {
            Json::String(text) => Value::String(text.clone()),
            Json::Number(number) if number.is_u64() => {
                Value::U32(u32::try_from(number.as_u64().unwrap()).unwrap())
            }
            #[expect(clippy::cast_possible_truncation, reason = "llama.cpp's converter does")]
            number => Value::F32(number.as_f64().unwrap() as f32),
        };
        let metadata: Vec<_> =
            self.metadata.iter().map(|(key, json)| (key.as_str(), value(json))).collect();
        let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
        let tensors: Vec<_> =
            self.gguf.iter().map(|made| (made.name.as_str(), self.made(made, dtype))).collect();
        let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let path = tempfile::Builder::new().suffix(".gguf").tempfile().unwrap().into_temp_path();
        gguf_file::write(&mut File::create(&path).unwrap(), &metadata, &tensors).unwrap();
        Some(path)
    }

    /// Writes the directory that transformers saves, in so many files.
    pub(in super::super) fn write_directory(&self, held: Held, files: usize) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(directory.path().join(name), bytes).unwrap();
        };
        write("config.json", self.config.to_string().as_bytes());
        if files == 1 {
            write("model.safetensors", &safetensors(&self.tensors, held));
            return directory;
        }
        let mut places = serde_json::Map::new();
        for (n, part) in self.tensors.chunks(self.tensors.len().div_ceil(files)).enumerate() {
            let name = format!("model-{:05}-of-{files:05}.safetensors", n + 1);
            places.extend(part.iter().map(|t| (t.name.clone(), name.clone().into())));
            write(&name, &safetensors(part, held));
        }
        let index = serde_json::json!({ "metadata": { "total_size": 0 }, "weight_map": places });
        write("model.safetensors.index.json", index.to_string().as_bytes());
        directory
    }
}

/// The rows of each head's halves, one of each in turn.
fn interleaved(values: &[f32], heads: usize, columns: usize) -> Vec<f32> {
    let rows: Vec<&[f32]> = values.chunks_exact(columns).collect();
    let head_dim = rows.len() / heads;
    let from = |row: usize| {
        let (head, at) = (row / head_dim, row % head_dim);
        head * head_dim + at % 2 * (head_dim / 2) + at / 2
    };
    (0..rows.len()).flat_map(|row| rows[from(row)].iter().copied()).collect()
}

/// A file of safetensors, whose header has one byte more than would align its data.
fn safetensors(tensors: &[Described], held: Held) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    let word = format!("{held:?}").to_uppercase();
    header.insert("__metadata__".to_owned(), serde_json::json!({ "format": "pt" }));
    for tensor in tensors {
        let start = data.len();
        for value in tensor.values() {
            match held {
                Held::F32 => data.extend(value.to_le_bytes()),
                Held::F16 => data.extend(f16::from_f32(value).to_le_bytes()),
                Held::Bf16 => data.extend(bf16::from_f32(value).to_le_bytes()),
            }
        }
        let offsets = [start, data.len()];
        let entry = serde_json::json!({
            "dtype": word, "shape": tensor.shape, "data_offsets": offsets
        });
        header.insert(tensor.name.clone(), entry);
    }
    let mut header = serde_json::Value::Object(header).to_string();
    // Some files align their data, others do not.
    while header.len() % 8 != usize::from(tensors.len().is_multiple_of(2)) {
        header.push(' ');
    }
    let mut file = u64::try_from(header.len()).unwrap().to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend(data);
    file
}
