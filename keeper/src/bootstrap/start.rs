//! Starts the agent of an installed program, after its bytes were compared once more.

use std::time::Duration;

use wire::hello::Started;
use wire::{Code, Fault, ndjson};

use super::probe::Seen;
use super::script::{Running, Script, last_lines};
use super::upload::Destination;
use super::{Host, Step};

/// How an agent is started.
pub(super) const SCRIPT: &str = include_str!("scripts/start.sh");
/// What a starting agent gets beyond its own bound, to say what went wrong.
const GRACE: Duration = Duration::from_secs(2);
/// How many last lines of a failing agent are quoted.
const QUOTED_LINES: usize = 4;

/// A script that knows which program is meant.
pub(super) fn given(script: Script, from: &Destination<'_>, digest: &str) -> Script {
    script
        .given("place", from.place.word())
        .given("build", from.build)
        .given("target", from.target)
        .given("digest", digest)
        .given("lifetime", from.lifetime.word())
}

/// Begins to start the agent of an installed program, or to find the one that runs;
/// [`answered`] says how that went.
///
/// # Errors
/// `HIVE_UNREACHABLE` when the connection ends.
pub async fn start(host: &Host, from: &Destination<'_>, digest: &str) -> Result<Running, Fault> {
    given(Script::new("start", &[SCRIPT]), from, digest).run(host).await
}

/// The agent that a script started, or found.
///
/// # Errors
/// What the agent said; `CHECKSUM_MISMATCH` for a program that is not what was installed,
/// `NO_BUNDLE` when it cannot run there, `AGENT_FAILED` otherwise.
pub async fn answered(
    mut running: Running,
    seen: &Seen,
    digest: &str,
    agent_start: Duration,
) -> Result<Started, Fault> {
    let silence = running.host.silence.max(agent_start.saturating_add(GRACE));
    running.host.silence = silence;
    let host = running.host.clone();
    host.sees(&Step::Starting);
    let (name, value) = running.answer().await?;
    match (name.as_str(), value.split_once(' ')) {
        ("started", Some(("0", line))) => ndjson::decode(line.trim().as_bytes()),
        ("started", status) => {
            let status = status.map_or(value.as_str(), |(status, _)| status);
            let (_, words) = running.end().await;
            Err(explained(&host, seen, status, &words))
        }
        ("foreign", _) => Err(host.foreign(&value)),
        _ => {
            let what = "the installed program is not what was installed; it was not started";
            Err(host
                .fault(Code::ChecksumMismatch, what)
                .cause(format!("installed: {digest}"))
                .cause(format!("found: {value}"))
                .hint(format!("rbee hive install {}", host.hive)))
        }
    }
}

/// The fault that the agent printed as its last line, or what its exit status and last words mean.
fn explained(host: &Host, seen: &Seen, status: &str, words: &str) -> Fault {
    #[derive(serde::Deserialize)]
    struct Line {
        fault: Fault,
    }
    let said = last_lines(words, 1).next();
    if let Some(line) = said.and_then(|line| serde_json::from_str::<Line>(line).ok()) {
        return of_hive(host, line.fault);
    }
    let has = |text: &str| words.contains(text);
    let (code, why) = if has("GLIBC_") && has("not found") {
        (Code::NoBundle, "its C library is older than the program needs")
    } else if has("Exec format error") {
        (Code::NoBundle, "the program is for another kind of machine")
    } else if has("cannot open shared object file") {
        (Code::NoBundle, "a library that the program needs is not there")
    } else {
        match status {
            "127" => (Code::NoBundle, "the loader that the program needs is not there"),
            "126" => (Code::AgentFailed, "it may not be executed; its disk is mounted noexec"),
            "132" => (Code::NoBundle, "the processor lacks an instruction that the program uses"),
            _ => (Code::AgentFailed, "the agent did not start"),
        }
    };
    let fault = host.fault(code, format!("{why} (exit status {status})"));
    let fault = last_lines(words, QUOTED_LINES).fold(fault, Fault::cause);
    match fault.code {
        Code::NoBundle if seen.machine == "x86_64" || seen.machine == "aarch64" => fault.hint(
            format!("scripts/bundle {}-unknown-linux-musl  # in rbee's sources", seen.machine),
        ),
        _ => fault.hint(host.doctor()),
    }
}

/// A fault of the agent with its hive's name. Its hints are commands for that machine.
fn of_hive(host: &Host, fault: Fault) -> Fault {
    let hints = fault.hints.iter().map(|hint| host.there(hint)).collect();
    Fault { message: format!("hive {}: {}", host.hive, fault.message), hints, ..fault }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::testing;

    #[tokio::test(flavor = "current_thread")]
    async fn every_way_to_fail_has_its_name() {
        let host = testing::host();
        let seen = Seen { machine: "x86_64".to_owned(), ..Seen::default() };
        let of = |status, words| explained(&host, &seen, status, words);
        let old = of("1", "rbee: /lib/libc.so.6: version `GLIBC_2.38' not found (required by)\n");
        assert_eq!(old.code, Code::NoBundle);
        assert!(old.hints[0].starts_with("scripts/bundle x86_64-unknown-linux-musl"));
        assert_eq!(of("127", "sh: 7: rbee: not found\n").code, Code::NoBundle);
        let noexec = of("126", "sh: rbee: Permission denied\n");
        assert!(noexec.code == Code::AgentFailed && noexec.message.contains("noexec"));
        let said = Fault::new(Code::DiskFull, "no space").hint("df");
        let line = serde_json::json!({ "fault": said }).to_string();
        let told = of("1", &format!("noise of a login\n{line}\n"));
        assert_eq!((told.code.clone(), told.hints[0].as_str()), (Code::DiskFull, "df  # on pc"));
        assert!(told.message.contains("hive pc"), "{told}");
    }
}
