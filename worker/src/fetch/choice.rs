//! Which files of a repository are the model that somebody named.

use wire::hugging_face::{CONFIG, INDEX, SINGLE, TOKENIZER};
use wire::pull::FileName;
use wire::{Code, Fault, limits, text};

/// What is taken when nothing is said: what most machines run well first.
const PREFERENCE: &[&str] = &[
    "Q4_K_M", "Q4_K_S", "Q5_K_M", "Q4_0", "Q5_K_S", "Q6_K", "Q8_0", "Q3_K_M", "IQ4_XS", "Q3_K_L",
    "Q2_K", "BF16", "F16", "F32",
];
/// What belongs to a model in the form of Hugging Face, besides its weights. The first is a must.
const COMPANIONS: &[&str] = &[
    CONFIG,
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    CARD,
];
/// The card of a model.
pub const CARD: &str = "README.md";
/// Where models are that an engine here may load.
const OTHERS: &str = "open https://huggingface.co/models?library=gguf";
/// Names that a refusal lists.
const MAX_LISTED: usize = 24;

/// The files of `names` that are what `selector` asks for: the name of a file, of a quantization,
/// or nothing.
///
/// # Errors
/// `MODEL_NOT_FOUND` with what there is instead, `MODEL_UNSUPPORTED` for what no engine here loads.
pub fn choose(
    repo: &str,
    names: &[FileName],
    selector: Option<&str>,
) -> Result<Vec<FileName>, Fault> {
    if let Some(wanted) = selector.filter(|word| is_gguf(word)) {
        let found = names.iter().find(|name| name.as_str() == wanted);
        let found = found.ok_or_else(|| absent(repo, names, wanted))?;
        let is_part = is_split(stem(found.as_str()));
        return if is_part { Err(split(repo, wanted)) } else { Ok(vec![found.clone()]) };
    }
    if let Some(wanted) = selector {
        return quantization(repo, names, wanted).map(|name| vec![name]);
    }
    let whole: Vec<&FileName> = names.iter().filter(|name| is_candidate(name.as_str())).collect();
    if let [only] = whole.as_slice() {
        return Ok(vec![(*only).clone()]);
    }
    if !whole.is_empty() {
        let preferred = PREFERENCE.iter().find_map(|wanted| best(names, wanted));
        let preferred = preferred.ok_or_else(|| undecided(repo, names))?;
        return Ok(vec![preferred.clone()]);
    }
    if names.iter().any(|name| is_gguf(name.as_str()) && is_split(stem(name.as_str()))) {
        return Err(split(repo, "the model"));
    }
    safetensors(repo, names)
}

/// The one file of a quantization.
fn quantization(repo: &str, names: &[FileName], wanted: &str) -> Result<FileName, Fault> {
    if let Some(name) = best(names, wanted) {
        return Ok(name.clone());
    }
    let in_parts = |name: &&FileName| {
        let stem = stem(name.as_str());
        is_gguf(name.as_str()) && !is_other(stem) && unsplit(stem).is_some_and(|s| is_of(s, wanted))
    };
    let is_in_parts = names.iter().any(|name| in_parts(&name));
    Err(if is_in_parts { split(repo, wanted) } else { absent(repo, names, wanted) })
}

/// Of several of one quantization: that of the root, with the shortest name, the first by name.
fn best<'a>(names: &'a [FileName], wanted: &str) -> Option<&'a FileName> {
    let is_one =
        |name: &&FileName| is_candidate(name.as_str()) && is_of(stem(name.as_str()), wanted);
    names.iter().filter(is_one).min_by_key(|name| {
        let name = name.as_str();
        (name.contains('/'), name.len(), name)
    })
}

/// A directory of safetensors, in the form that the engine reads: all in the root.
fn safetensors(repo: &str, names: &[FileName]) -> Result<Vec<FileName>, Fault> {
    let has = |wanted: &str| names.iter().any(|name| name.as_str() == wanted);
    let weights: Vec<&FileName> = if has(SINGLE) {
        names.iter().filter(|name| name.as_str() == SINGLE).collect()
    } else if has(INDEX) {
        names.iter().filter(|name| name.as_str() == INDEX || is_shard(name.as_str())).collect()
    } else {
        Vec::new()
    };
    if weights.len() > limits::MAX_MODEL_SHARDS + 1 {
        let message = format!(
            "{repo} has its weights in {} files; {} are read at most",
            weights.len(),
            limits::MAX_MODEL_SHARDS
        );
        return Err(Fault::new(Code::ModelUnsupported, message).hint(OTHERS));
    }
    if weights.is_empty() || !has(CONFIG) {
        let message = format!(
            "{repo} is no model that an engine here loads: it has neither a .gguf file nor \
             {CONFIG} with {SINGLE} or {INDEX}"
        );
        return Err(Fault::new(Code::ModelUnsupported, message).hint(OTHERS));
    }
    let belongs = |name: &&FileName| COMPANIONS.contains(&name.as_str());
    Ok(names.iter().filter(belongs).chain(weights).cloned().collect())
}

