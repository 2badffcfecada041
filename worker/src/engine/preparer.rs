//! Makes tokens of prompts, on threads of its own: the engine goes on decoding meanwhile.
//!
//! A chat template comes with the model and may run for as long as its bounds let it. It holds one
//! of these threads then, and never the engine; the job behind it can be cancelled at any time, and
//! the template ends at its next step. There are never more threads, so that templates which do not
//! even take a next step cannot pile up.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use wire::generate::Prompt;
use wire::{Code, Fault, limits};

use super::decoder::Room;
use super::markers::{self, THINK};
use super::queue::{Claim, Errand, Queue};
use super::reasoning::Splitter;
use super::sequence::{self, Prepared};
use super::template::{Inputs, Template};
use super::tokenizer::Tokenizer;

/// What prompts are prepared with.
pub(super) struct Preparer {
    /// The model's tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// The model's chat template, or why it has none that can be used.
    pub template: Result<Template, Fault>,
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
        let (tokens, splitter) = match prompt {
            Prompt::Raw(text) => {
                self.check_bytes(text)?;
                (self.tokenizer.encode(text)?, Splitter::for_raw())
            }
            Prompt::Chat(messages) => {
                let template = self.template.as_ref().map_err(Clone::clone)?;
                let shield = self.tokenizer.shield(messages, template.source())?;
                let shielded = shield.protect(messages);
                let inputs = Inputs::chat(&shielded, SystemTime::now());
                let rendered = template.render(inputs, claim)?;
                self.check_bytes(&rendered)?;
                let tags = markers::reasoning(template.source()).unwrap_or(THINK);
                let is_open = rendered.trim_end().ends_with(tags.open);
                let tokens = self.tokenizer.encode_shielded(&rendered, &shield)?;
                (tokens, Splitter::for_chat(tags, is_open))
            }
        };
        sequence::check_length(tokens.len(), self.room)?;
        Ok(Prepared { tokens, splitter, took: begun.elapsed() })
    }

    /// Refuses a text that is far too long before memory is taken for its tokens: some hundred
    /// bytes each, while they are made.
    fn check_bytes(&self, text: &str) -> Result<(), Fault> {
        sequence::check_least(self.tokenizer.fewest_tokens(text), self.room)
    }
}
