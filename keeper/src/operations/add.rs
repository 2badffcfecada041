//! Reaches a machine, makes it a hive, and writes it down because it answered.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wire::event::Snapshot;
use wire::{Code, Fault, HiveName, text};

use super::{Account, end, latency};
use crate::config::{Config, HiveSettings};
use crate::context::Context;
use crate::hives::{Registry, seen};
use crate::link::remote::Remote;
use crate::link::{self, Transport};
use crate::model::path_word;
use crate::output::clock::duration;

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// What its agent says.
    pub snapshot: Snapshot,
    /// The median round trip.
    pub trip: Duration,
    /// The configuration file that has it now.
    pub path: PathBuf,
}

/// Makes the machine at the end of `way` a hive, until `given_up` says otherwise. Whatever ends
/// that also ends the agent, unless it ran before.
///
/// # Errors
/// Those of the way there; `CANCELLED` when it was given up. Nothing is written then.
pub async fn add(
    way: &Remote,
    settings: &HiveSettings,
    context: &Context,
    account: &dyn Account,
    mut given_up: impl AsyncFnMut(),
) -> Result<Found, Fault> {
    let started = Cell::new(false);
    let outcome = tokio::select! {
        outcome = reach(settings, way, &started, context, account) => outcome,
        () = given_up() => Err(Fault::new(Code::Cancelled, "interrupted")),
    };
    if outcome.is_err() && started.get() && !is_needed(settings, context) {
        tokio::select! {
            // The first failure is the one to tell.
            _ = end::end(way, Some(0), context) => {}
            () = given_up() => {}
        }
    }
    outcome.map_err(|fault| with_own_command(fault, way.hive(), settings))
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
    context: &Context,
    account: &dyn Account,
) -> Result<Found, Fault> {
    let hive = way.hive();
    started.set(way.open().await?.is_none());
    let (client, mut events) = link::reach(way, &context.config.timings).await?;
    let snapshot = events.snapshot().await?;
    let trip = latency::measure(&client).await?;
    account.tells(hive, &format!("the agent answers, a round trip takes {}", duration(trip)));
    latency::warn(account, trip);
    let path = Registry::of(&context.environment).add(hive, settings).await?;
    seen::note(&context.environment.dirs.state, hive);
    account.notes(&format!("{hive} is written into {}", path.display()));
    say_what_changes(&path, context, account);
    Ok(Found { snapshot, trip, path })
}

/// The command that adds a hive.
pub fn command(name: &HiveName, settings: &HiveSettings) -> String {
    let address = text::shell_word(&settings.address.to_string());
    let mut command = format!("rbee hive add {name} {address}");
    if let Some(identity) = &settings.identity {
        command = format!("{command} -i {}", path_word(identity));
    }
    if !settings.jump.is_empty() {
        let jumps: Vec<String> = settings.jump.iter().map(ToString::to_string).collect();
        command = format!("{command} -J {}", text::shell_word(&jumps.join(",")));
    }
    command
}

/// The hive has no name yet: what would be done about it by its name is done by the same command
/// again, and a host key that nobody recorded is accepted by it with one more word.
fn with_own_command(mut fault: Fault, name: &HiveName, settings: &HiveSettings) -> Fault {
    let command = command(name, settings);
    let by_name = |hint: &String| {
        hint.strip_prefix("rbee hive ").and_then(|rest| rest.split_once(' ')).is_some_and(
            |(verb, rest)| verb != "add" && rest.split(' ').any(|word| word == name.as_str()),
        )
    };
    let before = fault.hints.len();
    fault.hints.retain(|hint| !by_name(hint));
    if fault.code == Code::HostKeyUnknown {
        return fault.hint(format!("{command} --accept-new  # if it is the right one"));
    }
    if fault.hints.len() < before { fault.hint(command) } else { fault }
}

/// Says what else is different from now on.
fn say_what_changes(path: &Path, context: &Context, account: &dyn Account) {
    if let Some(old) = context.config_path.as_ref().filter(|old| *old != path) {
        let (old, path) = (old.display(), path.display());
        account.notes(&format!("{old} does not count for you any more, {path} began as its copy"));
    }
    if context.config.hives.is_empty() && !context.config.local.takes_part {
        account.notes(
            "this machine takes part only with --hive local from now on, or with `use = true` \
             under [local] of the configuration",
        );
    }
}

/// A private key file as it can be found from everywhere. What is in it is looked at when it is
/// needed.
///
/// # Errors
/// `INVALID_ARGUMENT` for what is no file of a private key.
pub fn key_file(path: &Path) -> Result<PathBuf, Fault> {
    let shown = path.display();
    let refuse =
        |problem: &str| Fault::new(Code::InvalidArgument, format!("--identity: {shown} {problem}"));
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
            return Err(refuse("cannot be read").hint(hint).cause(error));
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
    use wire::settings::Lifetime;

    #[test]
    fn a_key_that_is_not_known_is_accepted_with_the_command_that_was_typed() {
        let pc: HiveName = "pc".parse().unwrap();
        let settings = HiveSettings {
            address: r"corp\ada@pc:2222".parse().unwrap(),
            identity: Some("a key".into()),
            jump: vec!["x".parse().unwrap(), "y".parse().unwrap()],
            lifetime: Lifetime::Persistent,
        };
        let hints = |fault: Fault| with_own_command(fault, &pc, &settings).hints;
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
        let refused = |path: &Path| key_file(path).unwrap_err();
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
