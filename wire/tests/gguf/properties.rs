//! Generated headers round-trip; damaged ones are refused or read, never a panic, never a large
//! allocation.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use wire::gguf::{GgufError, Header, TensorKind};

use crate::allocations::peak_of;
use crate::writer::{Field, File, Tensor, array, llama};

/// Bytes that a header may take for each of its bytes in the file: a `u8` array becomes 64-bit
/// numbers, and the shortest metadata entry a node of a map.
const MOST_BYTES_PER_BYTE: usize = 12;

fn parse_bounded(bytes: &[u8], file_bytes: u64) -> Result<Header, GgufError> {
    let (result, peak) = peak_of(|| Header::parse(bytes, file_bytes));
    let most = MOST_BYTES_PER_BYTE * bytes.len() + 4096;
    assert!(peak <= most, "{peak} bytes allocated for {} bytes of file", bytes.len());
    result
}

fn field() -> impl Strategy<Value = Field> {
    let text = || "\\PC{0,12}";
    // Bit patterns of NaN compare unequal, so numbers are drawn without.
    let f32s = || any::<f32>().prop_filter("a number", |x| !x.is_nan());
    let f64s = || any::<f64>().prop_filter("a number", |x| !x.is_nan());
    prop_oneof![
        any::<u8>().prop_map(Field::U8),
        any::<i8>().prop_map(Field::I8),
        any::<u16>().prop_map(Field::U16),
        any::<i16>().prop_map(Field::I16),
        any::<u32>().prop_map(Field::U32),
        any::<i32>().prop_map(Field::I32),
        any::<u64>().prop_map(Field::U64),
        any::<i64>().prop_map(Field::I64),
        f32s().prop_map(Field::F32),
        f64s().prop_map(Field::F64),
        any::<bool>().prop_map(Field::Bool),
        text().prop_map(Field::Text),
        vec(any::<u8>(), 0..40).prop_map(Field::U8s),
        vec(any::<i16>(), 0..20).prop_map(Field::I16s),
        vec(any::<u32>(), 0..20).prop_map(Field::U32s),
        vec(any::<i32>(), 0..20).prop_map(Field::I32s),
        vec(any::<u64>(), 0..20).prop_map(Field::U64s),
        vec(f32s(), 0..20).prop_map(Field::F32s),
        vec(f64s(), 0..20).prop_map(Field::F64s),
        vec(any::<bool>(), 0..20).prop_map(Field::Bools),
        vec(text(), 0..20).prop_map(Field::Texts),
    ]
}

fn tensors() -> impl Strategy<Value = BTreeMap<String, (Vec<u64>, TensorKind)>> {
    let shape = (1u64..5, vec(1u64..5, 0..4));
    let tensor = (shape, select(TensorKind::ALL)).prop_map(|((blocks, rest), kind)| {
        let mut shape = vec![blocks * kind.block_elements()];
        shape.extend(rest);
        (shape, kind)
    });
    btree_map("[a-z0-9._]{1,16}", tensor, 0..12)
}

prop_compose! {
    fn file()(
        metadata in btree_map("[a-z0-9._]{1,24}", field(), 0..24),
        tensors in tensors(),
        version in 2u32..=3,
        alignment_bits in 3u32..=12,
    ) -> File {
        let alignment = 1u64 << alignment_bits;
        let mut file = File { version, alignment, ..File::default() };
        file = file.with("general.alignment", Field::U64(alignment));
        file.metadata.extend(metadata.into_iter().filter(|(key, _)| key != "general.alignment"));
        for (name, (shape, kind)) in tensors {
            file = file.tensor(&name, &shape, kind);
        }
        file
    }
}

/// One way to damage a file.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Number(Index, u64),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Cut(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let extreme =
        select(vec![0, 1, 255, 1 << 16, 1 << 31, 1 << 32, 1 << 63, u64::MAX - 31, u64::MAX]);
    prop_oneof![
        4 => (any::<Index>(), 1u8..).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        4 => (any::<Index>(), extreme).prop_map(|(at, number)| Damage::Number(at, number)),
        1 => (any::<Index>(), 1usize..40).prop_map(|(at, bytes)| Damage::Remove(at, bytes)),
        1 => (any::<Index>(), vec(any::<u8>(), 1..40)).prop_map(|(at, b)| Damage::Insert(at, b)),
        1 => any::<Index>().prop_map(Damage::Cut),
    ]
}

fn apply(bytes: &mut Vec<u8>, header_end: usize, damage: &Damage) {
    let end = header_end.min(bytes.len()).max(1);
    if bytes.is_empty() {
        return;
    }
    match damage {
        Damage::Flip(at, bits) => bytes[at.index(end)] ^= bits,
        Damage::Number(at, number) => {
            for (byte, new) in bytes[at.index(end)..].iter_mut().zip(number.to_le_bytes()) {
                *byte = new;
            }
        }
        Damage::Remove(at, count) => {
            let from = at.index(end);
            let to = bytes.len().min(from + count);
            bytes.drain(from..to);
        }
        Damage::Insert(at, new) => {
            let from = at.index(end);
            bytes.splice(from..from, new.iter().copied());
        }
        Damage::Cut(at) => bytes.truncate(at.index(end)),
    }
}

