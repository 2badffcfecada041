//! The conventions of this code, as tests: who may use whom, sizes, words, first lines.

#![allow(clippy::expect_used, reason = "what goes wrong here is a failed test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Lines of non-test code after which a file splits.
const MAX_FILE_LINES: usize = 500;
/// Lines of a function, its signature and braces included.
const MAX_FUNCTION_LINES: usize = 70;
/// Characters of a line.
const MAX_COLUMNS: usize = 100;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// The Rust files of one top-level directory, by path relative to the workspace.
fn rust_files(dirs: &[&str]) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for dir in dirs {
        collect(&root().join(dir), &mut files);
    }
    assert!(!files.is_empty(), "no Rust file under {dirs:?}");
    files
}

fn collect(dir: &Path, files: &mut BTreeMap<String, String>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if !path.ends_with("target") {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let name = path.strip_prefix(root()).expect("inside").to_string_lossy().into_owned();
            files.insert(name, std::fs::read_to_string(&path).expect("readable"));
        }
    }
}

const ALL: &[&str] = &["wire", "agent", "worker", "keeper", "tests"];

/// The part of a file that ships: what stands before its test module.
fn shipped(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text)
}

/// Lines that break a rule, each with its place; empty when all is well.
#[track_caller]
fn assert_none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn every_file_opens_with_its_purpose() {
    let broken: Vec<_> = rust_files(ALL)
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(name, _)| name)
        .collect();
    assert_none("the first line says what the file is for (`//! …`)", &broken);
}

#[test]
fn files_functions_and_lines_keep_their_size() {
    let mut broken = Vec::new();
    for (name, text) in rust_files(ALL) {
        let is_test = name.ends_with("/tests.rs");
        let shipped = if is_test { "" } else { shipped(&text) };
        if shipped.lines().count() > MAX_FILE_LINES {
            broken.push(format!("{name}: {} lines", shipped.lines().count()));
        }
        for (number, line) in text.lines().enumerate() {
            if line.chars().count() > MAX_COLUMNS && !line.contains("http") {
                broken.push(format!("{name}:{}: {} columns", number + 1, line.chars().count()));
            }
        }
        broken.extend(long_functions(&name, shipped));
    }
    assert_none("a reader can hold it", &broken);
}

/// Functions over the limit, found by rustfmt's indentation.
fn long_functions(name: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let mut open: Option<(usize, usize)> = None;
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let code = line.trim_start();
        let begins = ["fn ", "pub fn ", "async fn ", "pub async fn ", "pub(crate) fn "]
            .iter()
            .any(|start| code.starts_with(start));
        match open {
            None if begins && !line.ends_with(';') && !line.ends_with('}') => {
                open = Some((number, indent));
            }
            Some((start, depth)) if code.starts_with('}') && indent == depth => {
                let lines = number - start + 1;
                if lines > MAX_FUNCTION_LINES {
                    broken.push(format!("{name}:{}: a function of {lines} lines", start + 1));
                }
                open = None;
            }
            _ => {}
        }
    }
    broken
}

/// Dependencies named in a crate's manifest, development ones too when asked.
fn dependencies(krate: &str, development: bool) -> Vec<String> {
    let manifest =
        std::fs::read_to_string(root().join(krate).join("Cargo.toml")).expect("manifest");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let mut tables = vec!["dependencies"];
    if development {
        tables.push("dev-dependencies");
    }
    tables
        .into_iter()
        .filter_map(|table| manifest.get(table)?.as_table())
        .flat_map(|table| table.keys().cloned())
        .collect()
}

#[test]
fn crates_depend_only_along_the_arrows() {
    let wire = dependencies("wire", false);
    let plain = ["serde", "serde_json", "thiserror", "uuid", "zeroize"];
    let odd: Vec<_> = wire.into_iter().filter(|dep| !plain.contains(&dep.as_str())).collect();
    assert_none("wire is plain types and pure codecs", &odd);

    let forbidden: [(&str, &[&str]); 2] = [
        ("agent", &["worker", "keeper", "rbee", "candle-core", "russh", "ratatui", "tokenizers"]),
        ("worker", &["agent", "keeper", "rbee", "russh", "ratatui"]),
    ];
    for (krate, banned) in forbidden {
        let odd: Vec<_> = dependencies(krate, true)
            .into_iter()
            .filter(|dep| banned.contains(&dep.as_str()))
            .collect();
        assert_none(&format!("{krate} does not know these"), &odd);
    }
    for krate in ["wire", "agent", "worker", "keeper"] {
        assert!(
            !dependencies(krate, true).contains(&"rbee-tests".to_owned()),
            "nothing uses tests"
        );
    }
}

