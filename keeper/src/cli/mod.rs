//! The command line: what can be typed, and who does it.

mod ask_all;
mod backup;
mod chat;
mod completions;
mod config;
mod doctor;
mod down;
mod hive;
pub mod man;
mod model;
mod options;
mod ps;
mod replay;
mod run;
mod teller;
mod watch;
mod why;
mod worker;

use std::ffi::OsString;
use std::io::{self, Write};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use wire::fault::ErrorEnvelope;
use wire::text;

use crate::context::Context;
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::event::Event;
use crate::output::style::Style;
use crate::tui;
use crate::tui::event::Leave;

/// Version, build and target: what `--version` says.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (build ",
    env!("RBEE_BUILD_ID"),
    ", ",
    env!("RBEE_TARGET"),
    ")"
);

/// Run language models on your own machines.
///
/// The first command that needs it starts an agent in the background; the agent starts a worker
/// for each model, keeps it loaded between commands, and unloads it when nobody asks. `rbee down`
/// ends all of it. Without a command, at a terminal, it shows all hives live and lets you chat.
#[derive(Debug, Parser)]
#[command(
    name = "rbee",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Chat(chat::Args),
    Ps(ps::Args),
    Hive(hive::Args),
    Worker(worker::Args),
    Pull(model::pull::Args),
    Ls(model::list::Args),
    Rm(model::remove::Args),
    Model(model::Args),
    Backup(backup::Args),
    Restore(backup::RestoreArgs),
    Why(why::Args),
    Replay(replay::Args),
    Down(down::Args),
    Doctor(doctor::Args),
    Config(config::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Parses the arguments, does what they say, and shows what failed.
pub fn main(args: &[OsString]) -> Exit {
    if args.is_empty() && Environment::read().is_ok_and(|around| around.is_interactive()) {
        return configured(Json::Off, open);
    }
    match parse(args) {
        Ok(cli) => run(&cli),
        Err(error) => refused(&error, args),
    }
}

fn parse(args: &[OsString]) -> Result<Cli, clap::Error> {
    let words = std::iter::once(OsString::from("rbee")).chain(args.iter().cloned());
    let matches = Cli::command().version(LONG_VERSION).try_get_matches_from(words)?;
    Cli::from_arg_matches(&matches)
}

fn run(cli: &Cli) -> Exit {
    // These work without a valid configuration: two never need one, one helps to repair it.
    let outcome = match &cli.command {
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
        Command::Config(args) if args.wants_only_the_path() => config::path(),
        _ => return run_configured(cli),
    };
    shown(cli.command.json(), outcome, &Style::plain())
}

fn run_configured(cli: &Cli) -> Exit {
    configured(cli.command.json(), |context| dispatch(cli, context))
}

/// The TUI, and what it leaves to be done when it is closed.
fn open(context: &Context) -> Result<(), Failure> {
    match tui::open(context)? {
        Leave::Keep => Ok(()),
        Leave::Stop => down::run(&down::Args::default(), context),
    }
}

fn configured(json: Json, part: impl FnOnce(&Context) -> Result<(), Failure>) -> Exit {
    let plain = Style::plain();
    let environment = match Environment::read() {
        Ok(environment) => environment,
        Err(fault) => return shown(json, Err(fault.into()), &plain),
    };
    // Held until the end: dropping it writes the rest of the log.
    let log = match crate::log::start(&environment) {
        Ok(log) => log,
        Err(fault) => return shown(json, Err(fault.into()), &plain),
    };
    let exit = match Context::load(environment) {
        Ok(context) => {
            if let Some(fault) = context.theme_fault.as_ref().filter(|_| context.is_coloured()) {
                context.warn(&format!("the default theme counts: {}", fault.message));
            }
            shown(json, part(&context), &context.style)
        }
        Err(fault) => shown(json, Err(fault.into()), &plain),
    };
    drop(log);
    exit
}

fn dispatch(cli: &Cli, context: &Context) -> Result<(), Failure> {
    match &cli.command {
        Command::Run(args) => run::run(args, context),
        Command::Chat(args) => chat::run(args, context),
        Command::Ps(args) => ps::run(args, context),
        Command::Hive(args) => hive::run(args, context),
        Command::Worker(args) => worker::run(args, context),
        Command::Pull(args) => model::pull::run(args, context),
        Command::Ls(args) => model::list::run(args, context),
        Command::Rm(args) => model::remove::run(args, context),
        Command::Model(args) => model::run(args, context),
        Command::Backup(args) => backup::make(args, context),
        Command::Restore(args) => backup::restore(args, context),
        Command::Why(args) => why::run(args, context),
        Command::Replay(args) => replay::run(args, context),
        Command::Down(args) => down::run(args, context),
        Command::Doctor(args) => doctor::run(args, context),
        Command::Config(args) => config::run(args, context),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
    }
}

/// How a script reads a command's output, when it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Json {
    /// It does not.
    Off,
    /// One value.
    Value,
    /// One event a line.
    Events,
}

