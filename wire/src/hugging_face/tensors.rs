//! Which tensors a directory has, in which of its files, and whether they are what its config says.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::INDEX;
use super::error::{DirectoryError, shown};
use crate::gguf::{ModelShape, TensorKind};
use crate::safetensors::{Header, SafetensorsError, TensorInfo};
use crate::{limits, text};

/// Buffers that old files have and that follow from the config.
const COMPUTED: &str = ".rotary_emb.inv_freq";

/// Which file each tensor is in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Index {
    /// Reads an index. Whoever has the file bounds it by [`limits::MAX_MODEL_INDEX_BYTES`].
    ///
    /// # Errors
    /// `NotJson`, and `BadIndex` when it names no files, too many, or one elsewhere.
    pub fn parse(json: &[u8]) -> Result<Self, DirectoryError> {
        let index: Self = serde_json::from_slice(json).map_err(|error| {
            let why = text::one_line(&error.to_string(), 200);
            DirectoryError::NotJson { file: INDEX, why }
        })?;
        let files = index.files();
        if files.is_empty() || files.len() > limits::MAX_MODEL_SHARDS {
            return Err(DirectoryError::BadIndex(format!("{} files", files.len())));
        }
        let is_plain = |name: &str| {
            name.ends_with(".safetensors") && !name.contains(['/', '\\', '\0']) && name.len() <= 255
        };
        match files.iter().find(|name| !is_plain(name)) {
            Some(name) => Err(DirectoryError::BadIndex(shown(name))),
            None => Ok(index),
        }
    }

    /// The files, each a plain name in the same directory, in the order of the alphabet.
    pub fn files(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.weight_map.values().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// The tensors of all of a model's files, each in one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tensors {
    headers: Vec<Header>,
    /// Where each tensor is: its file, and its place in that one's table.
    places: HashMap<String, (usize, usize)>,
}

impl Tensors {
    /// Adds the file `file`, of which `header` was read.
    ///
    /// # Errors
    /// `BadFile`, and `Misplaced` for a tensor that is in another file already or, by the index,
    /// should be.
    pub fn add(
        &mut self,
        file: &str,
        header: Result<Header, SafetensorsError>,
        index: Option<&Index>,
    ) -> Result<(), DirectoryError> {
        let bad = |error| DirectoryError::BadFile { file: shown(file), error };
        let header = header.map_err(bad)?;
        let most = usize::try_from(limits::MAX_GGUF_TENSORS).unwrap_or(usize::MAX);
        if self.places.len() + header.tensors.len() > most {
            return Err(bad(SafetensorsError::BadTable("too many tensors".to_owned())));
        }
        for (place, tensor) in header.tensors.iter().enumerate() {
            let name = &tensor.name;
            let listed = index.map(|index| index.weight_map.get(name).map(String::as_str));
            let is_elsewhere = listed.is_some_and(|listed| listed != Some(file));
            if is_elsewhere || self.places.contains_key(name) {
                let (file, tensor) = (shown(file), shown(name));
                return Err(DirectoryError::Misplaced { file, tensor });
            }
            self.places.insert(name.clone(), (self.headers.len(), place));
        }
        self.headers.push(header);
        Ok(())
    }

    /// Checks that the files that were added have everything that the index names.
    ///
    /// # Errors
    /// `Absent`.
    pub fn check_index(&self, index: &Index) -> Result<(), DirectoryError> {
        let absent = index.weight_map.keys().find(|name| !self.places.contains_key(*name));
        absent.map_or(Ok(()), |name| Err(DirectoryError::Absent { tensor: shown(name) }))
    }

    /// The tensor of that name, and which of the files has it: the number of the call that added
    /// it, from 0.
    pub fn find(&self, name: &str) -> Option<(usize, &TensorInfo)> {
        let (file, place) = *self.places.get(name)?;
        Some((file, self.headers.get(file)?.tensors.get(place)?))
    }

    /// All tensors but those that follow from the config.
    pub fn all(&self) -> impl Iterator<Item = &TensorInfo> {
        let all = self.headers.iter().flat_map(|header| &header.tensors);
        all.filter(|info| !info.name.ends_with(COMPUTED))
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.all().map(|info| info.bytes).fold(0, u64::saturating_add)
    }

    /// Bytes of those of 16-bit floats.
    pub fn half_float_bytes(&self) -> u64 {
        let is_half =
            |info: &&TensorInfo| matches!(info.kind(), Some(TensorKind::F16 | TensorKind::Bf16));
        self.all().filter(is_half).map(|info| info.bytes).fold(0, u64::saturating_add)
    }

    /// Checks what every family's tensors show of its config: memory is promised by it.
    ///
    /// # Errors
    /// `UnknownDtype`, `Lacking` and `OtherShape`.
    pub fn check_shape(&self, shape: &ModelShape) -> Result<(), DirectoryError> {
        let is_read = |info: &&TensorInfo| {
            matches!(info.kind(), Some(TensorKind::F32 | TensorKind::F16 | TensorKind::Bf16))
        };
        if let Some(info) = self.all().find(|info| !is_read(info)) {
            let (tensor, dtype) = (shown(&info.name), text::one_line(&info.dtype, 16));
            return Err(DirectoryError::UnknownDtype { tensor, dtype });
        }
        let wide = |elements: u32| u64::from(elements);
        let width = wide(shape.embedding);
        let queries = wide(shape.heads).saturating_mul(wide(shape.head_dim));
        let keys = wide(shape.kv_heads).saturating_mul(wide(shape.head_dim));
        let expect = |name: String, expected: [u64; 2], is_needed: bool| match self.find(&name) {
            Some((_, info)) if info.shape == expected => Ok(()),
            Some((_, info)) => {
                let (tensor, found) = (shown(&name), info.shape.clone());
                Err(DirectoryError::OtherShape { tensor, found, expected: expected.to_vec() })
            }
            None if is_needed => {
                let tensor = shown(&name);
                Err(DirectoryError::Lacking { tensor, layers: shape.layers })
            }
            None => Ok(()),
        };
        expect("model.embed_tokens.weight".to_owned(), [wide(shape.vocab), width], true)?;
        for layer in 0..shape.layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
            expect(name("self_attn.o_proj"), [width, queries], true)?;
            // Neither is in every family.
            expect(name("self_attn.k_proj"), [keys, width], false)?;
            expect(name("mlp.down_proj"), [width, wide(shape.feed_forward)], false)?;
        }
        Ok(())
    }
}
