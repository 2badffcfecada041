//! Every family's logits against those of Hugging Face transformers, from both formats.

use candle_core::quantized::GgmlDType;
use wire::Code;

use super::super::super::testing::golden::{Golden, Held, directory, numbers};
use super::super::*;
use super::{difference, rows};

/// How far logits may be apart, in parts of their length as a vector.
const ALLOWED: f32 = 1e-3;

fn from_gguf(golden: &Golden, dtype: GgmlDType) -> Option<Decoder> {
    let path = golden.write_gguf(dtype)?;
    let file = MappedModel::open(&path).unwrap();
    let weights = Weights::load(&file, &mut |_, _| {}).unwrap();
    Some(Decoder::new(weights, golden.ctx_size, 1).unwrap())
}

fn from_directory(golden: &Golden, held: Held, files: usize) -> Decoder {
    let files = golden.write_directory(held, files);
    let directory = Directory::open(files.path()).unwrap();
    let description = Description::of(&directory).unwrap();
    let weights = Weights::load_directory(description, &directory, &mut |_, _| {}).unwrap();
    Decoder::new(weights, golden.ctx_size, 1).unwrap()
}

/// Feeds tokens in chunks of the lengths given, the last of which is repeated, and compares the
/// logits of every position.
fn agree(golden: &Golden, decoder: &mut Decoder, tokens: &[u32], chunks: &[usize], what: &str) {
    let (sums, lengths) = golden.sums_and_lengths();
    let mut chunks = chunks.iter().copied().chain(std::iter::repeat(*chunks.last().unwrap()));
    let mut start = 0;
    while start < tokens.len() {
        let end = tokens.len().min(start + chunks.next().unwrap());
        let wanted: Vec<usize> = (0..end - start).collect();
        let ours = decoder.forward(&rows(&tokens[start..end], start, 0), &wanted).unwrap();
        for (position, logits) in (start..end).zip(&ours) {
            let (sum, length) = Golden::sum_and_length(logits);
            let expected = lengths[position];
            let apart = (sum - sums[position]).abs().max((length - expected).abs()) / expected;
            assert!(apart < ALLOWED, "{what} at {position}: {apart}");
            if let Some(index) = golden.kept.iter().position(|kept| *kept == position) {
                let apart = difference(logits, golden.kept_logits(index));
                assert!(apart < ALLOWED, "{what}, all logits at {position}: {apart}");
            }
        }
        start = end;
    }
}

