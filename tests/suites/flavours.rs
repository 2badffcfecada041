//! A hive may be any Unix: other servers, other shells, other disks.
//! With `RBEE_FLAVOURS=long` each also loses its cable in the middle of an answer, and its power.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "what goes wrong here is a failed test"
)]

use std::io::Read;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rbee_tests::sandbox::{finish, program};
use rbee_tests::{Fleet, wait_until};

/// How long what should take a moment may take: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// Adds the one host, uses it, looks at it, and takes it away without a trace.
fn lives(flavour: &str) {
    if let Some(fleet) = Fleet::up(&[("a", flavour)], "") {
        lives_in(&fleet, flavour);
    }
}

/// The same by the person's own `ssh`.
fn lives_by_ssh(flavour: &str) {
    if let Some(fleet) = Fleet::up(&[("a", flavour)], "[ssh]\nclient = \"system\"\n") {
        lives_in(&fleet, flavour);
    }
}

fn lives_in(fleet: &Fleet, flavour: &str) {
    // Some shells write files of their own when somebody logs in for the first time.
    let _ = fleet.lab.ssh("a", "true");
    let before = fleet.lab.files("a");
    let _ = fleet.add("a");
    for reused in [false, true] {
        let asked = fleet.rbee(&["run", "-m", "demo", "--json", "What is a hive?"]).expect_code(0);
        let lines = asked.json_lines();
        assert_eq!(lines.first().expect("events")["reused"], reused, "{flavour}");
        assert!(!asked.stderr.contains("upload"), "{flavour}: {}", asked.stderr);
    }
    assert_eq!(fleet.workers().len(), 1, "{flavour}");
    if std::env::var_os("RBEE_FLAVOURS").is_some_and(|how| how == "long") {
        suffers(fleet, flavour);
    }
    let _ = fleet.rbee(&["hive", "doctor", "a"]).expect_code(0);
    let listeners = fleet.lab.listeners("a");
    assert!(listeners.iter().all(|line| line.contains(":22 ")), "{flavour}: {listeners:?}");
    let _ = fleet.rbee(&["hive", "remove", "a", "--purge"]).expect_code(0);
    assert_eq!(fleet.processes("a"), Vec::<String>::new(), "{flavour}");
    assert_eq!(fleet.lab.files("a"), before, "{flavour}");
}

/// Loses the cable in the middle of an answer, then the power, and is a hive again after each.
fn suffers(fleet: &Fleet, flavour: &str) {
    let endless = ["run", "-m", "demo", "--ignore-eos", "--max-tokens", "1900", "A hive?"];
    let mut child = fleet.spawn(&endless);
    let mut first = [0u8; 1];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut first).expect("a byte");
    fleet.lab.cut("a");
    let ended = finish(child).expect_code(10);
    assert!(!ended.stdout.is_empty() && ended.stderr.contains("partial"), "{}", ended.stderr);
    fleet.lab.heal("a");
    let ask = ["run", "-m", "demo", "--json", "What is a hive?"];
    let again = fleet.rbee(&ask).expect_code(0);
    assert_eq!(again.json_lines().first().expect("events")["reused"], true, "{flavour}");
    fleet.lab.power_off("a");
    let _ = fleet.rbee(&ask).expect_code(10);
    fleet.lab.boot("a");
    let booted = fleet.rbee(&ask).expect_code(0);
    assert_eq!(booted.json_lines().first().expect("events")["reused"], false, "{flavour}");
    let _ = fleet.rbee(&["down"]).expect_code(0);
    assert_eq!(fleet.processes("a"), Vec::<String>::new(), "{flavour} after down");
    // What is there to be looked at, and to be taken away.
    let _ = fleet.rbee(&ask).expect_code(0);
    println!("{flavour}: a cut cable and a lost power are over");
}

#[test]
fn dropbear_instead_of_openssh() {
    lives("dropbear");
}

#[test]
fn a_login_shell_without_bash_perl_python_or_curl_around_it() {
    lives("dash");
}

#[test]
fn csh_as_login_shell() {
    lives("csh");
}

#[test]
fn fish_as_login_shell() {
    lives("fish");
}

#[test]
fn a_home_that_executes_nothing() {
    lives("noexec");
}

#[test]
fn a_home_that_cannot_be_written() {
    lives("rohome");
}

#[test]
fn a_shell_that_talks_before_it_is_asked() {
    lives("noisy");
}

#[test]
fn a_server_that_forwards_nothing() {
    lives("noforward");
}

#[test]
fn a_server_with_one_session_for_each_connection() {
    lives("maxsessions1");
}

#[test]
fn a_server_without_sftp() {
    lives("nosftp");
}

#[test]
fn a_user_whose_systemd_manager_lingers() {
    lives("systemd");
}

