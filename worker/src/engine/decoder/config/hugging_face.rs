//! The figures of a Hugging Face `config.json`, in the words of transformers 4 and 5.

use serde_json::{Map, Value};
use wire::gguf::ModelShape;
use wire::hugging_face::{self, Tensors};
use wire::{Fault, limits, text};

use super::super::super::weights::{Directory, Naming, corrupt};
use super::family::{Family, Windows, family};
use super::{
    Activation, Block, Config, Experts, LongFactors, Pairing, Room, RopeConfig, Rotation, Scaling,
    inverse_root, narrow, positive, room, size, unsupported, yarn_magnitude,
};

/// A `config.json`, checked.
pub(in super::super::super) struct Description {
    /// The model's figures.
    pub(in super::super) config: Config,
    /// What its tensors are called.
    pub(in super::super) naming: Naming,
    /// Those of its figures that a hive knows, too.
    pub(in super::super::super) shape: ModelShape,
}

/// An object of a config. A key that is `null` is as one that is missing, unless its absence has a
/// meaning of its own.
#[derive(Clone, Copy)]
struct Keys<'j>(&'j Map<String, Value>);

impl<'j> Keys<'j> {
    fn get(self, key: &str) -> Option<&'j Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn count(self, key: &str, most: u32) -> Result<Option<u32>, Fault> {
        Ok(hugging_face::count(self.0, key, most)?)
    }

    fn needed(self, key: &str, most: u32) -> Result<u32, Fault> {
        self.count(key, most)?.ok_or_else(|| corrupt(format!("config.json lacks {key}")))
    }

    fn factor(self, key: &str) -> Result<Option<f64>, Fault> {
        let Some(value) = self.get(key) else { return Ok(None) };
        positive(value.as_f64().unwrap_or(f64::NAN), key).map(Some)
    }

    fn flag(self, key: &str) -> Result<Option<bool>, Fault> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| corrupt(format!("{key} is no truth")))
    }

    fn text(self, key: &str) -> Result<Option<&'j str>, Fault> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| corrupt(format!("{key} is no text")))
    }

    fn object(self, key: &str) -> Result<Option<Self>, Fault> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let object = value.as_object().ok_or_else(|| corrupt(format!("{key} is no object")))?;
        Ok(Some(Self(object)))
    }

    /// A list with one value for each of `length`.
    fn list(self, key: &str, length: usize) -> Result<Option<&'j [Value]>, Fault> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_array() {
            Some(list) if list.len() == length => Ok(Some(list)),
            _ => Err(corrupt(format!("{key} is no list of {length}"))),
        }
    }

    /// Refuses what changes the computation in a way that this decoder lacks.
    fn refuse_true(self, keys: &[&str]) -> Result<(), Fault> {
        for key in keys {
            if self.flag(key)? == Some(true) {
                return Err(unsupported(format!("this engine does not compute with {key}")));
            }
        }
        Ok(())
    }
}

/// A config with its family, and what both formats call alike.
struct Model<'j> {
    keys: Keys<'j>,
    family: &'static Family,
    kind: &'j str,
    shape: &'j ModelShape,
    layers: usize,
}

impl Description {
    /// Reads and checks the `config.json` of `directory`, and whether its tensors are like that.
    ///
    /// # Errors
    /// As [`Config::from_header`].
    pub(in super::super::super) fn of(directory: &Directory) -> Result<Self, Fault> {
        let description = Self::parse(&directory.config, &directory.tensors)?;
        directory.tensors.check_shape(&description.shape)?;
        Ok(description)
    }

    /// Reads and checks a `config.json` of a model of `tensors`.
    ///
    /// # Errors
    /// As [`Config::from_header`].
    pub(in super::super) fn parse(json: &[u8], tensors: &Tensors) -> Result<Self, Fault> {
        let file = hugging_face::Config::parse(json)?;
        let shape = file.shape(tensors)?;
        let keys = Keys(file.values());
        let family = family(file.architecture())?;
        keys.refuse_true(&["use_bidirectional_attention", "add_cross_attention"])?;
        let (kind, layers) = (file.model_type(), size(shape.layers));
        let model = Model { keys, family, kind, shape: &shape, layers };
        let (config, naming) = (model.config()?, model.naming());
        Ok(Self { config, naming, shape })
    }

    /// The context that a worker of this model gets, if it can have it.
    ///
    /// # Errors
    /// As [`room`].
    pub(in super::super::super) fn room(&self, ctx_size: u32) -> Result<Room, Fault> {
        room(self.config.context, ctx_size)
    }
}

