//! What a machine is: asked in one round trip, parsed from lines that nobody vouches for.

use wire::{BuildId, Code, Fault, text};

use super::elf::Glibc;
use super::script::Script;
use super::{Host, Step};

/// Lines of an answer; a real one has fewer than 100.
const MAX_LINES: usize = 1024;
/// Bytes of a word or a path of an answer.
const MAX_VALUE_BYTES: usize = 1024;
/// Installed programs, uploads, loaders and compute capabilities that are remembered.
const MAX_ITEMS: usize = 64;
/// Hexadecimal digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;

/// The C library of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Libc {
    /// glibc of this version.
    Gnu(Glibc),
    /// musl.
    Musl,
    /// Neither says so.
    #[default]
    Unknown,
}

/// What may be put into a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Takes {
    /// Programs that can be run.
    Programs,
    /// Files only: it is mounted `noexec`.
    Files,
    /// No byte: the disk is full, or this user's share of it.
    Full,
    /// Nothing: it cannot be written.
    #[default]
    Nothing,
}

/// A program that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// What it was built from.
    pub build: BuildId,
    /// What it was compiled for.
    pub target: String,
    /// The SHA-256 that was recorded with it.
    pub recorded: Option<String>,
    /// Its SHA-256 now; known of the build that was asked for.
    pub real: Option<String>,
}

/// An upload that was not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What its program was compiled for.
    pub target: String,
    /// The beginning of the SHA-256 of what is sent.
    pub name: String,
    /// Bytes that are there.
    pub bytes: u64,
}

/// A data directory, what it takes and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ground {
    /// The data directory.
    pub data: String,
    /// The state directory that goes with it.
    pub state: String,
    /// What the data directory takes.
    pub takes: Takes,
    /// What the state directory takes.
    pub keeps: Takes,
    /// KiB that are free.
    pub free_kib: Option<u64>,
    /// The programs that are installed there.
    pub installed: Vec<Installed>,
    /// Uploads of this build that were not finished.
    pub parts: Vec<Part>,
}

/// Where rbee lives on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the home directory.
    Home,
    /// Its programs and models beside the home, which is mounted `noexec`; the rest in the home.
    Programs,
    /// Everything beside the home, which cannot be written.
    Everything,
}

impl Place {
    /// The word of the scripts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Programs => "programs",
            Self::Everything => "everything",
        }
    }
}

/// What was seen of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// `uname -s`.
    pub system: String,
    /// `uname -m`.
    pub machine: String,
    /// The user's number.
    pub uid: u32,
    /// Its C library.
    pub libc: Libc,
    /// The loaders for programs that are not static.
    pub loaders: Vec<String>,
    /// Whether a SHA-256 can be computed there.
    pub digests: bool,
    /// Whether gzip can be read there.
    pub gzip: bool,
    /// Version of NVIDIA's driver.
    pub driver: Option<String>,
    /// Compute capability of each of its GPUs, such as `8.6`.
    pub compute: Vec<String>,
    /// The home directory; none for a user without one.
    pub home: Option<Ground>,
    /// The directory beside the home; looked at where the home does not do.
    pub beside: Ground,
    /// The path beside the home, when somebody else's file is in its place.
    pub foreign: Option<String>,
}

/// Asks a machine what it is.
///
/// # Errors
/// `HIVE_UNREACHABLE` when it does not answer to the end, `PROTOCOL_ERROR` when it is no machine
/// that one could say anything of.
pub async fn probe(host: &Host, build: &BuildId) -> Result<Seen, Fault> {
    host.sees(&Step::Probing);
    let script = Script::new("probe", &[include_str!("scripts/probe.sh")]).given("build", build);
    let mut running = script.stays().run(host).await?;
    let mut lines = Vec::new();
    loop {
        let line = running.next().await?;
        match line {
            Some(line) if line == "end=1" => break,
            Some(line) if lines.len() < MAX_LINES => lines.push(line),
            Some(_) => return Err(host.fault(Code::ProtocolError, "the probe says too much")),
            None => return Err(running.broken().await),
        }
    }
    running.rest();
    let seen = parse(lines.iter().map(String::as_str));
    if seen.system.is_empty() || seen.machine.is_empty() {
        let fault = host.fault(Code::ProtocolError, "it does not say what machine it is");
        return Err(fault.hint(host.there("uname -sm")));
    }
    Ok(seen)
}