/// Files of `dirs` (but not of `except`) whose shipped code mentions one of `words`.
fn mentions(dirs: &[&str], except: &[&str], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in rust_files(dirs) {
        if except.iter().any(|path| name.starts_with(path)) {
            continue;
        }
        for (number, line) in shipped(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(word) = words.iter().find(|word| code.contains(**word)) {
                found.push(format!("{name}:{}: {word}", number + 1));
            }
        }
    }
    found
}

/// A rule, the directories it holds in, the files exempt from it, and the words it bans.
type Room =
    (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

const ROOMS: &[Room] = &[
    (
        "candle lives in the engine",
        &["wire/src", "agent/src", "worker/src", "keeper/src"],
        &["worker/src/engine"],
        &["candle_core", "candle_nn", "tokenizers::", "minijinja"],
    ),
    (
        "NVML is asked in one room",
        &["wire/src", "agent/src", "worker/src", "keeper/src"],
        &["agent/src/inventory"],
        &["nvml_wrapper"],
    ),
    (
        "only main dispatches to the other roles",
        &["keeper/src"],
        &["keeper/src/main.rs"],
        &["agent::main", "worker::main", "agent::cli::", "worker::cli::"],
    ),
    (
        "the command line is parsed in cli modules",
        &["wire/src", "agent/src", "worker/src", "keeper/src"],
        &["keeper/src/cli", "keeper/src/main.rs", "agent/src/cli.rs", "worker/src/cli.rs"],
        &["clap::"],
    ),
    (
        "wire has no runtime, no files, no environment, no clock",
        &["wire/src"],
        &[],
        &["tokio", "std::fs", "std::env", "Instant", "SystemTime", "std::net", "std::process"],
    ),
    (
        "the pure cores have no runtime, no files and no clock of their own",
        &["keeper/src/fleet", "agent/src/supervisor", "agent/src/admission.rs"],
        &[],
        &["tokio", "std::fs", "Instant::now", "SystemTime", "hyper", "axum"],
    ),
    (
        "ratatui draws in one room",
        &["wire/src", "agent/src", "worker/src", "keeper/src"],
        &["keeper/src/tui"],
        &["ratatui", "crossterm"],
    ),
    ("the TUI stands beside the commands", &["keeper/src/tui"], &[], &["crate::cli"]),
    (
        "what can be done is the same for a command and the TUI",
        &["keeper/src/operations"],
        &[],
        &["crate::cli", "crate::tui"],
    ),
    (
        "the core of the TUI has no runtime, no files and no clock of its own",
        &["keeper/src/tui"],
        &[
            "keeper/src/tui/inline/mod.rs",
            "keeper/src/tui/input.rs",
            "keeper/src/tui/links",
            "keeper/src/tui/mod.rs",
            "keeper/src/tui/person.rs",
            "keeper/src/tui/recorder/keep.rs",
            "keeper/src/tui/replay/mod.rs",
            "keeper/src/tui/tests.rs",
            "keeper/src/tui/screen.rs",
            "keeper/src/tui/shell.rs",
            "keeper/src/tui/view/tests",
        ],
        &["tokio", "std::fs", "Instant", "SystemTime"],
    ),
    (
        "russh lives behind the contract of ssh",
        &["wire/src", "agent/src", "worker/src", "keeper/src"],
        &["keeper/src/ssh"],
        &["russh"],
    ),
    (
        "ssh knows nothing of rbee's own protocol and files",
        &["keeper/src/ssh"],
        &[],
        &["crate::link", "crate::bootstrap", "crate::cli", "crate::config", "wire::layout"],
    ),
    (
        "bootstrap stands on a session and knows neither links nor commands",
        &["keeper/src/bootstrap"],
        &[],
        &["crate::link", "crate::cli", "crate::config", "russh"],
    ),
    (
        "SQLite lives behind the store of conversations",
        &["wire/src", "agent/src", "worker/src", "keeper/src"],
        &["keeper/src/conversations"],
        &["rusqlite"],
    ),
    (
        "conversations know neither the screen nor the hives",
        &["keeper/src/conversations"],
        &[],
        &["crate::tui", "crate::cli", "crate::link", "crate::ask", "tokio"],
    ),
    (
        "the environment is read in one place a program",
        &["wire/src", "agent/src", "worker/src", "keeper/src"],
        &["keeper/src/environment.rs", "agent/src/dirs.rs", "agent/src/settings.rs"],
        &["env::var"],
    ),
];

#[test]
fn each_library_stays_in_its_room() {
    for (rule, dirs, except, words) in ROOMS {
        assert_none(rule, &mentions(dirs, except, words));
    }
}

#[test]
fn nothing_reads_like_a_promise() {
    // The macros that stand for code are refused by the lints of the workspace.
    let marks = ["todo", "fixme", "xxx", "hack"].map(str::to_uppercase);
    let mut broken = Vec::new();
    for (name, text) in rust_files(&["wire", "agent", "worker", "keeper"]) {
        for (number, line) in text.lines().enumerate() {
            if let Some(mark) = marks.iter().find(|mark| line.contains(*mark)) {
                broken.push(format!("{name}:{}: {mark}", number + 1));
            }
        }
    }
    assert_none("what is not there is not in the tree", &broken);
}

#[test]
fn rooms_have_names_of_the_glossary() {
    let banned = ["common", "utils", "util", "helpers", "helper", "manager", "handler", "misc"];
    let broken: Vec<_> = rust_files(ALL)
        .into_keys()
        .filter(|name| {
            Path::new(name)
                .with_extension("")
                .components()
                .any(|part| banned.iter().any(|word| part.as_os_str() == *word))
        })
        .collect();
    assert_none("a room is named for what is in it", &broken);
}

#[test]
fn versions_stand_in_one_place() {
    for krate in ALL {
        let manifest = std::fs::read_to_string(root().join(krate).join("Cargo.toml")).expect("it");
        let manifest: toml::Table = manifest.parse().expect("TOML");
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(table).and_then(|t| t.as_table()) else { continue };
            for (name, value) in table {
                let from_workspace =
                    value.get("workspace").is_some_and(|v| v.as_bool() == Some(true));
                assert!(from_workspace, "{krate}: {name} takes its version from the workspace");
            }
        }
        let inherits = manifest["lints"]["workspace"].as_bool();
        assert_eq!(inherits, Some(true), "{krate} inherits the lints");
    }
}

