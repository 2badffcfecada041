//! The decoder against candle-transformers' models and against plain arithmetic in f64.

mod golden;
mod hostile;
mod perplexity;
mod reference;

use std::path::Path;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{Device, Tensor};
use candle_transformers::models::{quantized_llama, quantized_qwen2, quantized_qwen3};
use wire::Code;

use super::super::testing::{TestModel, text};
use super::*;
use reference::Reference;

fn open(path: &Path) -> Result<Weights, Fault> {
    let file = MappedModel::open(path)?;
    Weights::load(&file, &mut |_, _| {})
}

fn decoder(model: &TestModel, slots: usize) -> Decoder {
    let context = usize::try_from(model.context).unwrap();
    Decoder::new(open(&model.write()).unwrap(), context, slots).unwrap()
}

fn prompt(length: usize) -> Vec<u32> {
    (0..length).map(|n| u32::try_from((n * n * 31 + n * 7 + 5) % 256).unwrap()).collect()
}

fn rows(tokens: &[u32], from: usize, slot: usize) -> Vec<Row> {
    let row = |(n, &token)| Row { token, position: from + n, slot };
    tokens.iter().enumerate().map(row).collect()
}

/// Logits of the last token, fed in chunks of `chunk`.
fn last_logits(decoder: &mut Decoder, tokens: &[u32], chunk: usize) -> Vec<f32> {
    let mut logits = Vec::new();
    for (n, part) in tokens.chunks(chunk).enumerate() {
        let rows = rows(part, n * chunk, 0);
        logits = decoder.forward(&rows, &[rows.len() - 1]).unwrap();
    }
    logits.pop().unwrap()
}

/// How far two lists of logits are apart, in parts of their length as vectors.
fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let squares = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>();
    let apart = squares(&mut ours.iter().zip(theirs).map(|(a, b)| a - b));
    (apart / squares(&mut theirs.iter().copied())).sqrt()
}

/// candle-transformers' model of the same file.
enum Theirs {
    Llama(quantized_llama::ModelWeights),
    Qwen2(quantized_qwen2::ModelWeights),
    Qwen3(quantized_qwen3::ModelWeights),
}

impl Theirs {
    fn open(family: &str, path: &Path) -> Self {
        let mut file = std::fs::File::open(path).unwrap();
        let content = Content::read(&mut file).unwrap();
        let cpu = &Device::Cpu;
        match family {
            "llama" => Self::Llama(
                quantized_llama::ModelWeights::from_gguf(content, &mut file, cpu).unwrap(),
            ),
            "qwen2" => Self::Qwen2(
                quantized_qwen2::ModelWeights::from_gguf(content, &mut file, cpu).unwrap(),
            ),
            _ => Self::Qwen3(
                quantized_qwen3::ModelWeights::from_gguf(content, &mut file, cpu).unwrap(),
            ),
        }
    }

