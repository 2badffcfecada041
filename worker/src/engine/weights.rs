//! The file of a model: mapped while it is read, its tensors checked against its header.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor, ggml_file};
use candle_core::{Device, Tensor};
use memmap2::{Advice, Mmap};
use wire::gguf::{Header, TensorInfo, TensorKind};
use wire::{Code, Fault, text};

use super::internal;

/// A model's file with its header. Dropped as soon as the weights are copied out of it.
pub(super) struct MappedModel {
    /// What the file says of itself.
    pub header: Header,
    map: Mmap,
}

impl MappedModel {
    /// Maps and checks the file at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, Fault> {
        // Opening a pipe would wait for its writer for ever.
        let metadata = std::fs::metadata(path).map_err(|error| cannot_read(path, &error))?;
        if !metadata.is_file() {
            let message = format!("{} is no file", path.display());
            return Err(Fault::new(Code::ModelNotFound, message).hint(look_at(path)));
        }
        let file = File::open(path).map_err(|error| cannot_read(path, &error))?;
        let map = map(&file).map_err(|error| cannot_read(path, &error))?;
        // Only a hint to the kernel: without it the load is slower.
        let _ = map.advise(Advice::Sequential);
        let bytes = u64::try_from(map.len()).unwrap_or(u64::MAX);
        let header = Header::parse(&map, bytes)?;
        Ok(Self { header, map })
    }

    /// The bytes of a tensor.
    fn data(&self, info: &TensorInfo) -> Option<&[u8]> {
        let start = usize::try_from(info.offset).ok()?;
        let length = usize::try_from(info.bytes).ok()?;
        self.map.get(start..start.checked_add(length)?)
    }
}

fn look_at(path: &Path) -> String {
    format!("ls -l {}", text::shell_word(&path.to_string_lossy()))
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Fault {
    let code =
        if error.kind() == std::io::ErrorKind::NotFound { Code::ModelNotFound } else { Code::Io };
    Fault::new(code, format!("the model {} cannot be read", path.display()))
        .cause(error)
        .hint(look_at(path))
}

#[expect(unsafe_code, reason = "the one mapping of weights; see the invariant below")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the mapping is read-only, private to this process, and lives only while `load` copies
    // the weights out of it, so no reference into it outlives that call. Whoever changes the file
    // in that time changes the numbers that are copied, never their count or their place, which the
    // header's copy fixes; whoever truncates it in that time ends this process by SIGBUS, and the
    // guard reports that.
    unsafe { Mmap::map(file) }
}

/// candle's type for a kind, if it computes with it.
fn dtype_of(kind: TensorKind) -> Option<GgmlDType> {
    Some(match kind {
        TensorKind::F32 => GgmlDType::F32,
        TensorKind::F16 => GgmlDType::F16,
        TensorKind::Bf16 => GgmlDType::BF16,
        TensorKind::Q4_0 => GgmlDType::Q4_0,
        TensorKind::Q4_1 => GgmlDType::Q4_1,
        TensorKind::Q5_0 => GgmlDType::Q5_0,
        TensorKind::Q5_1 => GgmlDType::Q5_1,
        TensorKind::Q8_0 => GgmlDType::Q8_0,
        TensorKind::Q2K => GgmlDType::Q2K,
        TensorKind::Q3K => GgmlDType::Q3K,
        TensorKind::Q4K => GgmlDType::Q4K,
        TensorKind::Q5K => GgmlDType::Q5K,
        TensorKind::Q6K => GgmlDType::Q6K,
        _ => return None,
    })
}

/// A fault of a file that says something impossible of a model.
pub(super) fn corrupt(message: impl AsRef<str>) -> Fault {
    Fault::new(Code::ModelCorrupt, message)
        .hint("sha256sum FILE.gguf  # compare with its source, and fetch it again if it differs")
}

/// Takes tensors out of a file by name, and knows which were never asked for.
pub(super) struct Loader<'a> {
    file: &'a MappedModel,
    progress: &'a mut dyn FnMut(u64, u64),
    taken: HashSet<String>,
    bytes_done: u64,
    bytes_total: u64,
}

impl<'a> Loader<'a> {
    /// A loader of `file`; `progress` hears of bytes done and in all after each tensor.
    pub(super) fn new(file: &'a MappedModel, progress: &'a mut dyn FnMut(u64, u64)) -> Self {
        let bytes_total = file.header.weight_bytes();
        progress(0, bytes_total);
        Self { file, progress, taken: HashSet::new(), bytes_done: 0, bytes_total }
    }

