//! Which program fits a machine: this one, or one that was built for such machines.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use wire::{BuildId, Code, Fault};

use super::Host;
use super::elf;
pub use super::elf::Needs;
use super::probe::{Libc, Seen, target};
use crate::install::{self, TARGET};

/// Bundles that are looked at.
const MAX_BUNDLES: usize = 32;

/// A program that could be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// What it was compiled for.
    pub target: String,
    /// Where it is, with its digest beside it.
    pub program: PathBuf,
    /// What it needs.
    pub needs: Needs,
    /// The digest that its bytes were compared with when it was found; none when they were not.
    pub digest: Option<String>,
}

/// The programs of this build that this machine has: itself first, then its bundles.
///
/// # Errors
/// `AGENT_FAILED` when this program cannot be installed or read.
pub fn candidates(data: &Path, build: &BuildId) -> Result<Vec<Bundle>, Fault> {
    let own = install::ensure(data, build)?;
    let read = |program: &Path| File::open(program).and_then(|mut file| elf::needs(&mut file));
    let needs = read(&own).map_err(|error| {
        Fault::new(Code::AgentFailed, "this program cannot be read").caused_by(&error)
    })?;
    // It was compared a moment ago.
    let digest = install::recorded(&own).ok();
    let mut found = vec![Bundle { target: TARGET.to_owned(), program: own, needs, digest }];
    let Ok(entries) = fs::read_dir(data.join(build.as_str())) else { return Ok(found) };
    for entry in entries.flatten().take(MAX_BUNDLES) {
        let name = entry.file_name().to_str().and_then(target);
        let Some(target) = name.filter(|name| name != TARGET) else { continue };
        let program = entry.path().join("rbee");
        // What is no program of Linux fits no machine that we know.
        if let Ok(needs) = read(&program) {
            found.push(Bundle { target, program, needs, digest: None });
        }
    }
    // One that uses the machine's own library before one that brings its own, else by name.
    if let Some(bundles) = found.get_mut(1..) {
        bundles.sort_by_key(|bundle| (bundle.needs.loader.is_none(), bundle.target.clone()));
    }
    Ok(found)
}

/// The first candidate that fits what was seen.
///
/// # Errors
/// `NO_BUNDLE` with what the machine has and what each candidate needs.
pub fn choose<'a>(host: &Host, seen: &Seen, candidates: &'a [Bundle]) -> Result<&'a Bundle, Fault> {
    let mut misfits = Vec::new();
    for bundle in candidates {
        match misfit(seen, bundle) {
            None => return Ok(bundle),
            Some(why) => misfits.push(format!("{}: {why}", bundle.target)),
        }
    }
    let what = format!("no build of this rbee runs on {}", described(seen));
    let fault = misfits.into_iter().fold(host.fault(Code::NoBundle, what), Fault::cause);
    let fault = fault
        .detail("system", seen.system.as_str())
        .detail("machine", seen.machine.as_str())
        .detail("libc", libc_word(seen.libc));
    Err(match wanted(seen) {
        Some(target) => fault.hint(format!("scripts/bundle {target}  # in rbee's sources")),
        None => fault.hint(format!("rbee hive remove {}", host.hive)),
    })
}

/// Why a program does not run there; none when it does.
fn misfit(seen: &Seen, bundle: &Bundle) -> Option<String> {
    let Some((machine, system)) = parts(&bundle.target) else {
        return Some("nobody knows what it is for".to_owned());
    };
    if system != seen.system || machine != architecture(&seen.machine) {
        return Some(format!("it is for {machine} and {system}"));
    }
    if let Some(needed) = bundle.needs.glibc {
        let numbers = |(major, minor)| format!("{major}.{minor}");
        match seen.libc {
            Libc::Gnu(there) if there >= needed => {}
            Libc::Gnu(there) => {
                let (needed, there) = (numbers(needed), numbers(there));
                return Some(format!("it needs glibc {needed}, there is glibc {there}"));
            }
            other => {
                let (needed, there) = (numbers(needed), libc_word(other));
                return Some(format!("it needs glibc {needed}, there is {there}"));
            }
        }
    }
    match &bundle.needs.loader {
        Some(loader) if !seen.loaders.contains(loader) => {
            Some(format!("its loader {loader} is not there"))
        }
        _ => None,
    }
}

/// Architecture and system of a target, in the words of `uname`.
fn parts(target: &str) -> Option<(&str, &'static str)> {
    let (machine, rest) = target.split_once('-')?;
    let system = if rest.contains("-linux-") {
        "Linux"
    } else if rest.ends_with("-darwin") {
        "Darwin"
    } else {
        return None;
    };
    Some((machine, system))
}