fn is_gguf(name: &str) -> bool {
    let suffix = name.len().checked_sub(5).and_then(|at| name.get(at..));
    suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(".gguf"))
}

/// The last part of a name, without `.gguf`.
fn stem(name: &str) -> &str {
    let last = name.rsplit('/').next().unwrap_or(name);
    if is_gguf(last) { last.get(..last.len() - 5).unwrap_or(last) } else { last }
}

/// Whether a stem is of what is no language model by itself: projectors, importance matrices.
fn is_other(stem: &str) -> bool {
    let stem = stem.to_ascii_lowercase();
    stem.starts_with("mmproj") || stem.contains("imatrix")
}

/// A stem without `-00001-of-00003`, where it has that.
fn unsplit(stem: &str) -> Option<&str> {
    let is_number = |word: &str| word.len() == 5 && word.bytes().all(|b| b.is_ascii_digit());
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (rest, number) = rest.rsplit_once('-')?;
    (is_number(count) && is_number(number)).then_some(rest)
}

fn is_split(stem: &str) -> bool {
    unsplit(stem).is_some()
}

fn is_candidate(name: &str) -> bool {
    let stem = stem(name);
    is_gguf(name) && !is_other(stem) && !is_split(stem)
}

/// Whether a stem ends in `-`, `.` or `_` and `wanted`, in letters of any case.
fn is_of(stem: &str, wanted: &str) -> bool {
    let Some(at) = stem.len().checked_sub(wanted.len()).filter(|&at| at > 0) else { return false };
    let (Some(before), Some(end)) = (stem.get(..at), stem.get(at..)) else { return false };
    !wanted.is_empty() && end.eq_ignore_ascii_case(wanted) && before.ends_with(['-', '.', '_'])
}

fn is_shard(name: &str) -> bool {
    let stem = name.strip_suffix(".safetensors").and_then(|name| name.strip_prefix("model-"));
    // Those of other tools are `model-1-of-2`: the index has the last word, the numbers do not.
    stem.is_some_and(|stem| stem.contains("-of-") && !stem.contains('/'))
}