/// What must hold of every header that is accepted.
fn check_promises(header: &Header, file_bytes: u64) {
    let mut spans = Vec::new();
    for tensor in &header.tensors {
        assert_eq!(header.tensor(&tensor.name), Some(tensor));
        assert!(tensor.offset.is_multiple_of(header.alignment));
        assert!(tensor.offset >= header.data_offset && tensor.bytes > 0);
        assert!(tensor.offset + tensor.bytes <= file_bytes);
        spans.push((tensor.offset, tensor.offset + tensor.bytes));
    }
    spans.sort_unstable();
    assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    assert!(header.weight_bytes() <= file_bytes);
    if let Ok(shape) = header.shape() {
        assert!(shape.layers > 0 && shape.heads.is_multiple_of(shape.kv_heads) && shape.vocab > 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_well_formed_file_is_read_as_written(file in file()) {
        let written = file.written();
        let whole = written.bytes.len() as u64;
        let header = parse_bounded(&written.bytes, whole).unwrap();
        prop_assert_eq!(header.version, file.version);
        prop_assert_eq!(header.alignment, file.alignment);
        prop_assert_eq!(header.data_offset, written.data_offset);
        prop_assert_eq!(header.metadata.len(), file.metadata.len());
        for (key, field) in &file.metadata {
            prop_assert_eq!(&header.metadata[key], &field.value());
        }
        prop_assert_eq!(header.tensors.len(), file.tensors.len());
        let expected = file.tensors.iter().zip(&written.offsets);
        for (read, (tensor, offset)) in header.tensors.iter().zip(expected) {
            prop_assert_eq!(read.name.as_bytes(), &tensor.name[..]);
            prop_assert_eq!(&read.shape, &tensor.shape);
            prop_assert_eq!(read.kind.id(), tensor.kind);
            prop_assert_eq!((read.offset, read.bytes), (*offset, tensor.bytes()));
        }
        check_promises(&header, whole);
        let prefix = &written.bytes[..written.header_end];
        prop_assert_eq!(Header::parse(prefix, whole).unwrap(), header);
    }

    #[test]
    fn a_prefix_never_fails_for_another_reason_than_its_end(file in file(), cut in any::<Index>()) {
        let written = file.written();
        let whole = written.bytes.len() as u64;
        let cut = cut.index(written.header_end);
        let result = parse_bounded(&written.bytes[..cut], whole);
        let at_least = match result {
            Err(GgufError::NeedMore { at_least }) => at_least,
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        prop_assert!(at_least > cut as u64 && at_least <= written.header_end as u64);
        let alone = parse_bounded(&written.bytes[..cut], cut as u64);
        let is_truncated = matches!(alone, Err(GgufError::Truncated { .. }));
        prop_assert!(is_truncated, "{alone:?}");
    }

    #[test]
    fn a_damaged_file_is_refused_or_keeps_every_promise(
        file in prop_oneof![file(), Just(llama())],
        damages in vec(damage(), 1..6),
    ) {
        let written = file.written();
        let mut bytes = written.bytes;
        for damage in &damages {
            apply(&mut bytes, written.header_end, damage);
        }
        let whole = bytes.len() as u64;
        match parse_bounded(&bytes, whole) {
            Ok(header) => check_promises(&header, whole),
            Err(error) => {
                let is_early = matches!(error, GgufError::NeedMore { .. });
                prop_assert!(!is_early);
                prop_assert!(!error.fault().message.contains(char::is_control));
            }
        }
        let _ = parse_bounded(&bytes, 1 << 40);
    }

    #[test]
    fn no_bytes_panic(mut bytes in vec(any::<u8>(), 0..400), counts in (0u64..4, 0u64..4)) {
        let start = [&b"GGUF\x03\0\0\0"[..], &counts.0.to_le_bytes(), &counts.1.to_le_bytes()];
        bytes.splice(0..0, start.concat());
        let _ = parse_bounded(&bytes, bytes.len() as u64);
        let _ = parse_bounded(&bytes, u64::MAX);
    }
}

#[test]
fn the_densest_files_allocate_a_small_multiple_of_their_bytes() {
    let bytes_of = |file: File| file.written().bytes;
    let widened = bytes_of(File::default().with("x", Field::U8s(vec![7; 1_000_000])));
    let texts = bytes_of(File::default().with("x", array(8, 200_000, &vec![0; 1_600_000])));
    let keys = (0..4000u32).fold(File::default(), |file, n| {
        file.with(
            &char::from_digit(n % 36, 36).unwrap().to_string().repeat(1 + n as usize / 36),
            Field::U8(0),
        )
    });
    let mut tensors = File::default();
    for n in 0..20_000 {
        let mut tensor = Tensor::new(&format!("{n:x}"), &[1], TensorKind::I8);
        tensor.offset = Some(n * 32);
        tensors.tensors.push(tensor);
    }
    let tensors = tensors.written();
    let whole = tensors.bytes.len() as u64;
    parse_bounded(&tensors.bytes[..tensors.header_end], whole).unwrap();
    for bytes in [widened, texts, bytes_of(keys)] {
        parse_bounded(&bytes, bytes.len() as u64).unwrap();
    }
}