impl Command {
    fn json(&self) -> Json {
        let (wanted, form) = match self {
            Self::Run(args) => (args.json, Json::Events),
            Self::Ps(args) => (args.json, Json::Value),
            Self::Hive(args) => (args.json(), Json::Value),
            Self::Worker(args) => (args.json(), Json::Value),
            Self::Pull(args) => (args.json, Json::Events),
            Self::Ls(args) => (args.json, Json::Value),
            Self::Rm(args) => (args.json, Json::Value),
            Self::Model(args) => {
                (args.json(), if args.is_pull() { Json::Events } else { Json::Value })
            }
            Self::Backup(args) => (args.json, Json::Value),
            Self::Why(args) => (args.json, Json::Value),
            Self::Down(args) => (args.json, Json::Value),
            Self::Doctor(args) => (args.json, Json::Value),
            Self::Chat(_)
            | Self::Restore(_)
            | Self::Config(_)
            | Self::Completions(_)
            | Self::Man(_)
            | Self::Replay(_) => (false, Json::Off),
        };
        if wanted { form } else { Json::Off }
    }
}

fn shown(json: Json, outcome: Result<(), Failure>, style: &Style) -> Exit {
    match outcome {
        Ok(()) => Exit::Ok,
        Err(failure) => show(&failure, json, style),
    }
}

/// Shows a failure to the person, and to the script when one reads.
fn show(failure: &Failure, json: Json, style: &Style) -> Exit {
    if !failure.is_silent() {
        let line = match json {
            Json::Off => None,
            Json::Value => {
                serde_json::to_string(&ErrorEnvelope { error: failure.fault.clone() }).ok()
            }
            Json::Events => Some(Event::error(&failure.fault).line()),
        };
        if let Some(line) = line {
            // When standard output is closed too, the exit code still tells.
            let _ = writeln!(io::stdout().lock(), "{}", line.trim_end());
        }
    }
    // Nothing is left to tell when standard error is closed.
    let _ = failure.write(&mut io::stderr().lock(), style);
    failure.exit
}

/// What a command line that clap refuses is answered with. Help and versions come this way too.
fn refused(error: &clap::Error, args: &[OsString]) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match error.print() {
            Ok(()) => Exit::Ok,
            Err(error) => Failure::of_stdout(&error).exit,
        },
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Exit::Usage
        }
        _ => {
            let word = |index: usize| args.get(index).and_then(|word| word.to_str());
            let json = match (args.iter().any(|word| word == "--json"), word(0)) {
                (false, _) => Json::Off,
                (true, Some("run" | "pull")) => Json::Events,
                (true, _) => Json::Value,
            };
            let failure = usage_failure(error, args);
            show(&failure, json, &Style::plain())
        }
    }
}

