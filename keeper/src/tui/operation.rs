//! What can be done to hives and workers from the screen: its question, command and title. Pure.

use wire::journal::RequestPrefix;
use wire::text::{one_line, shell_word};
use wire::{HiveName, ModelRef, WorkerId};

use crate::config::HiveSettings;
use crate::operations::add;
use crate::operations::removal::How;

/// Bytes of a model's name, or of a command, in a sentence.
const MAX_MODEL_BYTES: usize = 128;

/// What a key does to what is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Stops the chosen worker.
    StopWorker,
    /// Loads the model of the chosen worker anew.
    RestartWorker,
    /// Shows what the chosen worker writes.
    WorkerLog,
    /// Starts the agent of the chosen hive.
    StartAgent,
    /// Stops the agent of the chosen hive and its workers.
    StopAgent,
    /// Puts this build on the chosen hive.
    Install,
    /// Checks the way to the chosen hive.
    Doctor,
    /// Shows what the agent of the chosen hive writes.
    HiveLog,
    /// Forgets the chosen hive.
    RemoveHive,
    /// Ends everything that rbee started.
    EndAll,
    /// Shows where the last request went.
    Why,
    /// Reads the configuration again.
    Reload,
    /// Shows what the last operation said.
    ShowLast,
    /// Makes a machine a hive.
    AddHive,
    /// Loads a model.
    Load,
    /// Takes words.
    Palette,
    /// Gives the terminal to a shell of the chosen hive.
    Shell,
}

/// Something that can be done to a hive, to a worker, or to all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Stops a worker; its requests may finish first.
    StopWorker(HiveName, WorkerId),
    /// Loads a worker's model anew.
    RestartWorker(HiveName, WorkerId),
    /// Loads a model, wherever it fits or there.
    Load(ModelRef, Option<HiveName>),
    /// Fetches a model of the hub.
    Pull(ModelRef, HiveName),
    /// Lists the models that a hive keeps.
    Models(HiveName),
    /// Removes one of them.
    Forget(ModelRef, HiveName),
    /// Shows what a worker writes.
    WorkerLog(HiveName, WorkerId),
    /// Starts an agent, and installs this build where it is missing.
    StartAgent(HiveName),
    /// Stops an agent and its workers.
    StopAgent(HiveName),
    /// Puts this build there.
    Install(HiveName),
    /// Checks every step of the way.
    Doctor(HiveName),
    /// Shows what an agent writes.
    HiveLog(HiveName),
    /// Takes a hive out of the configuration.
    Remove(HiveName, How),
    /// Makes a machine a hive.
    Add(HiveName, Box<HiveSettings>),
    /// Ends everything.
    Down,
    /// Shows where a request went; the last one without a name.
    Why(Option<RequestPrefix>),
    /// Reads the configuration again.
    Reload,
    /// Runs any command of this program.
    Command(Vec<String>),
}

impl Operation {
    /// The hive that it is for, when it is for one.
    pub fn hive(&self) -> Option<&HiveName> {
        match self {
            Self::StopWorker(hive, _)
            | Self::RestartWorker(hive, _)
            | Self::WorkerLog(hive, _)
            | Self::StartAgent(hive)
            | Self::StopAgent(hive)
            | Self::Install(hive)
            | Self::Doctor(hive)
            | Self::HiveLog(hive)
            | Self::Remove(hive, _)
            | Self::Pull(_, hive)
            | Self::Models(hive)
            | Self::Forget(_, hive)
            | Self::Add(hive, _) => Some(hive),
            Self::Load(_, hive) => hive.as_ref(),
            Self::Down | Self::Why(_) | Self::Reload | Self::Command(_) => None,
        }
    }

    /// What it is done to.
    pub fn target(&self) -> String {
        match self {
            Self::StopWorker(hive, id)
            | Self::RestartWorker(hive, id)
            | Self::WorkerLog(hive, id) => format!("{id} on {hive}"),
            other => other.hive().map_or_else(|| other.title(), HiveName::to_string),
        }
    }

    /// What it does, as a question; none for what only looks or can be taken back by a key.
    pub fn question(&self) -> Option<String> {
        Some(match self {
            Self::StopWorker(hive, id) => format!("Stop {id} on {hive} and unload its model?"),
            Self::RestartWorker(hive, id) => format!("Load the model of {id} on {hive} anew?"),
            Self::StartAgent(hive) => format!("Start the agent of {hive}?"),
            Self::StopAgent(hive) => format!("Stop the workers and the agent of {hive}?"),
            Self::Install(hive) => format!("Install this build on {hive}? Loaded models stay."),
            Self::Remove(hive, how) if how.purge => {
                format!("Stop {hive}, delete all that rbee put there, and forget it?")
            }
            Self::Remove(hive, _) => format!("Stop what runs on {hive} and forget it?"),
            Self::Forget(model, hive) => {
                format!("Remove {} from {hive}?", one_line(&model.to_string(), MAX_MODEL_BYTES))
            }
            Self::Down => "Stop all workers and all agents, on all hives?".to_owned(),
            Self::Load(..)
            | Self::Pull(..)
            | Self::Models(_)
            | Self::WorkerLog(..)
            | Self::Doctor(_)
            | Self::HiveLog(_)
            | Self::Add(..)
            | Self::Why(_)
            | Self::Command(_)
            | Self::Reload => return None,
        })
    }

