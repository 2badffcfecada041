//! `scripts/bundle` refuses before it works, and puts what was built where it is looked for.

#![allow(clippy::expect_used, reason = "what goes wrong here is a failed test")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rbee_tests::Finished;
use rbee_tests::sandbox::{finish, program};

/// What the real build would say and leave: `cargo zigbuild` with the target behind `--target`.
const CARGO: &str = r#"#!/bin/sh
echo "$*" >>"$RBEE_DATA.log"
while [ "$1" != --target ]; do shift; done
rust=${2%%.*}
while [ "$1" != --target-dir ]; do shift; done
[ ! -e "$RBEE_DATA.broken" ] || exit 101
mkdir -p "$2/$rust/dist"
cp "$BUILT" "$2/$rust/dist/rbee"
"#;

/// A directory with tools that only say what they were asked for.
struct Workshop {
    dir: tempfile::TempDir,
}

impl Workshop {
    fn new(tools: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("bin")).expect("a directory");
        let workshop = Self { dir };
        for tool in tools {
            let path = workshop.at("bin").join(tool);
            let text = if *tool == "cargo" { CARGO } else { "#!/bin/sh\n" };
            std::fs::write(&path, text).expect("a program");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("its mode");
        }
        workshop
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn bundle(&self, args: &[&str]) -> Finished {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/bundle");
        let child = Command::new(script)
            .args(args)
            .env("PATH", format!("{}:/usr/bin:/bin", self.at("bin").display()))
            .env("RBEE_DATA", self.at("data"))
            .env("CARGO_TARGET_DIR", self.at("target"))
            .env("BUILT", program())
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn();
        finish(child.expect("a shell"))
    }
}

#[test]
fn what_is_no_target_is_refused_before_anything_is_fetched_or_built() {
    let workshop = Workshop::new(&[]);
    assert!(workshop.bundle(&["--help"]).expect_code(0).stdout.contains("scripts/bundle [TARGET]"));
    for word in ["musl", "--release", "a-b-$(id)", "x86_64-unknown-linux-musl/../up"] {
        let args = ["x86_64-unknown-linux-musl", word];
        let refused = workshop.bundle(&args).expect_code(1);
        assert!(refused.stderr.contains(&format!("{word} is no target")), "{}", refused.stderr);
        assert!(refused.stderr.contains("hint: scripts/bundle --help"), "{}", refused.stderr);
    }
    let bare = workshop.bundle(&[]).expect_code(1);
    assert!(bare.stderr.contains("rustup is missing"), "{}", bare.stderr);
    assert!(!workshop.at("data").exists() && !workshop.at("target").exists());
}

#[test]
fn each_target_is_put_beside_its_digest_under_the_build_that_it_is_of() {
    let workshop = Workshop::new(&["cargo", "cargo-zigbuild", "rustup"]);
    let targets = ["aarch64-unknown-linux-musl", "x86_64-unknown-linux-gnu.2.17"];
    let made = workshop.bundle(&targets).expect_code(0);
    let version = Command::new(program()).arg("--version").output().expect("it runs").stdout;
    let version = String::from_utf8_lossy(&version).into_owned();
    let build = version.split("build ").nth(1).and_then(|rest| rest.split(',').next());
    let dir = workshop.at("data").join(build.expect("a build"));
    for target in targets {
        let file = |name: &str| dir.join(target).join(name);
        assert!(made.stdout.contains(&file("rbee").display().to_string()), "{}", made.stdout);
        let sum = Command::new("sha256sum").arg(file("rbee")).output().expect("a sum").stdout;
        let recorded = std::fs::read_to_string(file("rbee.sha256")).expect("a digest");
        assert!(String::from_utf8_lossy(&sum).starts_with(recorded.trim()), "{recorded}");
        let rights = |path: &Path| {
            std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
        };
        assert_eq!((rights(&file("rbee")), rights(&dir)), (0o755, 0o700));
    }
    let asked = std::fs::read_to_string(workshop.at("data.log")).expect("a log");
    assert!(asked.lines().all(|line| line.contains("--locked --target ")), "{asked}");
    assert!(asked.contains("--target x86_64-unknown-linux-gnu.2.17 "), "{asked}");
}

#[test]
fn a_build_that_fails_leaves_nothing_to_be_found() {
    let workshop = Workshop::new(&["cargo", "cargo-zigbuild", "rustup"]);
    std::fs::write(workshop.at("data.broken"), "").expect("a file");
    assert_ne!(workshop.bundle(&[]).code, Some(0));
    assert!(!workshop.at("data").exists());
}
