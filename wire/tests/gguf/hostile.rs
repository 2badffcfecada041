//! Each way in which a file may lie is refused by its own error, without a large allocation.

use wire::Code;
use wire::gguf::{GgufError, Header, TensorKind};
use wire::limits;

use crate::allocations::peak_of;
use crate::writer::{Field, File, Tensor, array, llama};

/// Parses bytes as a whole file and checks that no more than a little was allocated.
fn refusal_of(bytes: &[u8]) -> GgufError {
    refusal_within(bytes, bytes.len() as u64)
}

fn refusal_within(bytes: &[u8], file_bytes: u64) -> GgufError {
    let (result, peak) = peak_of(|| Header::parse(bytes, file_bytes));
    assert!(peak <= 16 * bytes.len() + 4096, "{peak} bytes for a file of {}", bytes.len());
    result.expect_err("a hostile file was accepted")
}

fn refusal(file: &File) -> GgufError {
    refusal_of(&file.written().bytes)
}

/// A file with one tensor of the llama file replaced.
fn llama_with_tensor(tensor: Tensor) -> File {
    let mut file = llama();
    file.tensors[1] = tensor;
    file
}

#[test]
fn another_magic_or_version_is_refused() {
    let magic = File { magic: *b"GGML", ..llama() };
    assert_eq!(refusal(&magic), GgufError::NotGguf);
    assert_eq!(refusal_within(b"PK", 1000), GgufError::NotGguf);
    assert_eq!(refusal_of(b"GGU"), GgufError::Truncated { what: "magic", at: 0 });
    assert_eq!(refusal_of(b""), GgufError::Truncated { what: "magic", at: 0 });
    for version in [0, 1, 4, u32::MAX] {
        assert_eq!(refusal(&File { version, ..llama() }), GgufError::Version(version));
    }
    for version in [2u32, 3] {
        let swapped = File { version: version.swap_bytes(), ..llama() };
        assert_eq!(refusal(&swapped), GgufError::BigEndian);
    }
}

#[test]
fn a_file_that_ends_at_any_byte_of_its_header_is_truncated() {
    let written = llama().written();
    for cut in 0..written.header_end {
        let error = refusal_of(&written.bytes[..cut]);
        assert!(matches!(error, GgufError::Truncated { .. }), "{cut}: {error}");
    }
    for cut in written.header_end..written.bytes.len() - 32 {
        let error = refusal_of(&written.bytes[..cut]);
        assert!(matches!(error, GgufError::TensorBeyondFile { .. }), "{cut}: {error}");
    }
}

#[test]
fn counts_beyond_their_limit_are_refused_before_anything_is_allocated() {
    for count in [limits::MAX_GGUF_TENSORS + 1, 1 << 63, u64::MAX] {
        let error = refusal(&File { tensor_count: Some(count), ..llama() });
        assert!(matches!(error, GgufError::TooMany { what: "tensors", .. }), "{error}");
        let error = refusal(&File { metadata_count: Some(count), ..llama() });
        assert!(matches!(error, GgufError::TooMany { what: "metadata entries", .. }), "{error}");
    }
    for count in [limits::MAX_GGUF_ARRAY + 1, 1 << 63, u64::MAX] {
        for element_type in [0, 7, 8, 9, 12] {
            let error = refusal(&llama().with("x", array(element_type, count, &[])));
            let what = "elements of an array";
            assert_eq!(error, GgufError::TooMany { what, count, limit: limits::MAX_GGUF_ARRAY });
        }
    }
}

#[test]
fn counts_within_their_limit_that_the_file_cannot_hold_are_truncations() {
    let tensors = File { tensor_count: Some(limits::MAX_GGUF_TENSORS), ..llama() };
    assert!(matches!(refusal(&tensors), GgufError::Truncated { what: "tensor table", .. }));
    let metadata = File { metadata_count: Some(limits::MAX_GGUF_METADATA), ..llama() };
    assert!(matches!(refusal(&metadata), GgufError::Truncated { what: "metadata", .. }));
    for element_type in [0, 1, 5, 6, 7, 8, 10, 12] {
        let field = array(element_type, limits::MAX_GGUF_ARRAY, &[0; 16]);
        let error = refusal(&llama().with("x", field));
        assert!(matches!(error, GgufError::Truncated { .. }), "{element_type}: {error}");
    }
}

