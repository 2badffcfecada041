//! What of a GGUF header the decoder goes by; whatever it cannot compute is refused by name.

use wire::gguf::Header;
use wire::{Code, Fault, limits};

use super::super::weights::corrupt;

/// How rotary positions pair a head's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pairing {
    /// Element 2i with 2i+1, as llama's converted weights want it.
    Interleaved,
    /// Element i with i+d/2 (GPT-NeoX).
    Halves,
}

/// What tells the families apart.
struct Family {
    name: &'static str,
    pairing: Pairing,
    /// Whether each head's query and key is normalised.
    norms_heads: bool,
}

/// The families of [`wire::gguf::SUPPORTED_ARCHITECTURES`], which hives refuse by.
const FAMILIES: [Family; 3] = [
    Family { name: "llama", pairing: Pairing::Interleaved, norms_heads: false },
    Family { name: "qwen2", pairing: Pairing::Halves, norms_heads: false },
    Family { name: "qwen3", pairing: Pairing::Halves, norms_heads: true },
];

/// A model's figures.
#[derive(Debug, Clone)]
pub(super) struct Config {
    /// Transformer blocks.
    pub layers: usize,
    /// Elements of a token's embedding.
    pub embedding: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; they divide `heads`.
    pub kv_heads: usize,
    /// Elements of a head; even.
    pub head_dim: usize,
    /// Elements between the halves of a feed-forward block.
    pub feed_forward: usize,
    /// What keeps the root mean square off zero.
    pub epsilon: f32,
    /// How rotary positions pair elements.
    pub pairing: Pairing,
    /// Whether each head's query and key is normalised.
    pub norms_heads: bool,
    /// The base of the rotary frequencies.
    pub rope_base: f64,
    /// Positions are divided by this (linear scaling); 1 is none.
    pub rope_scale: f64,
}

fn unsupported(message: String) -> Fault {
    Fault::new(Code::ModelUnsupported, message)
        .hint("rbee run -m file:/path/to/another/model.gguf PROMPT")
}

fn family(header: &Header) -> Result<&'static Family, Fault> {
    let name = header.architecture()?;
    FAMILIES.iter().find(|family| family.name == name).ok_or_else(|| {
        let known: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        let known = known.join(", ");
        unsupported(format!("this engine computes {known}, not the architecture {name}"))
            .detail("architecture", name)
    })
}

fn size(figure: u32) -> usize {
    usize::try_from(figure).unwrap_or(usize::MAX)
}

