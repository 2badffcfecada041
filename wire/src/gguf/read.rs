//! From bytes to a checked [`Header`].

use super::cursor::{Cursor, unsigned};
use super::error::{GgufError, shown};
use super::kind::TensorKind;
use super::value::{Array, Metadata, Value};
use super::{Header, TensorInfo};
use crate::limits;

const MAGIC: &[u8] = b"GGUF";
/// Bytes of the shortest metadata entry: key length, one letter, type, one byte.
const MIN_METADATA_BYTES: u64 = 8 + 1 + 4 + 1;
/// Bytes of the shortest tensor entry: name length, one letter, dimensions, kind, offset.
const MIN_TENSOR_BYTES: u64 = 8 + 1 + 4 + 8 + 4 + 8;
/// `GGUF_DEFAULT_ALIGNMENT`.
const DEFAULT_ALIGNMENT: u64 = 32;
const ALIGNMENT_KEY: &str = "general.alignment";

pub(super) fn header(prefix: &[u8], file_bytes: u64) -> Result<Header, GgufError> {
    let mut cursor = Cursor::new(prefix, file_bytes);
    let version = version(&mut cursor, prefix)?;
    let tensor_count = count(&mut cursor, "tensors", limits::MAX_GGUF_TENSORS)?;
    let metadata_count = count(&mut cursor, "metadata entries", limits::MAX_GGUF_METADATA)?;
    let metadata = metadata(&mut cursor, metadata_count)?;
    let alignment = alignment(&metadata)?;
    let mut tensors = tensors(&mut cursor, tensor_count)?;
    let data_offset = cursor.at().next_multiple_of(alignment);
    for tensor in &mut tensors {
        place(tensor, data_offset, alignment, file_bytes)?;
    }
    check_overlaps(&tensors)?;
    let by_name = index(&tensors)?;
    Ok(Header { version, metadata, tensors, alignment, data_offset, by_name })
}

fn version(cursor: &mut Cursor, prefix: &[u8]) -> Result<u32, GgufError> {
    if !prefix.iter().zip(MAGIC).all(|(is, should)| is == should) {
        return Err(GgufError::NotGguf);
    }
    cursor.take(4, "magic")?;
    match cursor.u32("version")? {
        version @ (2 | 3) => Ok(version),
        swapped if swapped != 0 && swapped.trailing_zeros() >= 16 => Err(GgufError::BigEndian),
        other => Err(GgufError::Version(other)),
    }
}

fn count(cursor: &mut Cursor, what: &'static str, limit: u64) -> Result<u64, GgufError> {
    let count = cursor.u64("header")?;
    if count > limit {
        return Err(GgufError::TooMany { what, count, limit });
    }
    Ok(count)
}

fn metadata(cursor: &mut Cursor, count: u64) -> Result<Metadata, GgufError> {
    cursor.expect(count.saturating_mul(MIN_METADATA_BYTES), "metadata")?;
    let mut metadata = Metadata::new();
    for _ in 0..count {
        let at = cursor.at();
        let key = cursor.text("metadata key", limits::MAX_GGUF_KEY_BYTES)?;
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(GgufError::BadText { what: "metadata key", at });
        }
        let value = value(cursor, key)?;
        if metadata.insert(key.to_owned(), value).is_some() {
            return Err(GgufError::Duplicate { what: "metadata key", name: shown(key) });
        }
    }
    Ok(metadata)
}

/// What a value or an array's elements are; numbers with their width in bytes.
enum Element {
    Unsigned(u64),
    Signed(u64),
    Float(u64),
    Bool,
    Text,
    Array,
}

/// `gguf_metadata_value_type` of the format.
fn element(cursor: &mut Cursor, key: &str) -> Result<Element, GgufError> {
    Ok(match cursor.u32("metadata value type")? {
        0 => Element::Unsigned(1),
        1 => Element::Signed(1),
        2 => Element::Unsigned(2),
        3 => Element::Signed(2),
        4 => Element::Unsigned(4),
        5 => Element::Signed(4),
        6 => Element::Float(4),
        7 => Element::Bool,
        8 => Element::Text,
        9 => Element::Array,
        10 => Element::Unsigned(8),
        11 => Element::Signed(8),
        12 => Element::Float(8),
        id => return Err(GgufError::UnknownValueType { key: shown(key), id }),
    })
}

