//! Pre-tokenizers by the name that llama.cpp's converter writes. An unknown name is an error: a
//! guess would give wrong tokens without a word.

use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::punctuation::Punctuation;
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
    /// These patterns one after the other, each within the parts that those before it have left.
    Patterns(&'static [&'static str]),
    /// The same, then each digit alone.
    PatternsThenDigits(&'static [&'static str]),
    /// Runs of punctuation, GPT-2's pattern, runs of digits, then three digits at a time.
    Falcon,
}

/// Llama 3's `tokenizer.json`: up to three digits in a word.
const LLAMA3: &[&str] = &[concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)];
/// Qwen 2's `tokenizer.json`: each digit is a word.
const QWEN2: &[&str] = &[concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)];
/// Qwen 3.5's: marks belong to letters.
const QWEN35: &[&str] = &[concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|",
    r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)];
/// Mistral's `tekken.json`: a capital begins a word, each digit is one.
const TEKKEN: &[&str] = &[concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|",
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)];
/// `o200k`: as Mistral's, with English endings, and up to three digits in a word.
const GPT4O: &[&str] = &[concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)];
/// Letters of the alphabets that have cases, as `DeepSeek LLM` lists them.
const DEEPSEEK_LETTERS: &str = concat!(
    r"\s?[A-Za-z\u{b5}\u{c0}-\u{d6}\u{d8}-\u{f6}\u{f8}-\u{1ba}\u{1bc}-\u{1bf}\u{1c4}-\u{293}",
    r"\u{295}-\u{2af}\u{370}-\u{373}\u{376}\u{377}\u{37b}-\u{37d}\u{37f}\u{386}\u{388}-\u{38a}",
    r"\u{38c}\u{38e}-\u{3a1}\u{3a3}-\u{3f5}\u{3f7}-\u{481}\u{48a}-\u{52f}\u{531}-\u{556}",
    r"\u{10a0}-\u{10c5}\u{13a0}-\u{13f5}\u{13f8}-\u{13fd}\u{1c90}-\u{1cba}\u{1cbd}-\u{1cbf}",
    r"\u{1d00}-\u{1d2b}\u{1d6b}-\u{1d77}\u{1d79}-\u{1d9a}\u{1e00}-\u{1f15}\u{1f18}-\u{1f1d}",
    r"\u{1f20}-\u{1f45}\u{1f48}-\u{1f4d}\u{1f50}-\u{1f57}\u{1f59}\u{1f5b}\u{1f5d}",
    r"\u{1f5f}-\u{1f7d}\u{1f80}-\u{1fb4}\u{1fb6}-\u{1fbc}\u{1fbe}\u{1fc2}-\u{1fc4}",
    r"\u{1fc6}-\u{1fcc}\u{1fd0}-\u{1fd3}\u{1fd6}-\u{1fdb}\u{1fe0}-\u{1fec}\u{1ff2}-\u{1ff4}",
    r"\u{1ff6}-\u{1ffc}\u{2102}\u{2107}\u{210a}-\u{2113}\u{2115}\u{2119}-\u{211d}\u{2124}",
    r"\u{2126}\u{2128}\u{212a}-\u{212d}\u{212f}-\u{2134}\u{2139}\u{213c}-\u{213f}",
    r"\u{2145}-\u{2149}\u{214e}\u{2183}\u{2184}\u{2c00}-\u{2c7b}\u{2c7e}-\u{2ce4}",
    r"\u{2ceb}-\u{2cee}\u{2cf2}\u{2cf3}\u{a640}-\u{a66d}\u{a680}-\u{a69b}\u{a722}-\u{a76f}",
    r"\u{a771}-\u{a787}\u{a78b}-\u{a78e}\u{ab70}-\u{abbf}\u{fb00}-\u{fb06}\u{fb13}-\u{fb17}",
    r"\u{ff21}-\u{ff3a}\u{ff41}-\u{ff5a}\u{10400}-\u{1044f}\u{104b0}-\u{104d3}",
    r"\u{104d8}-\u{104fb}\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}",
    r"\u{1e900}-\u{1e943}]+"
);
const DEEPSEEK_LLM: &[&str] = &[
    r"[\r\n]",
    DEEPSEEK_LETTERS,
    r"\s?[!-/:-~\u{ff01}-\u{ff0f}\u{ff1a}-\u{ff5e}\u{2018}-\u{201f}\u{3000}-\u{3002}]+",
    r"\s+$",
    r"[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+",
];
const DEEPSEEK_CODER: &[&str] = &[
    r"[\r\n]",
    r"\s?\p{L}+",
    r"\s?\p{P}+",
    r"[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+",
];
const DEEPSEEK_V3: &[&str] = &[
    r"\p{N}{1,3}",
    r"[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+",
    concat!(
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"##,
        r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|",
        r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
];
/// `Seed-Coder`'s: newlines after punctuation are words of their own.
const SEED_CODER: &[&str] = &[concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
    r" ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
)];

struct Known {
    names: &'static [&'static str],
    cut: Cut,
    ignores_merges: bool,
    normalises: bool,
    adds_bos: bool,
}

