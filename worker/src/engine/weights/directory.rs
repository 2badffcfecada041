//! A directory as Hugging Face has models: `config.json` and one or many safetensors files.

use std::path::Path;

use memmap2::Mmap;
use wire::hugging_face::{self, Index};
use wire::safetensors::Header;
use wire::{Code, Fault, limits, text};

use super::{Found, Naming, Tensors, corrupt, file};

/// A model's files. Dropped as soon as the weights are copied out of them.
pub(in super::super) struct Directory {
    /// The text of `config.json`.
    pub config: Vec<u8>,
    /// What the files of weights have.
    pub tensors: hugging_face::Tensors,
    maps: Vec<Mmap>,
}

impl Directory {
    /// Maps and checks the files in `path`.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND` and `IO_ERROR` for a file that cannot be read, `MODEL_CORRUPT` for what
    /// is no model, `MODEL_UNSUPPORTED` for weights in other formats.
    pub(in super::super) fn open(path: &Path) -> Result<Self, Fault> {
        let config = small(&path.join(hugging_face::CONFIG), limits::MAX_MODEL_CONFIG_BYTES)?;
        let (single, index) = (hugging_face::SINGLE, hugging_face::INDEX);
        let index = if path.join(index).exists() {
            let index = small(&path.join(index), limits::MAX_MODEL_INDEX_BYTES)?;
            Some(Index::parse(&index)?)
        } else if path.join(single).exists() {
            None
        } else {
            let message = format!("{} has no {single} and no {index}", path.display());
            return Err(Fault::new(Code::ModelUnsupported, message)
                .hint(format!("ls -l {}", text::shell_word(&path.to_string_lossy()))));
        };
        let (mut tensors, mut maps) = (hugging_face::Tensors::default(), Vec::new());
        for name in index.as_ref().map_or(vec![single], Index::files) {
            let map = file::open(&path.join(name))?;
            let bytes = u64::try_from(map.len()).unwrap_or(u64::MAX);
            tensors.add(name, Header::parse(&map, bytes), index.as_ref())?;
            maps.push(map);
        }
        if let Some(index) = &index {
            tensors.check_index(index)?;
        }
        Ok(Self { config, tensors, maps })
    }

    /// Bytes of all files of weights.
    pub(in super::super) fn bytes(&self) -> u64 {
        let lengths = self.maps.iter().map(|map| u64::try_from(map.len()).unwrap_or(u64::MAX));
        lengths.fold(0, u64::saturating_add)
    }

    /// The tensors under llama.cpp's names.
    pub(in super::super) fn named(&self, naming: Naming) -> Named<'_> {
        Named { directory: self, naming }
    }
}

/// The content of a file of at most `limit` bytes, if it is there.
///
/// # Errors
/// As [`Directory::open`].
pub(in super::super) fn optional(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Fault> {
    if path.exists() { small(path, limit).map(Some) } else { Ok(None) }
}

/// Reads a file of at most `limit` bytes.
fn small(path: &Path, limit: u64) -> Result<Vec<u8>, Fault> {
    let map = file::open(path)?;
    if u64::try_from(map.len()).is_ok_and(|bytes| bytes <= limit) {
        return Ok(map.to_vec());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Err(corrupt(format!("{name} has {} bytes, more than the limit of {limit}", map.len())))
}

/// A directory's tensors under llama.cpp's names.
pub(in super::super) struct Named<'d> {
    directory: &'d Directory,
    naming: Naming,
}

impl Tensors for Named<'_> {
    fn find(&self, name: &str) -> Option<Found<'_>> {
        let (file, info) = self.directory.tensors.find(&self.naming.translate(name)?)?;
        let start = usize::try_from(info.offset).ok()?;
        let end = start.checked_add(usize::try_from(info.bytes).ok()?)?;
        // The header's own check keeps every tensor within the file.
        let data = self.directory.maps.get(file)?.get(start..end).unwrap_or_default();
        let (dims, stored) = (info.shape.clone(), info.dtype.as_str());
        Some(Found { name: &info.name, dims, kind: info.kind(), stored, data })
    }

    fn names(&self) -> Vec<&str> {
        self.directory.tensors.all().map(|info| info.name.as_str()).collect()
    }

    fn bytes(&self) -> u64 {
        self.directory.tensors.bytes()
    }

    fn remedy(&self) -> &'static str {
        "convert_hf_to_gguf.py MODEL_DIR --outfile OUT.gguf  # llama.cpp's"
    }
}
