//! Computes the build id: the same for every target, another for every change of the sources.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use sha2::{Digest, Sha256};

/// What the program is made of, relative to the workspace.
const SOURCES: &[&str] = &[
    "keeper/src",
    "agent/src",
    "agent/demo",
    "worker/src",
    "wire/src",
    "themes",
    "keeper/Cargo.toml",
    "agent/Cargo.toml",
    "worker/Cargo.toml",
    "wire/Cargo.toml",
    "Cargo.toml",
    "Cargo.lock",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let keeper = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("no manifest directory")?);
    let root = keeper.parent().ok_or("the workspace is above this crate")?;
    let mut files = BTreeMap::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
        collect(root, &root.join(source), &mut files)?;
    }
    let mut hash = Sha256::new();
    for (name, content) in &files {
        // Lengths first, so that no two sets of files give the same bytes.
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(content);
    }
    let digest = hash.finalize();
    let id = digest.iter().take(8).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    println!("cargo::rustc-env=RBEE_BUILD_ID={id}");
    let target = env::var_os("TARGET").ok_or("no target")?;
    println!("cargo::rustc-env=RBEE_TARGET={}", target.display());
    Ok(())
}

fn collect(root: &Path, path: &Path, files: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(root, &entry?.path(), files)?;
        }
    } else {
        let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
        files.insert(name, fs::read(path)?);
    }
    Ok(())
}
