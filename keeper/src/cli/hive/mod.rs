//! `rbee hive …`: the machines that take part.

mod add;
mod device;
mod doctor;
mod each;
mod install;
mod list;
pub mod logs;
mod power;
mod remove;
mod show;
mod steps;
mod uptime;

use std::sync::Arc;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::style::Style;
use steps::{Form, Steps};

/// Add machines, look at them and take care of them.
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Add(add::Args),
    List(list::Args),
    Show(show::Args),
    Remove(remove::Args),
    Install(install::Args),
    Start(power::StartArgs),
    Stop(power::StopArgs),
    Logs(logs::Args),
    Doctor(doctor::Args),
}

impl Args {
    /// Whether a script reads the output.
    pub fn json(&self) -> bool {
        match &self.command {
            Command::Add(args) => args.json,
            Command::List(args) => args.json,
            Command::Show(args) => args.json,
            Command::Remove(args) => args.json,
            Command::Install(args) => args.json,
            Command::Start(args) => args.json,
            Command::Stop(args) => args.json,
            Command::Logs(args) => args.json,
            Command::Doctor(args) => args.json,
        }
    }
}

/// Does it.
///
/// # Errors
/// The failure that ended it.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    match &args.command {
        Command::Add(args) => add::run(args, context),
        Command::List(args) => list::run(args, context),
        Command::Show(args) => show::run(args, context),
        Command::Remove(args) => remove::run(args, context),
        Command::Install(args) => install::run(args, context),
        Command::Start(args) => power::start(args, context),
        Command::Stop(args) => power::stop(args, context),
        Command::Logs(args) => logs::run(args, context),
        Command::Doctor(args) => doctor::run(args, context),
    }
}

/// Where steps are shown that change something, of one hive or of several.
fn steps(context: &Context, hives: usize) -> Arc<Steps> {
    shown(
        context,
        match (context.environment.terminals.stderr, hives) {
            (true, 1) => Form::Live,
            (_, hives) => Form::Lines { named: hives > 1 },
        },
    )
}

/// Where steps are shown of a command that only looks.
fn passing(context: &Context, hives: usize) -> Arc<Steps> {
    let live = context.environment.terminals.stderr && hives == 1;
    shown(context, Form::Passing { live })
}

fn shown(context: &Context, form: Form) -> Arc<Steps> {
    let terminal = context.environment.terminals.stderr;
    let coloured = context.environment.colours && terminal;
    let style = if coloured {
        Style::of(&context.theme, context.environment.depth)
    } else {
        Style::plain()
    };
    Arc::new(Steps::new(form, style))
}
