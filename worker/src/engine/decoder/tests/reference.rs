//! A decoder in plain f64 loops: slow, and written from the definitions alone.

#![expect(clippy::cast_precision_loss, reason = "sizes and positions are small")]
#![expect(clippy::cast_possible_truncation, reason = "it is compared with f32")]

use std::collections::HashMap;

use candle_core::Device;

use crate::engine::testing::TestModel;

pub(super) struct Reference<'m> {
    model: &'m TestModel,
    weights: HashMap<String, Vec<f64>>,
    rope_scale: f64,
}

fn norm(x: &[f64], weight: &[f64]) -> Vec<f64> {
    let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
    x.iter().zip(weight).map(|(v, w)| v / (mean + 1e-5).sqrt() * w).collect()
}

fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

impl<'m> Reference<'m> {
    pub(super) fn new(model: &'m TestModel, rope_scale: f64) -> Self {
        let weights = model.tensors().into_iter().map(|(name, tensor)| {
            let values = tensor.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap();
            let values: Vec<f32> = values.to_vec1().unwrap();
            (name, values.into_iter().map(f64::from).collect())
        });
        Self { model, weights: weights.collect(), rope_scale }
    }

    fn times(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let matrix = &self.weights[&format!("{name}.weight")];
        let mut y: Vec<f64> = matrix
            .chunks_exact(x.len())
            .map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum())
            .collect();
        if let Some(bias) = self.weights.get(&format!("{name}.bias")) {
            add(&mut y, bias);
        }
        y
    }

    fn rotate(&self, head: &mut [f64], position: usize) {
        let half = head.len() / 2;
        for pair in 0..half {
            let exponent = -2.0 * pair as f64 / head.len() as f64;
            let factor = self.weights.get("rope_freqs.weight").map_or(1.0, |f| f[pair]);
            let frequency = f64::from(self.model.rope_base).powf(exponent) / factor;
            let angle = position as f64 / self.rope_scale * frequency;
            let (a, b) = match self.model.family {
                "llama" => (2 * pair, 2 * pair + 1),
                _ => (pair, pair + half),
            };
            let (x, y) = (head[a], head[b]);
            head[a] = x * angle.cos() - y * angle.sin();
            head[b] = x * angle.sin() + y * angle.cos();
        }
    }

    /// Projects, normalises (qwen3) and rotates every head.
    fn heads(&self, name: &str, x: &[f64], position: usize) -> Vec<f64> {
        let mut all = self.times(name, x);
        for head in all.chunks_exact_mut(self.model.head_dim) {
            if let Some(weight) = self.weights.get(&format!("{name}_norm.weight")) {
                let normed = norm(head, weight);
                head.copy_from_slice(&normed);
            }
            self.rotate(head, position);
        }
        all
    }

    fn attend(&self, layer: usize, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let (dim, group) = (self.model.head_dim, self.model.heads / self.model.kv_heads);
        let keys: Vec<_> =
            inputs.iter().enumerate().map(|(p, x)| self.heads(&name("attn_k"), x, p)).collect();
        let values: Vec<_> = inputs.iter().map(|x| self.times(&name("attn_v"), x)).collect();
        let mut outputs = Vec::new();
        for (position, x) in inputs.iter().enumerate() {
            let queries = self.heads(&name("attn_q"), x, position);
            let mut seen = Vec::new();
            for (head, query) in queries.chunks_exact(dim).enumerate() {
                let at = head / group * dim..(head / group + 1) * dim;
                let dot = |key: &Vec<f64>| -> f64 {
                    key[at.clone()].iter().zip(query).map(|(a, b)| a * b).sum()
                };
                let scores: Vec<f64> =
                    keys[..=position].iter().map(|key| dot(key) / (dim as f64).sqrt()).collect();
                let best = scores.iter().copied().fold(f64::MIN, f64::max);
                let sum: f64 = scores.iter().map(|score| (score - best).exp()).sum();
                let mut mixed = vec![0.0; dim];
                for (score, value) in scores.iter().zip(&values) {
                    let part = (score - best).exp() / sum;
                    mixed.iter_mut().zip(&value[at.clone()]).for_each(|(m, v)| *m += part * v);
                }
                seen.extend(mixed);
            }
            outputs.push(self.times(&name("attn_output"), &seen));
        }
        outputs
    }

    fn feed_forward(&self, layer: usize, x: &[f64]) -> Vec<f64> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let gate = self.times(&name("ffn_gate"), x);
        let up = self.times(&name("ffn_up"), x);
        let inner: Vec<f64> =
            gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
        self.times(&name("ffn_down"), &inner)
    }

    /// Logits of the last token.
    pub(super) fn logits(&self, tokens: &[u32]) -> Vec<f32> {
        let width = self.model.embedding;
        let table = &self.weights["token_embd.weight"];
        let row = |token: &u32| table[*token as usize * width..][..width].to_vec();
        let mut hidden: Vec<Vec<f64>> = tokens.iter().map(row).collect();
        for layer in 0..self.model.layers {
            let weight = &self.weights[&format!("blk.{layer}.attn_norm.weight")];
            let inputs: Vec<_> = hidden.iter().map(|x| norm(x, weight)).collect();
            let seen = self.attend(layer, &inputs);
            let weight = &self.weights[&format!("blk.{layer}.ffn_norm.weight")];
            for (x, seen) in hidden.iter_mut().zip(seen) {
                add(x, &seen);
                let inner = self.feed_forward(layer, &norm(x, weight));
                add(x, &inner);
            }
        }
        let last = norm(hidden.last().unwrap(), &self.weights["output_norm.weight"]);
        let output = if self.model.is_tied { "token_embd" } else { "output" };
        self.times(output, &last).into_iter().map(|logit| logit as f32).collect()
    }
}
