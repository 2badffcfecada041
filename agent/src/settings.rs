//! The part of the configuration file that an agent reads.

use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use wire::settings::{AgentSettings, Lifetime};
use wire::{Code, Fault, Timings, limits};

/// `[agent]` and `[timings]`; every other table is the keeper's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// What the agent allows and assumes.
    pub agent: AgentSettings,
    /// All waits.
    pub timings: Timings,
}

impl Settings {
    /// As the file says, or as whoever starts the agent does: one of them is enough to let it end
    /// with its keepers. Guards of such an agent wait no longer for the next one.
    #[must_use]
    pub fn living(mut self, lifetime: Lifetime) -> Self {
        if lifetime == Lifetime::Ephemeral {
            self.agent.lifetime = lifetime;
        }
        if self.agent.lifetime == Lifetime::Ephemeral {
            let lease = self.timings.lease;
            self.timings.orphan_timeout = self.timings.orphan_timeout.min(lease);
        }
        self
    }
}

/// Reads the file; a missing one means the defaults.
///
/// # Errors
/// `INVALID_CONFIG` naming the file and the line.
pub fn load(path: &Path) -> Result<Settings, Fault> {
    let refuse = |problem: &str| {
        let message = format!("{}: {problem}", path.display());
        Fault::new(Code::InvalidConfig, message).hint("rbee config check")
    };
    // Opening a pipe would wait for its writer for ever.
    if std::fs::metadata(path).is_ok_and(|file| !file.is_file()) {
        return Err(refuse("this is no file"));
    }
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Settings::default());
        }
        Err(error) => return Err(refuse(&error.to_string())),
    };
    let mut text = String::new();
    let read = file.take(limits::MAX_CONFIG_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| refuse(&error.to_string()))?;
    if u64::try_from(text.len()).is_ok_and(|bytes| bytes > limits::MAX_CONFIG_BYTES) {
        return Err(refuse("the file is longer than 1 MiB"));
    }
    let settings: Settings = toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        refuse(&format!("line {line}: {}", error.message())).detail("line", line)
    })?;
    settings.agent.check().map_err(refuse)?;
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str) -> Result<Settings, Fault> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        load(&path)
    }

    #[test]
    fn a_missing_file_means_the_defaults() {
        assert_eq!(load(Path::new("/nonexistent/config.toml")).unwrap(), Settings::default());
    }

    #[test]
    fn tables_of_the_keeper_are_passed_over() {
        let text = "default_model = 1\n[agent]\nkeep_alive_s = 5\n[theme]\nname = \"x\"\n";
        assert_eq!(loaded(text).unwrap().agent.keep_alive_s, 5);
    }

    #[test]
    fn a_mistake_is_named_by_file_and_line() {
        let fault = loaded("\n[agent]\nkeep_alive = 5\n").unwrap_err();
        assert_eq!((fault.code, &fault.details["line"]), (Code::InvalidConfig, &3.into()));
        assert!(fault.message.contains("config.toml"), "{}", fault.message);
        assert!(loaded("[agent]\nkeep_alive_s = -7\n").is_err());
        assert!(loaded("[timings]\nstale_ms = 0\n").is_err());
    }
}
