//! The weights of a model: where its files have them, and how they become tensors.

mod directory;
mod file;
mod gguf;
mod names;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor, ggml_file};
use candle_core::{Device, Tensor};
use wire::gguf::TensorKind;
use wire::{Code, Fault, text};

use super::internal;
pub(super) use directory::{Directory, optional};
pub(super) use gguf::MappedModel;
pub(super) use names::Naming;

/// A tensor as it lies in a file.
pub(super) struct Found<'a> {
    /// What the file calls it.
    pub name: &'a str,
    /// Its row-major shape.
    pub dims: Vec<u64>,
    /// How its elements are stored, if ggml has a type like that.
    pub kind: Option<TensorKind>,
    /// The file's word for how they are.
    pub stored: &'a str,
    /// Its bytes.
    pub data: &'a [u8],
}

/// The tensors of a model's files, by llama.cpp's names.
pub(super) trait Tensors {
    /// The tensor of that name.
    fn find(&self, name: &str) -> Option<Found<'_>>;

    /// What the files call each tensor that a decoder must ask for.
    fn names(&self) -> Vec<&str>;

    /// Bytes of all tensors.
    fn bytes(&self) -> u64;

    /// How to make files of other types of these.
    fn remedy(&self) -> &'static str;
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

/// Takes tensors out of a model's files by name, and knows which were never asked for.
pub(super) struct Loader<'a> {
    source: &'a dyn Tensors,
    progress: &'a mut dyn FnMut(u64, u64),
    taken: HashSet<String>,
    bytes_done: u64,
    bytes_total: u64,
}

impl<'a> Loader<'a> {
    /// A loader of `source`; `progress` hears of bytes done and in all after each tensor.
    pub(super) fn new(source: &'a dyn Tensors, progress: &'a mut dyn FnMut(u64, u64)) -> Self {
        let bytes_total = source.bytes();
        progress(0, bytes_total);
        Self { source, progress, taken: HashSet::new(), bytes_done: 0, bytes_total }
    }

    /// Whether the model has a tensor of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.source.find(name).is_some()
    }

    /// Rows of a matrix: the length of its outer dimension.
    pub(super) fn rows_of(&self, name: &str) -> Result<usize, Fault> {
        let rows = self.find(name)?.dims.first().copied().unwrap_or(1);
        usize::try_from(rows).map_err(|_| corrupt(format!("tensor {name} is too large")))
    }

    fn find(&self, name: &str) -> Result<Found<'a>, Fault> {
        let missing = || corrupt(format!("the model lacks tensor {name}"));
        self.source.find(name).ok_or_else(missing)
    }

    /// Copies a tensor whose row-major shape must be `dims`.
    pub(super) fn tensor(&mut self, name: &str, dims: &[usize]) -> Result<QTensor, Fault> {
        let rows = dims.split_last().map_or(1, |(_, outer)| outer.iter().product());
        self.rows(name, dims, 0..rows, dims.to_vec())
    }

    /// Copies some rows of a tensor whose row-major shape must be `dims`: the outer dimensions
    /// count as one. What is copied has the shape `shape`.
    pub(super) fn rows(
        &mut self,
        name: &str,
        dims: &[usize],
        rows: Range<usize>,
        shape: Vec<usize>,
    ) -> Result<QTensor, Fault> {
        let found = self.find(name)?;
        let dtype = check(name, &found, dims, self.source.remedy())?;
        let columns = dims.last().copied().unwrap_or(1);
        let row_bytes = columns / dtype.block_size() * dtype.type_size();
        let out_of_file = || corrupt(format!("tensor {name} lies outside of the file"));
        let start = rows.start.checked_mul(row_bytes);
        let end = rows.end.checked_mul(row_bytes);
        let range = start.zip(end).map(|(start, end)| start..end).ok_or_else(out_of_file)?;
        let data = found.data.get(range).ok_or_else(out_of_file)?;
        let elements = shape.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim));
        if elements != rows.len().checked_mul(columns) {
            return Err(internal("the loader", format!("{rows:?} of {name} are not {shape:?}")));
        }
        let tensor = copy(dtype, data, shape)
            .map_err(|error| corrupt(format!("tensor {name} is unusable")).cause(error))?;
        self.taken.insert(found.name.to_owned());
        self.bytes_done =
            self.bytes_done.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        (self.progress)(self.bytes_done, self.bytes_total);
        Ok(tensor)
    }

    /// A vector of `length` numbers as f32.
    pub(super) fn vector(&mut self, name: &str, length: usize) -> Result<Tensor, Fault> {
        let tensor = self.tensor(name, &[length])?;
        tensor.dequantize(&Device::Cpu).map_err(|error| internal("dequantizing", error))
    }

    /// A vector, if the model has it.
    pub(super) fn optional_vector(
        &mut self,
        name: &str,
        length: usize,
    ) -> Result<Option<Tensor>, Fault> {
        if self.has(name) { self.vector(name, length).map(Some) } else { Ok(None) }
    }

    /// A tensor that is in the files, but that the model does not use.
    pub(super) fn skip(&mut self, name: &str) {
        if let Some(found) = self.source.find(name) {
            self.taken.insert(found.name.to_owned());
        }
    }

    /// Refuses files with tensors that nothing asked for: a model that has them computes something
    /// else than we do.
    pub(super) fn finish(self) -> Result<(), Fault> {
        let Self { source, progress, taken, bytes_total, .. } = self;
        let names = source.names();
        let Some(left) = names.iter().find(|name| !taken.contains(**name)) else {
            progress(bytes_total, bytes_total);
            return Ok(());
        };
        let left = text::one_line(left, 80);
        let message = format!("this engine does not know tensor {left} of this model");
        Err(Fault::new(Code::ModelUnsupported, message)
            .detail("tensor", left)
            .hint("rbee run -m file:/path/to/another/model.gguf PROMPT"))
    }
}

