//! A chat template alone, without the weights of its model.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use minijinja::value::{Value, ValueKind};
use wire::rendering::TemplateRequest;
use wire::{Code, Fault, limits};

use super::of_file;
use super::queue::Claim;
use super::template::{self, Inputs, Template};
use super::texts::Texts;
use super::weights::MappedModel;

/// Renders a conversation with a template of its own, or with that of the model in a GGUF file.
///
/// # Errors
/// `INVALID_ARGUMENT` for messages or tools that are none, `TEMPLATE_FAILED` for the template, and
/// those of the file.
pub fn render(request: &TemplateRequest, model: Option<&Path>) -> Result<String, Fault> {
    let messages = list(&request.messages, "messages")?;
    let tools = match &request.tools {
        Some(tools) => list(tools, "tools")?,
        None => Value::from(()),
    };
    let now = now(request.now_s)?;
    let inputs =
        Inputs { messages, tools, add_generation_prompt: request.add_generation_prompt, now };
    let template = match model {
        Some(path) => {
            let own = Own::read(path, request.tools.is_some());
            choose(request, Some(own.map_err(|fault| of_file(fault, path))?))?
        }
        None => choose(request, None)?,
    };
    let wanted = Arc::new(());
    let claim = Claim::of(&wanted);
    let (sender, result) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("template".to_owned())
        .stack_size(limits::TEMPLATE_STACK_BYTES)
        .spawn(move || sender.send(template.render(inputs, &claim)))
        .map_err(|error| Fault::new(Code::Io, "no thread for the template").cause(error))?;
    let patience = Duration::from_secs(limits::MAX_TEMPLATE_S);
    result.recv_timeout(patience).unwrap_or_else(|_| {
        let seconds = limits::MAX_TEMPLATE_S;
        Err(template::failed(format!("the chat template did not end within {seconds} s")))
    })
}

/// A model's own template and texts.
struct Own {
    source: Result<String, Fault>,
    bos: Option<String>,
    eos: Option<String>,
}

impl Own {
    fn read(path: &Path, has_tools: bool) -> Result<Self, Fault> {
        if path.is_dir() {
            let texts = Texts::read(path)?;
            let tokenizer = texts.tokenizer()?;
            let (bos, eos) = (tokenizer.bos_text().to_owned(), tokenizer.eos_text().to_owned());
            return Ok(Self { source: texts.source(has_tools), bos: Some(bos), eos: Some(eos) });
        }
        let header = MappedModel::open(path)?.header;
        let special = |key| template::special_of(&header, key);
        let source = template::source_of(&header, has_tools).map(str::to_owned);
        Ok(Self { source, bos: special("bos"), eos: special("eos") })
    }
}

/// The template that is asked for, with its model's texts where it has one.
fn choose(request: &TemplateRequest, own: Option<Own>) -> Result<Template, Fault> {
    let (own, bos, eos) = match own {
        Some(Own { source, bos, eos }) => (Some(source), bos, eos),
        None => (None, None, None),
    };
    let source = match (&request.template, own) {
        (Some(source), _) => source.clone(),
        (None, Some(own)) => own?,
        (None, None) => return Err(template::failed("there is no chat template")),
    };
    let text = |given: &Option<String>, own: Option<String>| given.clone().or(own);
    let (bos, eos) = (text(&request.bos, bos), text(&request.eos, eos));
    Template::compile(&source, &bos.unwrap_or_default(), &eos.unwrap_or_default())
}

fn now(seconds: u64) -> Result<SystemTime, Fault> {
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .ok_or_else(|| Fault::new(Code::InvalidArgument, "there is no such date"))
}

/// A JSON array of objects, with their fields in the order in which they were written.
fn list(json: &str, what: &str) -> Result<Value, Fault> {
    let invalid = |why: String| {
        Fault::new(Code::InvalidArgument, format!("the {what} are {why}"))
            .detail("file", what)
            .hint("echo '[{\"role\":\"user\",\"content\":\"Hi\"}]' > messages.json")
    };
    let value: Value =
        serde_json::from_str(json).map_err(|error| invalid(format!("no JSON: {error}")))?;
    let is_object = |item: &Value| item.kind() == ValueKind::Map;
    let is_list = value.kind() == ValueKind::Seq
        && value.try_iter().is_ok_and(|mut items| items.all(|item| is_object(&item)));
    if is_list { Ok(value) } else { Err(invalid("no JSON array of objects".to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TestModel, text};
    use super::*;
    use candle_core::quantized::GgmlDType;

    fn request(messages: &str) -> TemplateRequest {
        TemplateRequest {
            template: Some("{{ bos_token }}{{ messages | tojson }}{{ tools | tojson }}".to_owned()),
            messages: messages.to_owned(),
            bos: Some("<s>".to_owned()),
            ..TemplateRequest::default()
        }
    }

    #[test]
    fn fields_keep_their_order_and_what_is_no_list_of_objects_is_refused() {
        let json = r#"[{"role":"user","b":1,"a":{"z":[],"y":2.0}}]"#;
        let expected = r#"<s>[{"role": "user", "b": 1, "a": {"z": [], "y": 2.0}}]null"#;
        assert_eq!(render(&request(json), None).unwrap(), expected);
        for bad in ["", "{}", "[1]", "[[]]", "null", "[{]", "\"x\""] {
            let fault = render(&request(bad), None).unwrap_err();
            assert_eq!(fault.code, Code::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn a_models_own_template_is_taken_and_the_one_for_tools_where_there_is_one() {
        let key = "tokenizer.chat_template.tool_use";
        let model = TestModel::new("qwen3", GgmlDType::Q8_0)
            .set(key, text("tools {{ eos_token }}"))
            .set("tokenizer.chat_template", text("plain {{ bos_token }}"));
        let path = model.write();
        let asked = TemplateRequest { template: None, bos: None, ..request("[]") };
        assert_eq!(render(&asked, Some(&path)).unwrap(), "plain <|bos|>");
        let with_tools = TemplateRequest { tools: Some("[]".to_owned()), ..asked.clone() };
        assert_eq!(render(&with_tools, Some(&path)).unwrap(), "tools <|im_end|>");
        let other = TemplateRequest { bos: Some("B".to_owned()), ..asked };
        assert_eq!(render(&other, Some(&path)).unwrap(), "plain B");
        let none = TestModel { template: None, ..TestModel::new("qwen3", GgmlDType::Q8_0) };
        let asked = TemplateRequest { template: None, ..request("[]") };
        let fault = render(&asked, Some(&none.write())).unwrap_err();
        assert_eq!(fault.code, Code::TemplateFailed);
    }
}
