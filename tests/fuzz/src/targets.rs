//! What must hold for any bytes: one function for each decoder. The fuzzer calls them with what it
//! makes up, `wire/tests/corpus.rs` with the committed corpora.

use wire::event::Event;
use wire::generate::Chunk;
use wire::gguf::{GgufError, Header};
use wire::hugging_face::{Config, DirectoryError, Index, SINGLE, Tensors};
use wire::safetensors::{self, SafetensorsError};
use wire::{Code, Device, Fault, HiveName, ModelRef, WorkerId, ndjson, sse};

/// A GGUF header is refused, or keeps what [`Header`] promises.
pub fn gguf_header(data: &[u8]) {
    let length = data.len() as u64;
    match Header::parse(data, length) {
        Ok(header) => check_header(&header, length),
        Err(error) => {
            assert!(!matches!(error, GgufError::NeedMore { .. }), "the file has no more");
            assert!(!error.fault().message.contains(char::is_control));
        }
    }
    let longer = length.saturating_mul(3).saturating_add(1 << 20);
    match Header::parse(data, longer) {
        Ok(header) => check_header(&header, longer),
        Err(GgufError::NeedMore { at_least }) => assert!(at_least > length && at_least <= longer),
        Err(_) => {}
    }
}

fn check_header(header: &Header, file_bytes: u64) {
    let mut spans = Vec::new();
    for tensor in &header.tensors {
        assert_eq!(header.tensor(&tensor.name), Some(tensor));
        assert!(tensor.offset.is_multiple_of(header.alignment));
        assert!(tensor.offset >= header.data_offset && tensor.bytes > 0);
        spans.push((tensor.offset, tensor.offset + tensor.bytes));
    }
    spans.sort_unstable();
    assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "tensors overlap");
    assert!(spans.last().is_none_or(|(_, end)| *end <= file_bytes), "a tensor is outside");
    if let Ok(shape) = header.shape() {
        assert!(shape.layers > 0 && shape.context > 0 && shape.vocab > 0);
        assert!(shape.heads.is_multiple_of(shape.kv_heads));
        assert!(shape.kv_cache_bytes(shape.context, 1, 2) > 0);
    }
}

/// A header of safetensors is refused, or its tensors lie in the file and share no byte.
pub fn safetensors_header(data: &[u8]) {
    let length = data.len() as u64;
    for file_bytes in [length, length.saturating_add(1 << 20)] {
        match safetensors::Header::parse(data, file_bytes) {
            Ok(header) => {
                let spans = header.tensors.iter().map(|t| (t.offset, t.offset + t.bytes));
                let spans: Vec<_> = spans.collect();
                assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "tensors overlap");
                assert!(spans.iter().all(|(start, end)| *start >= 8 && *end <= file_bytes));
            }
            Err(SafetensorsError::NeedMore { at_least }) => {
                assert!(at_least > length && at_least <= file_bytes);
            }
            Err(error) => assert!(!error.to_string().contains(char::is_control)),
        }
    }
}

/// A model's directory is refused, or is what its config says. Its config, its index and the table
/// of its one file have a zero byte between them.
pub fn model_directory(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (config, index, table) = (part(), part(), part());
    let mut file = (table.len() as u64).to_le_bytes().to_vec();
    file.extend(table);
    let header = safetensors::Header::parse(&file, file.len() as u64 + (1 << 30));
    let index = (!index.is_empty()).then(|| Index::parse(index)).transpose();
    match read(config, index, header) {
        Ok((shape, bytes)) => {
            assert!(shape.layers > 0 && shape.context > 0 && shape.vocab > 0);
            assert!(shape.heads.is_multiple_of(shape.kv_heads));
            assert!(shape.half_float_bytes <= shape.weight_bytes && bytes > 0);
        }
        Err(error) => assert!(!error.fault().message.contains(char::is_control)),
    }
}

/// The model's figures, and the bytes of its embedding.
fn read(
    config: &[u8],
    index: Result<Option<Index>, DirectoryError>,
    header: Result<safetensors::Header, SafetensorsError>,
) -> Result<(wire::gguf::ModelShape, u64), DirectoryError> {
    let (config, index, mut tensors) = (Config::parse(config)?, index?, Tensors::default());
    tensors.add(SINGLE, header, index.as_ref())?;
    if let Some(index) = &index {
        assert!(index.files().iter().all(|name| !name.contains(['/', '\\', '\0'])));
        tensors.check_index(index)?;
    }
    let shape = config.shape(&tensors)?;
    tensors.check_shape(&shape)?;
    let (_, embedding) = tensors.find("model.embed_tokens.weight").expect("it was checked");
    assert_eq!(embedding.shape, [u64::from(shape.vocab), u64::from(shape.embedding)]);
    Ok((shape, embedding.bytes))
}

/// An event stream means the same however it is cut, and what was read is written back to itself.
pub fn ndjson_event(data: &[u8]) {
    let read = |cut: usize| {
        let (mut decoder, mut events) = (ndjson::Decoder::default(), Vec::<Event>::new());
        let failed = data.chunks(cut).find_map(|piece| decoder.push(piece, &mut events).err());
        (events, code(failed))
    };
    let whole = read(data.len().max(1));
    assert_eq!(read(7), whole);
    for event in whole.0 {
        let line = ndjson::encode(&event).unwrap_or_else(|fault| panic!("{event:?}: {fault}"));
        assert_eq!(ndjson::decode::<Event>(&line), Ok(event));
    }
}

/// An answer means the same however it is cut, and what was read can be sent on.
pub fn sse_chunk(data: &[u8]) {
    let read = |cut: usize| {
        let (mut decoder, mut items) = (sse::Decoder::default(), Vec::new());
        let failed = data.chunks(cut).find_map(|piece| decoder.push(piece, &mut items).err());
        (items, code(failed))
    };
    let whole = read(data.len().max(1));
    assert_eq!(read(7), whole);
    for item in whole.0 {
        let sse::Item::<Chunk>::Value(chunk) = item else { continue };
        let event = sse::encode(&chunk).unwrap_or_else(|fault| panic!("{chunk:?}: {fault}"));
        let mut again = Vec::new();
        assert_eq!(sse::Decoder::default().push::<Chunk>(&event, &mut again), Ok(()));
        assert!(matches!(again.as_slice(), [sse::Item::Value(_)]), "{again:?}");
    }
}

fn code(failed: Option<Fault>) -> Option<Code> {
    failed.map(|fault| fault.code)
}

/// A name is refused, or written back to itself without anything that a path, a shell or a
/// terminal would act on.
pub fn model_ref(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(model) = text.parse::<ModelRef>() {
        let written = model.to_string();
        assert_eq!(written.parse(), Ok(model));
        assert!(written.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{written:?}");
        let (_, place) = written.split_once(':').unwrap_or_default();
        assert!(!place.split('/').any(|part| part == ".."), "{written:?}");
    }
    if let Ok(device) = text.parse::<Device>() {
        assert_eq!(device.to_string().parse(), Ok(device));
    }
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    if let Ok(hive) = text.parse::<HiveName>() {
        assert!(hive.as_str() == text && text.bytes().all(is_plain));
    }
    if let Ok(worker) = text.parse::<WorkerId>() {
        assert!(worker.as_str() == text && text.bytes().all(|b| is_plain(b) && b != b'.'));
    }
}
