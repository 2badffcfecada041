//! Pre-tokenizers by the name that llama.cpp's converter writes. An unknown name is an error: a
//! guess would give wrong tokens without a word.

use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use wire::{Code, Fault};

use super::super::internal;

/// How text is cut before byte pairs are merged.
pub(super) struct PreTokenizer {
    /// Cuts text into words and maps their bytes.
    pub cutter: PreTokenizerWrapper,
    /// Whether a word that is a token is taken as such, whatever its merges say.
    pub ignores_merges: bool,
    /// Whether text is brought to Unicode's form NFC first.
    pub normalises: bool,
    /// Whether a text begins with the beginning token where the file does not say.
    pub adds_bos: bool,
}

#[derive(Clone, Copy)]
enum Cut {
    /// GPT-2's own pattern.
    Gpt2,
    /// Each digit alone, then GPT-2's pattern.
    DigitsThenGpt2,
    /// This pattern.
    Pattern(&'static str),
}

/// Llama 3's `tokenizer.json`: up to three digits in a word.
const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
/// Qwen 2's `tokenizer.json`: each digit is a word.
const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

struct Known {
    names: &'static [&'static str],
    cut: Cut,
    ignores_merges: bool,
    normalises: bool,
    adds_bos: bool,
}

const KNOWN: [Known; 4] = [
    Known {
        names: &["gpt-2"],
        cut: Cut::Gpt2,
        ignores_merges: false,
        normalises: false,
        adds_bos: false,
    },
    Known {
        names: &["smollm"],
        cut: Cut::DigitsThenGpt2,
        ignores_merges: false,
        normalises: false,
        adds_bos: false,
    },
    Known {
        names: &["llama-bpe", "llama3", "llama-v3"],
        cut: Cut::Pattern(LLAMA3),
        ignores_merges: true,
        normalises: false,
        adds_bos: true,
    },
    Known {
        names: &["qwen2", "deepseek-r1-qwen"],
        cut: Cut::Pattern(QWEN2),
        ignores_merges: false,
        normalises: true,
        adds_bos: false,
    },
];

/// The pre-tokenizer of that name.
///
/// # Errors
/// `MODEL_UNSUPPORTED` for a name that is not in the table.
pub(super) fn by_name(name: &str) -> Result<PreTokenizer, Fault> {
    let known = KNOWN.iter().find(|known| known.names.contains(&name)).ok_or_else(|| {
        let names: Vec<&str> = KNOWN.iter().flat_map(|known| known.names).copied().collect();
        let name = wire::text::one_line(name, 60);
        let message =
            format!("this engine knows the pre-tokenizers {}, not {name:?}", names.join(", "));
        Fault::new(Code::ModelUnsupported, message)
            .detail("pre_tokenizer", name)
            .hint("rbee run -m file:/path/to/another/model.gguf PROMPT")
    })?;
    let whole = ByteLevel::new(false, false, true);
    let cutter = match known.cut {
        Cut::Gpt2 => whole.into(),
        Cut::DigitsThenGpt2 => Sequence::new(vec![Digits::new(true).into(), whole.into()]).into(),
        Cut::Pattern(pattern) => {
            let pattern = SplitPattern::Regex(pattern.to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .map_err(|error| internal("the pre-tokenizer", error))?;
            let bytes = ByteLevel::new(false, false, false);
            Sequence::new(vec![split.into(), bytes.into()]).into()
        }
    };
    let Known { ignores_merges, normalises, adds_bos, .. } = *known;
    Ok(PreTokenizer { cutter, ignores_merges, normalises, adds_bos })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::PreTokenizer as _;
    use tokenizers::tokenizer::{OffsetReferential, OffsetType, PreTokenizedString};

    fn words(name: &str, text: &str) -> Vec<String> {
        let mut cut = PreTokenizedString::from(text);
        by_name(name).unwrap().cutter.pre_tokenize(&mut cut).unwrap();
        let words = cut.get_splits(OffsetReferential::Original, OffsetType::Byte);
        words.into_iter().map(|(word, _, _)| word.replace('Ġ', "_").replace('Ċ', "|")).collect()
    }

    /// Expected by hand from the patterns of the models' own `tokenizer.json`.
    #[test]
    fn each_family_cuts_digits_spaces_and_apostrophes_its_own_way() {
        let text = "It'S 12345\n\n  foo's";
        let gpt2 = words("gpt-2", text);
        assert_eq!(gpt2, ["It", "'", "S", "_12345", "||_", "_foo", "'s"]);
        let smollm = words("smollm", text);
        assert_eq!(smollm, ["It", "'", "S", "_", "1", "2", "3", "4", "5", "||_", "_foo", "'s"]);
        let llama = words("llama-bpe", text);
        assert_eq!(llama, ["It", "'S", "_", "123", "45", "||", "_", "_foo", "'s"]);
        let qwen = words("qwen2", text);
        assert_eq!(qwen, ["It", "'S", "_", "1", "2", "3", "4", "5", "||", "_", "_foo", "'s"]);
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        for name in ["default", "", "LLAMA-BPE", "tekken"] {
            let fault = by_name(name).err().unwrap();
            assert_eq!(fault.code, Code::ModelUnsupported);
            assert!(fault.message.contains("llama-bpe"), "{}", fault.message);
        }
    }
}
