//! The binary `rbee`: finds the role that was asked for and hands over to it.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

/// What an agent's own command line looks like; typed by keepers, not by people.
#[derive(Parser)]
#[command(name = "rbee agent", disable_help_subcommand = true)]
struct AgentLine {
    #[command(flatten)]
    args: agent::cli::Args,
}

/// What a worker's or guard's own command line looks like; typed by agents, not by people.
#[derive(Parser)]
#[command(name = "rbee worker", disable_help_subcommand = true)]
struct WorkerLine {
    #[command(flatten)]
    args: worker::cli::Args,
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let build = keeper::build_id();
    let word = |index: usize| args.get(index).and_then(|word| word.to_str());
    match (word(0), word(1)) {
        (Some("agent"), _) => match role_line::<AgentLine>("rbee agent", &args) {
            Ok(line) => agent::main(line.args, build),
            Err(code) => code,
        },
        (Some("worker"), Some(part)) if is_of_the_role(part) => {
            match role_line::<WorkerLine>("rbee worker", &args) {
                Ok(line) => worker::main(line.args, build),
                Err(code) => code,
            }
        }
        _ => keeper::main(&args),
    }
}

/// Whether `rbee worker <part>` is the role's own and not a keeper's command for people.
fn is_of_the_role(part: &str) -> bool {
    WorkerLine::command().get_subcommands().any(|command| command.get_name() == part)
}

/// Parses what follows the role's name; a mistake is shown and becomes the exit code.
fn role_line<L: Parser>(name: &str, args: &[OsString]) -> Result<L, ExitCode> {
    let words = args.iter().skip(1).cloned();
    L::try_parse_from(std::iter::once(OsString::from(name)).chain(words)).map_err(|error| {
        // Nothing is left to tell when standard error is closed.
        let _ = error.print();
        u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
    })
}
