//! Well-formed GGUF headers are read as they were written.

use wire::gguf::{Array, GgufError, Header, ModelShape, TensorKind, Value};

use crate::writer::{Field, File, Tensor, llama};

fn parse(file: &File) -> Result<Header, GgufError> {
    let bytes = file.written().bytes;
    Header::parse(&bytes, bytes.len() as u64)
}

/// `llama()` with one key replaced.
fn llama_with(key: &str, field: Field) -> File {
    let mut file = llama();
    file.metadata.retain(|(other, _)| other != key);
    file.with(key, field)
}

fn llama_without(key: &str) -> File {
    let mut file = llama();
    file.metadata.retain(|(other, _)| other != key);
    file
}

#[test]
fn a_small_model_is_read_as_written() {
    let file = llama();
    let written = file.written();
    let header = Header::parse(&written.bytes, written.bytes.len() as u64).unwrap();
    assert_eq!((header.version, header.alignment), (3, 32));
    assert_eq!(header.data_offset, written.data_offset);
    assert_eq!(header.architecture(), Ok("llama"));
    assert_eq!(header.metadata.len(), file.metadata.len());
    for (key, field) in &file.metadata {
        assert_eq!(header.metadata[key], field.value(), "{key}");
    }
    for (position, tensor) in file.tensors.iter().enumerate() {
        let name = std::str::from_utf8(&tensor.name).unwrap();
        let read = header.tensor(name).unwrap();
        assert_eq!(read, &header.tensors[position]);
        assert_eq!(read.shape, tensor.shape);
        assert_eq!(read.kind.id(), tensor.kind);
        assert_eq!((read.offset, read.bytes), (written.offsets[position], tensor.bytes()));
    }
    assert_eq!(header.tensor("blk.1.attn_q.weight"), None);
    assert_eq!(header.weight_bytes(), 64 * 5 / 32 * 34 + 64 * 4 + 64 * 64 / 32 * 18);
}

#[test]
fn version_2_is_read_and_the_alignment_key_moves_the_data() {
    let mut file = llama_with("general.alignment", Field::U32(256));
    file.version = 2;
    file.alignment = 256;
    let header = parse(&file).unwrap();
    assert_eq!((header.version, header.alignment), (2, 256));
    assert!(header.tensors.iter().all(|tensor| tensor.offset.is_multiple_of(256)));
}

#[test]
fn a_file_without_tensors_or_metadata_is_a_header() {
    let header = parse(&File::default()).unwrap();
    assert!(header.metadata.is_empty() && header.tensors.is_empty());
    assert_eq!(header.weight_bytes(), 0);
    let key = "general.architecture".to_owned();
    assert_eq!(header.architecture(), Err(GgufError::Missing { key }));
}

#[test]
fn accessors_take_any_integer_and_refuse_other_types() {
    let header = parse(
        &File::default()
            .with("u8", Field::U8(200))
            .with("i8", Field::I8(-3))
            .with("i64", Field::I64(i64::MIN))
            .with("i32", Field::I32(7))
            .with("u64", Field::U64(u64::MAX))
            .with("f64", Field::F64(0.1))
            .with("yes", Field::Bool(true))
            .with("name", Field::Text("x".into()))
            .with("i32s", Field::I32s(vec![1, 2]))
            .with("i16s", Field::I16s(vec![1, -2]))
            .with("u8s", Field::U8s(vec![255]))
            .with("f32s", Field::F32s(vec![0.5])),
    )
    .unwrap();
    assert_eq!(header.unsigned("u8"), Some(200));
    assert_eq!(header.unsigned("i8"), None);
    assert_eq!(header.metadata["i64"], Value::Signed(i64::MIN));
    assert_eq!(header.unsigned("i32"), Some(7));
    assert_eq!(header.unsigned("u64"), Some(u64::MAX));
    assert_eq!(header.unsigned("f64"), None);
    assert_eq!((header.float("f64"), header.float("i8")), (Some(0.1), Some(-3.0)));
    assert_eq!((header.flag("yes"), header.flag("u8")), (Some(true), None));
    assert_eq!((header.text("name"), header.text("yes")), (Some("x"), None));
    assert_eq!(header.unsigneds("i32s"), Some(vec![1, 2]));
    assert_eq!(header.unsigneds("i16s"), None);
    assert_eq!(header.floats("i16s"), Some(vec![1.0, -2.0]));
    assert_eq!(header.floats("f32s"), Some(vec![0.5]));
    assert_eq!(header.unsigneds("u8s"), Some(vec![255]));
    assert_eq!((header.texts("u8s"), header.texts("absent")), (None, None));
}

