//! The command line of the worker role: what an agent types, hidden from people's help.

use std::path::PathBuf;

use clap::value_parser;
use wire::{Device, limits};

/// One model in one process, and its guard.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which part of the role.
    #[command(subcommand)]
    pub command: Command,
}

/// The parts of the worker role.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Load a model and serve it on a unix socket.
    #[command(hide = true)]
    Serve(ServeArgs),
    /// Start an engine, watch it, and keep the cause of its end.
    #[command(hide = true)]
    Guard(GuardArgs),
    /// Make tokens of the text on standard input, or text of tokens, as one line of JSON.
    #[command(hide = true)]
    Tokenize(TokenizeArgs),
    /// Render the conversation on standard input with a chat template.
    #[command(hide = true)]
    Template(TemplateArgs),
    /// Say what a model's header says, and whether the engine would load it, as one line of JSON.
    #[command(hide = true)]
    Inspect(InspectArgs),
    /// Say what would bound a worker that is started from here, as one line of JSON.
    #[command(hide = true)]
    Limits,
    /// Bring a model's files from a hub, as the line of JSON on standard input orders, and say how
    /// far it is, as a line of JSON each.
    #[command(hide = true)]
    Fetch,
}

/// `rbee worker inspect`.
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// GGUF file.
    #[arg(long)]
    pub model: PathBuf,
}

/// `rbee worker template`.
#[derive(Debug, clap::Args)]
pub struct TemplateArgs {
    /// GGUF file whose template and special tokens are taken where the request has none.
    #[arg(long)]
    pub model: Option<PathBuf>,
}

/// `rbee worker tokenize`.
#[derive(Debug, clap::Args)]
pub struct TokenizeArgs {
    /// GGUF file, with or without tensors, or a `tokenizer.json`.
    #[arg(long)]
    pub model: PathBuf,
    /// Standard input is numbers of tokens.
    #[arg(long)]
    pub detokenize: bool,
    /// Without the tokens that the model wants at the ends of a text.
    #[arg(long)]
    pub no_ends: bool,
    /// Control tokens that are written out are text.
    #[arg(long)]
    pub no_control: bool,
}

/// `rbee worker serve`. It ends at once when its standard input closes: whoever started it holds
/// the other end.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Unix socket to serve on; it must not exist yet.
    #[arg(long)]
    pub socket: PathBuf,
    /// GGUF file to load.
    #[arg(long)]
    pub model: PathBuf,
    /// Tokens of context of each slot.
    #[arg(long, value_parser = value_parser!(u32)
        .range(i64::from(limits::MIN_CTX_SIZE)..=i64::from(limits::MAX_CTX_SIZE)))]
    pub ctx_size: u32,
    /// Sequences to decode at once.
    #[arg(long, value_parser = value_parser!(u32).range(1..=i64::from(limits::MAX_SLOTS)))]
    pub slots: u32,
    /// What computes: cpu.
    #[arg(long)]
    pub device: Device,
    /// Threads to compute with; absent: one for each core.
    #[arg(long, value_parser = value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Whether the environment has that number already; a worker says it to itself.
    #[arg(long, hide = true)]
    pub pools_are_sized: bool,
    /// Milliseconds between two lines of a status stream on which nothing changes.
    #[arg(long, default_value_t = 3000, value_parser = value_parser!(u64).range(1..=86_400_000))]
    pub heartbeat_ms: u64,
    /// Milliseconds that the reader of an answer may take nothing before it loses its slot.
    #[arg(long, default_value_t = 60_000, value_parser = value_parser!(u64).range(1..=86_400_000))]
    pub patience_ms: u64,
    /// Bytes of data (heap, caches, stacks; not mapped files) that this process may take.
    #[arg(long)]
    pub data_limit_bytes: Option<u64>,
}

/// `rbee worker guard`.
#[derive(Debug, clap::Args)]
pub struct GuardArgs {
    /// Directory of the worker, with its spec.json.
    #[arg(long)]
    pub dir: PathBuf,
}
