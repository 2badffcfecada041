//! `rbee config …`: the configuration, as it is found, read and checked.

use crate::config::{self, Config};
use crate::context::Context;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::theme;
use crate::tui;
use wire::{Code, Fault, text};

/// Look at the configuration.
///
/// The file is `$RBEE_CONFIG`, else `config.toml` in the user's configuration directory, else
/// `/etc/rbee/config.toml`; without any, everything has its default.
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Subcommand)]
enum Command {
    /// Print the path of the file that counts, or of the one to create.
    Path,
    /// Print everything that counts, with its defaults, as TOML.
    Show,
    /// Check the file, and those of keys and themes beside it.
    Check,
}

impl Args {
    /// Whether a file that cannot be read is no obstacle.
    pub fn wants_only_the_path(&self) -> bool {
        self.command == Command::Path
    }
}

/// Does it with a valid configuration.
///
/// # Errors
/// When standard output is closed or full.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    match args.command {
        Command::Path => path(),
        Command::Show => context.print(&as_toml(&context.config)?),
        Command::Check => {
            // An invalid file has ended this command before it came here.
            let file = context.config_path.as_ref();
            check_the_rest(context)?;
            context.note(&match file {
                Some(file) => format!("{} is valid", file.display()),
                None => "there is no configuration file; the defaults count".to_owned(),
            });
            Ok(())
        }
    }
}

/// Refuses files of themes and keys that have an error, whether or not they count now. Each is
/// told.
fn check_the_rest(context: &Context) -> Result<(), Fault> {
    let dir = config::themes_dir(&context.environment, context.config_path.as_deref());
    let (_, mut faults) = theme::all(&dir);
    faults.extend(tui::own::check_keys(context).err());
    let mut faults = faults.into_iter();
    let Some(first) = faults.next() else { return Ok(()) };
    for fault in faults {
        context.warn(&text::for_terminal(&fault.message));
    }
    Err(first)
}

fn as_toml(config: &Config) -> Result<String, Fault> {
    toml::to_string(config).map_err(|error| {
        Fault::new(Code::Internal, "the configuration cannot be written").cause(error)
    })
}

/// Prints the path of the file that counts, or of the one to create.
///
/// # Errors
/// When this user has no home directory, or standard output is closed.
pub fn path() -> Result<(), Failure> {
    let environment = Environment::read()?;
    let candidates = environment.config_candidates();
    let path = candidates.iter().find(|path| path.exists()).or(candidates.first());
    let line = path.map(|path| format!("{}\n", path.display())).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    let written = std::io::Write::write_all(&mut out, line.as_bytes());
    written.map_err(|error| Failure::of_stdout(&error))
}
