//! `rbee hive add`: reaches a machine, makes it a hive, and writes it down because it answered.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use serde::Serialize;
use wire::settings::Lifetime;
use wire::{Code, HiveName, text};

use super::latency;
use super::list::Row;
use super::steps::{Steps, duration};
use crate::cli::down;
use crate::config::{Config, HiveSettings};
use crate::context::{Context, block_on};
use crate::failure::Failure;
use crate::hives::{self, Registry, seen};
use crate::interrupt::Interrupts;
use crate::link::remote::Remote;
use crate::link::{self, Transport};
use crate::model::path_word;
use crate::ssh::address::Address;

/// Bytes of what is shown of a device.
const MAX_DEVICE_BYTES: usize = 512;

/// Make a machine with an SSH server a hive.
///
/// rbee connects, installs itself for this user, starts its agent and greets it. Only then the hive
/// is written into the configuration. Nothing is needed there beforehand, no port is opened, and
/// nothing runs as root.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  rbee hive add pc ada@pc.lan\n  \
    rbee hive add lab ada@10.0.0.7:2222 -i ~/.ssh/lab -J gate.example")]
pub struct Args {
    /// What it shall be called here: lower-case letters, digits, dashes and dots.
    #[arg(value_name = "NAME")]
    name: HiveName,
    /// `[user@]host[:port]`; the host may be a name of the ssh configuration.
    #[arg(value_name = "ADDRESS")]
    address: Address,
    /// A private key file, beside those of the ssh configuration.
    #[arg(short, long, value_name = "KEY")]
    identity: Option<PathBuf>,
    /// Go through this machine; several with commas between them.
    #[arg(short = 'J', long, value_name = "JUMP", value_delimiter = ',')]
    jump: Vec<Address>,
    /// Record the host key of a server that is not known yet without a question.
    #[arg(long)]
    pub accept_new: bool,
    /// Write what was found as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Found {
    #[serde(flatten)]
    row: Row,
    /// Median round trip, in milliseconds.
    latency_ms: f64,
}

/// Does it.
///
/// # Errors
/// When the name is taken or the machine cannot be made a hive. Nothing is written then, and no
/// agent is left that did not run before.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let name = &args.name;
    hives::refuse_duplicate(&context.config, name)?;
    let identity = args.identity.as_deref().map(key_file).transpose()?;
    let settings = HiveSettings {
        address: args.address.clone(),
        identity,
        jump: args.jump.clone(),
        lifetime: Lifetime::Persistent,
    };
    let (found, path) = block_on(async { add(args, &settings, context).await })
        .map_err(|failure| with_own_command(failure, args))?;
    context.note(&format!("{name} is written into {}", path.display()));
    say_what_changes(&path, context);
    if args.json {
        return context.print_json(&found);
    }
    let devices = found.row.devices.iter().fold(String::new(), |lines, device| {
        let words = text::one_line(&device.words(), MAX_DEVICE_BYTES);
        format!("{lines}{name}  {words}\n")
    });
    context.print(&devices)
}

/// Makes the machine a hive. Whatever ends that also ends the agent, unless it ran before.
async fn add(
    args: &Args,
    settings: &HiveSettings,
    context: &Context,
) -> Result<(Found, PathBuf), Failure> {
    let mut interrupts = Interrupts::listen()?;
    let steps = super::steps(context, 1);
    let way = context.dialer.remote(&args.name, settings, args.accept_new, steps.clone());
    let started = Cell::new(false);
    let outcome = tokio::select! {
        outcome = reach(settings, &way, &started, &steps, context) => outcome,
        () = interrupts.next() => Err(Failure::interrupted()),
    };
    drop(steps);
    if outcome.is_err() && started.get() && !is_needed(settings, context) {
        tokio::select! {
            // The first failure is the one to tell.
            _ = down::end(&way, Some(0), context) => {}
            () = interrupts.next() => {}
        }
    }
    outcome
}

/// Whether the configuration, as it is now, has a hive at the same place: another `hive add` may
/// have been quicker.
fn is_needed(settings: &HiveSettings, context: &Context) -> bool {
    Config::load(&context.environment)
        .is_ok_and(|(config, _)| config.hives.values().any(|hive| hive.leads_where(settings)))
}

/// Reaches the machine and writes it down.
async fn reach(
    settings: &HiveSettings,
    way: &Remote,
    started: &Cell<bool>,
    steps: &Steps,
    context: &Context,
) -> Result<(Found, PathBuf), Failure> {
    let hive = way.hive();
    started.set(way.open().await?.is_none());
    let (client, mut events) = link::reach(way, &context.config.timings).await?;
    let snapshot = events.snapshot().await?;
    let trip = latency::measure(&client).await?;
    steps.tell(hive, &format!("the agent answers, a round trip takes {}", duration(trip)));
    latency::warn(context, trip);
    let path = Registry::of(&context.environment).add(hive, settings).await?;
    let state = &context.environment.dirs.state;
    seen::note(state, hive);
    let mut row = Row::new(hive, Some(&settings.address));
    row.is_online(&snapshot);
    row.last_seen_ms = seen::last(state, hive);
    Ok((Found { row, latency_ms: latency::milliseconds(trip) }, path))
}

