//! The command line of the agent role: what a keeper types, hidden from people's help.

use wire::ModelRef;
use wire::marker::Marker;
use wire::settings::Lifetime;

/// The daemon of this hive.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which part of the role.
    #[command(subcommand)]
    pub command: Command,
}

/// The parts of the agent role.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Make sure that the agent runs, and print its greeting as one line of JSON.
    #[command(hide = true)]
    Start(StartArgs),
    /// Be the agent.
    #[command(hide = true)]
    Serve(ServeArgs),
    /// Carry bytes between the standard streams and the agent that runs.
    #[command(hide = true)]
    Attach(AttachArgs),
    /// Kill the agent that holds the socket; its workers go on.
    #[command(hide = true)]
    Kill(KillArgs),
    /// Say where a model's file is on this machine, as one line of JSON.
    #[command(hide = true)]
    Locate(LocateArgs),
    /// Say what a worker would take of this machine's memory, as one line of JSON; a fault says why
    /// it would not be started.
    #[command(hide = true)]
    Weigh(WeighArgs),
}

/// `rbee agent start`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct StartArgs {
    /// How long an agent lives that has to be started; one that runs lives on as it does.
    #[arg(long, value_parser = lifetime, default_value = "persistent")]
    pub lifetime: Lifetime,
}

fn lifetime(word: &str) -> Result<Lifetime, &'static str> {
    let all = [Lifetime::Persistent, Lifetime::Ephemeral];
    all.into_iter().find(|one| one.word() == word).ok_or("persistent or ephemeral")
}

/// `rbee agent weigh`.
#[derive(Debug, Clone, clap::Args)]
pub struct WeighArgs {
    /// Which model.
    #[arg(long)]
    pub model: ModelRef,
    /// Tokens of context; absent: what a worker would get.
    #[arg(long)]
    pub ctx_size: Option<u32>,
}

/// `rbee agent locate`.
#[derive(Debug, Clone, clap::Args)]
pub struct LocateArgs {
    /// Which model.
    #[arg(long)]
    pub model: ModelRef,
}

/// `rbee agent attach`.
#[derive(Debug, Clone, clap::Args)]
pub struct AttachArgs {
    /// The word in front of the one line that is written before the agent's bytes.
    #[arg(long)]
    pub marker: Marker,
}

/// `rbee agent kill`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct KillArgs {
    /// Only this process.
    #[arg(long)]
    pub pid: i32,
}

/// `rbee agent serve`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct ServeArgs {
    /// Become the leader of a session of its own, so that no terminal's end is its end.
    #[arg(long)]
    pub detach: bool,
    /// How long it lives; the configuration may say the same.
    #[arg(long, value_parser = lifetime, default_value = "persistent")]
    pub lifetime: Lifetime,
}
