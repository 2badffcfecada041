//! Why a GGUF header was refused, and the fault that crosses processes for it.

use crate::fault::{Code, Fault};
use crate::text;

/// Bytes of a name from the file that an error repeats.
const MAX_SHOWN_NAME_BYTES: usize = 80;

/// Why a header was refused. Names from the file are already neutralised and cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GgufError {
    /// Nothing is wrong yet, but the header goes on behind the prefix that was given. Never
    /// returned when the prefix is the whole file.
    #[error("the header goes on behind the bytes read; it has at least {at_least} bytes")]
    NeedMore {
        /// Bytes of the file, from its start, without which no more can be said.
        at_least: u64,
    },
    /// The file does not begin with `GGUF`.
    #[error("not a GGUF file")]
    NotGguf,
    /// A version that this build does not read.
    #[error("GGUF version {0} is not supported; versions 2 and 3 are")]
    Version(u32),
    /// The file was written for a big-endian machine.
    #[error("big-endian GGUF files are not supported")]
    BigEndian,
    /// The file ends in the middle of something.
    #[error("the file ends within the {what} at byte {at}")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Where it begins.
        at: u64,
    },
    /// A count over its limit.
    #[error("the file claims {count} {what}, more than the limit of {limit}")]
    TooMany {
        /// What is counted, in the plural.
        what: &'static str,
        /// How many the file claims.
        count: u64,
        /// How many are accepted.
        limit: u64,
    },
    /// A length over its limit.
    #[error("the {what} at byte {at} has {bytes} bytes, more than the limit of {limit}")]
    TooLong {
        /// What is that long.
        what: &'static str,
        /// Where it begins.
        at: u64,
        /// The claimed length.
        bytes: u64,
        /// The longest accepted.
        limit: u64,
    },
    /// Text that is not UTF-8 (keys: not ASCII).
    #[error("the {what} at byte {at} is not valid text")]
    BadText {
        /// What was being read.
        what: &'static str,
        /// Where it begins.
        at: u64,
    },
    /// A metadata value of a type that the format does not have.
    #[error("metadata {key} has the unknown value type {id}")]
    UnknownValueType {
        /// The metadata key.
        key: String,
        /// The type's id in the file.
        id: u32,
    },
    /// A boolean that is neither 0 nor 1.
    #[error("metadata {key} has a boolean that is neither 0 nor 1")]
    BadBool {
        /// The metadata key.
        key: String,
    },
    /// An array whose elements are arrays; no known model has one.
    #[error("metadata {key} is an array of arrays, which is not supported")]
    NestedArray {
        /// The metadata key.
        key: String,
    },
    /// A metadata key or tensor name that occurs twice.
    #[error("the {what} {name} occurs twice")]
    Duplicate {
        /// `metadata key` or `tensor`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// `general.alignment` is no power of two from 8 to 65536.
    #[error("general.alignment is {0}; it must be a power of two from 8 to 65536")]
    BadAlignment(u64),
    /// A tensor stored in a way that this build does not know.
    #[error("tensor {tensor} has the unknown type {id}")]
    UnknownTensorKind {
        /// The tensor's name.
        tensor: String,
        /// ggml's id of the type.
        id: u32,
    },
    /// A tensor without dimensions, or with one of size 0.
    #[error("tensor {tensor} has no elements")]
    EmptyTensor {
        /// The tensor's name.
        tensor: String,
    },
    /// A tensor whose size is no 64-bit number.
    #[error("the size of tensor {tensor} overflows")]
    Overflow {
        /// The tensor's name.
        tensor: String,
    },
    /// A tensor whose rows are not whole blocks.
    #[error("tensor {tensor} has rows of {columns} elements, which are no whole {kind} blocks")]
    ShapeNotInBlocks {
        /// The tensor's name.
        tensor: String,
        /// Elements of a row.
        columns: u64,
        /// The name of its kind.
        kind: &'static str,
    },
    /// A tensor whose offset is no multiple of the alignment.
    #[error("tensor {tensor} is not aligned to {alignment} bytes")]
    Misaligned {
        /// The tensor's name.
        tensor: String,
        /// The file's alignment in bytes.
        alignment: u64,
    },
    /// A tensor whose last byte lies behind the file's end: a truncated download.
    #[error("tensor {tensor} ends {missing} bytes behind the end of the file")]
    TensorBeyondFile {
        /// The tensor's name.
        tensor: String,
        /// Bytes that the file lacks for it.
        missing: u64,
    },
    /// Two tensors that share bytes.
    #[error("the tensors {first} and {second} overlap")]
    Overlap {
        /// The one that begins first.
        first: String,
        /// The other one.
        second: String,
    },
    /// A key that a model must have.
    #[error("the metadata lacks {key}")]
    Missing {
        /// The metadata key.
        key: String,
    },
    /// A key whose value has the wrong type.
    #[error("metadata {key} is not {expected}")]
    BadType {
        /// The metadata key.
        key: String,
        /// What it should be, with its article.
        expected: &'static str,
    },
    /// A value that no model can have.
    #[error("metadata {key} {rule}")]
    BadValue {
        /// The metadata key.
        key: String,
        /// The rule that it breaks.
        rule: String,
    },
    /// A key with a different value for each layer.
    #[error("the layers of this model differ in {key}, which is not supported")]
    LayersDiffer {
        /// The metadata key.
        key: String,
    },
}

/// A name from the file as errors show it.
pub(super) fn shown(name: &str) -> String {
    text::one_line(name, MAX_SHOWN_NAME_BYTES)
}

impl GgufError {
    /// Whether the file may be a good one that only this build cannot use.
    pub fn is_unsupported(&self) -> bool {
        matches!(
            self,
            Self::Version(_)
                | Self::BigEndian
                | Self::NestedArray { .. }
                | Self::UnknownTensorKind { .. }
                | Self::LayersDiffer { .. }
        )
    }

    /// The fault for it: `MODEL_UNSUPPORTED` for a good file that this build cannot use, `INTERNAL`
    /// for a reader that did not bring the whole header, else `MODEL_CORRUPT`.
    pub fn fault(&self) -> Fault {
        if matches!(self, Self::NeedMore { .. }) {
            return Fault::new(Code::Internal, self.to_string());
        }
        let code = if self.is_unsupported() { Code::ModelUnsupported } else { Code::ModelCorrupt };
        Fault::new(code, self.to_string()).hint(match self {
            Self::UnknownTensorKind { .. } => {
                "llama-quantize --allow-requantize IN.gguf OUT.gguf Q4_K_M"
            }
            Self::Version(_) | Self::BigEndian => {
                "convert_hf_to_gguf.py MODEL_DIR --outfile OUT.gguf  # llama.cpp's, for version 3"
            }
            Self::NestedArray { .. } | Self::LayersDiffer { .. } => {
                "rbee run -m file:/path/to/another/model.gguf PROMPT"
            }
            _ => "sha256sum FILE.gguf  # compare with its source, and fetch it again if it differs",
        })
    }
}

impl From<GgufError> for Fault {
    fn from(error: GgufError) -> Self {
        error.fault()
    }
}
