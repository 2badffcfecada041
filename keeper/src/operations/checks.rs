//! This machine, checked: configuration, directories, installation, agent; and how a check is made.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use wire::Fault;
use wire::doctor::{Check, Verdict};

use crate::context::Context;
use crate::install::{self, Installed};
use crate::link::{self, Transport};
use crate::model::path_word;

/// Checks this machine.
pub async fn here(context: &Context) -> Vec<Check> {
    let mut checks = vec![configuration(context)];
    let dirs = &context.environment.dirs;
    checks.push(directory("data directory", &dirs.data));
    checks.push(directory("state directory", &dirs.state));
    let (agent, theirs) = ask_the_agent(context).await;
    // After the agent: a start installs what was missing.
    checks.push(installation(&install::path(&dirs.data, &context.build)));
    checks.push(agent);
    checks.extend(theirs);
    checks
}

/// What was looked at, how it ended, and what was seen.
pub fn check(name: &str, verdict: Verdict, seen: impl Into<String>) -> Check {
    Check { name: name.to_owned(), verdict, seen: seen.into(), hint: None }
}

/// A check with the command to paste next.
pub fn hinted(mut check: Check, hint: String) -> Check {
    check.hint = Some(hint);
    check
}

fn configuration(context: &Context) -> Check {
    let seen = match &context.config_path {
        Some(path) => format!("{} is valid", path.display()),
        None => "no file, the defaults count".to_owned(),
    };
    check("configuration", Verdict::Ok, seen)
}

/// A directory must be this user's, and nobody else may write to it.
fn directory(name: &str, dir: &Path) -> Check {
    let shown = dir.display();
    let metadata = match std::fs::metadata(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return check(name, Verdict::Ok, format!("{shown} will be made when it is needed"));
        }
        Err(error) => return check(name, Verdict::Failed, format!("{shown}: {error}")),
        Ok(metadata) => metadata,
    };
    let mode = metadata.permissions().mode() & 0o777;
    if !metadata.is_dir() {
        let check = check(name, Verdict::Failed, format!("{shown} is not a directory"));
        return hinted(check, format!("ls -ld {}", path_word(dir)));
    }
    if metadata.uid() != rustix::process::getuid().as_raw() {
        let seen = format!("{shown} belongs to user {}", metadata.uid());
        return hinted(check(name, Verdict::Failed, seen), format!("ls -ld {}", path_word(dir)));
    }
    if mode & 0o022 != 0 {
        let seen = format!("{shown} has mode {mode:04o}: others may write to it");
        return hinted(
            check(name, Verdict::Warning, seen),
            format!("chmod go-w {}", path_word(dir)),
        );
    }
    check(name, Verdict::Ok, format!("{shown}, mode {mode:04o}"))
}

fn installation(program: &Path) -> Check {
    const NAME: &str = "installed build";
    let shown = program.display();
    match install::look(program) {
        Ok(Installed::Sound) => check(NAME, Verdict::Ok, format!("{shown}, its SHA-256 is right")),
        Ok(Installed::Absent) => {
            let seen = format!("{shown} is not there; an agent of another build runs");
            hinted(check(NAME, Verdict::Warning, seen), "rbee down && rbee doctor".to_owned())
        }
        Ok(Installed::Changed) => {
            let seen = format!("{shown} is not what was installed");
            hinted(
                check(NAME, Verdict::Failed, seen),
                format!("rm {} && rbee doctor", path_word(program)),
            )
        }
        Err(error) => check(NAME, Verdict::Failed, format!("{shown}: {error}")),
    }
}

/// Reaches the agent as a request would, and asks it for its own checks.
async fn ask_the_agent(context: &Context) -> (Check, Vec<Check>) {
    const NAME: &str = "agent";
    let way = context.local();
    let ran = way.open().await.is_ok_and(|opened| opened.is_some());
    let asked = async {
        let (client, mut events) = link::reach(&way, &context.config.timings).await?;
        let hello = events.snapshot().await?.hello;
        Ok::<_, Fault>((hello, client.doctor().await?))
    };
    match asked.await {
        Ok((hello, checks)) => {
            let started = if ran { "" } else { ", started by this check" };
            let seen = format!("build {}, process {}{started}", hello.build, hello.pid);
            if hello.build == context.build {
                return (check(NAME, Verdict::Ok, seen), checks);
            }
            let seen = format!("{seen}; this program is build {}", context.build);
            (hinted(check(NAME, Verdict::Warning, seen), "rbee down".to_owned()), checks)
        }
        Err(fault) => (failed(NAME, fault), Vec::new()),
    }
}

/// A check that ended with a fault.
pub fn failed(name: &str, fault: Fault) -> Check {
    let parts: Vec<&str> = std::iter::once(fault.message.as_str())
        .chain(fault.causes.iter().map(String::as_str))
        .collect();
    let mut failed = check(name, Verdict::Failed, parts.join("; "));
    // Its own hint would lead back here.
    let leads_back =
        |hint: &String| hint.starts_with("rbee doctor") || hint.starts_with("rbee hive doctor");
    failed.hint = fault.hints.into_iter().find(|hint| !leads_back(hint));
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_others_may_write_to_is_a_warning_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let set = |mode| {
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set(0o700);
        assert_eq!(directory("d", dir.path()).verdict, Verdict::Ok);
        set(0o777);
        let open = directory("d", dir.path());
        assert_eq!(open.verdict, Verdict::Warning);
        assert!(open.hint.unwrap().starts_with("chmod go-w"));
        set(0o700);
        let file = dir.path().join("f");
        std::fs::write(&file, "").unwrap();
        assert_eq!(directory("d", &file).verdict, Verdict::Failed);
        assert_eq!(directory("d", &dir.path().join("absent")).verdict, Verdict::Ok);
    }
}
