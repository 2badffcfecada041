//! The one file of a GGUF model.

use std::path::Path;

use memmap2::Mmap;
use wire::Fault;
use wire::gguf::{Header, TensorInfo};

use super::{Found, Tensors, file};

/// A model's file with its header. Dropped as soon as the weights are copied out of it.
pub(in super::super) struct MappedModel {
    /// What the file says of itself.
    pub header: Header,
    map: Mmap,
}

impl MappedModel {
    /// Maps and checks the file at `path`.
    pub(in super::super) fn open(path: &Path) -> Result<Self, Fault> {
        let map = file::open(path)?;
        let bytes = u64::try_from(map.len()).unwrap_or(u64::MAX);
        let header = Header::parse(&map, bytes)?;
        Ok(Self { header, map })
    }

    fn data(&self, info: &TensorInfo) -> Option<&[u8]> {
        let start = usize::try_from(info.offset).ok()?;
        let length = usize::try_from(info.bytes).ok()?;
        self.map.get(start..start.checked_add(length)?)
    }
}

impl Tensors for MappedModel {
    fn find(&self, name: &str) -> Option<Found<'_>> {
        let info = self.header.tensor(name)?;
        let dims = info.shape.iter().rev().copied().collect();
        // The header's own check keeps every tensor within the file.
        let data = self.data(info).unwrap_or_default();
        let stored = info.kind.name();
        Some(Found { name: &info.name, dims, kind: Some(info.kind), stored, data })
    }

    fn names(&self) -> Vec<&str> {
        self.header.tensors.iter().map(|info| info.name.as_str()).collect()
    }

    fn bytes(&self) -> u64 {
        self.header.weight_bytes()
    }

    fn remedy(&self) -> &'static str {
        "llama-quantize --allow-requantize IN.gguf OUT.gguf Q4_K_M"
    }
}
