//! For how long a machine and its agent have been up, as the machine's own clock has it.

use std::process::Stdio;

use tokio::process::Command;
use wire::Fault;

use crate::bootstrap::Host;
use crate::bootstrap::script::{Script, taken_apart};

/// What is asked; elsewhere than on Linux it says nothing.
const SCRIPT: &str = include_str!("uptime.sh");
/// How the script says something where nobody else can write to its output.
const SAY: &str = "say() { printf '%s\\n' \"$*\"; }\n";

/// Seconds; none where they are not known.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Uptime {
    /// Of the machine.
    pub machine_s: Option<u64>,
    /// Of the process.
    pub process_s: Option<u64>,
}

impl Uptime {
    fn take(&mut self, line: &str) {
        let (name, value) = taken_apart(line);
        let seconds = value.trim().parse().ok();
        match name.as_str() {
            "machine" => self.machine_s = seconds,
            "process" => self.process_s = seconds,
            _ => {}
        }
    }
}

/// Of another machine, and of its process `pid`.
///
/// # Errors
/// `HIVE_UNREACHABLE` when there is no answer.
pub async fn there(host: &Host, pid: u32) -> Result<Uptime, Fault> {
    let mut running = Script::new("uptime", &[SCRIPT]).given("pid", pid).run(host).await?;
    let mut uptime = Uptime::default();
    while let Some(line) = running.next().await? {
        uptime.take(&line);
    }
    Ok(uptime)
}

/// Of this machine, and of its process `pid`.
pub async fn here(pid: u32) -> Uptime {
    let mut sh = Command::new("/bin/sh");
    sh.arg("-c").arg(format!("pid={pid}\n{SAY}{SCRIPT}")).stdin(Stdio::null()).kill_on_drop(true);
    let mut uptime = Uptime::default();
    if let Ok(said) = sh.output().await {
        String::from_utf8_lossy(&said.stdout).lines().for_each(|line| uptime.take(line));
    }
    uptime
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test(flavor = "current_thread")]
    async fn a_process_has_been_up_since_it_began_and_one_that_is_gone_has_not() {
        let mut child = Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
        let pid = child.id().unwrap();
        let up = here(pid).await;
        let machine_s = up.machine_s.unwrap();
        assert!(up.process_s.unwrap() < 60 && machine_s >= up.process_s.unwrap(), "{up:?}");
        child.kill().await.unwrap();
        let gone = here(pid).await;
        assert!(gone.process_s.is_none() && gone.machine_s.unwrap() >= machine_s, "{gone:?}");
    }
}
