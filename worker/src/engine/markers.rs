//! What models write around their reasoning and their calls of tools: one table for all families.

/// A text that opens a part of an answer, and one that closes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tags {
    /// What opens it.
    pub open: &'static str,
    /// What closes it; empty: the end of the answer.
    pub close: &'static str,
}

/// What a part of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Reasoning,
    ToolCall,
}

const fn row(part: Part, open: &'static str, close: &'static str) -> (Part, Tags) {
    (part, Tags { open, close })
}

/// The tags of reasoning that most families have, and whoever names no others in its template.
pub(super) const THINK: Tags = Tags { open: "<think>", close: "</think>" };

/// What opens calls of Llama 3's built-in tools; its others are JSON that nothing marks.
pub(super) const PYTHON_TAG: &str = "<|python_tag|>";
/// What opens each of Mistral's calls.
pub(super) const MISTRAL_CALLS: &str = "[TOOL_CALLS]";
/// What stands between the name and the arguments of Mistral's later calls.
pub(super) const MISTRAL_ARGS: &str = "[ARGS]";
/// What stands before a number in between, in some of them.
pub(super) const MISTRAL_ID: &str = "[CALL_ID]";

/// What stands around each of `DeepSeek`'s calls.
pub(super) const DEEPSEEK_CALL: (&str, &str) = ("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>");
/// What stands between the parts of one.
pub(super) const DEEPSEEK_BETWEEN: &str = "<｜tool▁sep｜>";

/// In the order in which they are looked for. Where a family is in two rows, the first is its
/// newer form.
const TABLE: [(Part, Tags); 15] = [
    // Mistral's Magistral.
    row(Part::Reasoning, "[THINK]", "[/THINK]"),
    // Cohere's Command R7B and A.
    row(Part::Reasoning, "<|START_THINKING|>", "<|END_THINKING|>"),
    // ByteDance's Seed-OSS.
    row(Part::Reasoning, "<seed:think>", "</seed:think>"),
    // DeepSeek, Qwen, SmolLM3, GLM, Granite, Nemotron and many more.
    (Part::Reasoning, THINK),
    row(Part::ToolCall, "<seed:tool_call>", "</seed:tool_call>"),
    // Qwen, Hermes, SmolLM3; Qwen3-Coder, with elements in place of JSON.
    row(Part::ToolCall, "<tool_call>", "</tool_call>"),
    // Mistral: a list of calls, up to the end.
    row(Part::ToolCall, MISTRAL_CALLS, ""),
    row(Part::ToolCall, "<|START_ACTION|>", "<|END_ACTION|>"),
    // DeepSeek's, which run as llama and qwen2 when they are distilled.
    row(Part::ToolCall, "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
    // Kimi.
    row(Part::ToolCall, "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
    // Phi-4-mini.
    row(Part::ToolCall, "<|tool_call|>", "<|/tool_call|>"),
    // Nemotron.
    row(Part::ToolCall, "<TOOLCALL>", "</TOOLCALL>"),
    // Granite's other form and MiniMax's.
    row(Part::ToolCall, "<minimax:tool_call>", "</minimax:tool_call>"),
    row(Part::ToolCall, "<|tool_calls|>", ""),
    row(Part::ToolCall, PYTHON_TAG, ""),
];

fn first(part: Part, source: &str) -> Option<Tags> {
    let is_it = |(of, tags): &&(Part, Tags)| *of == part && source.contains(tags.open);
    TABLE.iter().find(is_it).map(|(_, tags)| *tags)
}

/// The tags of reasoning of a model whose chat template is `source`, if it names any.
pub fn reasoning(source: &str) -> Option<Tags> {
    first(Part::Reasoning, source)
}

/// The tags of calls of tools of a model whose chat template is `source`, if it names any.
pub fn tool_call(source: &str) -> Option<Tags> {
    first(Part::ToolCall, source)
}

/// Whether a token's text is one of these tags, or is a part of a call: it belongs to the answer,
/// also where the vocabulary has it as a control token.
pub(super) fn is_tag(text: &str) -> bool {
    let (open, close) = DEEPSEEK_CALL;
    let is_inside = [MISTRAL_ARGS, MISTRAL_ID, open, close, DEEPSEEK_BETWEEN].contains(&text);
    let is_one = |tags: &Tags| tags.open == text || tags.close == text && !text.is_empty();
    is_inside || TABLE.iter().any(|(_, tags)| is_one(tags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_tells_its_familys_tags() {
        let tags = |open, close| Some(Tags { open, close });
        assert_eq!(reasoning("{{ '<think>\\n' }}"), Some(THINK));
        assert_eq!(reasoning("[THINK]{{ x }}[/THINK] or <think>"), tags("[THINK]", "[/THINK]"));
        assert_eq!(reasoning("<seed:think>"), tags("<seed:think>", "</seed:think>"));
        assert_eq!(reasoning("{{ messages }}"), None);
        let hermes = "within <tool_call></tool_call> tags";
        assert_eq!(tool_call(hermes), tags("<tool_call>", "</tool_call>"));
        assert_eq!(tool_call("{{ '[TOOL_CALLS][' }}"), tags("[TOOL_CALLS]", ""));
        assert_eq!(tool_call("<think>"), None);
    }

    #[test]
    fn each_tag_is_known_and_nothing_else_is() {
        for text in ["<think>", "</think>", "[TOOL_CALLS]", "<|python_tag|>", "<｜tool▁sep｜>"]
        {
            assert!(is_tag(text), "{text}");
        }
        for text in ["", "<|im_end|>", "<think", "[INST]"] {
            assert!(!is_tag(text), "{text}");
        }
    }
}