#[test]
fn what_ends_a_users_processes_at_logout_leaves_their_hive_alone() {
    let Some(fleet) = Fleet::up(&[("a", "systemd")], "") else { return };
    let _ = fleet.add("a");
    let ask = ["run", "-m", "demo", "--json", "What is a hive?"];
    let _ = fleet.rbee(&ask).expect_code(0);
    let _ = fleet.lab.ssh("a", "setsid sleep 600 >/dev/null 2>&1 </dev/null &").expect_code(0);
    let sleeps = || fleet.lab.ps("a").iter().any(|line| line.contains("sleep 600"));
    assert!(sleeps());
    fleet.lab.logout("a");
    wait_until("everything else of the user has ended", PATIENCE, || (!sleeps()).then_some(()));
    let asked = fleet.rbee(&ask).expect_code(0);
    assert_eq!(asked.json_lines().first().expect("events")["reused"], true);
    let _ = fleet.rbee(&["hive", "remove", "a", "--purge"]).expect_code(0);
    assert_eq!(fleet.processes("a"), Vec::<String>::new());
}

#[test]
fn dropbear_by_the_persons_own_ssh() {
    lives_by_ssh("dropbear");
}

#[test]
fn csh_that_talks_by_the_persons_own_ssh() {
    lives_by_ssh("csh+noisy");
}

#[test]
fn one_session_without_forwarding_by_the_persons_own_ssh() {
    lives_by_ssh("maxsessions1+noforward");
}

#[test]
fn one_session_by_the_persons_own_ssh() {
    lives_by_ssh("maxsessions1");
}

#[test]
fn a_machine_without_glibc_is_told_which_bundle_it_needs() {
    let Some(fleet) = Fleet::up(&[("a", "busybox")], "") else { return };
    let before = fleet.lab.files("a");
    let refused = fleet.rbee(&["hive", "add", "a", "a"]).expect_code(12);
    assert!(refused.stderr.contains("glibc"), "{}", refused.stderr);
    let hint = "scripts/bundle x86_64-unknown-linux-musl";
    assert!(refused.stderr.contains(hint), "{}", refused.stderr);
    assert_eq!(fleet.lab.files("a"), before, "nothing was written there");
}

#[test]
fn an_older_glibc_is_told_which_bundle_it_needs() {
    let Some(root) = root("oldglibc") else { return };
    let Some(fleet) = Fleet::up(&[("a", &root)], "") else { return };
    let before = fleet.lab.files("a");
    let refused = fleet.rbee(&["hive", "add", "a", "a"]).expect_code(12);
    assert!(refused.stderr.contains("there is glibc 2.31"), "{}", refused.stderr);
    let hint = "scripts/bundle x86_64-unknown-linux-musl";
    assert!(refused.stderr.contains(hint), "{}", refused.stderr);
    assert_eq!(fleet.lab.files("a"), before, "nothing was written there");
}

/// A flavour that stands on what `scripts/lab roots DIR` fetched into `RBEE_ROOTS`.
fn root(flavour: &str) -> Option<String> {
    let file = if flavour == "aarch64" { "busybox-aarch64" } else { flavour };
    let dir = std::env::var_os("RBEE_ROOTS").map(PathBuf::from);
    let found = dir.map(|dir| dir.join(file)).filter(|path| path.exists());
    if found.is_none() {
        println!("skipped: RBEE_ROOTS=DIR has no {file} (scripts/lab roots DIR fetches it)");
    }
    found.map(|path| format!("{flavour}={}", path.display()))
}

/// The bundle of this build for a target, where `scripts/bundle` was told to put it.
fn bundle(target: &str) -> Option<(String, PathBuf)> {
    let version = Command::new(program()).arg("--version").output().expect("it runs").stdout;
    let version = String::from_utf8_lossy(&version).into_owned();
    let build = version.split("build ").nth(1)?.split(',').next()?.to_owned();
    let dir = std::env::var_os("RBEE_BUNDLES").map(PathBuf::from);
    let made = dir.map(|dir| dir.join(&build).join(target));
    let made = made.filter(|made| made.join("rbee").is_file());
    if made.is_none() {
        println!(
            "skipped: RBEE_BUNDLES=DIR has no {target} of this build (scripts/bundle makes it)"
        );
    }
    made.map(|made| (build, made))
}

/// The keeper has the bundle of a target, and a machine of that flavour runs it.
fn lives_with_bundle(flavour: &str, target: &str) {
    let Some((build, made)) = bundle(target) else { return };
    let Some(fleet) = Fleet::up_with_disks("512m", &[("a", flavour)], "") else { return };
    for file in ["rbee", "rbee.sha256"] {
        let bytes = std::fs::read(made.join(file)).expect("the bundle");
        fleet.write(&format!(".local/share/rbee/{build}/{target}/{file}"), &bytes);
    }
    lives_in(&fleet, flavour);
}

#[test]
fn a_machine_without_glibc_runs_the_bundle_that_was_built_for_it() {
    lives_with_bundle("busybox", "x86_64-unknown-linux-musl");
}

#[test]
fn an_older_glibc_runs_the_bundle_that_needs_none() {
    let Some(root) = root("oldglibc") else { return };
    lives_with_bundle(&root, "x86_64-unknown-linux-musl");
}

#[test]
fn another_processor_runs_the_bundle_that_was_built_for_it() {
    let Some(root) = root("aarch64") else { return };
    lives_with_bundle(&root, "aarch64-unknown-linux-musl");
}
