//! `rbee model …`: what a model's own files say, without loading it.

mod show;
mod template;
mod tokenize;

use std::path::PathBuf;

use crate::context::Context;
use crate::failure::Failure;
use crate::{model, role};

/// Look into models.
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Show(show::Args),
    Template(template::Args),
    Tokenize(tokenize::Args),
}

impl Args {
    /// Whether a script reads the output.
    pub fn json(&self) -> bool {
        match &self.command {
            Command::Show(args) => args.json,
            Command::Template(_) => false,
            Command::Tokenize(args) => args.json,
        }
    }
}

/// Does it.
///
/// # Errors
/// The failure that ended it.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    match &args.command {
        Command::Show(args) => show::run(args, context),
        Command::Template(args) => template::run(args, context),
        Command::Tokenize(args) => tokenize::run(args, context),
    }
}

/// A model whose file is on this machine.
#[derive(Debug, clap::Args)]
struct Local {
    /// Model to look into: an alias, `file:/path.gguf`, `demo`, or a path here.
    #[arg(short, long, value_name = "MODEL")]
    model: String,
}

impl Local {
    /// The model's file.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for what names no model, `MODEL_NOT_FOUND` for one that is not here.
    fn locate(&self, context: &Context) -> Result<PathBuf, Failure> {
        let model = model::resolve(&self.model, context.config.known_aliases())?;
        Ok(role::locate(&model)?)
    }
}
