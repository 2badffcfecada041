//! A model's chat template: untrusted Jinja, run with bounds on fuel, depth and output.

mod bounded;
mod cycler;
mod date;
mod dialect;
#[cfg(test)]
mod golden;
mod json;
mod methods;
mod operators;
mod tags;
#[cfg(test)]
mod tests;

use std::io;
use std::time::SystemTime;

use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, context};
use wire::gguf::Header;
use wire::{Code, Fault, limits, text};

use super::contained::contained;
use super::queue::Claim;
use super::tokenizer::Tokenizer;

const NAME: &str = "chat";
/// The hint of every fault here: it works with any model.
const RAW_HINT: &str = "rbee run --raw …  # without the chat template";

/// A compiled chat template.
pub(super) struct Template {
    environment: Environment<'static>,
    source: String,
    bos: String,
    eos: String,
}

/// What a template is given of one conversation.
#[derive(Debug, Clone)]
pub(super) struct Inputs {
    /// A list of messages, each with `role`, `content` and whatever else the template knows.
    pub messages: Value,
    /// A list of tools, or none.
    pub tools: Value,
    /// Whether the text goes up to where the model's answer begins.
    pub add_generation_prompt: bool,
    /// For templates that tell the model the date.
    pub now: SystemTime,
}

/// The text of a model's template: the one for tools when there are some and it has one.
///
/// # Errors
/// `TEMPLATE_FAILED` when there is none.
pub(super) fn source_of(header: &Header, has_tools: bool) -> Result<&str, Fault> {
    const KEY: &str = "tokenizer.chat_template";
    let for_tools = || header.text("tokenizer.chat_template.tool_use").filter(|_| has_tools);
    let source = for_tools().or_else(|| header.text(KEY));
    source.ok_or_else(|| failed("the model has no chat template"))
}

/// The text of a special token, `bos` or `eos`, if the model has it.
pub(super) fn special_of(header: &Header, name: &str) -> Option<String> {
    let id = header.unsigned(&format!("tokenizer.ggml.{name}_token_id"))?;
    let tokens = header.texts("tokenizer.ggml.tokens")?;
    tokens.get(usize::try_from(id).ok()?).cloned()
}

/// A fault of a template.
pub(super) fn failed(message: impl AsRef<str>) -> Fault {
    Fault::new(Code::TemplateFailed, message).hint(RAW_HINT)
}

/// A template that found a mistake of the library: it must not take the worker with it.
fn broken() -> Fault {
    failed("the template engine broke")
}

/// What a template's error says, without the lines of the template around it.
fn because(error: &Error) -> Fault {
    let detail = error.detail().unwrap_or("no more is known");
    let line = error.line().map_or(String::new(), |line| format!(" (line {line})"));
    failed(format!("the chat template failed: {}{line}: {detail}", error.kind()))
}

impl Template {
    /// Compiles the template of a model's header.
    ///
    /// # Errors
    /// `TEMPLATE_FAILED` when there is none, when it is too long, or when it is no Jinja.
    pub(super) fn from_header(header: &Header, tokenizer: &Tokenizer) -> Result<Self, Fault> {
        Self::compile(source_of(header, false)?, tokenizer.bos_text(), tokenizer.eos_text())
    }

    /// Compiles another template for requests with tools, if `source` is one.
    pub(super) fn for_tools(
        &self,
        source: Result<&str, Fault>,
        tokenizer: &Tokenizer,
    ) -> Option<Self> {
        let source = source.ok().filter(|source| *source != self.source)?;
        Self::compile(source, tokenizer.bos_text(), tokenizer.eos_text()).ok()
    }

    /// Compiles `source`.
    pub(super) fn compile(source: &str, bos: &str, eos: &str) -> Result<Self, Fault> {
        if source.len() > limits::MAX_TEMPLATE_BYTES {
            let limit = limits::MAX_TEMPLATE_BYTES;
            return Err(failed(format!("the chat template has more than {limit} bytes")));
        }
        let mut environment = dialect::environment().map_err(|error| because(&error))?;
        let rewritten = tags::rewrite(source);
        let compiled = contained(|| environment.add_template_owned(NAME, rewritten));
        compiled.ok_or_else(broken)?.map_err(|error| because(&error))?;
        let (source, bos, eos) = (source.to_owned(), bos.to_owned(), eos.to_owned());
        Ok(Self { environment, source, bos, eos })
    }

    /// The template as the model has it.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// What it asks for besides messages, in the order of the alphabet.
    pub(super) fn asks_for(&self) -> Vec<String> {
        let Ok(template) = self.environment.get_template(NAME) else { return Vec::new() };
        let always = ["messages", "add_generation_prompt", "bos_token", "eos_token", "loop"];
        let is_given = |name: &str| {
            let is_global = self.environment.globals().any(|(known, _)| known == name);
            is_global || always.contains(&name) || name == tags::STEP
        };
        let names = contained(|| template.undeclared_variables(false)).unwrap_or_default();
        let mut names: Vec<String> = names.into_iter().collect();
        names.retain(|name| !is_given(name));
        names.sort_unstable();
        names.truncate(limits::MAX_TEMPLATE_NAMES);
        names.iter().map(|name| text::one_line(name, limits::MAX_MODEL_TEXT_BYTES)).collect()
    }

    /// What the model is given for `inputs`. A template whose `claim` is void ends at its next
    /// step.
    ///
    /// # Errors
    /// `TEMPLATE_FAILED` when the template fails, refuses the messages, exceeds its bounds, or was
    /// ended.
    pub(super) fn render(&self, inputs: Inputs, claim: &Claim) -> Result<String, Fault> {
        let Inputs { messages, tools, add_generation_prompt, now } = inputs;
        let unknown = |why: String| Error::new(ErrorKind::InvalidOperation, why);
        // Hugging Face's renderer defines what it has not got, too, as none.
        let context = context! {
            messages,
            tools,
            documents => (),
            add_generation_prompt,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            strftime_now => Value::from_function(move |format: &str| {
                date::format(now, format).map_err(unknown)
            }),
        };
        let mut output = Capped::default();
        let environment = self.environment_of(claim);
        let template = environment.get_template(NAME).map_err(|error| because(&error))?;
        let rendered = contained(|| template.render_captured_to(context, &mut output).map(drop));
        let rendered = rendered.ok_or_else(broken)?;
        if output.is_full {
            let limit = limits::MAX_RENDERED_BYTES;
            return Err(failed(format!("the chat template writes more than {limit} bytes")));
        }
        rendered.map_err(|error| because(&error))?;
        String::from_utf8(output.bytes).map_err(|_| failed("the chat template writes no text"))
    }

    /// The environment of one rendering. What is compiled is shared, and the rest is small.
    fn environment_of(&self, claim: &Claim) -> Environment<'static> {
        let mut environment = self.environment.clone();
        let check = |claim: &Claim| {
            if claim.is_void() {
                let why = "nobody waits for it any more";
                return Err(Error::new(ErrorKind::InvalidOperation, why));
            }
            Ok(())
        };
        let of_steps = claim.clone();
        environment.add_filter(tags::STEP, move |_: Value| check(&of_steps));
        let of_output = claim.clone();
        environment.set_formatter(move |out, state, value| {
            check(&of_output)?;
            dialect::write(out, state, value)
        });
        environment
    }
}

/// Output with a bound.
#[derive(Default)]
struct Capped {
    bytes: Vec<u8>,
    is_full: bool,
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > limits::MAX_RENDERED_BYTES {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
