//! The figures of a GGUF header, by llama.cpp's keys and its rules for files that lack some.

use wire::gguf::{Array, Header, ModelShape, Value};
use wire::{Fault, limits, text};

use super::super::super::weights::corrupt;
use super::family::{Family, Mixes, Windows, family};
use super::{
    Block, Config, Experts, Room, RopeConfig, Rotation, Scaling, inverse_root, narrow, positive,
    room, size, unsupported, yarn_magnitude,
};

/// A header, and how its family's keys begin.
struct Keys<'h> {
    header: &'h Header,
    family: &'static Family,
}

fn family_of(header: &Header) -> Result<&'static Family, Fault> {
    family(header.architecture()?)
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.family.name)
    }

    fn has(&self, name: &str) -> bool {
        self.header.metadata.contains_key(&self.key(name))
    }

    /// A factor, if the file has it.
    fn factor(&self, name: &str) -> Result<Option<f64>, Fault> {
        let key = self.key(name);
        if !self.has(name) {
            return Ok(None);
        }
        positive(self.header.float(&key).unwrap_or(f64::NAN), &key).map(Some)
    }

    /// A count from 1 to `most`, if the file has it.
    fn count(&self, name: &str, most: u32) -> Result<Option<u32>, Fault> {
        let key = self.key(name);
        let Some(value) = self.header.metadata.get(&key) else { return Ok(None) };
        let count = value.unsigned().and_then(|count| u32::try_from(count).ok());
        match count {
            Some(count) if (1..=most).contains(&count) => Ok(Some(count)),
            _ => Err(corrupt(format!("{key} is no number from 1 to {most}"))),
        }
    }

    /// The window, if the file has one; 0 is none.
    fn window(&self) -> Option<u64> {
        self.header.unsigned(&self.key("attention.sliding_window")).filter(|window| *window > 0)
    }

    /// Refuses keys by which llama.cpp computes something that this decoder does not.
    fn refuse(&self, names: &[&str]) -> Result<(), Fault> {
        let is_set = |name: &&&str| {
            let value = self.header.metadata.get(&self.key(name));
            value.is_some_and(|value| !matches!(value.float(), Some(0.0)))
        };
        match names.iter().find(is_set) {
            Some(name) => {
                Err(unsupported(format!("this engine does not compute with {}", self.key(name))))
            }
            None => Ok(()),
        }
    }
}

impl Config {
    /// Reads and checks the figures.
    ///
    /// # Errors
    /// `MODEL_UNSUPPORTED` for what this decoder does not compute, `MODEL_CORRUPT` for figures that
    /// no model has.
    pub(in super::super) fn from_header(header: &Header) -> Result<Self, Fault> {
        let family = family_of(header)?;
        let shape = header.shape()?;
        let keys = Keys { header, family };
        if shape.value_dim != shape.head_dim {
            return Err(unsupported("this engine wants keys and values of the same length"));
        }
        keys.refuse(&[
            "expert_shared_count",
            "expert_shared_feed_forward_length",
            "expert_group_count",
            "expert_weights_scale",
            "router_logit_softcapping",
            "attention.temperature_scale",
            "rope.scaling.yarn_log_multiplier",
            "rope.scaling.yarn_attn_factor",
        ])?;
        if family.name == "granite"
            && header.flag(&keys.key("rope.scaling.finetuned")) == Some(false)
        {
            return Err(unsupported("this engine does not compute granite without positions"));
        }
        let head_dim = size(shape.head_dim);
        let rope = rope(&keys, &shape)?.check(head_dim)?;
        Self {
            blocks: blocks(&keys, size(shape.layers))?,
            embedding: size(shape.embedding),
            heads: size(shape.heads),
            kv_heads: size(shape.kv_heads),
            head_dim,
            feed_forward: size(shape.feed_forward),
            context: shape.context,
            epsilon: epsilon(header, &keys.key("attention.layer_norm_rms_epsilon"))?,
            pairing: family.pairing,
            local_rope: local_rope(&keys, &rope)?,
            rope,
            window: window(&keys),
            norms_heads: family.norms_heads,
            norms_outputs: family.is_gemma,
            is_fused: family.is_fused,
            activation: family.activation,
            experts: experts(&keys, &shape)?,
            attention_scale: attention_scale(&keys, &shape)?,
            attention_softcap: softcap(&keys, "attn_logit_softcapping", 50.0)?,
            embedding_scale: embedding_scale(&keys, &shape)?,
            residual_scale: keys.factor("residual_scale")?.map(narrow),
            logit_divisor: keys.factor("logit_scale")?.map(narrow),
            logit_softcap: softcap(&keys, "final_logit_softcapping", 30.0)?,
            is_tied: None,
            norm_offset: 0.0,
        }
        .check()
    }
}