fn value(cursor: &mut Cursor, key: &str) -> Result<Value, GgufError> {
    const WHAT: &str = "metadata value";
    Ok(match element(cursor, key)? {
        Element::Unsigned(width) => Value::Unsigned(unsigned(cursor.take(width, WHAT)?)),
        Element::Signed(width) => Value::Signed(signed(cursor.take(width, WHAT)?)),
        Element::Float(width) => Value::Float(float(cursor.take(width, WHAT)?)),
        Element::Bool => Value::Bool(boolean(unsigned(cursor.take(1, WHAT)?), key)?),
        Element::Text => {
            Value::Text(cursor.text("metadata text", limits::MAX_GGUF_STRING_BYTES)?.to_owned())
        }
        Element::Array => Value::Array(array(cursor, key)?),
    })
}

fn array(cursor: &mut Cursor, key: &str) -> Result<Array, GgufError> {
    let element = element(cursor, key)?;
    let count = count(cursor, "elements of an array", limits::MAX_GGUF_ARRAY)?;
    Ok(match element {
        Element::Unsigned(width) => Array::Unsigned(each(cursor, count, width, unsigned)?),
        Element::Signed(width) => Array::Signed(each(cursor, count, width, signed)?),
        Element::Float(width) => Array::Float(each(cursor, count, width, float)?),
        Element::Bool => {
            let bytes = cursor.take(count, "booleans")?.iter();
            Array::Bool(bytes.map(|b| boolean(u64::from(*b), key)).collect::<Result<_, _>>()?)
        }
        Element::Text => Array::Text(texts(cursor, count)?),
        Element::Array => return Err(GgufError::NestedArray { key: shown(key) }),
    })
}

/// `count` numbers of `width` bytes each.
fn each<T>(
    cursor: &mut Cursor,
    count: u64,
    width: u64,
    read: fn(&[u8]) -> T,
) -> Result<Vec<T>, GgufError> {
    let bytes = cursor.take(count.saturating_mul(width), "numbers")?;
    Ok(bytes.chunks_exact(usize::try_from(width).unwrap_or(usize::MAX)).map(read).collect())
}

fn texts(cursor: &mut Cursor, count: u64) -> Result<Vec<String>, GgufError> {
    // Each has at least its length's eight bytes, so what is allocated is at most three times that.
    cursor.expect(count.saturating_mul(8), "texts")?;
    let mut texts = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    for _ in 0..count {
        texts.push(cursor.text("metadata text", limits::MAX_GGUF_STRING_BYTES)?.to_owned());
    }
    Ok(texts)
}

/// A little-endian two's complement number of one to eight bytes.
fn signed(bytes: &[u8]) -> i64 {
    let unused_bits = 64 - 8 * bytes.len().clamp(1, 8);
    (unsigned(bytes) << unused_bits).cast_signed() >> unused_bits
}

fn float(bytes: &[u8]) -> f64 {
    match u32::try_from(unsigned(bytes)) {
        Ok(bits) if bytes.len() == 4 => f64::from(f32::from_bits(bits)),
        _ => f64::from_bits(unsigned(bytes)),
    }
}

fn boolean(byte: u64, key: &str) -> Result<bool, GgufError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(GgufError::BadBool { key: shown(key) }),
    }
}

fn alignment(metadata: &Metadata) -> Result<u64, GgufError> {
    let Some(value) = metadata.get(ALIGNMENT_KEY) else { return Ok(DEFAULT_ALIGNMENT) };
    let alignment = value.unsigned().ok_or_else(|| GgufError::BadType {
        key: ALIGNMENT_KEY.to_owned(),
        expected: "a non-negative integer",
    })?;
    if !alignment.is_power_of_two() || !(8..=65_536).contains(&alignment) {
        return Err(GgufError::BadAlignment(alignment));
    }
    Ok(alignment)
}

