//! The header of a safetensors file: names, types, shapes and places of its tensors.
//!
//! A length, a JSON object of that length, then the tensors' bytes (huggingface/safetensors,
//! "Format"). The file is untrusted: every count, length and offset is checked against its limit
//! and against the file before anything is believed.

use std::fmt;

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::gguf::TensorKind;
use crate::{limits, text};

/// Bytes of the length at the file's beginning.
const LENGTH_BYTES: u64 = 8;
/// The key that describes no tensor.
const METADATA: &str = "__metadata__";

/// Why a header was refused. Names from the file are already neutralised and cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SafetensorsError {
    /// Nothing is wrong yet, but the header goes on behind the prefix that was given.
    #[error("the header goes on behind the bytes read; it ends at byte {at_least}")]
    NeedMore {
        /// Bytes of the file, from its start, without which no more can be said.
        at_least: u64,
    },
    /// A header over its limit, or longer than the file.
    #[error("the header claims {bytes} bytes; the file has {file_bytes}")]
    BadLength {
        /// The claimed length.
        bytes: u64,
        /// The file's.
        file_bytes: u64,
    },
    /// A header that is no table of tensors.
    #[error("the header is no table of tensors: {0}")]
    BadTable(String),
    /// A tensor whose bytes are not where and as many as its type and shape say.
    #[error("tensor {tensor} {rule}")]
    BadTensor {
        /// The tensor's name.
        tensor: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
}

/// A checked header: names are unique, tensors lie within the file and share no byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The tensors in the order of their data.
    pub tensors: Vec<TensorInfo>,
}

/// One tensor: what it is and where its data lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, for example `model.norm.weight`; untrusted text.
    pub name: String,
    /// The word for its type, for example `BF16`; untrusted text.
    pub dtype: String,
    /// Its row-major shape.
    pub shape: Vec<u64>,
    /// Where its data begins, in bytes from the file's start.
    pub offset: u64,
    /// Bytes of its data.
    pub bytes: u64,
}

impl TensorInfo {
    /// How its elements are stored, if ggml has a type like that.
    pub fn kind(&self) -> Option<TensorKind> {
        Some(match self.dtype.as_str() {
            "F64" => TensorKind::F64,
            "F32" => TensorKind::F32,
            "F16" => TensorKind::F16,
            "BF16" => TensorKind::Bf16,
            "I64" => TensorKind::I64,
            "I32" => TensorKind::I32,
            "I16" => TensorKind::I16,
            "I8" => TensorKind::I8,
            _ => return None,
        })
    }
}