fn epsilon(header: &Header, key: &str) -> Result<f32, Fault> {
    match header.float(key) {
        Some(epsilon) if (0.0..1.0).contains(&epsilon) => Ok(narrow(epsilon)),
        _ => Err(corrupt(format!("{key} is no number from 0 to 1"))),
    }
}

fn window(keys: &Keys<'_>) -> Option<usize> {
    if keys.family.windows == Windows::None {
        return None;
    }
    // Gemma 2's, whose first files lack the key.
    let usual = (keys.family.name == "gemma2").then_some(4096);
    keys.window().and_then(|window| usize::try_from(window).ok()).or(usual)
}

fn blocks(keys: &Keys<'_>, count: usize) -> Result<Vec<Block>, Fault> {
    const PATTERN: &str = "attention.sliding_window_pattern";
    let (family, has_window) = (keys.family, window(keys).is_some());
    let pattern = keys.header.metadata.get(&keys.key(PATTERN));
    let listed = match pattern {
        Some(Value::Array(Array::Bool(all))) if all.len() == count => Some(all.clone()),
        Some(Value::Array(_)) => {
            let message = format!("{} is not one truth for each block", keys.key(PATTERN));
            return Err(corrupt(message));
        }
        _ => None,
    };
    let period = match pattern {
        Some(Value::Array(_)) | None => None,
        Some(_) => keys.count(PATTERN, limits::MAX_MODEL_LAYERS)?.map(size),
    };
    let rotation = |index: usize, is_windowed: bool| match family.unrotated {
        Some(every) if (index + 1).is_multiple_of(every) => Rotation::None,
        _ if is_windowed && has_local_rope(family) => Rotation::Local,
        _ => Rotation::Global,
    };
    let block = |index: usize| {
        let usual = || family.windows.covers(index, period);
        let is_windowed =
            listed.as_ref().and_then(|all| all.get(index).copied()).unwrap_or_else(usual);
        let is_windowed = is_windowed && has_window;
        Block { is_windowed, rotation: rotation(index, is_windowed) }
    };
    Ok((0..count).map(block).collect())
}

fn has_local_rope(family: &Family) -> bool {
    family.name == "gemma3"
}

/// Gemma 3's windowed blocks have a base of their own, which most files leave out.
fn local_rope(keys: &Keys<'_>, rope: &RopeConfig) -> Result<Option<RopeConfig>, Fault> {
    if !has_local_rope(keys.family) {
        keys.refuse(&["rope.freq_base_swa"])?;
        return Ok(None);
    }
    let base = keys.factor("rope.freq_base_swa")?.unwrap_or(10_000.0);
    Ok(Some(RopeConfig { base, rotated: rope.rotated, scaling: Scaling::Linear(1.0) }))
}

fn rope(keys: &Keys<'_>, shape: &ModelShape) -> Result<RopeConfig, Fault> {
    let key = keys.key("rope.freq_base");
    // llama.cpp's default, for files older than the key.
    let base = keys.header.float(&key).unwrap_or(10_000.0);
    let rotated = keys.count("rope.dimension_count", limits::MAX_MODEL_WIDTH)?;
    let rotated = rotated.unwrap_or(shape.head_dim);
    Ok(RopeConfig { base, rotated: size(rotated), scaling: scaling(keys, shape)? })
}

