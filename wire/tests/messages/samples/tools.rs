//! Messages of tools.

use wire::generate::{
    ChatRequest, ChatRole, Choice, Chunk, Delta, FunctionCall, Message, ToolCall,
};
use wire::json::Json;
use wire::sampling::SamplingFields;

fn call() -> ToolCall {
    let (name, arguments) = ("weather".to_owned(), "{\"city\":\"Köln\"}".to_owned());
    let function = FunctionCall { name, arguments };
    ToolCall { index: 0, id: "5f0c8a520".into(), kind: "function".into(), function }
}

pub fn request() -> ChatRequest {
    let called =
        Message { tool_calls: vec![call()], ..Message::new(ChatRole::Assistant, String::new()) };
    let told =
        Message { tool_call_id: Some("5f0c8a520".into()), ..Message::new(ChatRole::Tool, "rain") };
    let parameters = Json::object([("type", Json::text("object"))]);
    let function = [("name", Json::text("weather")), ("parameters", parameters)];
    let tool = [("function", Json::object(function)), ("type", Json::text("function"))];
    let tools = Some(vec![Json::object(tool)]);
    let asked = Message::new(ChatRole::User, "What is it like in Köln?");
    let sampling = SamplingFields::default();
    ChatRequest { messages: vec![asked, called, told], tools, sampling }
}

pub fn chunk() -> Chunk {
    let delta = Delta { tool_calls: vec![call()], ..Delta::default() };
    let choice = Choice { delta, token_ids: vec![7], ..Choice::default() };
    super::chunk("chat.completion.chunk", choice)
}
