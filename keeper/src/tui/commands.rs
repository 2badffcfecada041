//! What can be typed into the palette: words with arguments, and the names of all actions. Pure.

use std::cmp::Reverse;

use wire::{HiveName, ModelRef, WorkerId};

use super::chat::Partner;
use super::event::Effect;
use super::keys::{Action, TABLE};
use super::operation::Operation;
use super::overlay::Overlay;
use super::overlay::add_hive::AddHive;
use super::overlay::picker::score;
use super::state::{Focus, State};
use super::update::act::act;
use super::update::chosen_hive;
use super::update::operate::propose;
use crate::operations::removal::How;

/// What an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Hive,
    Worker,
    /// A hive or a worker.
    Log,
    Model,
    Theme,
    Free,
}

/// A word with arguments.
struct Command {
    name: &'static str,
    usage: &'static str,
    says: &'static str,
    takes: &'static [Takes],
}

const fn command(
    name: &'static str,
    usage: &'static str,
    says: &'static str,
    takes: &'static [Takes],
) -> Command {
    Command { name, usage, says, takes }
}

/// All of them.
const COMMANDS: &[Command] = &[
    command("add", "add NAME ADDRESS", "make a machine a hive", &[Takes::Free, Takes::Free]),
    command("doctor", "doctor [HIVE]", "check the way to a hive", &[Takes::Hive]),
    command("down", "down", "stop everything, on all hives", &[]),
    command(
        "forget",
        "forget MODEL [HIVE]",
        "remove a model that was pulled",
        &[Takes::Model, Takes::Hive],
    ),
    command("install", "install [HIVE]", "put this build on a hive", &[Takes::Hive]),
    command("load", "load MODEL [HIVE]", "load a model", &[Takes::Model, Takes::Hive]),
    command("logs", "logs HIVE|WORKER", "follow a log", &[Takes::Log]),
    command("model", "model [NAME]", "talk with a model", &[Takes::Model]),
    command("models", "models [HIVE]", "list the models that were pulled", &[Takes::Hive]),
    command("pull", "pull MODEL [HIVE]", "fetch a model of the hub", &[Takes::Model, Takes::Hive]),
    command("rbee", "rbee COMMAND…", "run any other command", &[]),
    command("remove", "remove HIVE [--purge] [--force]", "forget a hive", &[Takes::Hive]),
    command("restart", "restart WORKER", "load a worker's model anew", &[Takes::Worker]),
    command("ssh", "ssh [HIVE]", "go to a hive, and come back", &[Takes::Hive]),
    command("start", "start [HIVE]", "start the agent of a hive", &[Takes::Hive]),
    command("stop", "stop WORKER|HIVE", "stop a worker, or a hive", &[Takes::Log]),
    command("theme", "theme [NAME]", "another theme", &[Takes::Theme]),
    command("why", "why [REQUEST]", "show where a request went", &[Takes::Free]),
];

/// Names of actions that only a key is good for.
const KEYS_ONLY: [&str; 14] = [
    "send",
    "new-line",
    "back",
    "up",
    "down",
    "page-up",
    "page-down",
    "top",
    "bottom",
    "interrupt",
    "write",
    "palette",
    "mark",
    "filter",
];

/// One way to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The whole line then.
    pub line: String,
    /// What it does.
    pub says: String,
}

/// How a line may go on, best first.
pub fn candidates(state: &State, typed: &str) -> Vec<Candidate> {
    let (head, last) = typed.rsplit_once(' ').map_or(("", typed), |(head, last)| (head, last));
    if head.trim().is_empty() {
        return best(words(), last);
    }
    let mut before = head.split_whitespace();
    let name = before.next().unwrap_or_default();
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        return Vec::new();
    };
    let Some(takes) = command.takes.get(before.count()) else { return Vec::new() };
    let of = |(word, says): (String, String)| Candidate { line: format!("{head} {word}"), says };
    let all = arguments(state, *takes).into_iter();
    let scored = all.filter_map(|(word, says)| Some((score(&word, last)?, of((word, says)))));
    sorted(scored.collect())
}

fn best(all: Vec<(String, String)>, typed: &str) -> Vec<Candidate> {
    let of = |(line, says)| Candidate { line, says };
    sorted(all.into_iter().filter_map(|it| Some((score(&it.0, typed)?, of(it)))).collect())
}

