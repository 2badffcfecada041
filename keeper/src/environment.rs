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

/// How many colours a terminal has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// None, or none are welcome.
    #[default]
    None,
    /// The sixteen of ECMA-48 and its bright ones.
    Sixteen,
    /// The 256 of xterm.
    Indexed,
    /// Eight bits each of red, green and blue.
    True,
}

/// What a person has beside this program.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The home directory.
    pub home: PathBuf,
    /// The editor, with its arguments (`VISUAL`, `EDITOR`).
    pub editor: Option<String>,
    /// Whether there is a Wayland display (`WAYLAND_DISPLAY`).
    pub wayland: bool,
    /// Whether there is an X display (`DISPLAY`).
    pub x11: bool,
    /// Whether the terminal is one of tmux (`TMUX`).
    pub tmux: bool,
}

/// What of the environment says where the hub is, and where its own programs keep a token.
#[derive(Debug, Clone, Default)]
pub struct AroundHub {
    /// `HF_ENDPOINT`.
    pub endpoint: Option<String>,
    /// The first that exists counts.
    pub token_files: Vec<PathBuf>,
}

impl AroundHub {
    /// By the variables that the hub's own programs read, and where they look without one.
    pub fn of(variable: impl Fn(&str) -> Option<String>, home: &Path) -> Self {
        let cache = variable("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
        let hub = variable("HF_HOME").map_or_else(|| cache.join("huggingface"), PathBuf::from);
        let token = variable("HF_TOKEN_PATH").map_or_else(|| hub.join("token"), PathBuf::from);
        Self { endpoint: variable("HF_ENDPOINT"), token_files: vec![token] }
    }
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
    /// How many colours the terminal has (`NO_COLOR`, `TERM`, `COLORTERM`).
    pub depth: Depth,
    /// Whether the terminal takes UTF-8 (`LC_ALL`, `LC_CTYPE`, `LANG`).
    pub unicode: bool,
    /// Which streams are terminals.
    pub terminals: Terminals,
    /// What the ssh configuration depends on.
    pub ssh: Around,
    /// What a person has beside this program.
    pub desk: Desk,
    /// Where the hub is, and the person's token for it.
    pub hub: AroundHub,
}

impl Environment {
    /// Reads the environment.
    ///
    /// # Errors
    /// `INVALID_CONFIG` for a user without a home directory, or with one that is not UTF-8.
    pub fn read() -> Result<Self, Fault> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = variable("TERM").is_some_and(|term| term == "dumb");
        Ok(Self {
            dirs: directories()?,
            config_file: variable("RBEE_CONFIG").map(PathBuf::from),
            log: variable("RBEE_LOG").map(|filter| filter.to_string_lossy().into_owned()),
            colours: variable("NO_COLOR").is_none() && !dumb,
            depth: depth(|name| variable(name).map(|text| text.to_string_lossy().into_owned())),
            unicode: ["LC_ALL", "LC_CTYPE", "LANG"]
                .into_iter()
                .find_map(variable)
                .is_none_or(|locale| is_utf8(&locale.to_string_lossy())),
            terminals: Terminals {
                stdin: std::io::stdin().is_terminal(),
                stdout: std::io::stdout().is_terminal(),
                stderr: std::io::stderr().is_terminal() && !dumb,
            },
            ssh: around_ssh(),
            desk: Desk {
                home: variable("HOME").map(PathBuf::from).unwrap_or_default(),
                editor: ["VISUAL", "EDITOR"]
                    .into_iter()
                    .find_map(variable)
                    .map(|editor| editor.to_string_lossy().into_owned()),
                wayland: variable("WAYLAND_DISPLAY").is_some(),
                x11: variable("DISPLAY").is_some(),
                tmux: variable("TMUX").is_some(),
            },
            hub: AroundHub::of(
                |name| variable(name).map(|text| text.to_string_lossy().into_owned()),
                &variable("HOME").map(PathBuf::from).unwrap_or_default(),
            ),
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

    /// Whether somebody sits at a terminal that can be drawn on.
    pub fn is_interactive(&self) -> bool {
        let Terminals { stdin, stdout, stderr } = self.terminals;
        stdin && stdout && stderr
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

/// How many colours the terminal has, as far as the variables say.
fn depth(variable: impl Fn(&str) -> Option<String>) -> Depth {
    let term = variable("TERM").unwrap_or_default();
    if variable("NO_COLOR").is_some() || term == "dumb" {
        return Depth::None;
    }
    let named = variable("COLORTERM").unwrap_or_default();
    if matches!(named.as_str(), "truecolor" | "24bit") || term.ends_with("-direct") {
        return Depth::True;
    }
    if term.contains("256color") { Depth::Indexed } else { Depth::Sixteen }
}

/// Whether a locale's encoding is UTF-8; without a word for the encoding it is not known to be.
fn is_utf8(locale: &str) -> bool {
    let lower = locale.to_ascii_lowercase();
    lower.contains("utf-8") || lower.contains("utf8")
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
    fn a_terminal_has_the_colours_that_its_variables_say() {
        let depth_of = |pairs: &[(&str, &str)]| {
            let found = |name: &str| pairs.iter().find(|(key, _)| *key == name);
            depth(|name| found(name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(depth_of(&[("TERM", "xterm"), ("COLORTERM", "truecolor")]), Depth::True);
        assert_eq!(depth_of(&[("TERM", "tmux-256color")]), Depth::Indexed);
        assert_eq!(depth_of(&[("TERM", "linux")]), Depth::Sixteen);
        assert_eq!(depth_of(&[("TERM", "dumb"), ("COLORTERM", "truecolor")]), Depth::None);
        assert_eq!(depth_of(&[("TERM", "xterm-256color"), ("NO_COLOR", "1")]), Depth::None);
        assert!(is_utf8("de_DE.UTF-8") && is_utf8("C.utf8") && !is_utf8("POSIX"));
    }

    #[test]
    fn a_relative_directory_is_refused_by_its_name() {
        let fault = refuse_relative(Path::new("here/.config/rbee")).unwrap_err();
        assert_eq!(fault.code, Code::InvalidConfig);
        assert!(fault.message.contains("here/.config/rbee"), "{fault}");
        assert!(refuse_relative(Path::new("/home/ada/.config/rbee")).is_ok());
    }

    #[test]
    fn the_hubs_own_programs_say_where_its_token_is() {
        let of = |pairs: &[(&str, &str)]| {
            let found = |name: &str| pairs.iter().find(|(key, _)| *key == name);
            let around =
                AroundHub::of(|name| found(name).map(|(_, v)| (*v).to_owned()), Path::new("/h"));
            around.token_files[0].to_str().unwrap().to_owned()
        };
        assert_eq!(of(&[]), "/h/.cache/huggingface/token");
        assert_eq!(of(&[("HF_HOME", "/x")]), "/x/token");
        assert_eq!(of(&[("XDG_CACHE_HOME", "/c")]), "/c/huggingface/token");
        assert_eq!(of(&[("HF_HOME", "/x"), ("HF_TOKEN_PATH", "/t")]), "/t");
    }
}