/// A refused command line in the form of every other failure. A refused value is not repeated: it
/// may hold control characters.
fn usage_failure(error: &clap::Error, args: &[OsString]) -> Failure {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let argument = context(ContextKind::InvalidArg).unwrap_or_default();
    let argument = argument.trim_matches(['[', ']', '.']);
    let rule = std::error::Error::source(error).map(ToString::to_string);
    let failure = match (error.kind(), rule) {
        (ErrorKind::ValueValidation, Some(rule)) => Failure::usage(format!("{argument}: {rule}")),
        (ErrorKind::InvalidValue, _) => {
            let values = context(ContextKind::ValidValue).unwrap_or_default();
            Failure::usage(format!("{argument}: one of {values}"))
        }
        (ErrorKind::MissingRequiredArgument, _) => {
            Failure::usage(format!("something is missing: {argument}"))
        }
        _ => {
            let rendered = text::for_terminal(&error.render().to_string());
            let first = rendered.lines().next().unwrap_or_default();
            let failure = Failure::usage(first.strip_prefix("error: ").unwrap_or(first));
            let tips = rendered.lines().filter_map(|line| line.trim().strip_prefix("tip: "));
            tips.fold(failure, |mut failure, tip| {
                failure.fault = failure.fault.cause(tip);
                failure
            })
        }
    };
    failure.hint(format!("{} --help", command_of(args)))
}

/// The words that name the command, as far as there is one.
fn command_of(args: &[OsString]) -> String {
    let mut line = "rbee".to_owned();
    let mut command = Cli::command();
    for word in args {
        let Some(next) = command.find_subcommand(word) else { break };
        line = format!("{line} {}", next.get_name());
        command = next.clone();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(words: &[&str]) -> Failure {
        let args: Vec<OsString> = words.iter().map(OsString::from).collect();
        usage_failure(&parse(&args).unwrap_err(), &args)
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_refused_value_names_its_flag_and_rule_and_is_not_repeated() {
        let failure = refusal(&["run", "-m", "demo", "--device", "quan\u{1b}tum", "hi"]);
        assert_eq!(failure.exit, Exit::Usage);
        let message = &failure.fault.message;
        assert!(message.contains("--device") && message.contains("cuda:0"), "{message}");
        assert!(!message.contains("quan"), "{message}");
        assert_eq!(failure.fault.hints, ["rbee run --help"]);
    }

    #[test]
    fn a_negative_number_is_told_what_is_allowed() {
        let options = ["-n", "--top-k", "--seed", "--temperature", "--ctx-size", "--deadline"];
        for option in options {
            let args = ["run", option, "-1", "hi"];
            let fault = match parse(&args.map(OsString::from)) {
                // Its range is that of sampling, which knows the others too.
                Ok(_) if option == "--temperature" => continue,
                Ok(_) => panic!("{option} takes -1"),
                Err(_) => refusal(&args).fault,
            };
            assert!(fault.message.starts_with("--"), "{option}: {fault}");
            assert!(fault.causes.is_empty(), "no advice that leads elsewhere: {fault:?}");
            assert_eq!(fault.hints, ["rbee run --help"]);
        }
        let tokens = refusal(&["run", "-n", "-1", "hi"]).fault.message;
        assert!(tokens.contains("at least 1"), "{tokens}");
    }

    #[test]
    fn an_unknown_word_keeps_claps_advice() {
        let failure = refusal(&["wroker", "list"]);
        assert!(failure.fault.causes.iter().any(|tip| tip.contains("worker")), "{failure:?}");
        assert_eq!(failure.fault.hints, ["rbee --help"]);
        assert_eq!(refusal(&["worker", "stop", "a_b"]).fault.hints, ["rbee worker stop --help"]);
        assert!(refusal(&["run", "--tempature", "1", "x"]).fault.message.contains("--tempature"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let failure = refusal(&["worker", "stop"]);
        assert!(failure.fault.message.contains("<ID>"), "{failure:?}");
        assert_eq!(failure.fault.hints, ["rbee worker stop --help"]);
    }

    #[test]
    fn roles_are_not_commands_for_people() {
        for words in [&["agent", "serve"][..], &["worker", "serve"], &["worker", "guard"]] {
            assert_eq!(refusal(words).exit, Exit::Usage);
        }
        let mut names = vec!["agent", "serve", "guard"];
        names.retain(|name| Cli::command().find_subcommand(name).is_some());
        assert!(names.is_empty(), "{names:?}");
    }
}
