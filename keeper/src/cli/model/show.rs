//! `rbee model show`: what a model is, and whether it runs on this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;
use wire::inspection::{Inspection, TemplateFacts, TypeShare, Weight};
use wire::{Fault, ModelRef, limits, text};

use crate::context::Context;
use crate::failure::Failure;
use crate::output::progress::bytes;
use crate::{model, role};

/// Show what a model is and whether it runs here.
///
/// Reads the headers of its files; nothing is loaded and nothing is started. What only the weights
/// themselves show is seen when they are loaded.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  rbee model show demo\n  \
    rbee model show ./model.gguf --ctx-size 32768 --json")]
pub struct Args {
    /// The model: an alias, `file:/path.gguf`, `demo`, or a path here.
    #[arg(value_name = "MODEL", required_unless_present = "model", conflicts_with = "model")]
    name: Option<String>,
    /// The same.
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,
    /// Tokens of context to count the memory for. Without it: what a worker would get.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32)
        .range(i64::from(limits::MIN_CTX_SIZE)..=i64::from(limits::MAX_CTX_SIZE)))]
    ctx_size: Option<u32>,
    /// Write one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Everything that is known.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    model: &'a ModelRef,
    path: &'a Path,
    #[serde(flatten)]
    inspection: &'a Inspection,
    /// Tokens of context and bytes of memory of a worker here, if one would be let in.
    memory: Option<Weight>,
    runs_here: bool,
    why_not: &'a [Fault],
}

/// Does it.
///
/// # Errors
/// The failure that ended it; a model that cannot run here is none.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let name = args.name.as_deref().or(args.model.as_deref()).unwrap_or_default();
    let model = model::resolve(name, context.config.known_aliases())?;
    let path = role::locate(&model)?;
    let mut inspection = inspect(&path)?;
    let weight = weigh(&model, args.ctx_size);
    let mut why_not = std::mem::take(&mut inspection.faults);
    let memory = match weight {
        Ok(weight) => Some(weight),
        // What the engine says of an architecture is not said twice.
        Err(fault) => {
            if !why_not.iter().any(|other| other.code == fault.code) {
                why_not.push(fault);
            }
            None
        }
    };
    let shown = Shown {
        model: &model,
        path: &path,
        inspection: &inspection,
        memory,
        runs_here: why_not.is_empty(),
        why_not: &why_not,
    };
    if args.json { context.print_json(&shown) } else { context.print(&describe(&shown)) }
}

fn inspect(path: &PathBuf) -> Result<Inspection, Fault> {
    let mut words: Vec<OsString> = ["worker", "inspect", "--model"].map(OsString::from).into();
    words.push(path.into());
    role::decode(&role::ask(&words, b"", limits::MAX_MESSAGE_BYTES)?)
}

fn weigh(model: &ModelRef, ctx_size: Option<u32>) -> Result<Weight, Fault> {
    let mut words = vec!["agent".to_owned(), "weigh".to_owned()];
    words.extend(["--model".to_owned(), model.to_string()]);
    if let Some(ctx_size) = ctx_size {
        words.extend(["--ctx-size".to_owned(), ctx_size.to_string()]);
    }
    role::decode(&role::ask(&words, b"", limits::MAX_MESSAGE_BYTES)?)
}

/// One line a fact. Texts of the model were made one line by the engine, and are made harmless
/// again here: they came from another process.
fn describe(shown: &Shown<'_>) -> String {
    let Shown { inspection, .. } = shown;
    let mut lines: Vec<(&str, String)> = Vec::new();
    let safe = |text: &str| text::one_line(text, limits::MAX_MODEL_TEXT_BYTES);
    let path = shown.path.to_string_lossy();
    lines.push(("model", shown.model.to_string()));
    lines.extend(inspection.name.as_deref().map(|name| ("name", safe(name))));
    let size = bytes(inspection.file_bytes);
    lines.push(("file", format!("{}, {size}", text::one_line(&path, 4096))));
    let architecture = inspection.architecture.as_deref().map_or("unknown".to_owned(), safe);
    lines.push(("architecture", architecture));
    lines.push(("parameters", count(inspection.parameters)));
    lines.push(("types", mix(&inspection.types)));
    if let Some(figures) = &inspection.figures {
        lines.push(("context", format!("{} tokens", figures.context)));
        lines.push((
            "figures",
            format!(
                "{} layers, {} wide, {} heads of {} ({} for keys and values), {} inside",
                figures.layers,
                figures.embedding,
                figures.heads,
                figures.head_dim,
                figures.kv_heads,
                figures.feed_forward
            ),
        ));
    }
    let tokenizer = inspection.tokenizer.as_ref().map_or("none".to_owned(), |kind| {
        let pre = kind.pre.as_deref().map(|pre| format!(" ({})", safe(pre))).unwrap_or_default();
        let vocab = inspection.figures.map(|all| format!(", {} tokens", all.vocab));
        format!("{}{pre}{}", safe(&kind.model), vocab.unwrap_or_default())
    });
    lines.push(("tokenizer", tokenizer));
    lines.push(("template", template(inspection.template.as_ref())));
    lines.push(("licence", inspection.licence.as_deref().map_or("not said".to_owned(), safe)));
    lines.extend(shown.memory.map(|weight| ("memory", memory(weight))));
    lines.push(("runs here", if shown.runs_here { "yes" } else { "no" }.to_owned()));
    // The path stands above.
    let own = format!("{path}: ");
    let reason = |fault: &Fault| {
        text::for_terminal(fault.message.strip_prefix(&own).unwrap_or(&fault.message))
    };
    lines.extend(shown.why_not.iter().map(|fault| ("", reason(fault))));
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default() + 2;
    lines.iter().fold(String::new(), |all, (name, text)| format!("{all}{name:width$}{text}\n"))
}

