//! `rbee completions`: what a shell needs to complete `rbee`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::failure::Failure;

/// Write completions for a shell.
///
/// For bash: rbee completions bash > ~/.local/share/bash-completion/completions/rbee
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Does it.
///
/// # Errors
/// When standard output is closed or full.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "rbee", &mut text);
    let mut out = std::io::stdout().lock();
    let written = std::io::Write::write_all(&mut out, &text);
    written.map_err(|error| Failure::of_stdout(&error))
}
