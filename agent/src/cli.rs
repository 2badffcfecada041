//! The command line of the agent role: what a keeper types, hidden from people's help.

/// The daemon of this hive.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Args {
    /// Which part of the role.
    #[command(subcommand)]
    pub command: Command,
}

/// The parts of the agent role.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub enum Command {
    /// Make sure that the agent runs, and print its greeting as one line of JSON.
    #[command(hide = true)]
    Start,
    /// Be the agent.
    #[command(hide = true)]
    Serve(ServeArgs),
}

/// `rbee agent serve`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct ServeArgs {
    /// Become the leader of a session of its own, so that no terminal's end is its end.
    #[arg(long)]
    pub detach: bool,
}
