//! What every command works with: the environment, the configuration, and where to say things.

use std::io::{self, Write};
use std::path::PathBuf;

use wire::{BuildId, Code, Fault};

use crate::config::Config;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::link::local::Local;
use crate::output::style::Style;

/// The surroundings of one command.
#[derive(Debug)]
pub struct Context {
    /// Directories, variables, terminals.
    pub environment: Environment,
    /// The checked configuration.
    pub config: Config,
    /// The file that it came from, when there is one.
    pub config_path: Option<PathBuf>,
    /// What this program was built from.
    pub build: BuildId,
    /// Colours of standard error.
    pub style: Style,
}

impl Context {
    /// Loads the configuration and chooses the colours.
    ///
    /// # Errors
    /// `INVALID_CONFIG`.
    pub fn load(environment: Environment) -> Result<Self, Fault> {
        let (config, config_path) = Config::load(&environment)?;
        let coloured = environment.colours && environment.terminals.stderr;
        let style = if coloured { Style::of(config.theme) } else { Style::plain() };
        Ok(Self { environment, config, config_path, build: crate::build_id(), style })
    }

    /// The way to the hive that is this machine.
    pub fn local(&self) -> Local {
        let agent_start = self.config.timings.agent_start;
        Local::new(&self.environment.dirs, self.build.clone(), agent_start)
    }

    /// Colours for standard output: none in a pipe.
    pub fn stdout_style(&self) -> Style {
        if self.environment.colours && self.environment.terminals.stdout {
            Style::of(self.config.theme)
        } else {
            Style::plain()
        }
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::new(Code::Internal, "no event loop").cause(error))?;
    let outcome = runtime.block_on(part);
    // A thread that waits for the terminal must not hold the program back.
    runtime.shutdown_background();
    outcome
}
