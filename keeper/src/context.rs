//! What every command works with: the environment, the configuration, and where to say things.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use wire::pull::HubSource;
use wire::{BuildId, Code, Fault, HiveName, ModelRef, text};

use crate::bootstrap::Witness;
use crate::config::{self, Config};
use crate::dial::Dialer;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::hives;
use crate::hub::Hub;
use crate::link::Transport;
use crate::link::local::Local;
use crate::link::way::Way;
use crate::output::aside::Aside;
use crate::output::style::Style;
use crate::output::theme::Theme;

/// The surroundings of one command.
#[derive(Debug, Clone)]
pub struct Context {
    /// Directories, variables, terminals.
    pub environment: Environment,
    /// The checked configuration.
    pub config: Config,
    /// The file that it came from, when there is one.
    pub config_path: Option<PathBuf>,
    /// What this program was built from.
    pub build: BuildId,
    /// The theme that the configuration names, or the default when that cannot be read.
    pub theme: Theme,
    /// Why it could not.
    pub theme_fault: Option<Fault>,
    /// Colours of standard error.
    pub style: Style,
    /// How hives are reached.
    pub dialer: Dialer,
}

impl Context {
    /// Loads the configuration and chooses the colours.
    ///
    /// # Errors
    /// `INVALID_CONFIG`.
    pub fn load(environment: Environment) -> Result<Self, Fault> {
        let (config, config_path) = Config::load(&environment)?;
        let coloured = environment.colours && environment.terminals.stderr;
        let themes = config::themes_dir(&environment, config_path.as_deref());
        let (theme, theme_fault) = match Theme::find(&config.theme, &themes) {
            Ok(theme) => (theme, None),
            Err(fault) => (Theme::default(), Some(fault)),
        };
        let style = if coloured { Style::of(&theme, environment.depth) } else { Style::plain() };
        let build = crate::build_id();
        let dialer = Dialer::new(&environment, config.ssh.client, &config.timings, build.clone());
        Ok(Self { environment, config, config_path, build, theme, theme_fault, style, dialer })
    }

    /// The way to the hive that is this machine.
    pub fn local(&self) -> Local {
        let agent_start = self.config.timings.agent_start;
        Local::new(&self.environment.dirs, self.build.clone(), agent_start)
    }

    /// The names of the hives that take part: those of the configuration; this machine too when it
    /// is the only one or `local.use` says so.
    pub fn hives(&self) -> Vec<HiveName> {
        let hives = &self.config.hives;
        let local = (hives.is_empty() || self.config.local.takes_part).then(HiveName::local);
        local.into_iter().chain(hives.keys().cloned()).collect()
    }

    /// The ways to all hives that take part, or to `only` one.
    ///
    /// # Errors
    /// `HIVE_NOT_FOUND` for a name that the configuration does not have.
    pub fn ways(&self, only: Option<&HiveName>) -> Result<Vec<Way>, Fault> {
        match only {
            Some(hive) => Ok(vec![self.way(hive)?]),
            None => self.hives().iter().map(|hive| self.way(hive)).collect(),
        }
    }

    /// The ways to everything that `down` ends: this machine too, whether or not it takes part.
    ///
    /// # Errors
    /// As [`Self::ways`].
    pub fn ways_to_end(&self, only: Option<&HiveName>) -> Result<Vec<Way>, Fault> {
        let mut ways = self.ways(only)?;
        if only.is_none() && ways.iter().all(|way| *way.hive() != HiveName::local()) {
            ways.insert(0, Way::Local(self.local()));
        }
        Ok(ways)
    }

    /// The way to one hive, over the connection of a program that lends it, where there is one.
    ///
    /// # Errors
    /// `HIVE_NOT_FOUND` for a name that the configuration does not have.
    pub fn way(&self, hive: &HiveName) -> Result<Way, Fault> {
        if *hive == HiveName::local() {
            return Ok(Way::Local(self.local()));
        }
        let settings = self.config.hives.get(hive);
        let settings = settings.ok_or_else(|| hives::unknown(hive, &self.config))?;
        let witness = Arc::new(Aside::new(self.style.clone()));
        Ok(Way::Borrowing(Arc::new(self.dialer.borrowing(hive, settings, witness))))
    }