#[test]
fn every_kind_of_tensor_has_the_size_that_ggml_gives_it() {
    let mut file = File::default();
    for kind in TensorKind::ALL {
        assert_eq!(TensorKind::from_id(kind.id()), Some(*kind));
        file = file.tensor(kind.name(), &[512, 3], *kind);
    }
    let header = parse(&file).unwrap();
    let bytes = |name| header.tensor(name).unwrap().bytes;
    // One line a family, from the published bits per weight: 4.5, 6.5625, 2.0625, 4.25.
    assert_eq!(bytes("Q4_K"), 512 * 3 * 9 / 16);
    assert_eq!(bytes("Q6_K"), 512 * 3 * 105 / 128);
    assert_eq!(bytes("IQ2_XXS"), 512 * 3 * 33 / 128);
    assert_eq!(bytes("MXFP4"), 512 * 3 * 17 / 32);
    assert_eq!((bytes("BF16"), bytes("F64")), (512 * 3 * 2, 512 * 3 * 8));
}

#[test]
fn a_prefix_is_enough_and_says_how_much_it_lacks() {
    let written = llama().written();
    let whole = written.bytes.len() as u64;
    for cut in 0..written.bytes.len() {
        match Header::parse(&written.bytes[..cut], whole) {
            Ok(_) => assert!(cut >= written.header_end, "{cut}"),
            Err(GgufError::NeedMore { at_least }) => {
                assert!(at_least > cut as u64 && at_least <= written.header_end as u64);
            }
            Err(other) => panic!("{cut}: {other}"),
        }
    }
    let mut bytes = 0;
    let mut steps = 0;
    while let Err(error) = Header::parse(&written.bytes[..bytes], whole) {
        let GgufError::NeedMore { at_least } = error else { panic!("{error}") };
        bytes = usize::try_from(at_least).unwrap();
        steps += 1;
    }
    assert!(bytes == written.header_end && steps < 200, "{bytes} in {steps} steps");
}

#[test]
fn a_model_is_measured_for_placement() {
    let shape = parse(&llama()).unwrap().shape().unwrap();
    let expected = ModelShape {
        architecture: "llama".into(),
        layers: 2,
        embedding: 64,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        value_dim: 16,
        feed_forward: 96,
        context: 128,
        vocab: 5,
        weight_bytes: 340 + 256 + 2304,
        half_float_bytes: 0,
    };
    assert_eq!(shape, expected);
    // 2 layers, 2 heads, 16 elements each of key and value, 128 tokens, 3 slots, f16.
    assert_eq!(shape.kv_cache_bytes(128, 3, 2), 2 * 2 * (16 + 16) * 128 * 3 * 2);
    assert_eq!(shape.kv_cache_bytes(u32::MAX, u32::MAX, u32::MAX), u64::MAX);
    assert_eq!(shape.kv_cache_bytes(0, 1, 2), 0);
}

