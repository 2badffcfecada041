//! `scripts/install` puts the program and what belongs to it into a home, and takes it away again.

#![allow(clippy::expect_used, reason = "what goes wrong here is a failed test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs `scripts/install` in `home`, with the toolchain of the person who runs the test.
fn install(home: &Path, args: &[&str]) -> Output {
    let own = |variable: &str, default: &str| {
        let named = std::env::var_os(variable).map(PathBuf::from);
        named.unwrap_or_else(|| std::env::home_dir().expect("a home").join(default))
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/install");
    let output = Command::new(script)
        .args(args)
        .env("CARGO_HOME", own("CARGO_HOME", ".cargo"))
        .env("RUSTUP_HOME", own("RUSTUP_HOME", ".rustup"))
        .env("HOME", home)
        .env_remove("XDG_DATA_HOME")
        .env_remove("XDG_CONFIG_HOME")
        .output()
        .expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn says(program: &Path, home: &Path, args: &[&str]) -> String {
    let output = Command::new(program).args(args).env("HOME", home).output().expect("it runs");
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_program_its_manual_its_completions_and_a_configuration_come_and_go() {
    let home = tempfile::tempdir().expect("a directory");
    let at = |path: &str| home.path().join(path);
    let _ = install(home.path(), &["--quick"]);
    let program = at(".local/bin/rbee");
    assert!(says(&program, home.path(), &["--version"]).starts_with("rbee "));
    let _ = says(&program, home.path(), &["config", "check"]);
    let all = [
        ".local/share/man/man1/rbee-hive-add.1",
        ".local/share/bash-completion/completions/rbee",
        ".local/share/zsh/site-functions/_rbee",
        ".config/fish/completions/rbee.fish",
        ".local/share/rbee/models",
    ];
    for path in all {
        assert!(at(path).exists(), "{path}");
    }
    // What the person wrote stays as it is.
    std::fs::write(at(".config/rbee/config.toml"), "theme = \"light\"\n").expect("written");
    let _ = install(home.path(), &["--quick"]);
    let config = std::fs::read_to_string(at(".config/rbee/config.toml")).expect("text");
    assert_eq!(config, "theme = \"light\"\n");
    let _ = install(home.path(), &["--remove"]);
    assert!(!program.exists() && !at(".local/share/man/man1/rbee.1").exists());
    assert!(at(".config/rbee/config.toml").exists());
}