impl Known {
    /// Merges count, text stays as it is, and nothing is put before it.
    const fn plain(names: &'static [&'static str], cut: Cut) -> Self {
        Self { names, cut, ignores_merges: false, normalises: false, adds_bos: false }
    }

    /// The same, but text is brought to NFC.
    const fn normalised(names: &'static [&'static str], cut: Cut) -> Self {
        Self { normalises: true, ..Self::plain(names, cut) }
    }

    /// Whole words before merges, and a beginning token.
    const fn whole_words(names: &'static [&'static str], cut: Cut) -> Self {
        Self { ignores_merges: true, adds_bos: true, ..Self::plain(names, cut) }
    }
}

/// The patterns are those of the models' own `tokenizer.json`. Where llama.cpp writes another one
/// for the same name (`tekken`, `gpt-4o`: letters by their ASCII case, marks left out; `qwen2`,
/// `command-r`: no NFC), the model was trained with this one.
const KNOWN: [Known; 16] = [
    Known::plain(&["gpt-2", "phi-2", "mellum", "granite-docling"], Cut::Gpt2),
    Known::plain(&["smollm", "starcoder", "refact", "minerva-7b"], Cut::DigitsThenGpt2),
    Known::normalised(&["mpt", "olmo"], Cut::Gpt2),
    Known::normalised(&["command-r"], Cut::DigitsThenGpt2),
    Known::whole_words(
        &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        Cut::Patterns(LLAMA3),
    ),
    Known::plain(&["dbrx", "smaug-bpe"], Cut::Patterns(LLAMA3)),
    Known::normalised(&["qwen2", "deepseek-r1-qwen"], Cut::Patterns(QWEN2)),
    Known::normalised(&["qwen35"], Cut::Patterns(QWEN35)),
    Known::plain(&["stablelm2"], Cut::Patterns(QWEN2)),
    Known::whole_words(&["tekken"], Cut::Patterns(TEKKEN)),
    Known::plain(&["gpt-4o", "llama4", "kanana2"], Cut::Patterns(GPT4O)),
    Known::plain(&["deepseek-llm"], Cut::PatternsThenDigits(DEEPSEEK_LLM)),
    Known::plain(&["deepseek-coder"], Cut::PatternsThenDigits(DEEPSEEK_CODER)),
    Known::plain(&["deepseek-v3"], Cut::Patterns(DEEPSEEK_V3)),
    Known::plain(&["seed-coder"], Cut::Patterns(SEED_CODER)),
    Known::plain(&["falcon"], Cut::Falcon),
];

/// All names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().flat_map(|known| known.names).copied()
}

/// The pre-tokenizer of that name.
///
/// # Errors
/// `MODEL_UNSUPPORTED` for a name that is not in the table.
pub(super) fn by_name(name: &str) -> Result<PreTokenizer, Fault> {
    let known = KNOWN.iter().find(|known| known.names.contains(&name)).ok_or_else(|| {
        let names: Vec<&str> = names().collect();
        let name = wire::text::one_line(name, 60);
        let message =
            format!("this engine knows the pre-tokenizers {}, not {name:?}", names.join(", "));
        Fault::new(Code::ModelUnsupported, message)
            .detail("pre_tokenizer", name)
            .hint("rbee run -m file:/path/to/another/model.gguf PROMPT")
    })?;
    let Known { ignores_merges, normalises, adds_bos, .. } = *known;
    Ok(PreTokenizer { cutter: cutter(known.cut)?, ignores_merges, normalises, adds_bos })
}

fn cutter(cut: Cut) -> Result<PreTokenizerWrapper, Fault> {
    let gpt2 = || PreTokenizerWrapper::from(ByteLevel::new(false, false, true));
    let bytes = || PreTokenizerWrapper::from(ByteLevel::new(false, false, false));
    let digits = |each: bool| PreTokenizerWrapper::from(Digits::new(each));
    let steps = match cut {
        Cut::Gpt2 => return Ok(gpt2()),
        Cut::DigitsThenGpt2 => vec![digits(true), gpt2()],
        Cut::Patterns(patterns) => {
            let mut steps = splits(patterns)?;
            steps.push(bytes());
            steps
        }
        Cut::PatternsThenDigits(patterns) => {
            let mut steps = splits(patterns)?;
            steps.extend([digits(true), bytes()]);
            steps
        }
        Cut::Falcon => {
            let runs = Punctuation::new(SplitDelimiterBehavior::Contiguous).into();
            let mut steps = vec![runs, gpt2(), digits(false)];
            steps.extend(splits(&["[0-9][0-9][0-9]"])?);
            steps
        }
    };
    Ok(Sequence::new(steps).into())
}

fn splits(patterns: &[&str]) -> Result<Vec<PreTokenizerWrapper>, Fault> {
    let split = |pattern: &&str| {
        let pattern = SplitPattern::Regex((*pattern).to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
        Ok(split.map_err(|error| internal("the pre-tokenizer", error))?.into())
    };
    patterns.iter().map(split).collect()
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
        for name in ["default", "", "LLAMA-BPE", "bloom"] {
            let fault = by_name(name).err().unwrap();
            assert_eq!(fault.code, Code::ModelUnsupported);
            assert!(fault.message.contains("llama-bpe"), "{}", fault.message);
        }
    }
}