/// The hive has no name yet: what would be done about it by its name is done by the same command
/// again, and a host key that nobody recorded is accepted by it with one more word.
fn with_own_command(mut failure: Failure, args: &Args) -> Failure {
    let address = text::shell_word(&args.address.to_string());
    let mut command = format!("rbee hive add {} {address}", args.name);
    if let Some(identity) = &args.identity {
        command = format!("{command} -i {}", path_word(identity));
    }
    if !args.jump.is_empty() {
        let jumps: Vec<String> = args.jump.iter().map(ToString::to_string).collect();
        command = format!("{command} -J {}", text::shell_word(&jumps.join(",")));
    }
    let by_name = |hint: &String| {
        hint.strip_prefix("rbee hive ").and_then(|rest| rest.split_once(' ')).is_some_and(
            |(verb, rest)| verb != "add" && rest.split(' ').any(|word| word == args.name.as_str()),
        )
    };
    let hints = &mut failure.fault.hints;
    let before = hints.len();
    hints.retain(|hint| !by_name(hint));
    if failure.fault.code == Code::HostKeyUnknown {
        return failure.hint(format!("{command} --accept-new  # if it is the right one"));
    }
    if hints.len() < before { failure.hint(command) } else { failure }
}

/// Says what else is different from now on.
fn say_what_changes(path: &Path, context: &Context) {
    if let Some(old) = context.config_path.as_ref().filter(|old| *old != path) {
        let (old, path) = (old.display(), path.display());
        context.note(&format!("{old} does not count for you any more, {path} began as its copy"));
    }
    if context.config.hives.is_empty() && !context.config.local.takes_part {
        context.note(
            "this machine takes part only with --hive local from now on, or with `use = true` \
             under [local] of the configuration",
        );
    }
}

/// A private key file as it can be found from everywhere. What is in it is looked at when it is
/// needed.
fn key_file(path: &Path) -> Result<PathBuf, Failure> {
    let shown = path.display();
    let refuse = |problem: &str| Failure::usage(format!("--identity: {shown} {problem}"));
    let hint = format!("ls -l -- {}", path_word(path));
    if path.extension().is_some_and(|extension| extension == "pub") {
        return Err(refuse("is a public key; the private key is needed")
            .hint(format!("ls -l -- {}", path_word(&path.with_extension("")))));
    }
    let looked = std::fs::metadata(path).and_then(|metadata| {
        // To open a FIFO is to wait for its writer.
        if metadata.is_file() { std::fs::File::open(path).map(|_| true) } else { Ok(false) }
    });
    match looked {
        Ok(true) => {}
        Ok(false) => return Err(refuse("is no file").hint(hint)),
        Err(error) => {
            let mut failure = refuse("cannot be read").hint(hint);
            failure.fault = failure.fault.cause(error);
            return Err(failure);
        }
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    if absolute.to_str().is_none() {
        return Err(refuse("cannot be written into the configuration: it is not UTF-8"));
    }
    Ok(absolute)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Fault;

    #[test]
    fn a_key_that_is_not_known_is_accepted_with_the_command_that_was_typed() {
        let args = Args {
            name: "pc".parse().unwrap(),
            address: r"corp\ada@pc:2222".parse().unwrap(),
            identity: Some("a key".into()),
            jump: vec!["x".parse().unwrap(), "y".parse().unwrap()],
            accept_new: false,
            json: false,
        };
        let hints = |fault: Fault| with_own_command(fault.into(), &args).fault.hints;
        let command = r"rbee hive add pc 'corp\ada@pc:2222' -i 'a key' -J x,y";
        let unknown = hints(Fault::new(Code::HostKeyUnknown, "who?"));
        assert!(unknown[0].starts_with(&format!("{command} --accept-new")), "{unknown:?}");
        let broken = Fault::new(Code::HiveUnreachable, "x").hint("rbee hive install pc").hint("df");
        assert_eq!(hints(broken), ["df", command]);
        let other = Fault::new(Code::HiveUnreachable, "x").hint("rbee hive doctor else");
        assert_eq!(hints(other), ["rbee hive doctor else"]);
    }

    #[test]
    fn a_key_file_is_looked_at_before_anything_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        let refused = |path: &Path| key_file(path).unwrap_err().fault;
        assert_eq!(refused(&key).code, Code::InvalidArgument);
        assert!(!refused(&key).causes.is_empty() && !refused(&key).hints.is_empty());
        assert!(refused(dir.path()).message.contains("no file"));
        std::fs::write(&key, "secret").unwrap();
        assert_eq!(key_file(&key).unwrap(), key);
        let public = refused(&dir.path().join("key.pub"));
        assert!(public.message.contains("public"), "{public}");
        assert!(public.hints[0].ends_with("key"), "{public:?}");
    }
}
