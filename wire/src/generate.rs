//! Generation: OpenAI's chat and completion messages, with the few fields that rbee adds.

use serde::{Deserialize, Serialize};

use crate::fault::{Code, Fault};
use crate::json::Json;
use crate::limits;
use crate::sampling::SamplingFields;

/// Who said a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatRole {
    /// Instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool that the model called.
    Tool,
}

impl ChatRole {
    /// The word that chat templates know.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who said it.
    pub role: ChatRole,
    /// What was said; empty, or absent, beside calls of tools.
    #[serde(default, deserialize_with = "text_or_null")]
    pub content: String,
    /// Tools that the model called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Which call a tool answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

fn text_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Message {
    /// A message of `role`.
    pub fn new(role: ChatRole, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tool_calls: Vec::new(), tool_call_id: None }
    }

    fn bytes(&self) -> usize {
        let calls = self.tool_calls.iter();
        let of_call = |call: &ToolCall| {
            let function = &call.function;
            call.id.len() + function.name.len() + function.arguments.len()
        };
        let id = self.tool_call_id.as_ref().map_or(0, String::len);
        self.content.len() + id + calls.map(of_call).sum::<usize>()
    }
}

/// A call of a tool, whole: one chunk has all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Its place among the calls of an answer, from 0.
    #[serde(default)]
    pub index: u32,
    /// What the tool's answer is sent with.
    pub id: String,
    /// Always `function`.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// What is called.
    pub function: FunctionCall,
}

/// The function that a model calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// Its name, as the model wrote it: it may be none of those that were given.
    pub name: String,
    /// Its arguments as a text of JSON, as the model wrote it: they may be none that it takes.
    pub arguments: String,
}

/// The body of a chat request. Streaming is the only form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// The conversation, oldest first.
    pub messages: Vec<Message>,
    /// The tools that the model may call, in the form of OpenAI's, for its chat template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Json>>,
    /// How tokens are chosen.
    #[serde(flatten)]
    pub sampling: SamplingFields,
}

impl ChatRequest {
    /// What the worker shall continue, and how.
    pub fn into_parts(self) -> (Prompt, SamplingFields) {
        let Self { messages, tools, sampling } = self;
        let prompt = match tools {
            Some(tools) if !tools.is_empty() => Prompt::Tools { messages, tools },
            _ => Prompt::Chat(messages),
        };
        (prompt, sampling)
    }
}

/// The body of a raw completion request: no chat template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompletionRequest {
    /// What the model continues.
    pub prompt: String,
    /// How tokens are chosen.
    #[serde(flatten)]
    pub sampling: SamplingFields,
}

/// What a worker shall continue, once the route is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// A conversation for the model's chat template.
    Chat(Vec<Message>),
    /// The same with tools that the model may call.
    Tools {
        /// The conversation.
        messages: Vec<Message>,
        /// At least one.
        tools: Vec<Json>,
    },
    /// Text as it is.
    Raw(String),
}

impl Prompt {
    /// Checks the bounds that hold before any tokenizer is asked.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for nothing to answer, `TOO_LARGE` over the limits.
    pub fn check(&self) -> Result<(), Fault> {
        let (count, bytes) = match self {
            Self::Chat(messages) => {
                (messages.len(), messages.iter().map(Message::bytes).sum::<usize>())
            }
            Self::Tools { messages, tools } => {
                if tools.len() > limits::MAX_TOOLS {
                    let message = format!("a request has at most {} tools", limits::MAX_TOOLS);
                    return Err(Fault::new(Code::TooLarge, message));
                }
                if !tools.iter().all(|tool| matches!(tool, Json::Object(_))) {
                    return Err(Fault::new(Code::InvalidArgument, "a tool is a JSON object"));
                }
                let of_tools = serde_json::to_vec(tools).map_or(usize::MAX, |json| json.len());
                let bytes: usize = messages.iter().map(Message::bytes).sum();
                (messages.len(), bytes.saturating_add(of_tools))
            }
            Self::Raw(text) => (usize::from(!text.is_empty()), text.len()),
        };
        if count == 0 {
            return Err(Fault::new(Code::InvalidArgument, "the prompt is empty"));
        }
        if count > limits::MAX_MESSAGES {
            let message = format!("a conversation has at most {} messages", limits::MAX_MESSAGES);
            return Err(Fault::new(Code::TooLarge, message));
        }
        if bytes > limits::MAX_PROMPT_BYTES {
            let over = bytes - limits::MAX_PROMPT_BYTES;
            let message = format!(
                "the prompt has {bytes} bytes, {over} more than the limit of {}",
                limits::MAX_PROMPT_BYTES
            );
            return Err(Fault::new(Code::TooLarge, message).detail("over_bytes", over));
        }
        Ok(())
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended it, or a stop text came.
    Stop,
    /// `max_tokens` or the context's end.
    Length,
    /// The model ended it, and waits for what the tools say that it called.
    ToolCalls,
    /// A reason of a newer worker.
    #[serde(other)]
    Unknown,
}

impl FinishReason {
    /// The word in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::Unknown => "unknown",
        }
    }
}

/// Text that one chunk adds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// Part of the answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub content: String,
    /// Part of the model's reasoning; not part of the answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reasoning_content: String,
    /// Tools that the model calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
}

