//! What tells the families apart, in one table for both formats.

use wire::Fault;

use super::{Activation, Pairing, unsupported};

/// Which blocks attend to a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Windows {
    /// None; a file that names a window is refused beyond it.
    None,
    /// All, if the model has a window.
    All,
    /// All but every n-th.
    AllButEvery(usize),
}

/// Whether feed-forward parts are mixtures of experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mixes {
    /// In no model.
    Never,
    /// In some.
    Sometimes,
    /// In all.
    Always,
}

/// What tells one family from another.
pub(super) struct Family {
    /// `general.architecture` of its GGUF files; [`wire::hugging_face::MODEL_TYPES`] has the words
    /// of Hugging Face's configs for it.
    pub name: &'static str,
    /// How its GGUF files' weights pair elements; Hugging Face's are all in halves.
    pub pairing: Pairing,
    /// Whether each head's query and key is normalised.
    pub norms_heads: bool,
    /// Whether query, key and value are one matrix, and gate and up another.
    pub is_fused: bool,
    /// What a gate goes through.
    pub activation: Activation,
    /// Which blocks attend to a window.
    pub windows: Windows,
    /// Whether embeddings are multiplied with the root of their length, outputs normalised, too,
    /// and norms stored without their one.
    pub is_gemma: bool,
    /// Every n-th block is not rotated.
    pub unrotated: Option<usize>,
    /// Whether its feed-forward parts are mixtures of experts.
    pub mixes: Mixes,
}

const PLAIN: Family = Family {
    name: "",
    pairing: Pairing::Halves,
    norms_heads: false,
    is_fused: false,
    activation: Activation::Silu,
    windows: Windows::None,
    is_gemma: false,
    unrotated: None,
    mixes: Mixes::Never,
};

/// The families of [`wire::gguf::SUPPORTED_ARCHITECTURES`], which hives refuse by.
pub(super) const FAMILIES: [Family; 9] = [
    Family {
        name: "llama",
        pairing: Pairing::Interleaved,
        windows: Windows::All,
        mixes: Mixes::Sometimes,
        ..PLAIN
    },
    Family { name: "qwen2", ..PLAIN },
    Family { name: "qwen3", norms_heads: true, ..PLAIN },
    Family { name: "qwen3moe", norms_heads: true, mixes: Mixes::Always, ..PLAIN },
    Family {
        name: "gemma2",
        activation: Activation::GeluTanh,
        windows: Windows::AllButEvery(2),
        is_gemma: true,
        ..PLAIN
    },
    Family {
        name: "gemma3",
        norms_heads: true,
        activation: Activation::GeluTanh,
        windows: Windows::AllButEvery(6),
        is_gemma: true,
        ..PLAIN
    },
    Family { name: "phi3", is_fused: true, windows: Windows::All, ..PLAIN },
    Family { name: "smollm3", pairing: Pairing::Interleaved, unrotated: Some(4), ..PLAIN },
    Family { name: "granite", pairing: Pairing::Interleaved, ..PLAIN },
];

/// The family of that name.
///
/// # Errors
/// `MODEL_UNSUPPORTED` with all that there are.
pub(super) fn family(name: &str) -> Result<&'static Family, Fault> {
    FAMILIES.iter().find(|family| family.name == name).ok_or_else(|| {
        let known: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        let known = known.join(", ");
        let why = wire::gguf::why_unsupported(name);
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        unsupported(format!("this engine computes {known}, not the architecture {name}{why}"))
            .detail("architecture", name)
    })
}

impl Windows {
    /// Whether block `index` attends to a window, with another period if the file names one.
    pub(super) fn covers(self, index: usize, period: Option<usize>) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::AllButEvery(usual) => !(index + 1).is_multiple_of(period.unwrap_or(usual)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FAMILIES;

    #[test]
    fn a_hive_lets_through_what_the_decoder_computes_and_nothing_else() {
        let computed = FAMILIES.map(|family| family.name);
        assert_eq!(computed.as_slice(), wire::gguf::SUPPORTED_ARCHITECTURES);
        for (model_type, name) in wire::hugging_face::MODEL_TYPES {
            assert!(computed.contains(name), "{model_type}");
        }
    }
}