    /// The way to one hive over a connection of its own; `witness` sees what happens on it.
    ///
    /// # Errors
    /// As [`Self::way`].
    pub fn way_seen_by(&self, hive: &HiveName, witness: Arc<dyn Witness>) -> Result<Way, Fault> {
        if *hive == HiveName::local() {
            return Ok(Way::Local(self.local()));
        }
        let settings = self.config.hives.get(hive);
        let settings = settings.ok_or_else(|| hives::unknown(hive, &self.config))?;
        Ok(Way::Remote(Arc::new(self.dialer.remote(hive, settings, false, witness))))
    }

    /// The model of a request that names none.
    ///
    /// # Errors
    /// A usage error without a default where there are hives.
    pub fn default_model(&self) -> Result<ModelRef, Failure> {
        if let Some(name) = &self.config.default_model {
            let model = name.resolve(self.config.known_aliases());
            return model.map_err(|error| Failure::usage(error.to_string()));
        }
        if !self.config.hives.is_empty() {
            // The demo model is for the first minutes, not for a person's own machines.
            return Err(Failure::usage("no model was named, and none is the default")
                .hint("rbee run -m demo \"Hello\"")
                .hint("rbee config path  # default_model = \"…\" goes there"));
        }
        Ok(ModelRef::Demo)
    }

    /// Where models come from. What is wrong with the file of a token is said, and costs nothing
    /// that everybody may have.
    ///
    /// # Errors
    /// `INVALID_CONFIG`.
    pub fn hub(&self) -> Result<HubSource, Fault> {
        let Hub { source, caution } = self.find_hub()?;
        if let Some(fault) = caution {
            self.warn(&text::for_terminal(&fault.message));
            for hint in &fault.hints {
                self.note(&format!("hint: {}", text::for_terminal(hint)));
            }
        }
        Ok(source)
    }

    /// The same without a word to anybody.
    ///
    /// # Errors
    /// `INVALID_CONFIG`.
    pub fn find_hub(&self) -> Result<Hub, Fault> {
        Hub::find(&self.environment, &self.config, self.config_path.as_deref())
    }

    /// A command for a hive's own shell, as it is typed here.
    pub fn on(&self, hive: &HiveName, command: &str) -> String {
        match self.config.hives.get(hive) {
            _ if *hive == HiveName::local() => command.to_owned(),
            Some(settings) => settings.by_ssh(command),
            // Not written down yet: nothing that would be done to this machine instead.
            None => format!("# on {hive}: {command}"),
        }
    }

    /// Colours for standard output: none in a pipe.
    pub fn stdout_style(&self) -> Style {
        if self.environment.colours && self.environment.terminals.stdout {
            Style::of(&self.theme, self.environment.depth)
        } else {
            Style::plain()
        }
    }

    /// Whether standard error has colours.
    pub fn is_coloured(&self) -> bool {
        self.environment.colours && self.environment.terminals.stderr
    }

    /// Says something beside the result, on standard error.
    pub fn note(&self, text: &str) {
        // When standard error is closed, nobody wants notes.
        let _ = writeln!(io::stderr().lock(), "{}", self.style.muted(text));
    }

    /// Says something beside the result that somebody should look at.
    pub fn warn(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{} {text}", self.style.warning("warning:"));
    }

    /// Says that a hive cannot take part in what is done with the others.
    pub fn warn_of(&self, hive: &HiveName, why: &Fault) {
        self.warn(&format!("without the hive {hive}: {}", text::for_terminal(&why.message)));
    }

    /// Writes the result of a command to standard output.
    ///
    /// # Errors
    /// When standard output is closed or full.
    pub fn print(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| Failure::of_stdout(&error))
    }

    /// Writes a value to standard output as one line of JSON.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub fn print_json(&self, value: &impl serde::Serialize) -> Result<(), Failure> {
        let line = serde_json::to_string(value).map_err(|error| {
            Fault::new(Code::Internal, "a result cannot be written as JSON").cause(error)
        })?;
        self.print(&format!("{line}\n"))
    }
}

/// Runs the asynchronous part of a command on this thread.
///
/// # Errors
/// Those of the part; `INTERNAL` when the operating system refuses an event loop.
pub fn block_on<T>(part: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::new(Code::Internal, "no event loop").cause(error))?;
    let outcome = runtime.block_on(part);
    // A thread that waits for the terminal must not hold the program back.
    runtime.shutdown_background();
    outcome
}

/// An event loop that goes on between the parts that are run on it, so that connections live while
/// the program waits for a person.
///
/// # Errors
/// `INTERNAL` when the operating system refuses it.
pub fn background() -> Result<Runtime, Failure> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    Ok(runtime.map_err(|error| Fault::new(Code::Internal, "no event loop").cause(error))?)
}
