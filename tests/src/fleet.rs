//! A lab whose keeper has the program: hives over real SSH.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::lab::Lab;
use crate::sandbox::{Finished, finish, program};
use crate::watcher::Watcher;

/// Where the keeper's user has the program, from their home.
const PROGRAM: &str = "bin/rbee";
/// Where their configuration is, from their home.
const CONFIG: &str = ".config/rbee/config.toml";

/// Machines of a lab and a keeper that can make them hives.
pub struct Fleet {
    /// The machines.
    pub lab: Lab,
}

impl Fleet {
    /// Starts hosts, each with its flavours, and gives the keeper the program and a configuration.
    /// None where a lab cannot run.
    ///
    /// # Panics
    /// As [`Lab::up`], and when the program cannot be copied.
    pub fn up(hosts: &[(&str, &str)], config: &str) -> Option<Self> {
        Self::up_with_disks("256m", hosts, config)
    }

    /// As [`Self::up`], with disks of another size (see scripts/lab).
    ///
    /// # Panics
    /// As [`Self::up`].
    pub fn up_with_disks(size: &str, hosts: &[(&str, &str)], config: &str) -> Option<Self> {
        let lab = Lab::up_with_disks(size, hosts)?;
        let fleet = Self { lab };
        let bytes = std::fs::read(program()).expect("the program");
        fleet.write(PROGRAM, &bytes);
        let _ = fleet.lab.keeper(&["chmod", "755", PROGRAM]).expect_code(0);
        fleet.configure(config);
        Some(fleet)
    }

    /// Writes the keeper's configuration.
    pub fn configure(&self, config: &str) {
        self.write(CONFIG, config.as_bytes());
    }

    /// Writes a host's own configuration, which its agent reads when it starts.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure_host(&self, host: &str, config: &str) {
        let script = "mkdir -p /etc/rbee && cat >/etc/rbee/config.toml";
        let mut command = self.lab.command(&["exec", host, "sh", "-c", script]);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("a shell");
        child.stdin.take().expect("a pipe").write_all(config.as_bytes()).expect("written");
        let _ = finish(child).expect_code(0);
    }

    /// The keeper's configuration.
    pub fn config(&self) -> String {
        self.lab.keeper(&["cat", CONFIG]).expect_code(0).stdout
    }

    /// Writes a file of the keeper's user.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, path: &str, bytes: &[u8]) {
        let script = "mkdir -p \"$(dirname \"$0\")\" && cat > \"$0\"";
        let mut command = self.lab.command(&["keeper", "sh", "-c", script, path]);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("a shell");
        child.stdin.take().expect("a pipe").write_all(bytes).expect("written");
        let _ = finish(child).expect_code(0);
    }

    /// Gives a file of this machine to the user of a host.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn give(&self, host: &str, from: &Path, to: &str) {
        let mut command = self.lab.command(&["exec", host, "sh", "-c", "cat > \"$0\"", to]);
        command.stdin(File::open(from).expect("the file"));
        let _ = finish(command.spawn().expect("a shell")).expect_code(0);
    }

    /// Runs the program as the keeper's user, to its end.
    pub fn rbee(&self, args: &[&str]) -> Finished {
        self.lab.keeper(&[&[PROGRAM], args].concat())
    }

    /// Starts the program as the keeper's user.
    pub fn spawn(&self, args: &[&str]) -> Child {
        self.lab.keeper_spawn(&[&[PROGRAM], args].concat())
    }

    /// Makes a host a hive of the same name.
    #[track_caller]
    pub fn add(&self, host: &str) -> Finished {
        self.rbee(&["hive", "add", host, host]).expect_code(0)
    }

    /// A keeper that watches, for `time` at most.
    pub fn watch(&self, time: Duration) -> Watcher {
        let args = ["keeper", PROGRAM, "ps", "--watch", "--json"];
        let command = self.lab.command_within(time.as_secs(), &args);
        Watcher::start(command)
    }

    /// The workers of all hives, as `rbee ps --json` tells them.
    ///
    /// # Panics
    /// When it tells none.
    #[track_caller]
    pub fn workers(&self) -> Vec<Value> {
        let told = self.rbee(&["ps", "--json"]).expect_code(0);
        serde_json::from_str(&told.stdout).expect("a JSON array")
    }

    /// What runs on a host besides its sshd and the sessions of it.
    pub fn processes(&self, host: &str) -> Vec<String> {
        let ours = |line: &String| line.contains("rbee") && !line.contains("sshd");
        self.lab.ps(host).into_iter().filter(ours).collect()
    }

    /// The number, on its machine, of the one process there whose arguments contain `words`.
    #[track_caller]
    pub fn pid(&self, machine: &str, words: &str) -> String {
        let all = self.lab.ps(machine);
        let found: Vec<_> = all.iter().filter(|line| line.contains(words)).collect();
        assert_eq!(found.len(), 1, "one {words:?} in {all:?}");
        let pid = found.first().and_then(|line| line.split(' ').next());
        pid.unwrap_or_default().to_owned()
    }

    /// Sends that process a signal, such as `KILL`, and returns its number.
    #[track_caller]
    pub fn signal(&self, signal: &str, machine: &str, words: &str) -> String {
        let pid = self.pid(machine, words);
        let _ = self.lab.exec(machine, &["kill", "-s", signal, &pid]).expect_code(0);
        pid
    }
}
