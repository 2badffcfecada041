//! The engine: one model on this machine's processors, and the threads that compute with it.
//!
//! [`load`] reads a model's files, [`Engine::start`] moves the model onto threads of its own (one
//! decodes, others make tokens of prompts), and every [`Job`] gets its answer as a stream of
//! [`Piece`]s. Nothing in here knows of HTTP, of processes or of other hives.

mod calls;
mod contained;
mod conversation;
mod decoder;
mod detokenizer;
pub mod inspection;
mod markers;
mod opening;
mod preparer;
mod queue;
mod reasoning;
pub mod rendering;
mod sampler;
mod scheduler;
mod sequence;
mod stop;
mod template;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod texts;
mod tokenizer;
mod weights;
pub mod words;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use wire::generate::{ChosenLogprob, FinishReason, FunctionCall, GenerationTimings, Prompt, Usage};
use wire::sampling::Sampling;
use wire::{Code, Fault, RequestId, limits, text};

use decoder::{Room, Weights};
use queue::Queue;
use template::Template;
use tokenizer::Tokenizer;

/// What [`load`] needs to know.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// A GGUF file, or a directory with `config.json`, safetensors and `tokenizer.json`.
    pub path: PathBuf,
    /// Tokens of context of each slot.
    pub ctx_size: u32,
    /// Threads to compute with; absent: one for each physical core. candle sizes its pools once a
    /// process, from `RAYON_NUM_THREADS`; a number that the pools do not have is refused.
    pub threads: Option<usize>,
}

/// Weights, tokenizer and chat template of one model.
pub struct Model {
    weights: Weights,
    tokenizer: Tokenizer,
    template: Result<Template, Fault>,
    /// Another template for requests with tools, if the model has one.
    tool_template: Option<Template>,
    room: Room,
    load_time: Duration,
}

impl Model {
    /// How long [`load`] took.
    pub fn load_time(&self) -> Duration {
        self.load_time
    }
}

/// Reads a model. Blocks for as long as the disk takes; `progress` hears of bytes done and in all.
///
/// # Errors
/// `MODEL_NOT_FOUND`, `MODEL_CORRUPT` and `MODEL_UNSUPPORTED` for the file, `INVALID_ARGUMENT` for
/// a context or a number of threads that cannot be.
pub fn load(options: &LoadOptions, progress: &mut dyn FnMut(u64, u64)) -> Result<Model, Fault> {
    if let Some(threads) = options.threads {
        check_threads(threads)?;
    }
    opening::read(options, progress).map_err(|fault| of_file(fault, &options.path))
}

/// Names the file in what is wrong with it, and in the hint.
fn of_file(mut fault: Fault, path: &Path) -> Fault {
    if matches!(fault.code, Code::ModelCorrupt | Code::ModelUnsupported) {
        let message = format!("{}: {}", path.display(), fault.message);
        fault.message = text::one_line(&message, limits::MAX_FAULT_MESSAGE_BYTES);
        let word = text::shell_word(&path.to_string_lossy());
        let word = if path.is_dir() { format!("{word}/*") } else { word };
        for hint in &mut fault.hints {
            *hint = hint.replace("FILE.gguf", &word);
        }
    }
    fault
}

/// Refuses a number of threads that candle's pools will not have.
fn check_threads(threads: usize) -> Result<(), Fault> {
    let pool = candle_core::utils::get_num_threads();
    if pool == threads {
        return Ok(());
    }
    let message = format!("this process computes with {pool} threads, not with {threads}");
    let hint = format!("RAYON_NUM_THREADS={threads} rbee worker serve …");
    Err(Fault::new(Code::InvalidArgument, message).hint(hint))
}

/// One request for the engine.
#[derive(Debug)]
pub struct Job {
    /// Whose it is, in every log line and fault of it.
    pub id: RequestId,
    /// What the model shall continue.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// When it fails with `DEADLINE_EXCEEDED`.
    pub deadline: Option<Instant>,
    /// How long its reader may take nothing before it fails with `STALLED`.
    pub patience: Duration,
    /// When it reached the worker.
    pub arrived: Instant,
    /// Where its answer goes; bounded by [`wire::limits::MAX_TOKEN_BACKLOG`]. A closed channel
    /// cancels the job before the next token.
    pub pieces: mpsc::Sender<Piece>,
}

/// A part of an answer. `Finished` or `Failed` is the last one; a stream that ends without either
/// belongs to an engine that is gone.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// A part of a long prompt was computed; the first token is still to come. Tells whoever waits
    /// that the engine is alive.
    Prefilled {
        /// Tokens of the prompt that are computed.
        done: u32,
        /// Tokens of the prompt in all.
        total: u32,
    },
    /// One token. Its text may be empty while half a character or the beginning of a stop text is
    /// held back; what is held when the model ends its answer comes with the end token's id.
    Token {
        /// The token.
        id: u32,
        /// What it adds to the answer.
        text: String,
        /// What it adds to the model's reasoning.
        reasoning: String,
        /// Calls of tools that it completes.
        calls: Vec<FunctionCall>,
        /// How probable it was, if that was asked for.
        logprobs: Option<Box<ChosenLogprob>>,
        /// Tokens of the prompt; the first token tells them.
        prompt: Option<u32>,
    },
    /// The answer is complete.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// Tokens that it used.
        usage: Usage,
        /// Where its time went.
        timings: GenerationTimings,
    },
    /// There will be no more.
    Failed(Fault),
}

/// How much an engine has to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Requests in a slot.
    pub active: u32,
    /// Requests that wait for one.
    pub queued: u32,
}

/// A handle on a running engine. The model lives on threads of its own, which end when every
/// handle is dropped or [`Engine::close`] was called, and all accepted jobs are done.
#[derive(Clone)]
pub struct Engine {
    handle: Arc<Handle>,
}

/// Closes the queue when the last [`Engine`] goes.
struct Handle {
    queue: Arc<Queue>,
    occupancy: watch::Receiver<Occupancy>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Engine {
    /// Starts the engine's threads and allocates the caches of its slots.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a number of slots other than 1, `IO_ERROR` when the thread cannot be
    /// started.
    pub fn start(model: Model, slots: u32) -> Result<Self, Fault> {
        if slots != 1 {
            let message = format!("this engine decodes one sequence at a time, not {slots}");
            return Err(Fault::new(Code::InvalidArgument, message).hint("--slots 1"));
        }
        let (queue, occupancy) = Queue::new();
        let queue = Arc::new(queue);
        scheduler::start(model, Arc::clone(&queue))?;
        Ok(Self { handle: Arc::new(Handle { queue, occupancy }) })
    }

    /// Hands a job to the engine. Never blocks.
    ///
    /// # Errors
    /// `QUEUE_FULL` when [`wire::limits::MAX_QUEUE`] jobs wait, `SHUTTING_DOWN` after
    /// [`Engine::close`] or when the engine's thread is gone.
    pub fn submit(&self, job: Job) -> Result<(), Fault> {
        self.handle.queue.submit(job)
    }

    /// Follows how much the engine has to do. Its sender is gone when the engine's thread is.
    pub fn occupancy(&self) -> watch::Receiver<Occupancy> {
        self.handle.occupancy.clone()
    }

    /// Takes no new jobs. What was accepted before is finished.
    pub fn close(&self) {
        self.handle.queue.close();
    }
}

/// A fault of this program, with what the library said.
fn internal(what: &str, error: impl std::fmt::Display) -> Fault {
    Fault::new(Code::Internal, format!("{what} failed")).cause(error).hint("rbee doctor")
}
