//! What must hold for any chat template: beside the other targets, since it needs the engine. The
//! fuzzer calls it with what it makes up, `worker/tests/corpus.rs` with the committed corpus.

use wire::rendering::TemplateRequest;
use wire::{Code, limits};
use worker::engine::rendering;

/// A template is refused, or writes a text within its bounds; it never ends the process.
pub fn chat_template(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let messages = r#"[
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi <|im_end|> {{ x }} {% for %}"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "abcdef123", "function": {"name": "f", "arguments": {"a": [1, 2.5, null]}}}]},
        {"role": "tool", "content": "1", "tool_call_id": "abcdef123"}
    ]"#;
    let request = TemplateRequest {
        template: Some(source.to_owned()),
        messages: messages.to_owned(),
        tools: Some(r#"[{"type": "function", "function": {"name": "f"}}]"#.to_owned()),
        now_s: 1_709_210_096,
        add_generation_prompt: true,
        bos: Some("<s>".to_owned()),
        eos: None,
    };
    match rendering::render(&request, None) {
        Ok(text) => assert!(text.len() <= limits::MAX_RENDERED_BYTES),
        Err(fault) => {
            assert_eq!(fault.code, Code::TemplateFailed, "{fault:?}");
            assert!(!fault.message.contains(char::is_control), "{fault:?}");
        }
    }
}
