//! A directory as Hugging Face has models: `config.json` and one or many safetensors files.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use serde::Deserialize;
use wire::safetensors::{Header, TensorInfo};
use wire::{Code, Fault, limits, text};

use super::{Found, Naming, Tensors, corrupt, file};

/// What models of more than one file list their tensors in.
const INDEX: &str = "model.safetensors.index.json";
/// The file of a model of one file.
const SINGLE: &str = "model.safetensors";
/// Buffers that old files have and that follow from the config.
const COMPUTED: &str = ".rotary_emb.inv_freq";

/// One file of weights.
struct Shard {
    header: Header,
    map: Mmap,
}

/// A model's files. Dropped as soon as the weights are copied out of them.
pub(in super::super) struct Directory {
    /// The text of `config.json`.
    pub config: Vec<u8>,
    path: PathBuf,
    shards: Vec<Shard>,
    /// Where each tensor is: its shard, and its place in that one's table.
    places: HashMap<String, (usize, usize)>,
}

/// Which file each tensor is in.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Directory {
    /// Maps and checks the files in `path`.
    ///
    /// # Errors
    /// `MODEL_NOT_FOUND` and `IO_ERROR` for a file that cannot be read, `MODEL_CORRUPT` for what
    /// is no model, `MODEL_UNSUPPORTED` for weights in other formats.
    pub(in super::super) fn open(path: &Path) -> Result<Self, Fault> {
        let config = small(&path.join("config.json"), limits::MAX_MODEL_CONFIG_BYTES)?;
        let (files, index) = if path.join(INDEX).exists() {
            let index = small(&path.join(INDEX), limits::MAX_MODEL_INDEX_BYTES)?;
            let index: Index = serde_json::from_slice(&index)
                .map_err(|error| corrupt(format!("{INDEX} is no index")).cause(error))?;
            (files(path, &index)?, Some(index))
        } else if path.join(SINGLE).exists() {
            (vec![(SINGLE.to_owned(), path.join(SINGLE))], None)
        } else {
            let message = format!("{} has no {SINGLE} and no {INDEX}", path.display());
            return Err(Fault::new(Code::ModelUnsupported, message)
                .hint(format!("ls -l {}", text::shell_word(&path.to_string_lossy()))));
        };
        let (shards, places) = (Vec::new(), HashMap::new());
        let mut directory = Self { config, path: path.to_owned(), shards, places };
        for (name, path) in files {
            directory.add(&name, &path, index.as_ref())?;
        }
        match index.iter().flat_map(|index| index.weight_map.keys()).find(|n| !directory.has(n)) {
            Some(name) => Err(corrupt(format!("no file has {}", text::one_line(name, 80)))),
            None => Ok(directory),
        }
    }

    /// The content of another of its files, of at most `limit` bytes, if it is there.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(in super::super) fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Fault> {
        let path = self.path.join(name);
        if path.exists() { small(&path, limit).map(Some) } else { Ok(None) }
    }

    fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    fn add(&mut self, file: &str, path: &Path, index: Option<&Index>) -> Result<(), Fault> {
        let map = file::open(path)?;
        let bytes = u64::try_from(map.len()).unwrap_or(u64::MAX);
        let header =
            Header::parse(&map, bytes).map_err(|error| corrupt(format!("{file}: {error}")))?;
        for (place, tensor) in header.tensors.iter().enumerate() {
            let name = &tensor.name;
            let listed = index.map(|index| index.weight_map.get(name).map(String::as_str));
            if listed.is_some_and(|listed| listed != Some(file)) || self.has(name) {
                let name = text::one_line(name, 80);
                return Err(corrupt(format!("{file} has {name}, which the index has elsewhere")));
            }
            self.places.insert(name.clone(), (self.shards.len(), place));
        }
        self.shards.push(Shard { header, map });
        Ok(())
    }

    /// The tensors under llama.cpp's names.
    pub(in super::super) fn named(&self, naming: Naming) -> Named<'_> {
        Named { directory: self, naming }
    }
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

/// The files of an index, each a plain name in the same directory.
fn files(path: &Path, index: &Index) -> Result<Vec<(String, PathBuf)>, Fault> {
    let mut names: Vec<&String> = index.weight_map.values().collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() || names.len() > limits::MAX_MODEL_SHARDS {
        return Err(corrupt(format!("{INDEX} names {} files", names.len())));
    }
    let is_plain = |name: &str| {
        name.ends_with(".safetensors") && !name.contains(['/', '\\', '\0']) && name.len() <= 255
    };
    match names.iter().find(|name| !is_plain(name)) {
        Some(name) => Err(corrupt(format!("{INDEX} names {}", text::one_line(name, 80)))),
        None => Ok(names.iter().map(|name| ((*name).clone(), path.join(name))).collect()),
    }
}

/// A directory's tensors under llama.cpp's names.
pub(in super::super) struct Named<'d> {
    directory: &'d Directory,
    naming: Naming,
}

impl Named<'_> {
    fn tensor(&self, name: &str) -> Option<(&Shard, &TensorInfo)> {
        let (shard, place) = *self.directory.places.get(name)?;
        let shard = self.directory.shards.get(shard)?;
        Some((shard, shard.header.tensors.get(place)?))
    }

    fn all(&self) -> impl Iterator<Item = &TensorInfo> {
        self.directory.shards.iter().flat_map(|shard| &shard.header.tensors)
    }
}

impl Tensors for Named<'_> {
    fn find(&self, name: &str) -> Option<Found<'_>> {
        let (shard, info) = self.tensor(&self.naming.translate(name)?)?;
        let start = usize::try_from(info.offset).ok()?;
        let end = start.checked_add(usize::try_from(info.bytes).ok()?)?;
        // The header's own check keeps every tensor within the file.
        let data = shard.map.get(start..end).unwrap_or_default();
        let (dims, stored) = (info.shape.clone(), info.dtype.as_str());
        Some(Found { name: &info.name, dims, kind: info.kind(), stored, data })
    }

    fn names(&self) -> Vec<&str> {
        let names = self.all().map(|info| info.name.as_str());
        names.filter(|name| !name.ends_with(COMPUTED)).collect()
    }

    fn bytes(&self) -> u64 {
        self.all().map(|info| info.bytes).fold(0, u64::saturating_add)
    }

    fn remedy(&self) -> &'static str {
        "convert_hf_to_gguf.py MODEL_DIR --outfile OUT.gguf  # llama.cpp's"
    }
}
