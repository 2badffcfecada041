//! What the keeper takes from around it: directories, variables, terminals. Read once, here.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use wire::{Code, Fault, layout};

use crate::ssh::config::Around;

/// The configuration of the machine, for users who have none.
const SYSTEM_CONFIG: &str = "/etc/rbee/config.toml";
/// The users of the machine (passwd(5)).
const USERS: &str = "/etc/passwd";

/// This user's directories of the program.
#[derive(Debug, Clone)]
pub struct Directories {
    /// Configuration.
    pub config: PathBuf,
    /// Installed builds.
    pub data: PathBuf,
    /// Logs and the history of chats.
    pub state: PathBuf,
    /// Sockets; as the agent names it, because both must find the same one.
    pub runtime: String,
}

impl Directories {
    /// The agent's socket.
    pub fn agent_socket(&self) -> PathBuf {
        layout::agent_socket(&self.runtime).into()
    }
}

/// Which standard streams a person sees.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terminals {
    /// Standard input is typed.
    pub stdin: bool,
    /// Standard output is looked at.
    pub stdout: bool,
    /// Standard error is looked at, and can move its cursor.
    pub stderr: bool,
}

/// Everything outside the program that changes what it does.
#[derive(Debug, Clone)]
pub struct Environment {
    /// This user's directories.
    pub dirs: Directories,
    /// `RBEE_CONFIG`: the configuration file to read instead.
    pub config_file: Option<PathBuf>,
    /// `RBEE_LOG`: what to write to the log.
    pub log: Option<String>,
    /// Whether colours are welcome (`NO_COLOR`, `TERM`).
    pub colours: bool,
    /// Which streams are terminals.
    pub terminals: Terminals,
    /// What the ssh configuration depends on.
    pub ssh: Around,
}

impl Environment {
    /// Reads the environment.
    ///
    /// # Errors
    /// `INVALID_CONFIG` for a user without a home directory, or with one that is not UTF-8.
    pub fn read() -> Result<Self, Fault> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = variable("TERM").is_some_and(|term| term == "dumb");
        Ok(Self {
            dirs: directories()?,
            config_file: variable("RBEE_CONFIG").map(PathBuf::from),
            log: variable("RBEE_LOG").map(|filter| filter.to_string_lossy().into_owned()),
            colours: variable("NO_COLOR").is_none() && !dumb,
            terminals: Terminals {
                stdin: std::io::stdin().is_terminal(),
                stdout: std::io::stdout().is_terminal(),
                stderr: std::io::stderr().is_terminal() && !dumb,
            },
            ssh: around_ssh(),
        })
    }

    /// Where the configuration may be, the first that exists counts. A file that was named must
    /// exist.
    pub fn config_candidates(&self) -> Vec<PathBuf> {
        match &self.config_file {
            Some(file) => vec![file.clone()],
            None => vec![self.dirs.config.join("config.toml"), SYSTEM_CONFIG.into()],
        }
    }

    /// Columns of the terminal that standard output is, when it is one.
    pub fn stdout_width(&self) -> Option<usize> {
        if !self.terminals.stdout {
            return None;
        }
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
        (size.ws_col > 0).then(|| usize::from(size.ws_col))
    }
}

/// OpenSSH takes the home directory from the system's list of users, not from `HOME`, and so must
/// whoever reads its files. Users of a directory service are in no file; theirs is `HOME`.
fn around_ssh() -> Around {
    let variable = |name: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.map(|value| value.to_string_lossy().into_owned())
    };
    let uid = rustix::process::getuid().as_raw();
    let users = std::fs::read_to_string(USERS).unwrap_or_default();
    let (user, home) = user_of(&users, uid).unzip();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_program = |file: &PathBuf| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok();
    Around {
        program: std::env::split_paths(&path).map(|dir| dir.join("ssh")).find(is_program),
        config: None,
        home: home.or_else(std::env::home_dir).unwrap_or_default(),
        user: user.or_else(|| variable("LOGNAME")).or_else(|| variable("USER")).unwrap_or_default(),
        uid,
        variable,
    }
}

/// Name and home directory of a user in a text of the form of passwd(5).
fn user_of(users: &str, uid: u32) -> Option<(String, PathBuf)> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number: u32 = fields.nth(1)?.parse().ok()?;
        let home = fields.nth(2)?;
        (number == uid && home.starts_with('/')).then(|| (name.to_owned(), home.into()))
    })
}

/// A relative one would be another directory, with another hive, wherever the program is called.
fn refuse_relative(dir: &Path) -> Result<(), Fault> {
    if dir.is_absolute() {
        return Ok(());
    }
    let message = format!(
        "the directory {} is relative; the home directory's path is not absolute",
        dir.display()
    );
    Err(Fault::new(Code::InvalidConfig, message).hint("export HOME=/path"))
}

fn directories() -> Result<Directories, Fault> {
    let refuse = |message| Fault::new(Code::InvalidConfig, message);
    let project = directories::ProjectDirs::from("", "", "rbee")
        .ok_or_else(|| refuse("this user has no home directory").hint("export HOME=/path"))?;
    // A system without a directory for state keeps it with the data.
    let state = project.state_dir().unwrap_or(project.data_dir()).to_path_buf();
    [project.config_dir(), project.data_dir(), &state].into_iter().try_for_each(refuse_relative)?;
    let text = state.to_str().ok_or_else(|| {
        refuse("the home directory's path is not UTF-8").hint("export HOME=/path")
    })?;
    let runtime = layout::runtime_dir(text, rustix::process::getuid().as_raw());
    Ok(Directories {
        config: project.config_dir().to_path_buf(),
        data: project.data_dir().to_path_buf(),
        runtime,
        state,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nodd\nada:x:1000:1000:Ada,,:/home/ada:/bin/sh\n";
        assert_eq!(user_of(users, 1000), Some(("ada".to_owned(), "/home/ada".into())));
        assert_eq!(user_of(users, 0).unwrap().0, "root");
        assert_eq!(user_of(users, 7), None);
    }

    #[test]
    fn a_relative_directory_is_refused_by_its_name() {
        let fault = refuse_relative(Path::new("here/.config/rbee")).unwrap_err();
        assert_eq!(fault.code, Code::InvalidConfig);
        assert!(fault.message.contains("here/.config/rbee"), "{fault}");
        assert!(refuse_relative(Path::new("/home/ada/.config/rbee")).is_ok());
    }
}