fn sorted(mut scored: Vec<(i32, Candidate)>) -> Vec<Candidate> {
    // What has the same letters and fewer others is nearer.
    scored.sort_by_key(|(score, one)| (Reverse(*score), one.line.len()));
    scored.into_iter().map(|(_, candidate)| candidate).collect()
}

/// All words that a line may begin with.
fn words() -> Vec<(String, String)> {
    let commands =
        COMMANDS.iter().map(|it| (it.name.to_owned(), format!("{} · {}", it.usage, it.says)));
    let mut all: Vec<(String, String)> = commands.collect();
    for binding in TABLE.iter().filter(|it| !KEYS_ONLY.contains(&it.name)) {
        if !all.iter().any(|(name, _)| name == binding.name) {
            all.push((binding.name.to_owned(), binding.says.to_owned()));
        }
    }
    all
}

fn arguments(state: &State, takes: Takes) -> Vec<(String, String)> {
    let hives = || state.board.hives().map(|(hive, _)| (hive.to_string(), "hive".to_owned()));
    let workers = || {
        let of = |(hive, worker): (&HiveName, &wire::worker::WorkerInfo)| {
            (worker.id.to_string(), format!("{} on {hive}", worker.state.name()))
        };
        state.board.workers().map(of)
    };
    match takes {
        Takes::Hive => hives().collect(),
        Takes::Worker => workers().collect(),
        Takes::Log => workers().chain(hives()).collect(),
        Takes::Model => {
            let mut names: Vec<String> =
                state.models.iter().map(|(name, _)| name.clone()).collect();
            names.extend(state.board.workers().map(|(_, worker)| worker.spec.model.to_string()));
            names.sort_unstable();
            names.dedup();
            names.into_iter().map(|name| (name, "model".to_owned())).collect()
        }
        Takes::Theme => {
            state.themes.iter().map(|it| (it.name().to_string(), "theme".to_owned())).collect()
        }
        Takes::Free => Vec::new(),
    }
}

/// Does what a line says.
///
/// # Errors
/// In one sentence why not, and what is nearest to what was typed.
pub fn run(state: &mut State, line: &str) -> Result<Vec<Effect>, String> {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default();
    let arguments: Vec<&str> = words.collect();
    if let Some(command) = COMMANDS.iter().find(|command| command.name == name) {
        return run_command(state, command, &arguments);
    }
    let found = TABLE.iter().find(|binding| binding.name == name);
    match found {
        Some(_) if !arguments.is_empty() => Err(format!("{name} takes nothing more")),
        Some(binding) => Ok(act(state, binding.action)),
        None => Err(format!("there is no \"{name}\"{}", nearest(name))),
    }
}

fn nearest(typed: &str) -> String {
    let by_letters = |word: &(String, String)| strsim::damerau_levenshtein(&word.0, typed);
    let nearest = words().into_iter().min_by_key(by_letters);
    nearest.map(|(word, _)| format!("; nearest: {word}")).unwrap_or_default()
}