#[test]
fn a_huge_file_does_not_make_a_huge_claim_believable() {
    let tera = 1u64 << 40;
    let bytes = llama().with("x", array(8, limits::MAX_GGUF_ARRAY, &[0; 16])).written().bytes;
    assert!(matches!(refusal_within(&bytes, tera), GgufError::NeedMore { .. }));
}

#[test]
fn lengths_beyond_their_limit_or_the_file_are_refused() {
    let claim = |length: u64| Field::Raw(8, length.to_le_bytes().to_vec());
    for length in [limits::MAX_GGUF_STRING_BYTES + 1, 1 << 63, u64::MAX] {
        let error = refusal(&File::default().with("x", claim(length)));
        assert!(matches!(error, GgufError::TooLong { what: "metadata text", .. }), "{error}");
    }
    let error = refusal(&File::default().with("x", claim(limits::MAX_GGUF_STRING_BYTES)));
    assert!(matches!(error, GgufError::Truncated { what: "metadata text", .. }), "{error}");
    let key = "k".repeat(65_536);
    assert!(matches!(
        refusal(&File::default().with(&key, Field::U8(0))),
        GgufError::TooLong { .. }
    ));
    let name = "n".repeat(65);
    let error = refusal(&File::default().tensor(&name, &[1], TensorKind::F32));
    assert!(matches!(error, GgufError::TooLong { what: "tensor name", .. }), "{error}");
}

