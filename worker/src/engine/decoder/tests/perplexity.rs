//! What each type of weights costs the demo model: its perplexity over text that it was not
//! trained on, with its matrices quantized by candle here, and computed by our decoder.

use std::fs::File;
use std::path::PathBuf;

use candle_core::quantized::gguf_file;
use serde::Deserialize;

use super::super::super::tokenizer::Tokenizer;
use super::*;

/// The demo model's text; what was kept from its training is here.
#[derive(Deserialize)]
struct Topics {
    topic: Vec<Topic>,
    refusal: Refusal,
}

#[derive(Deserialize)]
struct Topic {
    answer: String,
    held_out: Vec<String>,
}

#[derive(Deserialize)]
struct Refusal {
    answer: String,
    held_out: HeldOut,
}

#[derive(Deserialize)]
struct HeldOut {
    unseen: Vec<String>,
}

fn in_tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Conversations of one question and its answer, as the model's template writes them: every
/// twelfth that there is.
fn conversations() -> Vec<String> {
    let text = std::fs::read_to_string(in_tree("scripts/demo-model/topics.toml")).unwrap();
    let Topics { topic, refusal } = toml::from_str(&text).unwrap();
    let known = topic.iter().flat_map(|one| one.held_out.iter().map(|asked| (asked, &one.answer)));
    let unknown = refusal.held_out.unseen.iter().map(|asked| (asked, &refusal.answer));
    let written = known.chain(unknown).map(|(asked, answer)| {
        format!(
            "<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n{}<|im_end|>",
            answer.trim()
        )
    });
    written.step_by(12).collect()
}

/// The demo model with matrices of another type; vectors stay as they are.
fn of_type(dtype: GgmlDType) -> Weights {
    let mut file = File::open(in_tree("agent/demo/demo.gguf")).unwrap();
    let content = Content::read(&mut file).unwrap();
    let mut tensors: Vec<(&str, QTensor)> = Vec::new();
    for name in content.tensor_infos.keys() {
        let tensor = content.tensor(&mut file, name, &Device::Cpu).unwrap();
        let tensor = if tensor.shape().rank() == 2 {
            QTensor::quantize(&tensor.dequantize(&Device::Cpu).unwrap(), dtype).unwrap()
        } else {
            tensor
        };
        tensors.push((name, tensor));
    }
    let metadata: Vec<(&str, &Value)> =
        content.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, one)| (*name, one)).collect();
    let written = tempfile::Builder::new().suffix(".gguf").tempfile().unwrap();
    gguf_file::write(&mut written.as_file(), &metadata, &tensors).unwrap();
    open(written.path()).unwrap()
}

/// The logarithms of all tokens' probabilities by `logits`.
fn log_probabilities(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - largest).exp()).sum();
    logits.iter().map(|x| f64::from(x - largest) - sum.ln()).collect()
}

/// What a model of one type says of every position of every conversation.
fn said(dtype: GgmlDType, conversations: &[Vec<u32>]) -> Vec<Vec<f64>> {
    let mut decoder = Decoder::new(of_type(dtype), 512, 1).unwrap();
    let mut all = Vec::new();
    for tokens in conversations {
        let wanted: Vec<usize> = (0..tokens.len() - 1).collect();
        let logits = decoder.forward(&rows(tokens, 0, 0), &wanted).unwrap();
        all.extend(logits.iter().map(|logits| log_probabilities(logits)));
    }
    all
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
    sum / count
}

fn perplexity(said: &[Vec<f64>], conversations: &[Vec<u32>]) -> f64 {
    let next = conversations.iter().flat_map(|tokens| &tokens[1..]);
    let of = |(said, next): (&Vec<f64>, &u32)| said[usize::try_from(*next).unwrap()];
    (-mean(said.iter().zip(next).map(of))).exp()
}

/// How far what is said lies from `exact` (Kullback and Leibler), in nats a token.
fn divergence(exact: &[Vec<f64>], said: &[Vec<f64>]) -> f64 {
    let one = |(exact, said): (&Vec<f64>, &Vec<f64>)| -> f64 {
        exact.iter().zip(said).map(|(p, q)| p.exp() * (p - q)).sum()
    };
    mean(exact.iter().zip(said).map(one))
}

/// Perplexity alone cannot tell types of many bits apart: which of two rounded models likes a text
/// better by a part in a thousand is chance. How far what they say lies from the unrounded model
/// is not.
#[test]
fn perplexity_stays_within_a_hundredth_and_fewer_bits_are_farther_from_the_truth() {
    let demo = MappedModel::open(&in_tree("agent/demo/demo.gguf")).unwrap();
    let tokenizer = Tokenizer::from_header(&demo.header).unwrap();
    let tokens: Vec<Vec<u32>> =
        conversations().iter().map(|text| tokenizer.encode(text).unwrap()).collect();
    assert!(tokens.iter().map(Vec::len).sum::<usize>() > 1000);
    let exact = said(GgmlDType::F16, &tokens);
    let unrounded = perplexity(&exact, &tokens);
    println!("F16 {unrounded:.4}");
    let steps: [&[GgmlDType]; 7] = [
        &[GgmlDType::BF16],
        &[GgmlDType::Q8_0],
        &[GgmlDType::Q6K],
        &[GgmlDType::Q5K, GgmlDType::Q5_1, GgmlDType::Q5_0],
        &[GgmlDType::Q4K, GgmlDType::Q4_1, GgmlDType::Q4_0],
        &[GgmlDType::Q3K],
        &[GgmlDType::Q2K],
    ];
    let mut farthest = 0.0;
    for types in steps {
        let mut farther = farthest;
        for dtype in types {
            let said = said(*dtype, &tokens);
            let (perplexity, apart) = (perplexity(&said, &tokens), divergence(&exact, &said));
            let change = perplexity / unrounded - 1.0;
            println!("{dtype:?} {perplexity:.4} {:+.3} % {apart:.2e}", change * 100.0);
            assert!(change.abs() < 0.01, "{dtype:?}: {perplexity} instead of {unrounded}");
            assert!(apart > farthest, "{dtype:?} is nearer than a type of more bits: {apart}");
            farther = f64::max(farther, apart);
        }
        farthest = farther;
    }
}