impl Model<'_> {
    fn naming(&self) -> Naming {
        match self.kind {
            "mixtral" => Naming::Mixtral,
            _ if self.family.is_gemma => Naming::Gemma,
            _ if self.family.is_fused => Naming::Fused,
            _ => Naming::Plain,
        }
    }

    fn config(&self) -> Result<Config, Fault> {
        let (keys, family) = (self.keys, self.family);
        let window = self.window()?;
        let blocks = self.blocks(window)?;
        let (rope, local_rope) = self.ropes()?;
        let attention_scale = match keys.factor("attention_multiplier")? {
            Some(scale) if family.name == "granite" => narrow(scale),
            _ if family.is_gemma => {
                inverse_root(keys.factor("query_pre_attn_scalar")?.unwrap_or(256.0))
            }
            _ => inverse_root(f64::from(self.shape.head_dim)),
        };
        let of_granite = |key: &str| match family.name {
            "granite" => keys.factor(key),
            _ => Ok(None),
        };
        let of_gemma2 = |key: &str, usual: f64| match family.name {
            // Absent is transformers' default; null is none.
            "gemma2" if !keys.0.contains_key(key) => Ok(Some(usual)),
            "gemma2" | "gemma3" => keys.factor(key),
            _ => Ok(None),
        };
        let embedding_scale = if family.is_gemma {
            Some(f64::from(self.shape.embedding).sqrt())
        } else {
            of_granite("embedding_multiplier")?
        };
        Config {
            blocks,
            embedding: size(self.shape.embedding),
            heads: size(self.shape.heads),
            kv_heads: size(self.shape.kv_heads),
            head_dim: size(self.shape.head_dim),
            feed_forward: size(self.shape.feed_forward),
            context: self.shape.context,
            epsilon: self.epsilon()?,
            pairing: Pairing::Halves,
            rope,
            local_rope,
            window,
            norms_heads: family.norms_heads,
            norms_outputs: family.is_gemma,
            is_fused: family.is_fused,
            activation: self.activation()?,
            experts: self.experts()?,
            attention_scale,
            attention_softcap: of_gemma2("attn_logit_softcapping", 50.0)?.map(narrow),
            embedding_scale: embedding_scale.map(narrow),
            residual_scale: of_granite("residual_multiplier")?.map(narrow),
            logit_divisor: of_granite("logits_scaling")?.map(narrow),
            logit_softcap: of_gemma2("final_logit_softcapping", 30.0)?.map(narrow),
            is_tied: keys.flag("tie_word_embeddings")?,
            norm_offset: if family.is_gemma { 1.0 } else { 0.0 },
        }
        .check()
    }

    fn epsilon(&self) -> Result<f32, Fault> {
        match self.keys.get("rms_norm_eps").and_then(Value::as_f64) {
            Some(epsilon) if (0.0..1.0).contains(&epsilon) => Ok(narrow(epsilon)),
            _ => Err(corrupt("rms_norm_eps is no number from 0 to 1")),
        }
    }

    fn activation(&self) -> Result<Activation, Fault> {
        let key = if self.family.is_gemma { "hidden_activation" } else { "hidden_act" };
        match self.keys.text(key)? {
            None => Ok(self.family.activation),
            Some("silu") => Ok(Activation::Silu),
            Some("gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
            Some(other) => {
                let other = text::one_line(other, 40);
                Err(unsupported(format!("this engine does not compute the activation {other}")))
            }
        }
    }

    fn experts(&self) -> Result<Option<Experts>, Fault> {
        let keys = self.keys;
        let (count, inner) = match self.kind {
            "mixtral" => ("num_local_experts", "intermediate_size"),
            "qwen3_moe" => ("num_experts", "moe_intermediate_size"),
            _ => return Ok(None),
        };
        let is_dense =
            keys.get("mlp_only_layers").is_some_and(|list| *list != Value::Array(vec![]));
        if is_dense || keys.count("decoder_sparse_step", u32::MAX)?.is_some_and(|step| step != 1) {
            return Err(unsupported("this engine wants experts in every block or in none"));
        }
        // transformers 5 writes qwen3_moe's count under mixtral's name.
        let experts = match keys.count(count, limits::MAX_EXPERTS)? {
            Some(count) => count,
            None => keys.needed("num_local_experts", limits::MAX_EXPERTS)?,
        };
        let is_mixtral = self.kind == "mixtral";
        Ok(Some(Experts {
            count: size(experts),
            used: size(keys.needed("num_experts_per_tok", experts)?),
            feed_forward: size(keys.needed(inner, limits::MAX_MODEL_WIDTH)?),
            are_normed: is_mixtral || keys.flag("norm_topk_prob")?.unwrap_or(false),
        }))
    }

    /// The window; transformers' default where a config leaves it out.
    fn window(&self) -> Result<Option<usize>, Fault> {
        let keys = self.keys;
        let usual = match self.kind {
            "llama" | "granite" => return Ok(None),
            "qwen2" | "qwen3" if keys.flag("use_sliding_window")? != Some(true) => return Ok(None),
            "qwen3_moe" | "smollm3" => {
                keys.refuse_true(&["use_sliding_window"])?;
                return Ok(None);
            }
            "qwen2" | "qwen3" | "mistral" | "gemma2" | "gemma3_text" => Some(4096),
            _ => None,
        };
        if !keys.0.contains_key("sliding_window") {
            return Ok(usual);
        }
        Ok(keys.count("sliding_window", limits::MAX_CTX_SIZE)?.map(size))
    }

    fn blocks(&self, window: Option<usize>) -> Result<Vec<Block>, Fault> {
        let keys = self.keys;
        let kinds = keys.list("layer_types", self.layers)?;
        let period = match keys.count("sliding_window_pattern", limits::MAX_MODEL_LAYERS)? {
            Some(period) => Some(period),
            None => keys.count("_sliding_window_pattern", limits::MAX_MODEL_LAYERS)?,
        };
        let first_of_qwen = keys.get("max_window_layers").and_then(Value::as_u64).unwrap_or(28);
        let rotated = match self.family.unrotated {
            Some(_) => keys.list("no_rope_layers", self.layers)?,
            None => None,
        };
        let every = keys.count("no_rope_layer_interval", limits::MAX_MODEL_LAYERS)?.map(size);
        let block = |index: usize| {
            let kind = kinds.and_then(|kinds| kinds.get(index)).and_then(Value::as_str);
            let is_windowed = match (kind, self.family.windows) {
                (Some("sliding_attention"), _) => true,
                (Some("full_attention"), _) => false,
                (Some(_), _) => return Err(unsupported("this engine lacks one of layer_types")),
                (None, Windows::None) => {
                    u64::try_from(index).is_ok_and(|index| index >= first_of_qwen)
                }
                (None, windows) => windows.covers(index, period.map(size)),
            };
            let is_windowed = is_windowed && window.is_some();
            let is_rotated = match (self.family.unrotated, rotated) {
                (None, _) => true,
                (_, Some(list)) => list.get(index).and_then(Value::as_u64) != Some(0),
                (Some(usual), None) => !(index + 1).is_multiple_of(every.unwrap_or(usual)),
            };
            let rotation = match (is_rotated, is_windowed && self.family.name == "gemma3") {
                (false, _) => Rotation::None,
                (true, true) => Rotation::Local,
                (true, false) => Rotation::Global,
            };
            Ok(Block { is_windowed, rotation })
        };
        (0..self.layers).map(block).collect()
    }

    /// Rotary positions of all blocks, and of windowed ones where they differ.
    fn ropes(&self) -> Result<(RopeConfig, Option<RopeConfig>), Fault> {
        let keys = self.keys;
        let is_gemma3 = self.family.name == "gemma3";
        let theta = |key: &str, usual: f64| {
            let theta = keys.get(key).and_then(Value::as_f64);
            theta.unwrap_or(usual)
        };
        let usual = match self.kind {
            "gemma3_text" | "mixtral" => 1e6,
            "smollm3" => 2e6,
            _ => 1e4,
        };
        let nothing = Map::new();
        let Some(parameters) = keys.object("rope_parameters")? else {
            let scaling = keys.object("rope_scaling")?.unwrap_or(Keys(&nothing));
            let global = self.rope(scaling, theta("rope_theta", usual))?;
            let local = theta("rope_local_base_freq", 1e4);
            let local = is_gemma3.then(|| self.rope(Keys(&nothing), local)).transpose()?;
            return Ok((global, local));
        };
        if !is_gemma3 {
            return Ok((self.rope(parameters, usual)?, None));
        }
        let part = |key: &str| {
            let part = parameters.object(key)?;
            part.ok_or_else(|| corrupt(format!("rope_parameters lacks {key}")))
        };
        let local = self.rope(part("sliding_attention")?, 1e4)?;
        Ok((self.rope(part("full_attention")?, usual)?, Some(local)))
    }

    /// What one object of parameters says; transformers 4 had the base and the part of a head
    /// outside of it.
    fn rope(&self, parameters: Keys<'_>, base: f64) -> Result<RopeConfig, Fault> {
        let base = parameters.get("rope_theta").and_then(Value::as_f64).unwrap_or(base);
        let part = match parameters.factor("partial_rotary_factor")? {
            Some(part) => part,
            None => self.keys.factor("partial_rotary_factor")?.unwrap_or(1.0),
        };
        let rotated = whole(f64::from(self.shape.head_dim) * part);
        let scaling = self.scaling(parameters, rotated)?;
        RopeConfig { base, rotated, scaling }.check(size(self.shape.head_dim))
    }

    fn scaling(&self, parameters: Keys<'_>, rotated: usize) -> Result<Scaling, Fault> {
        let kind = match parameters.text("rope_type")? {
            Some(kind) => Some(kind),
            None => parameters.text("type")?,
        };
        let needed = |key: &str| {
            let factor = parameters.factor(key)?;
            factor.ok_or_else(|| corrupt(format!("the rope parameters lack {key}")))
        };
        let original = || {
            const KEY: &str = "original_max_position_embeddings";
            let own = parameters.count(KEY, limits::MAX_CTX_SIZE)?;
            let outer = self.keys.count(KEY, limits::MAX_CTX_SIZE)?;
            Ok::<_, Fault>(own.or(outer).unwrap_or(self.shape.context))
        };
        match kind {
            None | Some("default") => Ok(Scaling::Linear(1.0)),
            Some("linear") => Ok(Scaling::Linear(needed("factor")?)),
            Some("llama3") => Ok(Scaling::Llama3 {
                factor: needed("factor")?,
                low: needed("low_freq_factor")?,
                high: needed("high_freq_factor")?,
                original: f64::from(original()?),
            }),
            Some("yarn") => {
                if parameters.flag("truncate")? == Some(false) {
                    return Err(unsupported("this engine truncates the range of YaRN"));
                }
                let factor = needed("factor")?;
                Ok(Scaling::Yarn {
                    factor,
                    original: f64::from(original()?),
                    beta_fast: parameters.factor("beta_fast")?.unwrap_or(32.0),
                    beta_slow: parameters.factor("beta_slow")?.unwrap_or(1.0),
                    magnitude: magnitude_of_yarn(parameters, factor)?,
                })
            }
            Some("longrope" | "su") => self.long(parameters, original()?, rotated),
            Some(other) => {
                let other = text::one_line(other, 40);
                Err(unsupported(format!("this engine does not scale positions by {other}")))
            }
        }
    }

    fn long(&self, parameters: Keys<'_>, original: u32, rotated: usize) -> Result<Scaling, Fault> {
        let factors = |key: &str| {
            let list = parameters.get(key).and_then(Value::as_array);
            let list = list.filter(|list| list.len() * 2 == rotated);
            let list = list.ok_or_else(|| corrupt(format!("{key} is no factor for each pair")))?;
            let factor =
                |value: &Value| positive(value.as_f64().unwrap_or(f64::NAN), key).map(narrow);
            list.iter().map(factor).collect::<Result<Vec<f32>, Fault>>()
        };
        let stretch = match parameters.factor("factor")? {
            Some(factor) => factor,
            None => f64::from(self.shape.context) / f64::from(original),
        };
        let magnitude = match parameters.factor("attention_factor")? {
            Some(magnitude) => magnitude,
            None if stretch <= 1.0 => 1.0,
            None => (1.0 + stretch.ln() / f64::from(original).ln()).sqrt(),
        };
        let factors =
            LongFactors { short: factors("short_factor")?, long: factors("long_factor")? };
        Ok(Scaling::Long { original: size(original), magnitude, factors: Some(factors) })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of a head, which saturates and is checked against the whole"
)]
fn whole(elements: f64) -> usize {
    elements as usize
}

fn magnitude_of_yarn(parameters: Keys<'_>, factor: f64) -> Result<f64, Fault> {
    if let Some(magnitude) = parameters.factor("attention_factor")? {
        return Ok(magnitude);
    }
    let with = |scale: f64| (yarn_magnitude(factor) - 1.0) * scale + 1.0;
    match (parameters.factor("mscale")?, parameters.factor("mscale_all_dim")?) {
        (Some(own), Some(all)) => Ok(with(own) / with(all)),
        _ => Ok(yarn_magnitude(factor)),
    }
}