#[test]
fn text_that_is_none_is_refused_where_it_stands() {
    let bad_value = Field::Raw(8, [&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat());
    let error = refusal(&File::default().with("x", bad_value));
    assert!(matches!(error, GgufError::BadText { what: "metadata text", .. }), "{error}");
    for key in ["", "a b", "é", "a\u{1b}[31m", "a\0"] {
        let error = refusal(&File::default().with(key, Field::U8(0)));
        assert_eq!(error, GgufError::BadText { what: "metadata key", at: 24 }, "{key:?}");
    }
    for name in [&b""[..], b"\xff"] {
        let mut tensor = Tensor::new("x", &[32], TensorKind::F32);
        tensor.name = name.to_vec();
        let error = refusal(&llama_with_tensor(tensor));
        assert!(matches!(error, GgufError::BadText { what: "tensor name", .. }), "{error}");
    }
}

#[test]
fn unknown_types_bad_booleans_and_nested_arrays_are_refused_by_key() {
    let key = || "x".to_owned();
    let with = |field| refusal(&File::default().with("x", field));
    for id in [13, 255, u32::MAX] {
        let unknown = GgufError::UnknownValueType { key: key(), id };
        assert_eq!(with(Field::Raw(id, vec![0; 64])), unknown);
        assert_eq!(with(array(id, 1, &[0; 64])), unknown);
    }
    assert_eq!(with(Field::Raw(7, vec![2])), GgufError::BadBool { key: key() });
    assert_eq!(with(array(7, 2, &[1, 255])), GgufError::BadBool { key: key() });
    let inner = array(4, 1, &[0; 4]).encoded().1;
    assert_eq!(with(array(9, 1, &inner)), GgufError::NestedArray { key: key() });
    let mut deep = Vec::new();
    for _ in 0..100_000 {
        deep.extend(9u32.to_le_bytes());
        deep.extend(1u64.to_le_bytes());
    }
    assert_eq!(with(Field::Raw(9, deep)), GgufError::NestedArray { key: key() });
}

#[test]
fn what_occurs_twice_is_refused() {
    let twice = llama().with("llama.block_count", Field::U32(3));
    let name = "llama.block_count".to_owned();
    assert_eq!(refusal(&twice), GgufError::Duplicate { what: "metadata key", name });
    let mut file = llama();
    file.tensors.push(Tensor::new("output_norm.weight", &[64], TensorKind::F32));
    let name = "output_norm.weight".to_owned();
    assert_eq!(refusal(&file), GgufError::Duplicate { what: "tensor", name });
}

#[test]
fn an_alignment_that_is_no_small_power_of_two_is_refused() {
    for alignment in [0, 1, 4, 7, 24, 33, 131_072, u64::MAX] {
        let file = File::default().with("general.alignment", Field::U64(alignment));
        assert_eq!(refusal(&file), GgufError::BadAlignment(alignment));
    }
    let error = refusal(&File::default().with("general.alignment", Field::F32(32.0)));
    assert!(matches!(error, GgufError::BadType { .. }), "{error}");
}

#[test]
fn shapes_that_no_tensor_can_have_are_refused_by_its_name() {
    let with = |shape: &[u64], kind| refusal(&llama_with_tensor(Tensor::new("t", shape, kind)));
    let tensor = || "t".to_owned();
    for shape in [&[][..], &[0], &[32, 0], &[0, 32], &[32, 1, 0, 1]] {
        assert_eq!(with(shape, TensorKind::F32), GgufError::EmptyTensor { tensor: tensor() });
    }
    for shape in [&[1 << 63, 2][..], &[u64::MAX], &[1 << 32, 1 << 32, 1 << 32]] {
        assert_eq!(with(shape, TensorKind::F32), GgufError::Overflow { tensor: tensor() });
    }
    let error = with(&[1, 1, 1, 1, 1], TensorKind::F32);
    assert!(matches!(error, GgufError::TooMany { what: "dimensions of a tensor", .. }), "{error}");
    let mut many = Tensor::new("t", &[1], TensorKind::F32);
    many.shape = vec![1; 1000];
    assert!(matches!(refusal(&llama_with_tensor(many)), GgufError::TooMany { count: 1000, .. }));
    // 64 elements are whole blocks of nothing with 256.
    let kind = "Q4_K";
    let error = GgufError::ShapeNotInBlocks { tensor: tensor(), columns: 64, kind };
    assert_eq!(with(&[64, 4], TensorKind::Q4K), error);
}

#[test]
fn tensors_of_unknown_types_are_refused_by_name_and_id() {
    for id in [4, 5, 31, 36, 38, 41, u32::MAX] {
        let mut tensor = Tensor::new("t", &[32], TensorKind::F32);
        tensor.kind = id;
        let tensor_name = "t".to_owned();
        let error = refusal(&llama_with_tensor(tensor));
        assert_eq!(error, GgufError::UnknownTensorKind { tensor: tensor_name, id });
        assert_eq!(error.fault().code, Code::ModelUnsupported);
    }
}

#[test]
fn tensors_outside_the_file_on_odd_offsets_or_on_each_other_are_refused() {
    let at = |offset: u64| {
        let mut tensor = Tensor::new("t", &[64], TensorKind::F32);
        tensor.offset = Some(offset);
        let mut file = File { data_bytes: Some(4096), ..llama() };
        file.tensors[1] = tensor;
        file
    };
    for offset in [4096, 1 << 40, u64::MAX - 31] {
        let error = refusal(&at(offset));
        assert!(matches!(error, GgufError::TensorBeyondFile { .. }), "{offset}: {error}");
    }
    let missing = refusal(&at(4096 - 256 + 32));
    assert_eq!(missing, GgufError::TensorBeyondFile { tensor: "t".into(), missing: 32 });
    let misaligned = refusal(&at(353));
    assert_eq!(misaligned, GgufError::Misaligned { tensor: "t".into(), alignment: 32 });
    let overlap = refusal(&at(320));
    let (first, second) = ("token_embd.weight".to_owned(), "t".to_owned());
    assert_eq!(overlap, GgufError::Overlap { first, second });
    let mut same = llama();
    same.tensors[1].offset = Some(0);
    assert!(matches!(refusal(&same), GgufError::Overlap { .. }));
}

#[test]
fn errors_never_carry_escapes_or_long_names_from_the_file() {
    let name = format!("\u{1b}[2J\u{202e}{}", "n".repeat(40));
    let mut tensor = Tensor::new(&name, &[32], TensorKind::F32);
    tensor.kind = 99;
    let fault = refusal(&llama_with_tensor(tensor)).fault();
    assert!(!fault.message.contains(['\u{1b}', '\u{202e}']), "{:?}", fault.message);
    let key = "k".repeat(60_000);
    let twice = File::default().with(&key, Field::U8(0)).with(&key, Field::U8(0));
    let fault = refusal(&twice).fault();
    assert!(fault.message.len() < 200 && fault.code == Code::ModelCorrupt);
    assert!(!fault.hints.is_empty());
}

#[test]
fn a_reader_that_stops_too_early_is_a_defect_and_not_a_corrupt_model() {
    let bytes = llama().written().bytes;
    let fault = refusal_within(&bytes[..100], bytes.len() as u64).fault();
    assert_eq!(fault.code, Code::Internal);
}