/// Reads the tensor table; offsets are still relative to the data.
fn tensors(cursor: &mut Cursor, count: u64) -> Result<Vec<TensorInfo>, GgufError> {
    cursor.expect(count.saturating_mul(MIN_TENSOR_BYTES), "tensor table")?;
    let mut tensors = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    for _ in 0..count {
        tensors.push(tensor(cursor)?);
    }
    Ok(tensors)
}

fn tensor(cursor: &mut Cursor) -> Result<TensorInfo, GgufError> {
    const WHAT: &str = "tensor entry";
    let at = cursor.at();
    let name = cursor.text("tensor name", limits::MAX_GGUF_TENSOR_NAME_BYTES)?;
    if name.is_empty() {
        return Err(GgufError::BadText { what: "tensor name", at });
    }
    let dimensions = u64::from(cursor.u32(WHAT)?);
    let limit = u64::from(limits::MAX_GGUF_DIMENSIONS);
    if dimensions > limit {
        let what = "dimensions of a tensor";
        return Err(GgufError::TooMany { what, count: dimensions, limit });
    }
    let shape = each(cursor, dimensions, 8, unsigned)?;
    let id = cursor.u32(WHAT)?;
    let offset = cursor.u64(WHAT)?;
    let kind = TensorKind::from_id(id)
        .ok_or_else(|| GgufError::UnknownTensorKind { tensor: shown(name), id })?;
    let bytes = size(name, &shape, kind)?;
    Ok(TensorInfo { name: name.to_owned(), shape, kind, offset, bytes })
}

/// Bytes of a tensor's data.
fn size(name: &str, shape: &[u64], kind: TensorKind) -> Result<u64, GgufError> {
    let columns = shape.first().copied().unwrap_or(0);
    if shape.contains(&0) || columns == 0 {
        return Err(GgufError::EmptyTensor { tensor: shown(name) });
    }
    if !columns.is_multiple_of(kind.block_elements()) {
        let kind = kind.name();
        return Err(GgufError::ShapeNotInBlocks { tensor: shown(name), columns, kind });
    }
    // Elements must be countable too: engines multiply the dimensions before they divide.
    shape
        .iter()
        .try_fold(1u64, |elements, extent| elements.checked_mul(*extent))
        .and_then(|elements| (elements / kind.block_elements()).checked_mul(kind.block_bytes()))
        .ok_or_else(|| GgufError::Overflow { tensor: shown(name) })
}

/// Makes a tensor's offset absolute and checks that its data can be there.
fn place(
    tensor: &mut TensorInfo,
    data_offset: u64,
    alignment: u64,
    file_bytes: u64,
) -> Result<(), GgufError> {
    if !tensor.offset.is_multiple_of(alignment) {
        return Err(GgufError::Misaligned { tensor: shown(&tensor.name), alignment });
    }
    tensor.offset = tensor.offset.saturating_add(data_offset);
    let end = tensor.offset.saturating_add(tensor.bytes);
    if end > file_bytes {
        let missing = end - file_bytes;
        return Err(GgufError::TensorBeyondFile { tensor: shown(&tensor.name), missing });
    }
    Ok(())
}

fn check_overlaps(tensors: &[TensorInfo]) -> Result<(), GgufError> {
    let mut by_offset: Vec<&TensorInfo> = tensors.iter().collect();
    by_offset.sort_unstable_by_key(|tensor| tensor.offset);
    for (first, second) in by_offset.iter().zip(by_offset.iter().skip(1)) {
        if first.offset + first.bytes > second.offset {
            let (first, second) = (shown(&first.name), shown(&second.name));
            return Err(GgufError::Overlap { first, second });
        }
    }
    Ok(())
}

/// The tensors' positions in the order of their names.
fn index(tensors: &[TensorInfo]) -> Result<Vec<usize>, GgufError> {
    let name = |position: &usize| tensors.get(*position).map(|tensor| tensor.name.as_str());
    let mut by_name: Vec<usize> = (0..tensors.len()).collect();
    by_name.sort_unstable_by_key(name);
    for (first, second) in by_name.iter().zip(by_name.iter().skip(1)) {
        if name(first) == name(second) {
            let name = shown(name(first).unwrap_or_default());
            return Err(GgufError::Duplicate { what: "tensor", name });
        }
    }
    Ok(by_name)
}
