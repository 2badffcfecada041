//! The events of `rbee run --json`: one object a line, `event` first.

use serde::Serialize;
use wire::generate::{ChosenLogprob, GenerationTimings, ToolCall, Usage};
use wire::{Code, Device, Fault, HiveName, ModelRef, RequestId, WorkerId};

/// One line.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'a> {
    /// Where the request went.
    Placed {
        /// Which request.
        request: RequestId,
        /// Which hive.
        hive: &'a HiveName,
        /// Which worker.
        worker: &'a WorkerId,
        /// What computes.
        device: Device,
        /// Which model.
        model: &'a ModelRef,
        /// Tokens of context.
        ctx_size: u32,
        /// Whether the worker was there before.
        reused: bool,
        /// One sentence for a person.
        why: &'a str,
    },
    /// One token of the answer.
    Token(Token<'a>),
    /// One token of the model's reasoning.
    Reasoning(Token<'a>),
    /// A call of a tool, whole.
    ToolCall {
        /// What the tool's answer is sent with.
        id: &'a str,
        /// What is called.
        name: &'a str,
        /// Its arguments, a text of JSON as the model wrote it.
        arguments: &'a str,
    },
    /// The end of an answer that went well.
    Done {
        /// Which request.
        request: Option<RequestId>,
        /// `stop`, `length` or `tool_calls`.
        finish_reason: &'a str,
        /// Tokens used.
        usage: Usage,
        /// The worker's own times.
        timings: GenerationTimings,
    },
    /// The end of one that did not.
    Error {
        /// The stable word.
        code: &'a Code,
        /// One sentence.
        message: &'a str,
        /// Figures and names.
        details: &'a serde_json::Map<String, serde_json::Value>,
        /// Commands to paste next.
        hints: &'a [String],
        /// What caused it, nearest first.
        causes: &'a [String],
        /// The request that it belongs to.
        correlation_id: Option<RequestId>,
    },
}

/// A token and its text.
#[derive(Debug, Serialize)]
pub struct Token<'a> {
    /// Its id; none for text that was held back until the end.
    pub id: Option<u32>,
    /// Its text; empty while it is held back for the next token.
    pub text: &'a str,
    /// How probable it was, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<&'a ChosenLogprob>,
}

impl<'a> Event<'a> {
    /// A call of a tool.
    pub fn tool_call(call: &'a ToolCall) -> Self {
        let function = &call.function;
        Self::ToolCall { id: &call.id, name: &function.name, arguments: &function.arguments }
    }

    /// A fault as the last event.
    pub fn error(fault: &'a Fault) -> Self {
        Self::Error {
            code: &fault.code,
            message: &fault.message,
            details: &fault.details,
            hints: &fault.hints,
            causes: &fault.causes,
            correlation_id: fault.correlation_id,
        }
    }

    /// The line, its newline included.
    pub fn line(&self) -> String {
        // Nothing in an event can fail to be JSON; an empty line would be skipped by readers.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::generate::FunctionCall;

    #[test]
    fn each_line_begins_with_its_kind() {
        let token = Event::Token(Token { id: Some(7), text: " a\n", logprobs: None });
        assert_eq!(token.line(), "{\"event\":\"token\",\"id\":7,\"text\":\" a\\n\"}\n");
        let function = FunctionCall { name: "f".into(), arguments: "{}".into() };
        let call = ToolCall { id: "c".into(), function, ..ToolCall::default() };
        let expected =
            "{\"event\":\"tool_call\",\"id\":\"c\",\"name\":\"f\",\"arguments\":\"{}\"}\n";
        assert_eq!(Event::tool_call(&call).line(), expected);
        let fault = Fault::new(Code::QueueFull, "full").hint("rbee ps");
        let line = Event::error(&fault).line();
        assert!(line.starts_with("{\"event\":\"error\",\"code\":\"QUEUE_FULL\""), "{line}");
        for key in ["message", "details", "hints", "causes", "correlation_id"] {
            assert!(line.contains(&format!("\"{key}\":")), "{key} is always there: {line}");
        }
    }
}