/// A tensor as the header has it; offsets count from the end of the header.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// All entries in the header's order.
struct Table(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Table;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Table, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let limit = usize::try_from(limits::MAX_GGUF_TENSORS).unwrap_or(usize::MAX);
                    if entries.len() == limit {
                        return Err(A::Error::custom("too many tensors"));
                    }
                    entries.push((name, map.next_value()?));
                }
                Ok(Table(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl Header {
    /// Reads a header. `prefix` is the first bytes of the file, `file_bytes` its whole length.
    ///
    /// # Errors
    /// [`SafetensorsError::NeedMore`] when the header goes on behind the prefix, every other one
    /// when no longer prefix can help.
    pub fn parse(prefix: &[u8], file_bytes: u64) -> Result<Self, SafetensorsError> {
        let Some(length) = prefix.first_chunk::<8>() else {
            return Err(if file_bytes < LENGTH_BYTES {
                SafetensorsError::BadLength { bytes: LENGTH_BYTES, file_bytes }
            } else {
                SafetensorsError::NeedMore { at_least: LENGTH_BYTES }
            });
        };
        let bytes = u64::from_le_bytes(*length);
        let end = bytes.saturating_add(LENGTH_BYTES);
        if bytes > limits::MAX_SAFETENSORS_HEADER_BYTES || end > file_bytes {
            return Err(SafetensorsError::BadLength { bytes, file_bytes });
        }
        let range = usize::try_from(LENGTH_BYTES).ok().zip(usize::try_from(end).ok());
        let json = range.and_then(|(start, end)| prefix.get(start..end));
        let json = json.ok_or(SafetensorsError::NeedMore { at_least: end })?;
        let Table(entries) = serde_json::from_slice(json)
            .map_err(|error| SafetensorsError::BadTable(text::one_line(&error.to_string(), 200)))?;
        let placed = entries.into_iter().map(|(name, entry)| place(name, entry, end, file_bytes));
        let mut tensors = placed.collect::<Result<Vec<_>, _>>()?;
        check_names(&tensors)?;
        tensors.sort_by_key(|tensor| tensor.offset);
        for (first, second) in tensors.iter().zip(tensors.iter().skip(1)) {
            if first.offset + first.bytes > second.offset {
                return Err(bad(&second.name, "shares bytes with another"));
            }
        }
        Ok(Self { tensors })
    }
}

fn bad(name: &str, rule: &'static str) -> SafetensorsError {
    SafetensorsError::BadTensor { tensor: text::one_line(name, 80), rule }
}

/// Makes an entry's offsets absolute and checks that its data can be there.
fn place(
    name: String,
    entry: Entry,
    header_end: u64,
    file_bytes: u64,
) -> Result<TensorInfo, SafetensorsError> {
    let Entry { dtype, shape, data_offsets: (start, end) } = entry;
    if name.is_empty() || name.len() > limits::MAX_SAFETENSORS_NAME_BYTES || dtype.len() > 16 {
        return Err(bad(&name, "has a name or type of no or too many bytes"));
    }
    if shape.len() > limits::MAX_SAFETENSORS_DIMENSIONS {
        return Err(bad(&name, "has too many dimensions"));
    }
    let offset = start.saturating_add(header_end);
    let bytes = end.checked_sub(start).ok_or_else(|| bad(&name, "ends before it begins"))?;
    if offset.saturating_add(bytes) > file_bytes {
        return Err(bad(&name, "ends behind the end of the file"));
    }
    let info = TensorInfo { name, dtype, shape, offset, bytes };
    let elements = info.shape.iter().try_fold(1u64, |n, extent| n.checked_mul(*extent));
    let elements = elements.ok_or_else(|| bad(&info.name, "has a size that overflows"))?;
    // Types that ggml lacks have sizes of their own; nothing is read of them.
    let wanted = info.kind().map(|kind| elements.checked_mul(kind.block_bytes()));
    if wanted.is_some_and(|wanted| wanted != Some(info.bytes)) {
        return Err(bad(&info.name, "has more or fewer bytes than its shape"));
    }
    Ok(info)
}

fn check_names(tensors: &[TensorInfo]) -> Result<(), SafetensorsError> {
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    let twice = names.iter().zip(names.iter().skip(1)).find(|(first, second)| first == second);
    match twice {
        Some((name, _)) => Err(bad(name, "occurs twice")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = u64::try_from(header.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(vec![0; data]);
        bytes
    }

    fn parse(header: &str, data: usize) -> Result<Header, SafetensorsError> {
        let file = file(header, data);
        Header::parse(&file, u64::try_from(file.len()).unwrap())
    }

    #[test]
    fn tensors_have_their_place_in_the_file() {
        let header = r#"{"__metadata__":{"format":"pt"},
            "b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},
            "a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},
            "c":{"dtype":"F8_E4M3","shape":[7],"data_offsets":[16,23]}}"#;
        let found = parse(header, 23).unwrap().tensors;
        let begin = u64::try_from(8 + header.len()).unwrap();
        let names: Vec<_> = found.iter().map(|t| (t.name.as_str(), t.offset, t.bytes)).collect();
        assert_eq!(names, [("a", begin, 4), ("b", begin + 4, 12), ("c", begin + 16, 7)]);
        let kinds: Vec<_> = found.iter().map(TensorInfo::kind).collect();
        assert_eq!(kinds, [Some(TensorKind::F32), Some(TensorKind::Bf16), None]);
    }

    #[test]
    fn tensors_that_cannot_be_there_are_refused_by_name() {
        let cases = [
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, "than its shape"),
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, "ends before"),
            (r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, "end of the file"),
            (
                r#"{"a":{"dtype":"F32","shape":[9223372036854775807,4],"data_offsets":[0,8]}}"#,
                "overflows",
            ),
            (
                r#"{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}"#,
                "dimensions",
            ),
            (r#"{"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, "name"),
            (
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                 "b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#,
                "shares bytes",
            ),
            (
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                 "a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
                "twice",
            ),
        ];
        for (header, rule) in cases {
            let error = parse(header, 8).unwrap_err().to_string();
            assert!(error.contains(rule), "{error} lacks {rule}");
        }
        for header in ["", "[]", "{", r#"{"a":1}"#, &"[".repeat(100_000)] {
            let error = parse(header, 8).unwrap_err();
            assert!(matches!(error, SafetensorsError::BadTable(_)), "{error:?}");
        }
    }

    #[test]
    fn a_length_is_believed_only_within_the_file_and_the_limit() {
        for bytes in [17, u64::MAX, limits::MAX_SAFETENSORS_HEADER_BYTES + 1] {
            let mut file = bytes.to_le_bytes().to_vec();
            file.extend([b' '; 16]);
            let file_bytes = if bytes == 17 { 24 } else { u64::MAX };
            let refused = SafetensorsError::BadLength { bytes, file_bytes };
            assert_eq!(Header::parse(&file, file_bytes), Err(refused));
        }
        let need = |at_least| Err(SafetensorsError::NeedMore { at_least });
        assert_eq!(Header::parse(&[], 100), need(8));
        assert_eq!(Header::parse(&16u64.to_le_bytes(), 100), need(24));
        let short = SafetensorsError::BadLength { bytes: 8, file_bytes: 7 };
        assert_eq!(Header::parse(&[0; 7], 7), Err(short));
    }
}
