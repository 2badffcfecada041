//! Makes tokens of prompts, on threads of its own: the engine goes on decoding meanwhile.
//!
//! A chat template comes with the model and may run for as long as its bounds let it. It holds one
//! of these threads then, and never the engine; the job behind it can be cancelled at any time, and
//! the template ends at its next step. There are never more threads, so that templates which do not
//! even take a next step cannot pile up.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use wire::generate::{Message, Prompt};
use wire::json::Json;
use wire::{Code, Fault, limits};

use super::calls::{CallFinder, Typed};
use super::conversation::Conversation;
use super::decoder::Room;
use super::markers::{self, THINK};
use super::queue::{Claim, Errand, Queue};
use super::reasoning::Splitter;
use super::sequence::{self, Prepared};
use super::template::{Template, failed};
use super::tokenizer::Tokenizer;

/// What prompts are prepared with.
pub(super) struct Preparer {
    /// The model's tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// The model's chat template, or why it has none that can be used.
    pub template: Result<Template, Fault>,
    /// Another one for requests with tools, if the model has one.
    pub tool_template: Option<Template>,
    /// The cache that a prompt must fit.
    pub room: Room,
}

/// Starts the threads.
///
/// # Errors
/// `IO_ERROR` when one cannot be started.
pub(super) fn start(preparer: Preparer, queue: &Arc<Queue>) -> Result<(), Fault> {
    let preparer = Arc::new(preparer);
    for _thread in 0..limits::TEMPLATE_THREADS {
        let (preparer, queue) = (Arc::clone(&preparer), Arc::clone(queue));
        std::thread::Builder::new()
            .name("preparer".to_owned())
            .stack_size(limits::TEMPLATE_STACK_BYTES)
            .spawn(move || work(&preparer, &Watched(queue)))
            .map_err(|error| {
                Fault::new(Code::Io, "a thread for chat templates cannot be started").cause(error)
            })?;
    }
    Ok(())
}

/// A queue whose waiting jobs must not be left behind by a panic.
struct Watched(Arc<Queue>);

impl Drop for Watched {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.abandon();
        }
    }
}

fn work(preparer: &Preparer, Watched(queue): &Watched) {
    while let Some(Errand { number, prompt, claim }) = queue.next_errand() {
        let result = preparer.prepare(&prompt, &claim);
        drop(prompt);
        queue.done_errand(number, result);
    }
}

impl Preparer {
    /// Renders and tokenizes.
    ///
    /// # Errors
    /// `TEMPLATE_FAILED`, `INVALID_ARGUMENT` and `CONTEXT_OVERFLOW`, by what the prompt is.
    fn prepare(&self, prompt: &Prompt, claim: &Claim) -> Result<Prepared, Fault> {
        let begun = Instant::now();
        prompt.check()?;
        let mut prepared = match prompt {
            Prompt::Raw(text) => {
                self.check_bytes(text)?;
                let tokens = self.tokenizer.encode(text)?;
                let (splitter, finder) = (Splitter::for_raw(), CallFinder::off());
                Prepared { tokens, splitter, finder, is_prefixed: false, took: Duration::ZERO }
            }
            Prompt::Chat(messages) => self.chat(messages, &[], claim)?,
            Prompt::Tools { messages, tools } => self.chat(messages, tools, claim)?,
        };
        sequence::check_length(prepared.tokens.len(), self.room)?;
        prepared.took = begun.elapsed();
        Ok(prepared)
    }

    fn chat(&self, messages: &[Message], tools: &[Json], claim: &Claim) -> Result<Prepared, Fault> {
        let template = self.template(!tools.is_empty())?;
        let source = template.source();
        let conversation = Conversation::new(messages, tools);
        let shield = self.tokenizer.shield(&conversation.texts(), source)?;
        let shielded = conversation.changed(&mut |text| shield.protect(text));
        let rendered = template.render(shielded.inputs(SystemTime::now()), claim)?;
        self.check_bytes(&rendered)?;
        let tags = markers::reasoning(source).unwrap_or(THINK);
        let is_open = rendered.trim_end().ends_with(tags.open);
        let calls = markers::tool_call(source).filter(|_| !tools.is_empty());
        Ok(Prepared {
            tokens: self.tokenizer.encode_shielded(&rendered, &shield)?,
            splitter: Splitter::for_chat(tags, is_open),
            finder: calls
                .map_or_else(CallFinder::off, |tags| CallFinder::new(tags, Typed::of(tools))),
            is_prefixed: self.tokenizer.is_prefixed(),
            took: Duration::ZERO,
        })
    }

    /// The template for a request. One that knows no tools would leave them out without a word.
    fn template(&self, has_tools: bool) -> Result<&Template, Fault> {
        if has_tools && let Some(template) = &self.tool_template {
            return Ok(template);
        }
        let template = self.template.as_ref().map_err(Clone::clone)?;
        if has_tools && !template.source().contains("tools") {
            return Err(failed("the model's chat template takes no tools"));
        }
        Ok(template)
    }

    /// Refuses a text that is far too long before memory is taken for its tokens: some hundred
    /// bytes each, while they are made.
    fn check_bytes(&self, text: &str) -> Result<(), Fault> {
        sequence::check_least(self.tokenizer.fewest_tokens(text), self.room)
    }
}