/// Reads the lines of an answer. What is malformed is left out.
pub fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Seen {
    let mut seen = Seen::default();
    let (mut home, mut getconf, mut ldd) = (Ground::default(), None, Libc::Unknown);
    for line in lines.take(MAX_LINES) {
        let Some((name, value)) = line.split_once('=') else { continue };
        match name {
            "system" => seen.system = word(value).unwrap_or_default(),
            "machine" => seen.machine = word(value).unwrap_or_default(),
            "uid" => seen.uid = value.parse().unwrap_or_default(),
            "getconf" => getconf = value.strip_prefix("glibc ").and_then(version),
            "ldd" => ldd = libc_of_ldd(value),
            "loader" => push(&mut seen.loaders, path(value)),
            "tool" if value == "gzip" => seen.gzip = true,
            "tool" => seen.digests |= matches!(value, "sha256sum" | "shasum" | "openssl"),
            "driver" => seen.driver = driver_version(value),
            "compute" => seen.compute = capabilities(value),
            "foreign" => seen.foreign = path(value),
            _ => match name.split_once('.') {
                Some(("home", name)) => home.learn(name, value),
                Some(("beside", name)) => seen.beside.learn(name, value),
                _ => {}
            },
        }
    }
    seen.libc = match getconf {
        Some(version) => Libc::Gnu(version),
        None if seen.loaders.iter().any(|path| path.contains("/ld-musl")) => Libc::Musl,
        None => ldd,
    };
    seen.home = (!home.data.is_empty() && !home.state.is_empty()).then_some(home);
    seen
}

impl Ground {
    fn learn(&mut self, name: &str, value: &str) {
        match name {
            "data" => self.data = path(value).unwrap_or_default(),
            "state" => self.state = path(value).unwrap_or_default(),
            "takes" => self.takes = takes(value),
            "keeps" => self.keeps = takes(value),
            "free" => self.free_kib = value.parse().ok(),
            "build" => push(&mut self.installed, installed(value)),
            "part" => push(&mut self.parts, part(value)),
            _ => {}
        }
    }

    /// The program of a build and a target.
    pub fn program(&self, build: &BuildId, target: &str) -> Option<&Installed> {
        self.installed.iter().find(|it| it.build == *build && it.target == target)
    }
}

impl Seen {
    /// Where rbee lives there, and the ground that its programs stand on.
    ///
    /// # Errors
    /// `AGENT_FAILED` when neither the home nor the directory beside it takes a program.
    pub fn place(&self, host: &Host) -> Result<(Place, &Ground), Fault> {
        let place = match &self.home {
            Some(home) if home.keeps == Takes::Nothing => Place::Everything,
            Some(home) => match home.takes {
                Takes::Programs | Takes::Full => return Ok((Place::Home, home)),
                Takes::Files => Place::Programs,
                Takes::Nothing => Place::Everything,
            },
            None => Place::Everything,
        };
        if let Some(path) = &self.foreign {
            return Err(host.foreign(path));
        }
        if !matches!(self.beside.takes, Takes::Programs | Takes::Full) {
            let fault = host.fault(
                Code::AgentFailed,
                format!("neither the home directory nor {} takes a program", host.shared),
            );
            let home = self.home.as_ref().map_or("there is no home directory", |home| {
                if home.takes == Takes::Files {
                    "the home is mounted noexec"
                } else {
                    "the home is read-only"
                }
            });
            return Err(fault.cause(home).hint(host.there("findmnt -o TARGET,OPTIONS")));
        }
        Ok((place, &self.beside))
    }

    /// The state directory that goes with a place.
    pub fn state(&self, place: Place) -> &str {
        match (&self.home, place) {
            (Some(home), Place::Home | Place::Programs) => &home.state,
            _ => &self.beside.state,
        }
    }
}

fn push<T>(items: &mut Vec<T>, item: Option<T>) {
    if items.len() < MAX_ITEMS {
        items.extend(item);
    }
}

/// A value that has no character that does not belong there.
fn clean(value: &str) -> Option<&str> {
    let is_clean = value.len() <= MAX_VALUE_BYTES && text::for_terminal(value) == value;
    (is_clean && !value.is_empty() && !value.contains(['\t', '\n'])).then_some(value)
}

fn word(value: &str) -> Option<String> {
    clean(value).filter(|value| !value.contains(' ')).map(str::to_owned)
}

fn path(value: &str) -> Option<String> {
    clean(value).filter(|value| value.starts_with('/')).map(str::to_owned)
}

fn takes(value: &str) -> Takes {
    match value {
        "ok" => Takes::Programs,
        "noexec" => Takes::Files,
        "full" => Takes::Full,
        _ => Takes::Nothing,
    }
}

fn digest(value: &str) -> Option<String> {
    let is_hex = value.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (value.len() == DIGEST_DIGITS && is_hex).then(|| value.to_owned())
}

fn installed(value: &str) -> Option<Installed> {
    let mut words = value.split(' ');
    Some(Installed {
        build: words.next()?.parse().ok()?,
        target: target(words.next()?)?,
        recorded: digest(words.next()?),
        real: digest(words.next()?),
    })
}

fn part(value: &str) -> Option<Part> {
    let mut words = value.split(' ');
    let (target, name) = (target(words.next()?)?, word(words.next()?)?);
    Some(Part { target, name, bytes: words.next()?.parse().ok()? })
}

/// The name of a target: words and dashes, such as `x86_64-unknown-linux-gnu`.
pub fn target(value: &str) -> Option<String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let fits = value.len() <= 64 && value.contains('-') && !value.starts_with(['-', '.']);
    (fits && value.bytes().all(allowed)).then(|| value.to_owned())
}

