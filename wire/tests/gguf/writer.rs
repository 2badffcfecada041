//! Writes GGUF files, well formed or wrong in exactly the way that a test wants.

use wire::gguf::{Array, TensorKind, Value};

/// A metadata value as the file stores it.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Text(String),
    U64(u64),
    I64(i64),
    F64(f64),
    U8s(Vec<u8>),
    I16s(Vec<i16>),
    U32s(Vec<u32>),
    I32s(Vec<i32>),
    U64s(Vec<u64>),
    F32s(Vec<f32>),
    F64s(Vec<f64>),
    Bools(Vec<bool>),
    Texts(Vec<String>),
    /// A type id and whatever bytes follow it.
    Raw(u32, Vec<u8>),
}

pub fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// An array's bytes behind its own type id: element type, count, elements.
pub fn array(element_type: u32, count: u64, elements: &[u8]) -> Field {
    let mut bytes = element_type.to_le_bytes().to_vec();
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(elements);
    Field::Raw(9, bytes)
}

fn numbers<T: Copy, const N: usize>(id: u32, all: &[T], bytes: fn(T) -> [u8; N]) -> (u32, Vec<u8>) {
    let elements: Vec<u8> = all.iter().flat_map(|n| bytes(*n)).collect();
    array(id, all.len() as u64, &elements).encoded()
}

impl Field {
    /// The type id and the bytes behind it.
    pub fn encoded(&self) -> (u32, Vec<u8>) {
        match self {
            Self::U8(n) => (0, n.to_le_bytes().into()),
            Self::I8(n) => (1, n.to_le_bytes().into()),
            Self::U16(n) => (2, n.to_le_bytes().into()),
            Self::I16(n) => (3, n.to_le_bytes().into()),
            Self::U32(n) => (4, n.to_le_bytes().into()),
            Self::I32(n) => (5, n.to_le_bytes().into()),
            Self::F32(x) => (6, x.to_le_bytes().into()),
            Self::Bool(b) => (7, vec![u8::from(*b)]),
            Self::Text(t) => (8, text(t)),
            Self::U64(n) => (10, n.to_le_bytes().into()),
            Self::I64(n) => (11, n.to_le_bytes().into()),
            Self::F64(x) => (12, x.to_le_bytes().into()),
            Self::U8s(all) => numbers(0, all, u8::to_le_bytes),
            Self::I16s(all) => numbers(3, all, i16::to_le_bytes),
            Self::U32s(all) => numbers(4, all, u32::to_le_bytes),
            Self::I32s(all) => numbers(5, all, i32::to_le_bytes),
            Self::U64s(all) => numbers(10, all, u64::to_le_bytes),
            Self::F32s(all) => numbers(6, all, f32::to_le_bytes),
            Self::F64s(all) => numbers(12, all, f64::to_le_bytes),
            Self::Bools(all) => numbers(7, all, |b| [u8::from(b)]),
            Self::Texts(all) => {
                let elements: Vec<u8> = all.iter().flat_map(|t| text(t)).collect();
                array(8, all.len() as u64, &elements).encoded()
            }
            Self::Raw(id, bytes) => (*id, bytes.clone()),
        }
    }

    /// What a reader must make of it.
    pub fn value(&self) -> Value {
        fn all<T: Copy, U>(all: &[T]) -> Vec<U>
        where
            U: From<T>,
        {
            all.iter().map(|n| U::from(*n)).collect()
        }
        match self {
            Self::U8(n) => Value::Unsigned((*n).into()),
            Self::I8(n) => Value::Signed((*n).into()),
            Self::U16(n) => Value::Unsigned((*n).into()),
            Self::I16(n) => Value::Signed((*n).into()),
            Self::U32(n) => Value::Unsigned((*n).into()),
            Self::I32(n) => Value::Signed((*n).into()),
            Self::F32(x) => Value::Float((*x).into()),
            Self::Bool(b) => Value::Bool(*b),
            Self::Text(t) => Value::Text(t.clone()),
            Self::U64(n) => Value::Unsigned(*n),
            Self::I64(n) => Value::Signed(*n),
            Self::F64(x) => Value::Float(*x),
            Self::U8s(n) => Value::Array(Array::Unsigned(all(n))),
            Self::I16s(n) => Value::Array(Array::Signed(all(n))),
            Self::U32s(n) => Value::Array(Array::Unsigned(all(n))),
            Self::I32s(n) => Value::Array(Array::Signed(all(n))),
            Self::U64s(n) => Value::Array(Array::Unsigned(n.clone())),
            Self::F32s(n) => Value::Array(Array::Float(all(n))),
            Self::F64s(n) => Value::Array(Array::Float(n.clone())),
            Self::Bools(n) => Value::Array(Array::Bool(n.clone())),
            Self::Texts(n) => Value::Array(Array::Text(n.clone())),
            Self::Raw(..) => panic!("raw bytes have no value"),
        }
    }
}

/// One tensor of the table. Without an offset it lies behind the one before.
#[derive(Debug, Clone)]
pub struct Tensor {
    pub name: Vec<u8>,
    pub shape: Vec<u64>,
    pub kind: u32,
    pub offset: Option<u64>,
}