    /// The command that does the same.
    pub fn command(&self) -> String {
        let on = |hive: &Option<HiveName>| {
            hive.as_ref().map(|hive| format!(" --hive {hive}")).unwrap_or_default()
        };
        match self {
            Self::StopWorker(hive, id) => format!("rbee worker stop --hive {hive} {id}"),
            Self::RestartWorker(hive, id) => format!("rbee worker restart --hive {hive} {id}"),
            Self::Load(model, hive) => {
                format!("rbee worker start{} -m {}", on(hive), shell_word(&model.to_string()))
            }
            Self::Pull(model, hive) => {
                format!("rbee pull --hive {hive} {}", shell_word(&model.to_string()))
            }
            Self::Models(hive) => format!("rbee ls --hive {hive}"),
            Self::Forget(model, hive) => {
                format!("rbee rm --hive {hive} {}", shell_word(&model.to_string()))
            }
            Self::WorkerLog(hive, id) => format!("rbee worker logs --hive {hive} -f {id}"),
            Self::StartAgent(hive) => format!("rbee hive start {hive}"),
            Self::StopAgent(hive) => format!("rbee hive stop {hive}"),
            Self::Install(hive) => format!("rbee hive install {hive}"),
            Self::Doctor(hive) => format!("rbee hive doctor {hive}"),
            Self::HiveLog(hive) => format!("rbee hive logs -f {hive}"),
            Self::Remove(hive, how) => {
                let purge = if how.purge { " --purge" } else { "" };
                let force = if how.force { " --force" } else { "" };
                format!("rbee hive remove {hive}{purge}{force}")
            }
            Self::Add(name, settings) => add::command(name, settings),
            Self::Down => "rbee down".to_owned(),
            Self::Why(None) => "rbee why".to_owned(),
            Self::Why(Some(request)) => format!("rbee why {request}"),
            Self::Reload => "rbee config check".to_owned(),
            Self::Command(words) => words
                .iter()
                .fold("rbee".to_owned(), |line, word| format!("{line} {}", shell_word(word))),
        }
    }

    /// What it is, over what it says.
    pub fn title(&self) -> String {
        match self {
            Self::StopWorker(hive, id) => format!("Stop {id} on {hive}"),
            Self::RestartWorker(hive, id) => format!("Restart {id} on {hive}"),
            Self::Load(model, _) => {
                format!("Load {}", one_line(&model.to_string(), MAX_MODEL_BYTES))
            }
            Self::Pull(model, _) => {
                format!("Pull {}", one_line(&model.to_string(), MAX_MODEL_BYTES))
            }
            Self::Models(hive) => format!("Models of {hive}"),
            Self::Forget(model, _) => {
                format!("Remove {}", one_line(&model.to_string(), MAX_MODEL_BYTES))
            }
            Self::WorkerLog(hive, id) => format!("Log of {id} on {hive}"),
            Self::StartAgent(hive) => format!("Start {hive}"),
            Self::StopAgent(hive) => format!("Stop {hive}"),
            Self::Install(hive) => format!("Install on {hive}"),
            Self::Doctor(hive) => format!("Doctor: {hive}"),
            Self::HiveLog(hive) => format!("Log of {hive}"),
            Self::Remove(hive, _) => format!("Remove {hive}"),
            Self::Add(hive, _) => format!("Add {hive}"),
            Self::Down => "Down".to_owned(),
            Self::Why(_) => "Where the request went".to_owned(),
            Self::Reload => "Configuration".to_owned(),
            Self::Command(_) => one_line(&self.command(), MAX_MODEL_BYTES),
        }
    }

    /// Whether what it says is shown at once: it is all there is to it, or it takes a while.
    pub fn is_shown(&self) -> bool {
        matches!(
            self,
            Self::WorkerLog(..)
                | Self::HiveLog(_)
                | Self::Doctor(_)
                | Self::Pull(..)
                | Self::Models(_)
                | Self::Command(_)
                | Self::Why(_)
                | Self::Down
                | Self::Install(_)
                | Self::Remove(..)
        )
    }

    /// Whether it ends when nobody looks any more: before it is done, nothing has changed, or the
    /// person typed what is ended.
    pub fn is_followed(&self) -> bool {
        matches!(
            self,
            Self::WorkerLog(..)
                | Self::HiveLog(_)
                | Self::Add(..)
                | Self::Pull(..)
                | Self::Command(_)
        )
    }
}