/// A token and how probable it was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// Its id.
    #[serde(default)]
    pub id: u32,
    /// Its text; what is no UTF-8 is replaced.
    pub token: String,
    /// The natural logarithm of its probability among all tokens, as the model gives it: before
    /// penalties, biases, temperature and filters.
    pub logprob: f64,
    /// Its bytes.
    #[serde(default)]
    pub bytes: Vec<u8>,
}

/// A token of the answer, and what else was probable in its place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChosenLogprob {
    /// The token itself.
    #[serde(flatten)]
    pub chosen: TokenLogprob,
    /// The most probable ones, best first; the token itself may be among them.
    #[serde(default)]
    pub top_logprobs: Vec<TokenLogprob>,
}

/// Probabilities of a chunk's tokens, in the form that chats have; completions have it too.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChoiceLogprobs {
    /// One for each of the chunk's tokens.
    #[serde(default)]
    pub content: Vec<ChosenLogprob>,
}

/// The one choice of a chunk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Always 0.
    pub index: u32,
    /// What a chat adds; empty in raw completions.
    #[serde(default)]
    pub delta: Delta,
    /// What a raw completion adds; empty in chats.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Ids of the tokens that this chunk stands for. A token whose text is held back (half a
    /// character, the beginning of a stop text) comes with empty text; its text follows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_ids: Vec<u32>,
    /// Set when it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<ChoiceLogprobs>,
    /// Set in the last chunk.
    #[serde(default)]
    pub finish_reason: Option<FinishReason>,
}

impl Choice {
    /// What it adds to the answer, whichever route it came from.
    pub fn answer(&self) -> &str {
        if self.text.is_empty() { &self.delta.content } else { &self.text }
    }
}

/// Tokens that a request used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer, the end token not counted.
    pub completion_tokens: u32,
    /// Both.
    pub total_tokens: u32,
    /// Prompt tokens that were not computed because they were cached.
    #[serde(default)]
    pub cached_tokens: u32,
}

/// Where a request's time went, in milliseconds, measured by the worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct GenerationTimings {
    /// Load of the worker's model; it was waited for only by the request that started it.
    pub load_ms: f64,
    /// From arrival at the worker to a free slot.
    pub queue_ms: f64,
    /// From the slot to the first token's logits.
    pub prefill_ms: f64,
    /// From there to the last token.
    pub decode_ms: f64,
}

/// One event of a generation stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// The request's id.
    #[serde(default)]
    pub id: String,
    /// `chat.completion.chunk` or `text_completion`.
    #[serde(default)]
    pub object: String,
    /// One, or none in a chunk that only carries usage.
    #[serde(default)]
    pub choices: Vec<Choice>,
    /// Set in the last chunk, and in the first one as far as it is known then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Set in the last chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<GenerationTimings>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_chat_request_as_openai_clients_write_it() {
        let text = r#"{"model":"x","stream":true,"messages":[{"role":"user","content":"hi"}],
            "temperature":0,"stop":"END","user":"me"}"#;
        let request: ChatRequest = serde_json::from_str(text).unwrap();
        assert_eq!(request.messages, [Message::new(ChatRole::User, "hi")]);
        assert_eq!(request.sampling.temperature, Some(0.0));
        assert_eq!(request.sampling.stop, ["END"]);
    }

    #[test]
    fn reads_tools_and_their_answers_as_openai_clients_write_them() {
        let text = r#"{"messages":[{"role":"user","content":"hi"},
            {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function",
             "function":{"name":"f","arguments":"{\"a\":1}"}}]},
            {"role":"tool","content":"2","tool_call_id":"c1"}],
            "tools":[{"type":"function","function":{"name":"f","parameters":{}}}]}"#;
        let request: ChatRequest = serde_json::from_str(text).unwrap();
        assert_eq!(request.messages[1].tool_calls[0].function.arguments, r#"{"a":1}"#);
        assert_eq!(request.messages[2].role, ChatRole::Tool);
        let (prompt, _) = request.clone().into_parts();
        prompt.check().unwrap();
        let tools = vec![request.tools.unwrap().remove(0); limits::MAX_TOOLS + 1];
        let Prompt::Tools { messages, .. } = prompt else { panic!("it has tools") };
        assert_eq!(Prompt::Tools { messages, tools }.check().unwrap_err().code, Code::TooLarge);
        for none in [r#"{"messages":[],"tools":null}"#, r#"{"messages":[],"tools":[]}"#] {
            let request: ChatRequest = serde_json::from_str(none).unwrap();
            assert_eq!(request.into_parts().0, Prompt::Chat(Vec::new()));
        }
    }

    #[test]
    fn an_empty_or_too_long_prompt_is_refused_by_how_much() {
        assert!(Prompt::Raw(String::new()).check().is_err());
        assert!(Prompt::Chat(Vec::new()).check().is_err());
        let fault = Prompt::Raw("x".repeat(limits::MAX_PROMPT_BYTES + 7)).check().unwrap_err();
        assert_eq!(fault.details["over_bytes"], 7);
        assert!(Prompt::Raw("x".repeat(limits::MAX_PROMPT_BYTES)).check().is_ok());
    }
}