fn family(name: &str) {
    let golden = Golden::read(name);
    let tokens = golden.tokens();
    let (all, few) = (tokens.as_slice(), &tokens[..tokens.len().min(450)]);
    let what = |how: &str| format!("{name}, {how}");
    let mut decoder = from_directory(&golden, Held::F32, 1);
    agree(&golden, &mut decoder, all, &[all.len()], &what("f32 in one go"));
    agree(&golden, &mut from_directory(&golden, Held::Bf16, 3), few, &[256], &what("3 of bf16"));
    agree(&golden, &mut from_directory(&golden, Held::F16, 2), few, &[100], &what("2 of f16"));
    if let Some(mut decoder) = from_gguf(&golden, GgmlDType::F32) {
        agree(&golden, &mut decoder, all, &[256], &what("GGUF of f32 in chunks"));
    }
    // One by one at the beginning, across the shorter windows, and at the end.
    let mut one_by_one = vec![1; 150];
    one_by_one.extend([45, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 50, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    one_by_one.extend([all.len().saturating_sub(300), 1]);
    let mut last = from_gguf(&golden, GgmlDType::F16).unwrap_or(decoder);
    agree(&golden, &mut last, all, &one_by_one, &what("one by one"));
}

/// A test for each model, so that what fails has a name.
macro_rules! families {
    ($($test:ident = $name:literal;)*) => {
        $(
            #[test]
            fn $test() {
                family($name);
            }
        )*

        #[test]
        fn no_golden_file_is_left_out() {
            let mut tested = vec![$($name,)* "dequantized"];
            tested.sort_unstable();
            let files = std::fs::read_dir(directory()).unwrap();
            let paths = files.map(|file| file.unwrap().path());
            let mut there: Vec<String> = paths
                .filter(|path| path.extension().is_some_and(|ext| ext == "json"))
                .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
                .collect();
            there.sort_unstable();
            assert_eq!(there, tested);
        }
    };
}

families! {
    llama_agrees_with_transformers = "llama";
    llama_3_1_agrees_with_transformers_with_biases_and_tied = "llama-llama3";
    llama_with_linear_scaling_agrees_with_transformers = "llama-linear";
    mistral_agrees_with_transformers_beyond_its_window = "mistral";
    qwen2_agrees_with_transformers = "qwen2";
    qwen2_with_windows_in_its_last_blocks_agrees_with_transformers = "qwen2-window";
    qwen3_agrees_with_transformers = "qwen3";
    qwen3_with_yarn_agrees_with_transformers = "qwen3-yarn";
    gemma2_agrees_with_transformers_beyond_its_window = "gemma2";
    gemma2_with_another_scale_and_no_soft_caps_agrees_with_transformers = "gemma2-scaled";
    gemma3_agrees_with_transformers_beyond_its_window = "gemma3";
    phi3_agrees_with_transformers_beyond_its_window = "phi3";
    phi3_agrees_with_transformers_in_a_long_context = "phi3-longrope";
    phi3_agrees_with_transformers_in_a_short_context = "phi3-longrope-short";
    smollm3_agrees_with_transformers = "smollm3";
    granite_agrees_with_transformers = "granite";
    mixtral_agrees_with_transformers = "mixtral";
    qwen3moe_agrees_with_transformers = "qwen3moe";
    qwen3moe_with_shares_that_do_not_add_up_agrees_with_transformers = "qwen3moe-unnormed";
}

/// What makes a family different matters to its golden logits: without it they do not agree.
#[test]
fn each_figure_of_a_family_is_seen_in_its_logits() {
    let cases = [
        ("llama-linear", "llama.rope.scaling.factor", 1.0),
        ("mistral", "llama.attention.sliding_window", 301.0),
        ("mistral", "llama.rope.freq_base", 10_000.0),
        ("qwen3-yarn", "qwen3.rope.scaling.factor", 4.1),
        ("qwen3-yarn", "qwen3.rope.scaling.original_context_length", 4000.0),
        ("gemma2", "gemma2.attn_logit_softcapping", 2.1),
        ("gemma2", "gemma2.final_logit_softcapping", 5.1),
        ("gemma2", "gemma2.attention.sliding_window", 255.0),
        ("gemma3", "gemma3.attention.sliding_window", 129.0),
        ("gemma3", "gemma3.rope.scaling.factor", 4.0),
        ("phi3-longrope", "phi3.rope.scaling.attn_factor", 1.0),
        ("phi3-longrope", "phi3.rope.scaling.original_context_length", 4000.0),
        ("granite", "granite.attention.scale", 0.25),
        ("granite", "granite.embedding_scale", 7.0),
        ("granite", "granite.residual_scale", 0.5),
        ("granite", "granite.logit_scale", 3.1),
        ("mixtral", "llama.expert_used_count", 1.0),
        ("qwen3moe", "qwen3moe.expert_used_count", 2.0),
    ];
    for (name, key, value) in cases {
        let mut golden = Golden::read(name);
        let is_whole = golden.metadata[key].is_u64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as listed")]
        let json = if is_whole { (value as u64).into() } else { value.into() };
        golden.metadata.insert(key.to_owned(), json);
        let mut decoder = from_gguf(&golden, GgmlDType::F32).unwrap();
        let tokens = golden.tokens();
        let index = golden.kept.iter().position(|kept| *kept == 1023).unwrap();
        let ours = super::last_logits(&mut decoder, &tokens[..1024], 1024);
        let apart = difference(&ours, golden.kept_logits(index));
        assert!(apart > 2.0 * ALLOWED, "{name}: {key} makes a difference of {apart} only");
    }
}

#[derive(serde::Deserialize)]
struct Quantized {
    r#type: String,
    id: u32,
    bytes: String,
}

#[test]
fn every_type_is_dequantized_as_the_reference_does() {
    let text = std::fs::read(directory().join("dequantized.json")).unwrap();
    let all: Vec<Quantized> = serde_json::from_slice(&text).unwrap();
    let expected = numbers(&directory().join("dequantized.f32"));
    for (quantized, expected) in all.iter().zip(expected.chunks_exact(512)) {
        let name = &quantized.r#type;
        let digits = quantized.bytes.as_bytes().as_chunks::<2>().0;
        let byte =
            |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let data: Vec<u8> = digits.iter().map(byte).collect();
        let file = tempfile::Builder::new().suffix(".gguf").tempfile().unwrap();
        std::fs::write(file.path(), one_tensor(quantized.id, &data)).unwrap();
        let model = MappedModel::open(file.path()).unwrap();
        let mut progress = |_, _| {};
        let mut loader = Loader::new(&model, &mut progress);
        let tensor = loader.tensor("t", &[2, 256]).unwrap();
        let values = tensor.dequantize(&Device::Cpu).unwrap();
        let values: Vec<f32> = values.flatten_all().unwrap().to_vec1().unwrap();
        let apart = difference(&values, expected);
        assert!(apart < 1e-6, "{name}: {apart}");
        // As rows of an embedding, and as a matrix that multiplies.
        let row = tensor.embedding(&Tensor::new(&[1u32], &Device::Cpu).unwrap()).unwrap();
        let row: Vec<f32> = row.flatten_all().unwrap().to_vec1().unwrap();
        assert!(difference(&row, &expected[256..]) < 1e-6, "{name}, one row");
        let input: Vec<f32> = (0..=255u8).map(|n| (f32::from(n) * 0.37).sin()).collect();
        let product: Vec<f32> = matrix(Arc::new(tensor))
            .and_then(|matrix| {
                let input = Tensor::from_vec(input.clone(), (1, 256), &Device::Cpu).unwrap();
                matrix.forward(&input).map_err(|error| internal("multiplying", error))
            })
            .map(|product| product.flatten_all().unwrap().to_vec1().unwrap())
            .unwrap();
        let dot = |row: &[f32]| row.iter().zip(&input).map(|(a, b)| a * b).sum::<f32>();
        let exact = [dot(&expected[..256]), dot(&expected[256..])];
        // Blocks are multiplied with activations that are rounded to 8 bits.
        let scale = expected.iter().map(|x| x * x).sum::<f32>().sqrt();
        let apart = (product[0] - exact[0]).abs().max((product[1] - exact[1]).abs()) / scale;
        assert!(apart < 5e-2, "{name}: {product:?} instead of {exact:?}");
    }
    assert_eq!(all.len(), 12);
}

/// A GGUF file with one tensor of two rows of 256, `t`.
fn one_tensor(id: u32, data: &[u8]) -> Vec<u8> {
    let mut file = b"GGUF".to_vec();
    file.extend(3u32.to_le_bytes());
    file.extend(1u64.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.extend(1u64.to_le_bytes());
    file.push(b't');
    file.extend(2u32.to_le_bytes());
    file.extend(256u64.to_le_bytes());
    file.extend(2u64.to_le_bytes());
    file.extend(id.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(data);
    file
}

#[test]
fn types_that_candle_lacks_are_refused_by_name() {
    for kind in wire::gguf::TensorKind::ALL {
        let bytes = usize::try_from(512 / kind.block_elements() * kind.block_bytes()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), one_tensor(kind.id(), &vec![0; bytes])).unwrap();
        let model = MappedModel::open(file.path()).unwrap();
        let mut progress = |_, _| {};
        let found = Loader::new(&model, &mut progress).tensor("t", &[2, 256]);
        let word = kind.name();
        let is_read = ["F32", "F16", "BF16"].contains(&word)
            || (word.starts_with('Q') && !["Q8_1", "Q8_K"].contains(&word));
        match found {
            Ok(_) => assert!(is_read, "{word}"),
            Err(fault) => {
                assert!(!is_read && fault.message.contains(word), "{fault:?}");
                assert_eq!(fault.code, Code::ModelUnsupported);
            }
        }
    }
}
