//! Why a model's directory was refused, and the fault that crosses processes for it.

use crate::fault::{Code, Fault};
use crate::safetensors::SafetensorsError;
use crate::text;

/// Why a directory was refused. Names from its files are already neutralised and cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// A file that is no JSON of the form that it should have.
    #[error("{file} is not what it should be: {why}")]
    NotJson {
        /// Which one.
        file: &'static str,
        /// What its reader says.
        why: String,
    },
    /// A config without a figure that every model has.
    #[error("config.json lacks {key}")]
    Missing {
        /// The figure.
        key: &'static str,
    },
    /// A figure that no model can have.
    #[error("{key} is no number from 1 to {most}")]
    BadFigure {
        /// The figure.
        key: String,
        /// The largest that is believed.
        most: u32,
    },
    /// Figures that do not fit each other.
    #[error("{0}")]
    Unfit(String),
    /// A family that the engine does not compute.
    #[error("this engine computes {known}, not the architecture {model_type}{why}")]
    UnknownType {
        /// `model_type` of the config.
        model_type: String,
        /// What it computes.
        known: String,
        /// Behind a colon, why it does not compute this one, if there is more to say.
        why: String,
    },
    /// Weights in a format of their own.
    #[error("this engine reads safetensors of f32, f16 and bf16, not quantized ones")]
    Quantized,
    /// An index that names no files, too many, or something else.
    #[error("model.safetensors.index.json names {0}")]
    BadIndex(String),
    /// A file of weights that is none.
    #[error("{file}: {error}")]
    BadFile {
        /// Its name.
        file: String,
        /// What is wrong with it.
        error: SafetensorsError,
    },
    /// A tensor in another file than the index says, or in two.
    #[error("{file} has {tensor}, which the index has elsewhere")]
    Misplaced {
        /// The file's name.
        file: String,
        /// The tensor's.
        tensor: String,
    },
    /// A tensor that the index names, and that is in no file.
    #[error("no file has {tensor}")]
    Absent {
        /// The tensor's name.
        tensor: String,
    },
    /// A tensor that the config asks for, and that is not there.
    #[error("config.json has {layers} layers, but the model lacks tensor {tensor}")]
    Lacking {
        /// The tensor's name.
        tensor: String,
        /// Layers of the config.
        layers: u32,
    },
    /// A tensor of another shape than the config says.
    #[error("tensor {tensor} has the shape {found:?}; by config.json it is {expected:?}")]
    OtherShape {
        /// The tensor's name.
        tensor: String,
        /// Its shape.
        found: Vec<u64>,
        /// What it should be.
        expected: Vec<u64>,
    },
    /// A tensor of a type that the engine lacks.
    #[error("tensor {tensor} has the type {dtype}, which this engine lacks")]
    UnknownDtype {
        /// The tensor's name.
        tensor: String,
        /// Its type.
        dtype: String,
    },
}

impl DirectoryError {
    /// Whether the files may be good ones that only this build cannot use.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::UnknownType { .. } | Self::Quantized | Self::UnknownDtype { .. })
    }

    /// The fault for it: `MODEL_UNSUPPORTED` for good files that this build cannot use, else
    /// `MODEL_CORRUPT`. `FILE.gguf` in its hint stands for the model's path.
    pub fn fault(&self) -> Fault {
        let code = if self.is_unsupported() { Code::ModelUnsupported } else { Code::ModelCorrupt };
        let fault = Fault::new(code, self.to_string());
        match self {
            Self::UnknownType { model_type, .. } => fault
                .detail("architecture", model_type.as_str())
                .hint("rbee run -m file:/path/to/another/model.gguf PROMPT"),
            Self::Quantized => fault.hint("rbee run -m file:/path/to/another/model.gguf PROMPT"),
            Self::UnknownDtype { tensor, dtype } => fault
                .detail("tensor", tensor.as_str())
                .detail("type", dtype.as_str())
                .hint("convert_hf_to_gguf.py MODEL_DIR --outfile OUT.gguf  # llama.cpp's"),
            _ => fault.hint(
                "sha256sum FILE.gguf  # compare with its source, and fetch it again if it differs",
            ),
        }
    }
}

impl From<DirectoryError> for Fault {
    fn from(error: DirectoryError) -> Self {
        error.fault()
    }
}

/// A name from a file as errors show it.
pub(super) fn shown(name: &str) -> String {
    text::one_line(name, 80)
}