impl Config {
    /// Reads and checks the figures.
    ///
    /// # Errors
    /// `MODEL_UNSUPPORTED` for what this decoder does not compute, `MODEL_CORRUPT` for figures that
    /// no model has.
    pub(super) fn from_header(header: &Header) -> Result<Self, Fault> {
        let family = family(header)?;
        let shape = header.shape()?;
        let key = |name: &str| format!("{}.{name}", family.name);
        if header.unsigned(&key("expert_count")).is_some_and(|count| count > 0) {
            let name = family.name;
            return Err(unsupported(format!("this engine does not compute {name} with experts")));
        }
        if shape.value_dim != shape.head_dim {
            let message = "this engine wants keys and values of the same length";
            return Err(unsupported(message.to_owned()));
        }
        if !shape.head_dim.is_multiple_of(2) {
            return Err(corrupt(format!("heads of {} elements cannot be rotated", shape.head_dim)));
        }
        let rotated = header.unsigned(&key("rope.dimension_count"));
        if rotated.is_some_and(|rotated| rotated != u64::from(shape.head_dim)) {
            let message = "this engine does not rotate a part of a head only";
            return Err(unsupported(message.to_owned()));
        }
        Ok(Self {
            layers: size(shape.layers),
            embedding: size(shape.embedding),
            heads: size(shape.heads),
            kv_heads: size(shape.kv_heads),
            head_dim: size(shape.head_dim),
            feed_forward: size(shape.feed_forward),
            epsilon: epsilon(header, &key("attention.layer_norm_rms_epsilon"))?,
            pairing: family.pairing,
            norms_heads: family.norms_heads,
            rope_base: rope_base(header, &key("rope.freq_base"))?,
            rope_scale: rope_scale(header, &key)?,
        })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the file's own number is an f32")]
fn epsilon(header: &Header, key: &str) -> Result<f32, Fault> {
    match header.float(key) {
        Some(epsilon) if (0.0..1.0).contains(&epsilon) => Ok(epsilon as f32),
        _ => Err(corrupt(format!("{key} is no number from 0 to 1"))),
    }
}

fn rope_base(header: &Header, key: &str) -> Result<f64, Fault> {
    // llama.cpp's default, for files older than the key.
    let base = header.float(key).unwrap_or(10_000.0);
    if base.is_finite() && base >= 1.0 {
        Ok(base)
    } else {
        Err(corrupt(format!("{key} is no number from 1 up")))
    }
}

/// The divisor of positions. Scaling by other rules than linear is refused; factors by frequency
/// come as the tensor `rope_freqs.weight` instead.
fn rope_scale(header: &Header, key: &dyn Fn(&str) -> String) -> Result<f64, Fault> {
    let factor_key = key("rope.scaling.factor");
    let factor = header.float(&factor_key);
    // Files older than the two keys have this one.
    let factor = factor.or_else(|| header.float(&key("rope.scale_linear"))).unwrap_or(1.0);
    match header.text(&key("rope.scaling.type")) {
        Some("none") => return Ok(1.0),
        None | Some("linear") => {}
        Some(other) => {
            let other = wire::text::one_line(other, 40);
            return Err(unsupported(format!("this engine does not scale positions by {other}")));
        }
    }
    if factor == 0.0 {
        // llama.cpp's converter writes 0 for none.
        return Ok(1.0);
    }
    if factor.is_finite() && factor >= 1e-3 {
        Ok(factor)
    } else {
        Err(corrupt(format!("{factor_key} is no positive number")))
    }
}

/// Tokens that a sequence has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Room {
    /// Here.
    pub ctx_size: usize,
    /// With all the context that the model was trained for.
    pub trained: usize,
}

/// The context that a worker of this model gets, if it can have it.
///
/// # Errors
/// `INVALID_ARGUMENT` for more tokens than the model was trained for, or too few to be of use;
/// `MODEL_UNSUPPORTED` when the model would attend to a part of them only.
pub(in super::super) fn check_context(header: &Header, ctx_size: u32) -> Result<Room, Fault> {
    let name = family(header)?.name;
    let trained = header.shape()?.context;
    let lowest = limits::MIN_CTX_SIZE.min(trained);
    if ctx_size < lowest || ctx_size > trained {
        let message = format!("the context is {lowest} to {trained} tokens for this model");
        return Err(Fault::new(Code::InvalidArgument, format!("{message}, not {ctx_size}"))
            .detail("ctx_size", ctx_size)
            .detail("model_ctx", trained)
            .hint(format!("rbee run --ctx-size {trained} …")));
    }
    let window = header.unsigned(&format!("{name}.attention.sliding_window")).unwrap_or(0);
    if window > 0 && window < u64::from(ctx_size) {
        let message =
            format!("this model attends to {window} tokens only, which this engine lacks");
        return Err(unsupported(message).hint(format!("rbee run --ctx-size {window} …")));
    }
    Ok(Room { ctx_size: size(ctx_size), trained: size(trained) })
}

#[cfg(test)]
mod tests {
    use super::FAMILIES;

    #[test]
    fn a_hive_lets_through_what_the_decoder_computes_and_nothing_else() {
        let computed = FAMILIES.map(|family| family.name);
        assert_eq!(computed.as_slice(), wire::gguf::SUPPORTED_ARCHITECTURES);
    }
}