/// What quantization a stem is of, as far as its name tells.
fn quantization_of(stem: &str) -> Option<&str> {
    let known = |word: &str| {
        let word = word.to_ascii_uppercase();
        let rest = ["IQ", "TQ", "Q", "BF", "F", "MXFP"].iter().find_map(|p| word.strip_prefix(p));
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let ends = stem.char_indices().filter(|(_, c)| matches!(c, '-' | '.'));
    // Names of quantizations have `_` in them: the longest end that is one counts.
    let starts = ends.map(|(at, _)| at + 1);
    starts.filter_map(|at| stem.get(at..)).find(|word| known(word) && !word.contains(['-', '.']))
}

/// What there is, for a refusal: bounded, and harmless as names of files are.
fn listed(names: &[FileName]) -> String {
    let mut words: Vec<&str> = names
        .iter()
        .filter(|name| is_candidate(name.as_str()))
        .map(|name| quantization_of(stem(name.as_str())).unwrap_or(name.as_str()))
        .collect();
    words.sort_unstable();
    words.dedup();
    let more = words.len().saturating_sub(MAX_LISTED);
    words.truncate(MAX_LISTED);
    match (words.is_empty(), more) {
        (true, _) => "no GGUF file that could be loaded".to_owned(),
        (false, 0) => words.join(", "),
        (false, more) => format!("{} and {more} more", words.join(", ")),
    }
}

fn example(repo: &str, names: &[FileName]) -> String {
    let first = names.iter().find(|name| is_candidate(name.as_str()));
    let preferred = PREFERENCE.iter().find_map(|wanted| best(names, wanted)).or(first);
    match preferred.map(|name| quantization_of(stem(name.as_str())).unwrap_or(name.as_str())) {
        Some(word) => format!("rbee pull {}", text::shell_word(&format!("hf:{repo}:{word}"))),
        None => format!("rbee pull {}", text::shell_word(&format!("hf:{repo}"))),
    }
}

fn absent(repo: &str, names: &[FileName], wanted: &str) -> Fault {
    let wanted = text::one_line(wanted, 80);
    let message = format!("{repo} has no {wanted}; it has {}", listed(names));
    Fault::new(Code::ModelNotFound, message).hint(example(repo, names))
}

fn undecided(repo: &str, names: &[FileName]) -> Fault {
    let message = format!("{repo} has several models, say which: {}", listed(names));
    Fault::new(Code::ModelNotFound, message).hint(example(repo, names))
}

fn split(repo: &str, wanted: &str) -> Fault {
    let wanted = text::one_line(wanted, 80);
    let message = format!(
        "{repo} has {wanted} in several GGUF files only, which no engine here loads: take a \
         quantization that is one file"
    );
    Fault::new(Code::ModelUnsupported, message).hint(OTHERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &[&str]) -> Vec<FileName> {
        of.iter().filter_map(|name| name.parse().ok()).collect()
    }

    fn chosen(of: &[&str], selector: Option<&str>) -> Vec<String> {
        let chosen = choose("org/repo", &names(of), selector).unwrap();
        chosen.iter().map(|name| name.as_str().to_owned()).collect()
    }

    fn refused(of: &[&str], selector: Option<&str>) -> Fault {
        choose("org/repo", &names(of), selector).unwrap_err()
    }

    #[test]
    fn a_quantization_is_the_end_of_a_name_and_nothing_less() {
        let all = ["m-Q4_K_M.gguf", "m.Q4_K.gguf", "m_f16.gguf", "m-IQ4_XS.gguf", "mQ8_0.gguf"];
        assert_eq!(chosen(&all, Some("q4_k")), ["m.Q4_K.gguf"]);
        assert_eq!(chosen(&all, Some("Q4_K_M")), ["m-Q4_K_M.gguf"]);
        assert_eq!(chosen(&all, Some("F16")), ["m_f16.gguf"]);
        assert_eq!(chosen(&all, Some("iq4_xs")), ["m-IQ4_XS.gguf"]);
        for absent in ["Q8_0", "K_M0", "", "é", "mQ8_0"] {
            let fault = refused(&all, Some(absent));
            assert_eq!(fault.code, Code::ModelNotFound, "{absent}");
            assert_eq!(fault.hints, ["rbee pull hf:org/repo:Q4_K_M"]);
        }
    }

    #[test]
    fn of_several_the_roots_shortest_is_taken() {
        let all = ["a/m-Q8_0.gguf", "long-m-Q8_0.gguf", "m2-Q8_0.gguf", "m1-Q8_0.gguf"];
        assert_eq!(chosen(&all, Some("Q8_0")), ["m1-Q8_0.gguf"]);
        assert_eq!(chosen(&["a/m-Q8_0.gguf"], Some("Q8_0")), ["a/m-Q8_0.gguf"]);
    }

    #[test]
    fn projectors_matrices_and_parts_are_no_models() {
        let all =
            ["mmproj-F16.gguf", "m-imatrix-Q8_0.gguf", "m-Q6_K-00001-of-00002.gguf", "x-Q2_K.gguf"];
        assert_eq!(chosen(&all, None), ["x-Q2_K.gguf"]);
        assert_eq!(refused(&all, Some("F16")).code, Code::ModelNotFound);
        assert_eq!(refused(&all, Some("Q6_K")).code, Code::ModelUnsupported);
        let part = Some("m-Q6_K-00001-of-00002.gguf");
        assert_eq!(refused(&all, part).code, Code::ModelUnsupported);
        assert_eq!(refused(&["m-Q6_K-00001-of-00002.gguf"], None).code, Code::ModelUnsupported);
    }

    #[test]
    fn nothing_said_is_what_runs_well_or_a_question() {
        assert_eq!(chosen(&["any.gguf", "README.md"], None), ["any.gguf"]);
        assert_eq!(chosen(&["m-Q8_0.gguf", "m-Q4_K_M.gguf"], None), ["m-Q4_K_M.gguf"]);
        let fault = refused(&["a.gguf", "b.gguf"], None);
        assert_eq!(fault.code, Code::ModelNotFound);
        assert!(fault.message.contains("a.gguf, b.gguf"), "{fault}");
        let many: Vec<String> = (0..500).map(|n| format!("{n}-thing.gguf")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let fault = refused(&many, Some("\u{1b}[2J"));
        assert!(fault.message.len() < 1000 && !fault.message.contains('\u{1b}'), "{fault}");
        assert!(fault.message.contains("and 476 more"), "{fault}");
    }

    #[test]
    fn a_named_file_is_that_file() {
        let all = ["d/m-Q8_0.gguf", "m-Q4_0.gguf"];
        assert_eq!(chosen(&all, Some("d/m-Q8_0.gguf")), ["d/m-Q8_0.gguf"]);
        for absent in ["m-Q8_0.gguf", "../m-Q4_0.gguf", "M-Q4_0.gguf", ".gguf"] {
            assert_eq!(refused(&all, Some(absent)).code, Code::ModelNotFound);
        }
    }

    #[test]
    fn safetensors_come_with_what_belongs_to_them() {
        let all = [
            "README.md",
            "config.json",
            "evil.py",
            "model.safetensors",
            "onnx/config.json",
            "original/model.safetensors",
            "tokenizer.json",
            "../config.json",
            "pytorch_model.bin",
        ];
        assert_eq!(
            chosen(&all, None),
            ["README.md", "config.json", "tokenizer.json", "model.safetensors"]
        );
        let shards = [
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "sub/model-00001-of-00002.safetensors",
        ];
        assert_eq!(chosen(&shards, None), &shards[..4]);
        for none in [&["config.json"][..], &["model.safetensors"], &["a.bin", "config.json"], &[]] {
            assert_eq!(refused(none, None).code, Code::ModelUnsupported);
        }
    }
}