fn memory(weight: Weight) -> String {
    let Weight { ctx_size, need_bytes, free_bytes } = weight;
    let (need, free) = (bytes(need_bytes), bytes(free_bytes));
    format!("{need} with a context of {ctx_size} tokens; {free} are free for workers")
}

/// A number with three digits and the unit that people say.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn count(number: u64) -> String {
    let mut value = number as f64;
    for unit in ["", " K", " M", " B", " T"] {
        if value < 999.5 {
            let digits = usize::from(!unit.is_empty() && value < 99.95);
            return format!("{value:.digits$}{unit}");
        }
        value /= 1000.0;
    }
    format!("{number}")
}

/// The types of tensors with their parts of the weights.
fn mix(types: &[TypeShare]) -> String {
    let total: u64 = types.iter().map(|share| share.bytes).fold(0, u64::saturating_add);
    let part = |share: &TypeShare| {
        let kind = text::one_line(&share.kind, 40);
        let percent = share.bytes.saturating_mul(100).checked_div(total.max(1)).unwrap_or(0);
        let percent = if percent == 0 { "<1".to_owned() } else { percent.to_string() };
        let tensors = if share.tensors == 1 { "tensor" } else { "tensors" };
        format!("{kind} {percent} % ({} {tensors})", share.tensors)
    };
    if types.is_empty() {
        return "no tensors".to_owned();
    }
    types.iter().map(part).collect::<Vec<_>>().join(", ")
}

fn template(facts: Option<&TemplateFacts>) -> String {
    let Some(facts) = facts else { return "none: only raw prompts (rbee run --raw)".to_owned() };
    if let Some(fault) = &facts.fault {
        return text::for_terminal(&fault.message);
    }
    let safe = |text: &String| text::one_line(text, limits::MAX_MODEL_TEXT_BYTES);
    let mut parts = vec![format!("{} bytes", facts.bytes)];
    if !facts.asks_for.is_empty() {
        let names: Vec<String> = facts.asks_for.iter().map(safe).collect();
        parts.push(format!("asks for {}", names.join(", ")));
    }
    let tags = |(open, close): &(String, String)| format!("{}…{}", safe(open), safe(close));
    parts.extend(facts.reasoning.as_ref().map(|pair| format!("reasoning {}", tags(pair))));
    parts.extend(facts.tool_call.as_ref().map(|pair| format!("calls of tools {}", tags(pair))));
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Code;

    #[test]
    fn numbers_are_said_as_people_say_them() {
        assert_eq!(count(7), "7");
        assert_eq!(count(999), "999");
        assert_eq!(count(3_212_749_888), "3.2 B");
        assert_eq!(count(751_632_384), "752 M");
        assert_eq!(count(999_999), "1.0 M");
        assert_eq!(count(2_000_000_000_000_000_000), "2000000000000000000");
    }

    #[test]
    fn the_reason_stands_below_the_verdict_and_nothing_reaches_a_terminal_raw() {
        let inspection = Inspection {
            name: Some("evil\u{1b}[2J".to_owned()),
            licence: Some("a\nb".to_owned()),
            ..Inspection::default()
        };
        let why_not = [Fault::new(Code::ModelUnsupported, "/m.gguf: not mamba")];
        let text = describe(&Shown {
            model: &ModelRef::Demo,
            path: Path::new("/m.gguf"),
            inspection: &inspection,
            memory: None,
            runs_here: false,
            why_not: &why_not,
        });
        assert!(!text.contains('\u{1b}') && !text.contains("a\nb"), "{text}");
        let (_, end) = text.split_once("runs here").unwrap();
        assert!(end.trim_start().starts_with("no\n") && end.contains("  not mamba"), "{text}");
        assert!(text.contains("no tensors") && text.contains("none: only raw"), "{text}");
    }

    #[test]
    fn a_mix_of_types_is_in_parts_of_the_weights() {
        let share = |kind: &str, tensors, bytes| TypeShare { kind: kind.into(), tensors, bytes };
        let mix = mix(&[share("Q4_K", 100, 990), share("F32", 1, 5)]);
        assert_eq!(mix, "Q4_K 99 % (100 tensors), F32 <1 % (1 tensor)");
    }
}
