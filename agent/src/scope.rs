//! Scopes of the user's systemd manager, in which a daemon outlives the login that started it.
//!
//! A system may end everything that a login has started when that login ends (`KillUserProcesses`
//! of logind.conf(5)), and then it does not matter who leads a session. What runs in a scope of the
//! user's manager stays, if the manager itself stays, which is what lingering means. Without
//! lingering a scope would end sooner than a plain process, so none is used then.

use std::ffi::OsStr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::dirs;

/// Where logind marks the users whose manager runs without a login.
const LINGERING: &str = "/var/lib/systemd/linger";
/// Where a user's runtime directory is, also when this login was not told.
const RUNTIME: &str = "/run/user";
/// Names it to programs that speak with the manager.
const RUNTIME_VARIABLE: &str = "XDG_RUNTIME_DIR";
/// Where the program may be: daemons have no search path that could be trusted.
const PROGRAMS: [&str; 2] = ["/usr/bin/systemd-run", "/bin/systemd-run"];
/// How long the manager may take to make a scope before it counts as absent.
const PATIENCE: Duration = Duration::from_secs(2);

/// How the daemons of this hive are started.
#[derive(Debug, Clone, Default)]
pub struct Scopes(Option<Manager>);

/// A manager that has made a scope.
#[derive(Debug, Clone)]
struct Manager {
    program: PathBuf,
    runtime: PathBuf,
}

impl Scopes {
    /// Looks for a manager that lasts, and lets it make one scope to see whether it does.
    pub async fn look() -> Self {
        let Some(manager) = Manager::that_lasts(Path::new(LINGERING)) else { return Self(None) };
        let mut trial = manager.command(OsStr::new("true"));
        trial.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let works = match tokio::time::timeout(PATIENCE, trial.status()).await {
            Ok(Ok(status)) => status.success(),
            Ok(Err(_)) | Err(_) => false,
        };
        Self(works.then_some(manager))
    }

    /// `program` with what daemons keep of this environment, in a scope of its own where there is
    /// a manager. It is the same process: what makes the scope becomes the program.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let program = program.as_ref();
        let mut command = match &self.0 {
            Some(manager) => manager.command(program),
            None => Command::new(program),
        };
        command.env_clear().envs(dirs::kept_environment());
        if let Some(manager) = &self.0 {
            command.env(RUNTIME_VARIABLE, &manager.runtime);
        }
        command
    }

    /// Whether there is a manager.
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }
}

impl Manager {
    fn that_lasts(lingering: &Path) -> Option<Self> {
        let user = dirs::user_name()?;
        if user.contains('/') || !lingering.join(user).is_file() {
            return None;
        }
        let program = PROGRAMS.iter().map(PathBuf::from).find(|path| path.is_file())?;
        let runtime = Path::new(RUNTIME).join(rustix::process::getuid().as_raw().to_string());
        let is_socket = |name: &str| {
            std::fs::metadata(runtime.join(name)).is_ok_and(|file| file.file_type().is_socket())
        };
        is_socket("bus").then_some(Self { program, runtime })
    }

    fn command(&self, program: &OsStr) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env(RUNTIME_VARIABLE, &self.runtime)
            // The worker's guard divides its scope further, to bound the engine's memory.
            .args(["--user", "--scope", "--quiet", "--collect", "--property=Delegate=yes", "--"])
            .arg(program);
        command
    }
}