    fn last_logits(&mut self, tokens: &[u32], chunk: usize) -> Vec<f32> {
        if let Self::Qwen3(model) = self {
            model.clear_kv_cache();
        }
        let mut logits = None;
        for (n, part) in tokens.chunks(chunk).enumerate() {
            let input = Tensor::new(part, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
            logits = Some(match self {
                Self::Llama(model) => model.forward(&input, n * chunk).unwrap(),
                Self::Qwen2(model) => model.forward(&input, n * chunk).unwrap(),
                Self::Qwen3(model) => model.forward(&input, n * chunk).unwrap(),
            });
        }
        logits.unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }
}

/// Blocks of 8 bits or fewer are multiplied with activations that are rounded to 8 bits. A rounding
/// that falls the other way, because one of the two sums in another order, moves the logits of a
/// random model by about one part in a hundred; until it happens both are equal to the last digit.
#[test]
fn logits_agree_with_candle_transformers_in_every_family_and_type() {
    let types = [
        (GgmlDType::F32, true, 1e-4),
        (GgmlDType::F16, false, 1e-4),
        (GgmlDType::Q8_0, true, 3e-2),
        (GgmlDType::Q4K, false, 3e-2),
        (GgmlDType::Q5K, true, 3e-2),
    ];
    for family in ["llama", "qwen2", "qwen3"] {
        for (dtype, is_tied, allowed) in types {
            // Else its qwen3 computes cosines in f16.
            let model = TestModel { is_tied, ..TestModel::new(family, dtype) }
                .set("general.dtype", Value::U32(0));
            let path = model.write();
            let mut ours = Decoder::new(open(&path).unwrap(), 2048, 1).unwrap();
            let mut theirs = Theirs::open(family, &path);
            for length in [1, 2, 37, 600] {
                let tokens = prompt(length);
                let expected = theirs.last_logits(&tokens, 600);
                for chunk in [600, 256, 1] {
                    if (length, chunk) == (600, 1) && dtype != GgmlDType::Q8_0 {
                        continue;
                    }
                    let apart = difference(&last_logits(&mut ours, &tokens, chunk), &expected);
                    assert!(apart < allowed, "{family} {dtype:?} {length} by {chunk}: {apart}");
                }
                if length == 37 {
                    let by_one = theirs.last_logits(&tokens, 1);
                    let apart = difference(&last_logits(&mut ours, &tokens, 1), &by_one);
                    assert!(apart < allowed, "{family} {dtype:?} both one by one: {apart}");
                }
            }
        }
    }
}

#[test]
fn logits_agree_with_arithmetic_in_f64_with_frequency_factors_and_linear_scaling() {
    for family in ["llama", "qwen2", "qwen3"] {
        let factors = (0..32u8).map(|n| 1.0 + f32::from(n) / 8.0).collect();
        let model =
            TestModel { rope_factors: Some(factors), ..TestModel::new(family, GgmlDType::F32) }
                .set(&format!("{family}.rope.scaling.type"), text("linear"))
                .set(&format!("{family}.rope.scaling.factor"), Value::F32(2.5));
        let tokens = prompt(90);
        let expected = Reference::new(&model, 2.5).logits(&tokens);
        let apart = difference(&last_logits(&mut decoder(&model, 1), &tokens, 64), &expected);
        assert!(apart < 1e-4, "{family}: {apart}");
        let unscaled = Reference::new(&model, 1.0).logits(&tokens);
        assert!(difference(&unscaled, &expected) > 1e-2, "{family}: scaling has no effect");
    }
}

#[test]
fn positions_beyond_4096_agree_with_arithmetic_in_f64() {
    let model = TestModel {
        embedding: 64,
        heads: 4,
        kv_heads: 1,
        head_dim: 16,
        feed_forward: 64,
        context: 8192,
        rope_base: 500_000.0,
        ..TestModel::new("llama", GgmlDType::F32)
    };
    let tokens = prompt(4_400);
    let expected = Reference::new(&model, 1.0).logits(&tokens);
    let apart = difference(&last_logits(&mut decoder(&model, 1), &tokens, 256), &expected);
    assert!(apart < 1e-3, "{apart}");
}

#[test]
fn rows_of_two_slots_in_one_call_are_what_they_are_alone() {
    let model = TestModel::new("qwen3", GgmlDType::F32);
    let (first, second) = (prompt(70), prompt(41).into_iter().rev().collect::<Vec<_>>());
    let mut alone = decoder(&model, 1);
    let expected = [last_logits(&mut alone, &first, 256), last_logits(&mut alone, &second, 256)];
    let mut both = decoder(&model, 2);
    both.forward(&rows(&first[..69], 0, 0), &[]).unwrap();
    both.forward(&rows(&second[..30], 0, 1), &[]).unwrap();
    let mut mixed = rows(&first[69..], 69, 0);
    mixed.extend(rows(&second[30..], 30, 1));
    let logits = both.forward(&mixed, &[0, 11]).unwrap();
    for (ours, alone) in logits.iter().zip(&expected) {
        assert!(difference(ours, alone) < 1e-5);
    }
}

#[test]
fn a_slot_is_reused_from_its_beginning() {
    let model = TestModel::new("llama", GgmlDType::Q8_0);
    let mut decoder = decoder(&model, 1);
    let fresh = last_logits(&mut decoder, &prompt(40), 256);
    last_logits(&mut decoder, &prompt(300), 256);
    assert_eq!(last_logits(&mut decoder, &prompt(40), 256), fresh);
}

#[test]
fn rows_that_break_the_rules_are_a_fault_and_no_panic() {
    let mut decoder = decoder(&TestModel::new("llama", GgmlDType::F32), 1);
    let row = |token, position, slot| Row { token, position, slot };
    let bad: [&[Row]; 6] = [
        &[],
        &[row(9_999, 0, 0)],
        &[row(1, 0, 1)],
        &[row(1, 2048, 0)],
        &[row(1, 0, 0), row(1, 2, 0)],
        &[row(1, 1, 0), row(1, 1, 0)],
    ];
    for rows in bad {
        assert_eq!(decoder.forward(rows, &[]).unwrap_err().code, Code::Internal, "{rows:?}");
    }
    assert!(decoder.forward(&[row(1, 0, 0)], &[1]).is_err());
}

#[test]
fn what_the_decoder_does_not_compute_is_refused_by_name() {
    let llama = || TestModel::new("llama", GgmlDType::F32);
    let qwen2 = || TestModel::new("qwen2", GgmlDType::F32);
    let cases = [
        (llama().set("general.architecture", text("mamba")), "mamba"),
        (qwen2().set("qwen2.expert_count", Value::U32(8)), "experts"),
        (llama().set("llama.expert_shared_count", Value::U32(1)), "expert_shared_count"),
        (llama().set("llama.rope.scaling.type", text("dynamic")), "dynamic"),
        (llama().set("llama.rope.scaling.attn_factor", Value::F32(1.5)), "attn_factor"),
        (llama().set("llama.attention.value_length", Value::U32(32)), "same length"),
        (
            TestModel { with: Some(("blk.0.attn_q_norm.weight".into(), vec![64])), ..llama() },
            "blk.0.attn_q_norm.weight",
        ),
    ];
    for (model, named) in cases {
        let fault = open(&model.write()).err().unwrap();
        assert_eq!(fault.code, Code::ModelUnsupported, "{fault:?}");
        assert!(fault.message.contains(named), "{} lacks {named}", fault.message);
        assert!(!fault.hints.is_empty());
    }
}

#[test]
fn weights_that_do_not_fit_the_header_are_refused_by_name() {
    let cases = [
        TestModel {
            without: Some("blk.1.ffn_up.weight".into()),
            ..TestModel::new("llama", GgmlDType::F32)
        },
        TestModel::new("llama", GgmlDType::F32).set("llama.feed_forward_length", Value::U32(256)),
        TestModel::new("llama", GgmlDType::F32).set("llama.block_count", Value::U32(3)),
        TestModel::new("llama", GgmlDType::F32).set("llama.attention.head_count_kv", Value::U32(4)),
        TestModel::new("qwen3", GgmlDType::F32).set("qwen3.rope.freq_base", Value::F32(-1.0)),
        TestModel::new("llama", GgmlDType::F32).set("llama.expert_count", Value::U32(8)),
        TestModel::new("llama", GgmlDType::F32).set("llama.rope.dimension_count", Value::U32(66)),
        TestModel::new("llama", GgmlDType::F32).set("llama.rope.dimension_count", Value::U32(31)),
        TestModel::new("llama", GgmlDType::F32).set("llama.attention.scale", Value::F32(0.0)),
        TestModel::new("llama", GgmlDType::F32).set("llama.logit_scale", Value::F32(f32::NAN)),
        TestModel::new("llama", GgmlDType::F32).set("llama.rope.scaling.type", text("yarn")),
    ];
    for model in cases {
        let fault = open(&model.write()).err().unwrap();
        assert_eq!(fault.code, Code::ModelCorrupt, "{fault:?}");
    }
}

#[test]
fn a_context_that_cannot_be_is_refused_with_the_models_own() {
    let path = TestModel::new("llama", GgmlDType::F32).write();
    let header = MappedModel::open(&path).unwrap().header;
    assert_eq!(check_context(&header, 2048).unwrap().ctx_size, 2048);
    for ctx_size in [0, 63, 2049] {
        let fault = check_context(&header, ctx_size).unwrap_err();
        assert_eq!(
            (fault.code, &fault.details["model_ctx"]),
            (Code::InvalidArgument, &2048.into())
        );
    }
    let windowed = TestModel::new("qwen2", GgmlDType::F32)
        .set("qwen2.attention.sliding_window", Value::U32(512));
    let header = MappedModel::open(&windowed.write()).unwrap().header;
    assert_eq!(check_context(&header, 512).unwrap().ctx_size, 512);
    assert_eq!(check_context(&header, 1024).unwrap_err().code, Code::ModelUnsupported);
}

#[test]
fn a_load_tells_its_progress_up_to_the_last_byte() {
    let path = TestModel::new("llama", GgmlDType::Q8_0).write();
    let file = MappedModel::open(&path).unwrap();
    let mut seen = Vec::new();
    Weights::load(&file, &mut |done, total| seen.push((done, total))).unwrap();
    assert!(seen.is_sorted() && seen.len() > 10);
    let total = file.header.weight_bytes();
    assert_eq!((seen[0], *seen.last().unwrap()), ((0, total), (total, total)));
}