/// The first two numbers of `2.36`, also with more behind them.
fn version(value: &str) -> Option<Glibc> {
    let mut numbers = value.trim().split('.').map(|number| {
        let digits = number.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        digits.parse().ok()
    });
    Some((numbers.next()??, numbers.next()??))
}

/// `ldd --version` of glibc ends its first line with the version; musl's says its own name.
fn libc_of_ldd(value: &str) -> Libc {
    if value.contains("musl") {
        return Libc::Musl;
    }
    let is_gnu = value.contains("GLIBC") || value.contains("GNU libc");
    let first = value.split(" Copyright").next().unwrap_or_default();
    let number = first.split(' ').rfind(|word| version(word).is_some());
    match number.and_then(version) {
        Some(version) if is_gnu => Libc::Gnu(version),
        _ => Libc::Unknown,
    }
}

/// The first number of `NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  …`.
fn driver_version(value: &str) -> Option<String> {
    let is_number =
        |word: &&str| word.contains('.') && word.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    value.split_whitespace().find(is_number).and_then(word)
}

fn capabilities(value: &str) -> Vec<String> {
    let is_number = |word: &&str| version(word).is_some() && word.len() <= 8;
    value.split_whitespace().filter(is_number).take(MAX_ITEMS).filter_map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_answer_of_a_machine_is_read() {
        let digest = "a".repeat(64);
        let answer = format!(
            "system=Linux\nmachine=x86_64\nuid=1000\nhome=/home/ada\ngetconf=glibc 2.36\n\
             ldd=ldd (Debian GLIBC 2.36-9) 2.36 Copyright\nloader=/lib64/ld-linux-x86-64.so.2\n\
             tool=sha256sum\ntool=gzip\n\
             driver=NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19\n\
             compute=8.6 9.0 \nhome.data=/home/ada/.local/share/rbee\n\
             home.state=/home/ada/.local/state/rbee\nhome.takes=ok\nhome.keeps=ok\n\
             home.free=1024\nhome.build=0123456789abcdef x86_64-unknown-linux-gnu {digest} -\n\
             home.part=x86_64-unknown-linux-gnu 0123 77\nbeside.takes=noexec"
        );
        let seen = parse(answer.lines());
        assert_eq!(
            (seen.system.as_str(), seen.machine.as_str(), seen.uid),
            ("Linux", "x86_64", 1000)
        );
        assert_eq!((seen.libc, seen.gzip, seen.digests), (Libc::Gnu((2, 36)), true, true));
        assert_eq!(seen.driver.as_deref(), Some("535.129.03"));
        assert_eq!(seen.compute, ["8.6", "9.0"]);
        let home = seen.home.unwrap();
        assert_eq!((home.takes, home.free_kib), (Takes::Programs, Some(1024)));
        assert_eq!(home.installed[0].recorded.as_deref(), Some(digest.as_str()));
        assert_eq!(home.installed[0].real, None);
        let part = &home.parts[0];
        assert_eq!(part.target, "x86_64-unknown-linux-gnu");
        assert_eq!((part.name.as_str(), part.bytes), ("0123", 77));
        assert_eq!(seen.beside.takes, Takes::Files);
    }

    #[test]
    fn every_kind_of_c_library_is_told_apart() {
        let of = |line: &str| parse(std::iter::once(line)).libc;
        assert_eq!(of("ldd=ldd (GNU libc) 2.17 Copyright (C) 2012"), Libc::Gnu((2, 17)));
        assert_eq!(of("ldd=ldd (Ubuntu GLIBC 2.35-0ubuntu3.1) 2.35 "), Libc::Gnu((2, 35)));
        assert_eq!(of("ldd=musl libc (x86_64) Version 1.2.4 "), Libc::Musl);
        assert_eq!(of("loader=/lib/ld-musl-x86_64.so.1"), Libc::Musl);
        assert_eq!(of("ldd=sh: ldd: not found "), Libc::Unknown);
        assert_eq!(of("getconf=getconf: no such name"), Libc::Unknown);
    }

    #[test]
    fn a_value_with_a_control_character_counts_as_none() {
        let seen =
            parse(["machine=x86\u{1b}[2J", "home.data=/a\u{202e}b", "foreign=x"].into_iter());
        assert_eq!((seen.machine.as_str(), seen.home, seen.foreign), ("", None, None));
    }

    proptest! {
        #[test]
        fn no_answer_panics_and_what_is_kept_is_bounded_and_clean(
            lines in prop::collection::vec(
                "(system|machine|uid|getconf|ldd|loader|tool|driver|compute|home.data|home.build|\
                 home.part|beside.free|foreign)=(\\PC{0,40}|[ -~\\x1b]{0,80}|[0-9. -]{0,20})",
                0..200,
            ),
        ) {
            let seen = parse(lines.iter().map(String::as_str));
            prop_assert!(seen.loaders.len() <= MAX_ITEMS && seen.compute.len() <= MAX_ITEMS);
            let texts = [&seen.system, &seen.machine];
            for text in texts.into_iter().chain(&seen.loaders).chain(&seen.driver) {
                prop_assert!(!text.chars().any(char::is_control) && text.len() <= MAX_VALUE_BYTES);
            }
        }
    }
}