/// candle's type for a tensor whose file calls its type `stored`.
///
/// # Errors
/// `MODEL_UNSUPPORTED` with `remedy` when it has none.
pub(super) fn readable(
    name: &str,
    kind: Option<TensorKind>,
    stored: &str,
    remedy: &str,
) -> Result<GgmlDType, Fault> {
    kind.and_then(dtype_of).ok_or_else(|| {
        let (name, kind) = (text::one_line(name, 80), text::one_line(stored, 16));
        let message = format!("tensor {name} has the type {kind}, which this engine lacks");
        Fault::new(Code::ModelUnsupported, message)
            .detail("tensor", name)
            .detail("type", kind)
            .hint(remedy)
    })
}

/// Checks that a tensor is what it should be, and that candle can read it.
fn check(name: &str, found: &Found<'_>, dims: &[usize], remedy: &str) -> Result<GgmlDType, Fault> {
    let fits = found.dims.len() == dims.len()
        && found.dims.iter().zip(dims).all(|(found, dim)| u64::try_from(*dim) == Ok(*found));
    if !fits {
        let shape = &found.dims;
        let message = format!("tensor {name} has the shape {shape:?} instead of {dims:?}");
        return Err(corrupt(message));
    }
    let dtype = readable(name, found.kind, found.stored, remedy)?;
    // The table's own arithmetic is checked again: candle reads as many bytes as the shape has.
    let elements = dims.iter().try_fold(1usize, |n, dim| n.checked_mul(*dim));
    let blocks = elements.map(|n| n / dtype.block_size());
    let bytes = blocks.and_then(|n| n.checked_mul(dtype.type_size()));
    let is_whole = dims.last().is_some_and(|columns| columns.is_multiple_of(dtype.block_size()));
    if bytes != Some(found.data.len()) || !is_whole {
        return Err(corrupt(format!("tensor {name} has {} bytes", found.data.len())));
    }
    Ok(dtype)
}

/// Copies blocks out of a file. candle takes the bytes for numbers where they lie, so those of a
/// file that does not align them are put right first.
fn copy(dtype: GgmlDType, data: &[u8], shape: Vec<usize>) -> candle_core::Result<QTensor> {
    // The strictest type has f32 in its blocks.
    if data.as_ptr().align_offset(align_of::<f32>()) == 0 || dtype.block_size() > 1 {
        return ggml_file::qtensor_from_ggml(dtype, data, shape, &Device::Cpu);
    }
    let values: Vec<f32> = match dtype {
        GgmlDType::F32 => numbers(data, f32::from_le_bytes),
        GgmlDType::F16 => numbers(data, |bytes| half::f16::from_le_bytes(bytes).to_f32()),
        _ => numbers(data, |bytes| half::bf16::from_le_bytes(bytes).to_f32()),
    };
    QTensor::quantize(&Tensor::from_vec(values, shape, &Device::Cpu)?, GgmlDType::F32)
}

fn numbers<const N: usize>(data: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (chunks, _) = data.as_chunks::<N>();
    chunks.iter().map(|bytes| read(*bytes)).collect()
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