#[test]
fn keys_that_a_model_may_leave_out_have_the_formats_own_defaults() {
    let all_heads = parse(&llama_without("llama.attention.head_count_kv")).unwrap();
    assert_eq!(all_heads.shape().unwrap().kv_heads, 4);
    let no_tokens = llama_without("tokenizer.ggml.tokens").with("llama.vocab_size", Field::U64(9));
    assert_eq!(parse(&no_tokens).unwrap().shape().unwrap().vocab, 9);
    let own_heads = llama()
        .with("llama.attention.key_length", Field::U32(24))
        .with("llama.attention.value_length", Field::U32(8));
    let shape = parse(&own_heads).unwrap().shape().unwrap();
    assert_eq!((shape.head_dim, shape.value_dim), (24, 8));
    let same = llama_with("llama.attention.head_count_kv", Field::I32s(vec![2, 2]));
    assert_eq!(parse(&same).unwrap().shape().unwrap().kv_heads, 2);
}

#[test]
fn each_figure_of_a_model_is_bounded_and_refused_by_its_key() {
    let cases = [
        ("llama.block_count", Field::U32(0)),
        ("llama.block_count", Field::U32(1025)),
        ("llama.block_count", Field::I32(-1)),
        ("llama.block_count", Field::U64(u64::MAX)),
        ("llama.block_count", Field::Text("2".into())),
        ("llama.block_count", Field::U32s(Vec::new())),
        ("llama.embedding_length", Field::U32(u32::MAX)),
        ("llama.attention.head_count", Field::U32(0)),
        ("llama.attention.head_count", Field::U32(4097)),
        ("llama.attention.head_count_kv", Field::U32(0)),
        ("llama.attention.head_count_kv", Field::U32(3)),
        ("llama.attention.head_count_kv", Field::U32(8)),
        ("llama.attention.head_count_kv", Field::I32s(vec![2, 4])),
        ("llama.attention.key_length", Field::F32(16.0)),
        ("llama.feed_forward_length", Field::U32(0)),
        ("llama.context_length", Field::U32(0)),
        ("llama.context_length", Field::U32(u32::MAX)),
        ("tokenizer.ggml.tokens", Field::Texts(Vec::new())),
        ("general.architecture", Field::U32(1)),
        ("general.architecture", Field::Text(String::new())),
        ("general.architecture", Field::Text("a\u{1b}[2J".into())),
        ("general.architecture", Field::Text("x".repeat(65))),
    ];
    for (key, field) in cases {
        let error = parse(&llama_with(key, field.clone())).unwrap().shape().unwrap_err();
        assert!(error.to_string().contains(key), "{key} {field:?}: {error}");
    }
    for key in ["llama.block_count", "llama.embedding_length", "llama.context_length"] {
        let error = parse(&llama_without(key)).unwrap().shape().unwrap_err();
        assert_eq!(error, GgufError::Missing { key: key.to_owned() });
    }
    let odd = parse(&llama_with("llama.embedding_length", Field::U32(66))).unwrap();
    let key = "llama.attention.key_length".to_owned();
    assert_eq!(odd.shape(), Err(GgufError::Missing { key }));
}

#[test]
fn arrays_keep_their_elements_exactly() {
    let texts = vec![String::new(), "▁the".into(), "\u{0}".into()];
    let file = File::default()
        .with("texts", Field::Texts(texts.clone()))
        .with("empty", Field::Texts(Vec::new()))
        .with("u64s", Field::U64s(vec![0, u64::MAX]));
    let header = parse(&file).unwrap();
    assert_eq!(header.texts("texts"), Some(texts.as_slice()));
    assert_eq!(header.metadata["empty"], Value::Array(Array::Text(Vec::new())));
    assert_eq!(header.unsigneds("u64s"), Some(vec![0, u64::MAX]));
}

#[test]
fn gaps_between_tensors_and_any_order_are_accepted() {
    let mut file = File::default();
    for (name, offset) in [("b", 64), ("a", 0), ("c", 4096)] {
        let mut tensor = Tensor::new(name, &[8], TensorKind::F32);
        tensor.offset = Some(offset);
        file.tensors.push(tensor);
    }
    let header = parse(&file).unwrap();
    assert_eq!(header.tensors[0].name, "b");
    assert_eq!(header.tensor("c").unwrap().offset, header.data_offset + 4096);
}