#[test]
fn nothing_in_the_program_unwraps_or_panics_but_what_a_test_reads() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("it");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let check = std::fs::read_to_string(root().join("scripts/check")).expect("what must hold");
    assert!(check.contains("cargo clippy") && check.contains("-D warnings"), "none passes");
    let mut exceptions = Vec::new();
    for lint in ["unwrap_used", "expect_used", "panic", "indexing_slicing", "todo"] {
        let level = manifest["workspace"]["lints"]["clippy"][lint].as_str();
        assert_eq!(level, Some("warn"), "{lint}");
        let named = format!("clippy::{lint}");
        let code = rust_files(&["wire", "agent", "worker", "keeper"]);
        let code = code.iter().filter(|(name, _)| !name.contains("tests"));
        let allows = code.filter(|(_, text)| shipped(text).contains(&named));
        exceptions.extend(allows.map(|(name, _)| format!("{name}: {lint}")));
    }
    // The id of the build, which is there or the program was not built.
    assert_eq!(exceptions, ["keeper/src/lib.rs: expect_used"]);
}

/// What the program must do, and the tests that show it.
#[derive(serde::Deserialize)]
struct Scenarios {
    scenario: Vec<Scenario>,
}

#[derive(serde::Deserialize)]
struct Scenario {
    id: String,
    holds: String,
    tests: Vec<String>,
}

#[test]
fn every_scenario_names_tests_that_exist_and_the_table_is_fresh() {
    let text = std::fs::read_to_string(root().join("tests/scenarios.toml")).expect("scenarios");
    let scenarios: Scenarios = toml::from_str(&text).expect("its schema");
    let mut table = "# What is shown by which test\n\nGenerated from `scenarios.toml`.\n\n\
                     | scenario | what holds | shown by |\n| --- | --- | --- |\n"
        .to_owned();
    for Scenario { id, holds, tests } in &scenarios.scenario {
        assert!(!tests.is_empty(), "{id} names no test");
        for test in tests {
            let (file, name) = test.split_once("::").expect("FILE::TEST");
            let code = std::fs::read_to_string(root().join(file)).unwrap_or_default();
            let is_there = !code.is_empty() && code.contains(&format!("fn {name}("));
            assert!(is_there, "{id}: there is no test {test}");
        }
        let tests = tests.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join("<br>");
        writeln!(table, "| {id} | {holds} | {tests} |").expect("a String takes it");
    }
    let written = std::fs::read_to_string(root().join("tests/SCENARIOS.md")).unwrap_or_default();
    if written != table {
        let fresh = std::env::temp_dir().join("SCENARIOS.md");
        std::fs::write(&fresh, &table).expect("a place for the fresh table");
        panic!("tests/SCENARIOS.md is old: cp {} tests/", fresh.display());
    }
}
