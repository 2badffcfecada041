//! `rbee model …`: the models that hives keep, and what a model's own files say without loading it.

pub mod list;
pub mod pull;
pub mod remove;
mod show;
mod template;
mod tokenize;

use std::path::PathBuf;

use crate::context::Context;
use crate::failure::Failure;
use crate::{model, role};

/// Fetch, list and remove models, and look into them.
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Pull(pull::Args),
    #[command(visible_alias = "ls")]
    List(list::Args),
    Rm(remove::Args),
    Show(show::Args),
    Template(template::Args),
    Tokenize(tokenize::Args),
}

impl Args {
    /// Whether it tells of its steps as they happen.
    pub fn is_pull(&self) -> bool {
        matches!(self.command, Command::Pull(_))
    }

    /// Whether a script reads the output.
    pub fn json(&self) -> bool {
        match &self.command {
            Command::Pull(args) => args.json,
            Command::List(args) => args.json,
            Command::Rm(args) => args.json,
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
        Command::Pull(args) => pull::run(args, context),
        Command::List(args) => list::run(args, context),
        Command::Rm(args) => remove::run(args, context),
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