impl Tensor {
    pub fn new(name: &str, shape: &[u64], kind: TensorKind) -> Self {
        let name = name.as_bytes().to_vec();
        Self { name, shape: shape.to_vec(), kind: kind.id(), offset: None }
    }

    /// Bytes of its data, 0 when that is no number.
    pub fn bytes(&self) -> u64 {
        let kind = TensorKind::from_id(self.kind);
        let elements = self.shape.iter().try_fold(1u64, |n, extent| n.checked_mul(*extent));
        kind.zip(elements)
            .and_then(|(k, n)| (n / k.block_elements()).checked_mul(k.block_bytes()))
            .unwrap_or(0)
    }
}

/// A file to write. What is `None` is written as it should be.
#[derive(Debug, Clone)]
pub struct File {
    pub magic: [u8; 4],
    pub version: u32,
    pub metadata: Vec<(String, Field)>,
    pub tensors: Vec<Tensor>,
    pub alignment: u64,
    pub metadata_count: Option<u64>,
    pub tensor_count: Option<u64>,
    /// Bytes of zeros written for the tensors' data.
    pub data_bytes: Option<u64>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            magic: *b"GGUF",
            version: 3,
            metadata: Vec::new(),
            tensors: Vec::new(),
            alignment: 32,
            metadata_count: None,
            tensor_count: None,
            data_bytes: None,
        }
    }
}

/// A file and where its parts end.
#[derive(Debug, Clone)]
pub struct Written {
    pub bytes: Vec<u8>,
    /// Where the tensor table ends, before its padding.
    pub header_end: usize,
    /// Where the data begins.
    pub data_offset: u64,
    /// Each tensor's absolute offset.
    pub offsets: Vec<u64>,
}

impl File {
    pub fn with(mut self, key: &str, field: Field) -> Self {
        self.metadata.push((key.to_owned(), field));
        self
    }

    pub fn tensor(mut self, name: &str, shape: &[u64], kind: TensorKind) -> Self {
        self.tensors.push(Tensor::new(name, shape, kind));
        self
    }

    pub fn written(&self) -> Written {
        let mut bytes = self.magic.to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        bytes.extend(self.metadata_count.unwrap_or(self.metadata.len() as u64).to_le_bytes());
        for (key, field) in &self.metadata {
            let (id, value) = field.encoded();
            bytes.extend(text(key));
            bytes.extend(id.to_le_bytes());
            bytes.extend(value);
        }
        let mut next = 0u64;
        let mut offsets = Vec::new();
        for tensor in &self.tensors {
            let offset = tensor.offset.unwrap_or(next);
            offsets.push(offset);
            next = (offset.saturating_add(tensor.bytes())).next_multiple_of(self.alignment);
            bytes.extend((tensor.name.len() as u64).to_le_bytes());
            bytes.extend(&tensor.name);
            bytes.extend(u32::try_from(tensor.shape.len()).unwrap().to_le_bytes());
            bytes.extend(tensor.shape.iter().flat_map(|extent| extent.to_le_bytes()));
            bytes.extend(tensor.kind.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
        }
        let header_end = bytes.len();
        let data_offset = (header_end as u64).next_multiple_of(self.alignment);
        let data = self.data_bytes.unwrap_or(next);
        bytes.resize(usize::try_from(data_offset + data).unwrap(), 0);
        for offset in &mut offsets {
            *offset = offset.saturating_add(data_offset);
        }
        Written { bytes, header_end, data_offset, offsets }
    }
}

/// A small model with every kind of thing in it: what a llama file looks like.
pub fn llama() -> File {
    let words = ["<unk>", "<s>", "</s>", "▁a", "<0x0A>"].map(str::to_owned).to_vec();
    File::default()
        .with("general.architecture", Field::Text("llama".into()))
        .with("general.name", Field::Text("tiny \u{1b}[31m".into()))
        .with("general.alignment", Field::U32(32))
        .with("llama.block_count", Field::U32(2))
        .with("llama.context_length", Field::U32(128))
        .with("llama.embedding_length", Field::U32(64))
        .with("llama.feed_forward_length", Field::U32(96))
        .with("llama.attention.head_count", Field::U32(4))
        .with("llama.attention.head_count_kv", Field::U32(2))
        .with("llama.attention.layer_norm_rms_epsilon", Field::F32(1e-5))
        .with("llama.rope.freq_base", Field::F32(10_000.0))
        .with("tokenizer.ggml.model", Field::Text("llama".into()))
        .with("tokenizer.ggml.tokens", Field::Texts(words))
        .with("tokenizer.ggml.scores", Field::F32s(vec![0.0, -1.0, -2.0, -3.0, -4.0]))
        .with("tokenizer.ggml.token_type", Field::I32s(vec![2, 3, 3, 1, 6]))
        .with("tokenizer.ggml.add_bos_token", Field::Bool(true))
        .tensor("token_embd.weight", &[64, 5], TensorKind::Q8_0)
        .tensor("output_norm.weight", &[64], TensorKind::F32)
        .tensor("blk.0.attn_q.weight", &[64, 64], TensorKind::Q4_0)
}