    /// Whether the file has a tensor of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.file.header.tensor(name).is_some()
    }

    /// Rows of a matrix: the length of its outer dimension.
    pub(super) fn rows_of(&self, name: &str) -> Result<usize, Fault> {
        let rows = self.info(name)?.shape.get(1).copied().unwrap_or(1);
        usize::try_from(rows).map_err(|_| corrupt(format!("tensor {name} is too large")))
    }

    fn info(&self, name: &str) -> Result<&'a TensorInfo, Fault> {
        let missing = || corrupt(format!("the model lacks tensor {name}"));
        self.file.header.tensor(name).ok_or_else(missing)
    }

    /// Copies a tensor whose row-major shape must be `dims`.
    pub(super) fn tensor(&mut self, name: &str, dims: &[usize]) -> Result<QTensor, Fault> {
        let info = self.info(name)?;
        let found: Vec<u64> = info.shape.iter().rev().copied().collect();
        let fits = found.len() == dims.len()
            && found.iter().zip(dims).all(|(found, dim)| u64::try_from(*dim) == Ok(*found));
        if !fits {
            let message = format!("tensor {name} has the shape {found:?} instead of {dims:?}");
            return Err(corrupt(message));
        }
        let dtype = dtype_of(info.kind).ok_or_else(|| {
            let kind = info.kind.name();
            let message = format!("tensor {name} has the type {kind}, which this engine lacks");
            Fault::new(Code::ModelUnsupported, message)
                .detail("tensor", name)
                .detail("type", kind)
                .hint("llama-quantize --allow-requantize IN.gguf OUT.gguf Q4_K_M")
        })?;
        let out_of_file = || corrupt(format!("tensor {name} lies outside of the file"));
        let data = self.file.data(info).ok_or_else(out_of_file)?;
        // The table's own arithmetic is checked again: candle reads as many bytes as the shape has.
        let elements = dims.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim));
        let blocks = elements.map(|n| n / dtype.block_size());
        let bytes = blocks.and_then(|n| n.checked_mul(dtype.type_size()));
        if bytes != Some(data.len()) {
            return Err(corrupt(format!("tensor {name} has {} bytes", data.len())));
        }
        let tensor = ggml_file::qtensor_from_ggml(dtype, data, dims.to_vec(), &Device::Cpu)
            .map_err(|error| corrupt(format!("tensor {name} is unusable")).cause(error))?;
        self.taken.insert(name.to_owned());
        self.bytes_done = self.bytes_done.saturating_add(info.bytes);
        (self.progress)(self.bytes_done, self.bytes_total);
        Ok(tensor)
    }

    /// A vector of `length` numbers as f32.
    pub(super) fn vector(&mut self, name: &str, length: usize) -> Result<Tensor, Fault> {
        let tensor = self.tensor(name, &[length])?;
        tensor.dequantize(&Device::Cpu).map_err(|error| internal("dequantizing", error))
    }

    /// A vector, if the file has it.
    pub(super) fn optional_vector(
        &mut self,
        name: &str,
        length: usize,
    ) -> Result<Option<Tensor>, Fault> {
        if self.has(name) { self.vector(name, length).map(Some) } else { Ok(None) }
    }

    /// Refuses a file with tensors that nothing asked for: a model that has them computes something
    /// else than we do.
    pub(super) fn finish(self) -> Result<(), Fault> {
        let is_left = |info: &&TensorInfo| !self.taken.contains(&info.name);
        let Some(left) = self.file.header.tensors.iter().find(is_left) else {
            return Ok(());
        };
        let message = format!("this engine does not know tensor {} of this model", left.name);
        Err(Fault::new(Code::ModelUnsupported, message)
            .detail("tensor", text::one_line(&left.name, 80))
            .hint("rbee run -m file:/path/to/another/model.gguf PROMPT"))
    }
}

/// A matrix to multiply with. Quantized blocks stay as they are; so does f32, which candle would
/// copy. f16 and bf16 become f32: candle's own kernels would round the activations to 16 bits, and
/// the families here have activations beyond f16's range.
pub(super) fn matrix(tensor: Arc<QTensor>) -> Result<QMatMul, Fault> {
    match tensor.dtype() {
        GgmlDType::F32 => Ok(QMatMul::QTensor(tensor)),
        _ => QMatMul::from_arc(tensor).map_err(|error| internal("dequantizing", error)),
    }
}
