//! The directories of this user's hive: found, made private, and checked.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use directories::ProjectDirs;
use wire::{Code, Fault, layout, text};

/// Where configuration is looked for when the user has none.
const SYSTEM_CONFIG: &str = "/etc/rbee/config.toml";
/// Names a configuration file before every other.
const CONFIG_VARIABLE: &str = "RBEE_CONFIG";
/// Names NVIDIA's management library where it is not where the system's loader looks.
const NVML_VARIABLE: &str = "RBEE_NVML_LIBRARY";
/// Group and others have no business in any of our directories.
const PRIVATE_DIR: u32 = 0o700;

/// Variables that agents, guards and engines need; everything else of the environment that an agent
/// is started from is left behind.
const KEPT_VARIABLES: [&str; 13] = [
    "HOME",
    "USER",
    "LOGNAME",
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    CONFIG_VARIABLE,
    NVML_VARIABLE,
    "RUST_BACKTRACE",
    "RAYON_NUM_THREADS",
    "CANDLE_NUM_THREADS",
];

/// What an agent takes along. A daemon outlives the session that started it, and that session's
/// secrets must not live in it.
pub fn kept_environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| is_kept(name))
}

/// NVIDIA's management library, where this process was told of another than the loader's.
pub fn nvml_library() -> Option<PathBuf> {
    std::env::var_os(NVML_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// What this user is called, if this process was told.
pub fn user_name() -> Option<String> {
    let (_, name) = kept_environment().find(|(name, _)| name == "USER" || name == "LOGNAME")?;
    name.into_string().ok()
}

/// Whether an agent takes this variable along.
fn is_kept(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    KEPT_VARIABLES.contains(&name) || name.starts_with("XDG_")
}

/// Where everything of this hive is.
#[derive(Debug, Clone)]
pub struct Dirs {
    /// Models and installed builds.
    pub data: PathBuf,
    /// Logs.
    pub log: PathBuf,
    /// Sockets, the lock, workers' records.
    pub runtime: String,
    /// The configuration file, whether or not it exists.
    pub config: PathBuf,
}

impl Dirs {
    /// Finds them by the user's environment (XDG base directories).
    ///
    /// # Errors
    /// `AGENT_FAILED` without a home directory, or with one whose name is not UTF-8.
    pub fn find() -> Result<Self, Fault> {
        let dirs = ProjectDirs::from("", "", "rbee").ok_or_else(|| {
            Fault::new(Code::AgentFailed, "this user has no home directory")
                .hint("export HOME=/path/of/a/directory")
        })?;
        // Found from the root directory, where daemons live, a relative one is another.
        let relative =
            [dirs.data_dir(), dirs.config_dir()].into_iter().find(|dir| dir.is_relative());
        if let Some(dir) = relative {
            let message = format!("the directory {} is not absolute", dir.display());
            return Err(
                Fault::new(Code::AgentFailed, message).hint("export HOME=/path/of/a/directory")
            );
        }
        // Elsewhere than on Linux there is no state directory; the data directory serves.
        let state = dirs.state_dir().unwrap_or_else(|| dirs.data_dir());
        let state_text = state.to_str().ok_or_else(|| {
            Fault::new(Code::AgentFailed, "the name of the home directory is not UTF-8")
        })?;
        let runtime = layout::runtime_dir(state_text, rustix::process::getuid().as_raw());
        let own = dirs.config_dir().join("config.toml");
        let config = match std::env::var_os(CONFIG_VARIABLE) {
            Some(path) if !path.is_empty() => PathBuf::from(path),
            _ if own.exists() => own,
            _ => PathBuf::from(SYSTEM_CONFIG),
        };
        Ok(Self { data: dirs.data_dir().to_owned(), log: state.join("log"), runtime, config })
    }

    /// Makes what is missing, private to this user, and refuses what is not ours.
    ///
    /// # Errors
    /// `AGENT_FAILED` naming the directory.
    pub fn prepare(&self) -> Result<(), Fault> {
        let runtime = Path::new(&self.runtime);
        let workers = PathBuf::from(layout::workers_dir(&self.runtime));
        // The runtime directory's parent is ours too: under /tmp somebody else could own it.
        let parent = runtime.parent().unwrap_or(runtime);
        for dir in [parent, runtime, &workers, &self.log, &self.data, &self.models()] {
            private_dir(dir).map_err(|problem| {
                let message = format!("the directory {} {problem}", dir.display());
                Fault::new(Code::AgentFailed, message)
                    .hint(format!("ls -ld {}", text::shell_word(&dir.to_string_lossy())))
            })?;
        }
        Ok(())
    }

    /// The file of measured memory.
    pub fn peaks(&self) -> PathBuf {
        self.log.with_file_name("peaks.json")
    }

    /// The file of what an agent leaves to the next one.
    pub fn carryover(&self) -> PathBuf {
        self.log.with_file_name("carryover.json")
    }

    /// What the agent records.
    pub fn agent_log(&self) -> PathBuf {
        self.log.join("agent.jsonl")
    }

    /// The content-addressed store of models.
    pub fn models(&self) -> PathBuf {
        self.data.join("models")
    }
}

/// Makes sure that `dir` is a directory of this user that nobody else may enter.
fn private_dir(dir: &Path) -> Result<(), String> {
    let make = fs::DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(dir);
    match make {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(format!("cannot be made: {error}"));
        }
        _ => {}
    }
    let seen = fs::symlink_metadata(dir).map_err(|error| format!("cannot be read: {error}"))?;
    if !seen.is_dir() {
        return Err("is not a directory".to_owned());
    }
    if seen.uid() != rustix::process::getuid().as_raw() {
        return Err("belongs to another user".to_owned());
    }
    if seen.mode() & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(PRIVATE_DIR))
            .map_err(|error| format!("cannot be made private: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_takes_no_secret_of_its_session_along() {
        for name in ["HOME", "RBEE_CONFIG", "XDG_STATE_HOME"] {
            assert!(is_kept(name.as_ref()), "{name}");
        }
        for name in ["HF_TOKEN", "RBEE_TOKEN", "SSH_AUTH_SOCK", "AWS_SECRET_ACCESS_KEY"] {
            assert!(!is_kept(name.as_ref()), "{name}");
        }
    }

    #[test]
    fn a_directory_that_others_may_enter_is_closed() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("run");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        private_dir(&dir).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_link_or_a_file_in_a_directorys_place_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let (target, link) = (home.path().join("target"), home.path().join("link"));
        fs::create_dir(&target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(private_dir(&link).unwrap_err().contains("not a directory"));
        let file = home.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(private_dir(&file).is_err());
    }
}