/// macOS calls arm64 what Linux and the compiler call aarch64.
fn architecture(machine: &str) -> &str {
    match machine {
        "arm64" => "aarch64",
        "amd64" => "x86_64",
        other => other,
    }
}

/// The target that runs on such a machine, when there is one that can be built.
fn wanted(seen: &Seen) -> Option<String> {
    let machine = architecture(&seen.machine);
    let known = seen.system == "Linux" && matches!(machine, "x86_64" | "aarch64");
    known.then(|| format!("{machine}-unknown-linux-musl"))
}

fn libc_word(libc: Libc) -> String {
    match libc {
        Libc::Gnu((major, minor)) => format!("glibc {major}.{minor}"),
        Libc::Musl => "musl".to_owned(),
        Libc::Unknown => "no glibc".to_owned(),
    }
}

fn described(seen: &Seen) -> String {
    format!("{} on {} with {}", seen.system, seen.machine, libc_word(seen.libc))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::testing;

    const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

    fn seen(machine: &str, libc: Libc) -> Seen {
        let loaders = match libc {
            Libc::Gnu(_) => vec![LOADER.to_owned()],
            _ => Vec::new(),
        };
        Seen {
            system: "Linux".to_owned(),
            machine: machine.to_owned(),
            libc,
            loaders,
            ..Seen::default()
        }
    }

    fn bundle(target: &str, glibc: Option<elf::Glibc>) -> Bundle {
        let loader = glibc.map(|_| LOADER.to_owned());
        let needs = Needs { loader, glibc };
        Bundle { target: target.to_owned(), program: PathBuf::new(), needs, digest: None }
    }

    fn all() -> Vec<Bundle> {
        vec![
            bundle("x86_64-unknown-linux-gnu", Some((2, 34))),
            bundle("x86_64-unknown-linux-musl", None),
            bundle("aarch64-unknown-linux-musl", None),
        ]
    }

    #[tokio::test(flavor = "current_thread")]
    async fn itself_where_it_fits_and_else_what_needs_less() {
        let (host, all) = (testing::host(), all());
        let chosen =
            |machine, libc| choose(&host, &seen(machine, libc), &all).unwrap().target.clone();
        assert_eq!(chosen("x86_64", Libc::Gnu((2, 36))), "x86_64-unknown-linux-gnu");
        assert_eq!(chosen("x86_64", Libc::Gnu((2, 17))), "x86_64-unknown-linux-musl");
        assert_eq!(chosen("x86_64", Libc::Unknown), "x86_64-unknown-linux-musl");
        assert_eq!(chosen("aarch64", Libc::Gnu((2, 39))), "aarch64-unknown-linux-musl");
        let mut moved = seen("x86_64", Libc::Gnu((2, 40)));
        moved.loaders = vec!["/nix/ld.so".to_owned()];
        assert_eq!(choose(&host, &moved, &all).unwrap().target, "x86_64-unknown-linux-musl");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn no_fit_says_both_sides_numbers_and_what_to_build() {
        let (host, all) = (testing::host(), all());
        let fault = choose(&host, &seen("x86_64", Libc::Gnu((2, 17))), &all[..1]).unwrap_err();
        assert_eq!(fault.code, Code::NoBundle);
        assert!(fault.causes[0].contains("2.34") && fault.causes[0].contains("2.17"), "{fault:?}");
        assert!(fault.hints[0].starts_with("scripts/bundle x86_64-unknown-linux-musl"));
        let other = choose(&host, &seen("riscv64", Libc::Musl), &all).unwrap_err();
        assert!(other.message.contains("riscv64") && other.causes.len() == 3, "{other:?}");
        assert!(!other.hints[0].contains("scripts/bundle"), "nobody could build it");
    }

    #[test]
    fn this_program_is_the_first_candidate_and_bundles_come_after_it() {
        let data = tempfile::tempdir().unwrap();
        let build = crate::build_id();
        let musl = data.path().join(build.as_str()).join("a-b-linux-musl");
        fs::create_dir_all(&musl).unwrap();
        fs::copy(std::env::current_exe().unwrap(), musl.join("rbee")).unwrap();
        let junk = data.path().join(build.as_str()).join("junk-linux-musl");
        fs::create_dir_all(&junk).unwrap();
        fs::write(junk.join("rbee"), "no program").unwrap();
        let found = candidates(data.path(), &build).unwrap();
        let targets: Vec<_> = found.iter().map(|bundle| bundle.target.as_str()).collect();
        assert_eq!(targets, [TARGET, "a-b-linux-musl"]);
    }
}