fn run_command(
    state: &mut State,
    command: &Command,
    arguments: &[&str],
) -> Result<Vec<Effect>, String> {
    let usage = || format!("it is :{}", command.usage);
    let one = |operation| vec![operation];
    let chosen = |state: &State| chosen_hive(state).cloned().ok_or("there is no hive".to_owned());
    let operations = match (command.name, arguments) {
        ("add", _) => return add(state, arguments),
        ("model", []) => return Ok(act(state, Action::Pick)),
        ("model", [name]) => {
            let partner = Partner { model: model(state, name)?, hive: None };
            state.chat_mut().partner = Some(partner);
            state.focus = Focus::Writing;
            return Ok(Vec::new());
        }
        ("ssh", []) => return Ok(vec![Effect::Shell(chosen(state)?)]),
        ("ssh", [name]) => return Ok(vec![Effect::Shell(hive(state, name)?)]),
        ("theme", []) => return Ok(act(state, Action::Theme)),
        ("theme", [name]) => return theme(state, name),
        ("down", []) => one(Operation::Down),
        ("doctor", []) => one(Operation::Doctor(chosen(state)?)),
        ("doctor", [name]) => one(Operation::Doctor(hive(state, name)?)),
        ("install", []) => one(Operation::Install(chosen(state)?)),
        ("install", [name]) => one(Operation::Install(hive(state, name)?)),
        ("start", []) => one(Operation::StartAgent(chosen(state)?)),
        ("start", [name]) => one(Operation::StartAgent(hive(state, name)?)),
        ("load", [name]) => one(Operation::Load(model(state, name)?, None)),
        ("load", [name, place]) => {
            one(Operation::Load(model(state, name)?, Some(hive(state, place)?)))
        }
        ("logs", [name]) => match workers(state, name).as_slice() {
            [] => one(Operation::HiveLog(hive(state, name)?)),
            [(hive, id)] => one(Operation::WorkerLog(hive.clone(), id.clone())),
            several => return Err(format!("{} hives have a worker {name}", several.len())),
        },
        ("restart", [name]) => match workers(state, name) {
            none if none.is_empty() => return Err(format!("there is no worker {name}")),
            all => all.into_iter().map(|(hive, id)| Operation::RestartWorker(hive, id)).collect(),
        },
        ("stop", [name]) => match workers(state, name) {
            none if none.is_empty() => one(Operation::StopAgent(hive(state, name)?)),
            all => all.into_iter().map(|(hive, id)| Operation::StopWorker(hive, id)).collect(),
        },
        ("remove", [name, flags @ ..]) => {
            if flags.iter().any(|flag| !["--purge", "--force"].contains(flag)) {
                return Err(usage());
            }
            let has = |flag| flags.contains(&flag);
            let how = How { purge: has("--purge"), force: has("--force") };
            one(Operation::Remove(hive(state, name)?, how))
        }
        ("rbee", [_, ..]) => {
            one(Operation::Command(arguments.iter().map(|&word| word.to_owned()).collect()))
        }
        ("pull" | "models" | "forget", _) => one(of_models(state, command, arguments)?),
        ("why", []) => one(Operation::Why(None)),
        ("why", [id]) => {
            let request = id.parse().map_err(|_| format!("{id} is no id of a request"))?;
            one(Operation::Why(Some(request)))
        }
        _ => return Err(usage()),
    };
    Ok(propose(state, operations))
}

/// What is done with the models that hives keep.
fn of_models(state: &State, command: &Command, arguments: &[&str]) -> Result<Operation, String> {
    let place = |name: Option<&&str>| match name {
        Some(name) => hive(state, name),
        None => chosen_hive(state).cloned().ok_or("there is no hive".to_owned()),
    };
    match (command.name, arguments) {
        ("models", []) => Ok(Operation::Models(place(None)?)),
        ("models", [name]) => Ok(Operation::Models(place(Some(name))?)),
        ("pull", [name, rest @ ..]) if rest.len() < 2 => {
            Ok(Operation::Pull(model(state, name)?, place(rest.first())?))
        }
        ("forget", [name, rest @ ..]) if rest.len() < 2 => {
            Ok(Operation::Forget(model(state, name)?, place(rest.first())?))
        }
        _ => Err(format!("it is :{}", command.usage)),
    }
}

fn add(state: &mut State, arguments: &[&str]) -> Result<Vec<Effect>, String> {
    let mut fields: [String; 4] = Default::default();
    if arguments.len() > fields.len() {
        return Err("it is :add NAME ADDRESS [KEY] [JUMP]".to_owned());
    }
    for (field, word) in fields.iter_mut().zip(arguments) {
        (*word).clone_into(field);
    }
    let mut form = AddHive::with(fields);
    // What is complete needs no second Enter.
    let effects = if arguments.len() > 1 { form.enter(state) } else { Vec::new() };
    state.overlay = Some(Overlay::AddHive(form));
    Ok(effects)
}

fn theme(state: &mut State, name: &str) -> Result<Vec<Effect>, String> {
    let found = state.themes.iter().find(|theme| theme.name().to_string() == name).cloned();
    let theme = found.ok_or_else(|| format!("there is no theme {name}"))?;
    state.theme = theme;
    Ok(vec![Effect::KeepTheme(state.theme.name().clone())])
}

fn hive(state: &State, name: &str) -> Result<HiveName, String> {
    let known = name.parse::<HiveName>().ok().filter(|name| state.board.stand(name).is_some());
    known.ok_or_else(|| format!("there is no hive named {name}"))
}

fn model(state: &State, name: &str) -> Result<ModelRef, String> {
    match state.models.iter().find(|(known, _)| known == name) {
        Some((_, model)) => Ok(model.clone()),
        None => name.parse::<ModelRef>().map_err(|error| error.to_string()),
    }
}

/// The workers of that id, on all hives.
fn workers(state: &State, name: &str) -> Vec<(HiveName, WorkerId)> {
    let all = state.board.workers().filter(|(_, worker)| worker.id.as_str() == name);
    all.map(|(hive, worker)| (hive.clone(), worker.id.clone())).collect()
}
