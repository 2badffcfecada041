//! `rbee completions`: what a shell needs to complete `rbee`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::failure::Failure;

/// Names of hives for bash: asks the configuration, and leaves the rest to what is generated.
const BASH: &str = include_str!("completions/hives.bash");
/// For zsh: the function that the options name.
const ZSH: &str = include_str!("completions/hives.zsh");
/// For fish: rules beside those that are generated.
const FISH: &str = include_str!("completions/hives.fish");

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
    let mut out = std::io::stdout().lock();
    let written = std::io::Write::write_all(&mut out, script(args.shell).as_bytes());
    written.map_err(|error| Failure::of_stdout(&error))
}

/// The whole script of a shell; in bash, zsh and fish it completes the names of hives too.
fn script(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut super::Cli::command(), "rbee", &mut text);
    let text = String::from_utf8_lossy(&text);
    match shell {
        Shell::Bash => format!("{text}{BASH}"),
        Shell::Fish => format!("{text}{FISH}"),
        Shell::Zsh => {
            let (head, body) = text.split_once('\n').unwrap_or_default();
            let line = |line: &str| {
                let is_hive = ["'--hive=", "':hive -- ", "'*::names -- Hives "];
                let is_hive = is_hive.iter().any(|beginning| line.starts_with(beginning));
                let end = if is_hive { ":_rbee_hives'" } else { ":_default'" };
                format!("{}\n", line.replace(":_default'", end))
            };
            body.lines().map(line).fold(format!("{head}\n{ZSH}"), |text, line| text + &line)
        }
        _ => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_where_zsh_takes_a_hive_names_the_hives() {
        let text = script(Shell::Zsh);
        assert!(text.starts_with("#compdef rbee\n") && text.contains("_rbee_hives() {"));
        let takes = |line: &&str| line.starts_with('\'') && line.contains(":_rbee_hives'");
        let options = text.lines().filter(takes).filter(|line| line.starts_with("'--hive="));
        // run, chat, ps, why, down, worker list, start, stop, restart and logs, pull, ls and rm by
        // two names, ls by three; show, remove, logs and four with several.
        assert_eq!(options.count(), 17, "{text}");
        assert_eq!(text.lines().filter(takes).count(), 17 + 7, "{text}");
    }
}