fn scaling(keys: &Keys<'_>, shape: &ModelShape) -> Result<Scaling, Fault> {
    let original = keys.count("rope.scaling.original_context_length", limits::MAX_CTX_SIZE)?;
    let original = original.unwrap_or(shape.context);
    let magnitude = keys.factor("rope.scaling.attn_factor")?;
    if keys.header.tensor("rope_factors_long.weight").is_some() {
        let magnitude = magnitude.unwrap_or(1.0);
        return Ok(Scaling::Long { original: size(original), magnitude, factors: None });
    }
    if magnitude.is_some_and(|magnitude| (magnitude - 1.0).abs() > 1e-6) {
        return Err(unsupported("this engine does not compute with rope.scaling.attn_factor here"));
    }
    let factor_key = keys.key("rope.scaling.factor");
    // Files older than the two keys have this one; llama.cpp's converter writes 0 for none.
    let old = || keys.header.float(&keys.key("rope.scale_linear"));
    let factor = keys.header.float(&factor_key).or_else(old).filter(|factor| *factor != 0.0);
    match keys.header.text(&keys.key("rope.scaling.type")) {
        Some("none") => Ok(Scaling::Linear(1.0)),
        None | Some("linear") => Ok(Scaling::Linear(factor.unwrap_or(1.0))),
        Some("yarn") => {
            let extrapolation = keys.factor("rope.scaling.yarn_ext_factor")?;
            if extrapolation.is_some_and(|factor| (factor - 1.0).abs() > 1e-6) {
                let message = "this engine extrapolates by YaRN wholly or not at all";
                return Err(unsupported(message));
            }
            let factor = factor.ok_or_else(|| corrupt(format!("{factor_key} is missing")))?;
            Ok(Scaling::Yarn {
                factor,
                original: f64::from(original),
                beta_fast: keys.factor("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                beta_slow: keys.factor("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                magnitude: yarn_magnitude(factor),
            })
        }
        Some(other) => {
            let other = text::one_line(other, 40);
            Err(unsupported(format!("this engine does not scale positions by {other}")))
        }
    }
}

fn experts(keys: &Keys<'_>, shape: &ModelShape) -> Result<Option<Experts>, Fault> {
    let name = keys.family.name;
    let is_none = keys.header.unsigned(&keys.key("expert_count")) == Some(0);
    let count = if is_none { None } else { keys.count("expert_count", limits::MAX_EXPERTS)? };
    let Some(count) = count else {
        return match keys.family.mixes {
            Mixes::Always => Err(corrupt("the model lacks expert_count")),
            _ => Ok(None),
        };
    };
    if keys.family.mixes == Mixes::Never {
        return Err(unsupported(format!("this engine does not compute {name} with experts")));
    }
    // 1 is softmax, which llama.cpp takes when the key is missing.
    let gating = keys.header.unsigned(&keys.key("expert_gating_func"));
    if gating.is_some_and(|gating| gating > 1) {
        return Err(unsupported("this engine chooses experts by softmax only"));
    }
    let used = keys.count("expert_used_count", count)?;
    let used = used.ok_or_else(|| corrupt("the model lacks expert_used_count"))?;
    let inner = keys.count("expert_feed_forward_length", limits::MAX_MODEL_WIDTH)?;
    let are_normed = keys.header.flag(&keys.key("expert_weights_norm")).unwrap_or(true);
    Ok(Some(Experts {
        count: size(count),
        used: size(used),
        feed_forward: size(inner.unwrap_or(shape.feed_forward)),
        are_normed,
    }))
}

fn attention_scale(keys: &Keys<'_>, shape: &ModelShape) -> Result<f32, Fault> {
    if let Some(scale) = keys.factor("attention.scale")? {
        return Ok(narrow(scale));
    }
    // The largest Gemma 2 and 3 divide by another number than their heads have elements; no key
    // says so.
    let is_largest = matches!((keys.family.name, shape.layers), ("gemma2", 46) | ("gemma3", 62));
    let elements = if is_largest { shape.embedding / shape.heads } else { shape.head_dim };
    Ok(inverse_root(f64::from(elements)))
}

/// A bound of some products. Gemma 2 has them also in files that lack the keys.
fn softcap(keys: &Keys<'_>, name: &str, gemma2: f64) -> Result<Option<f32>, Fault> {
    let usual = (keys.family.name == "gemma2").then_some(gemma2);
    let is_none = keys.header.float(&keys.key(name)) == Some(0.0);
    let cap = if is_none { None } else { keys.factor(name)?.or(usual) };
    Ok(cap.map(narrow))
}

fn embedding_scale(keys: &Keys<'_>, shape: &ModelShape) -> Result<Option<f32>, Fault> {
    let root = || f64::from(shape.embedding).sqrt();
    let own = keys.family.is_gemma.then(root);
    Ok(keys.factor("embedding_scale")?.or(own).map(narrow))
}

/// The context that a worker of this model gets, if it can have it.
///
/// # Errors
/// As [`room`]; `MODEL_UNSUPPORTED` for a window in a family that this decoder knows none in.
pub(in super::super::super) fn check_context(
    header: &Header,
    ctx_size: u32,
) -> Result<Room, Fault> {
    let family = family_of(header)?;
    let room = room(header.shape()?.context, ctx_size)?;
    let window = Keys { header, family }.window();
    match window.filter(|window| *window < u64::from(ctx_size)) {
        Some(window) if family.windows == Windows::None => {
            let message =
                format!("this model attends to {window} tokens only, which this engine lacks");
            Err(unsupported(message).hint(format!("rbee run --ctx-size {window} …")))
        }
        _ => Ok(room),
    }
}
