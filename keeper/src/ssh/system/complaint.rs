//! What `ssh` means when it gives up: its words on standard error, its exit status.

use wire::text::{one_line, shell_word};
use wire::{Code, Fault};

/// Lines of its words that are quoted.
const MAX_LINES: usize = 6;
/// Bytes of a quoted line.
const MAX_LINE_BYTES: usize = 400;

/// How an `ssh` ended that started no shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// It could not be started.
    NotStarted(String),
    /// It ended: its exit status, none for a signal, and the beginning of what it said.
    Ended(Option<i32>, String),
    /// It said nothing for too long, but perhaps this.
    Silent(String),
    /// The other machine said too much that was not asked for.
    Noisy,
}

/// What to look for in its words, in this order, and what it means.
const MEANINGS: [(&[&str], Code, &str); 10] = [
    (
        &["REVOKED HOST KEY DETECTED"],
        Code::HostKeyChanged,
        "the server shows a host key that was revoked",
    ),
    (
        &["REMOTE HOST IDENTIFICATION HAS CHANGED"],
        Code::HostKeyChanged,
        "the server shows another host key than the recorded one",
    ),
    (
        &["Host key verification failed", "host key is known for"],
        Code::HostKeyUnknown,
        "the server's host key is not recorded",
    ),
    (
        &["Bad configuration option", "bad configuration option", "Bad owner or permissions"],
        Code::InvalidConfig,
        "ssh refuses its configuration",
    ),
    (
        &["Permission denied", "Too many authentication failures", "No supported authentication"],
        Code::AuthFailed,
        "the server accepts none of the identities",
    ),
    (&["Could not resolve hostname"], Code::HiveUnreachable, "the name is not known"),
    (&["Connection refused"], Code::HiveUnreachable, "the connection was refused"),
    (&["timed out", "timeout"], Code::HiveUnreachable, "nothing answers"),
    (
        &["No route to host", "Network is unreachable"],
        Code::HiveUnreachable,
        "there is no route to it",
    ),
    (
        &["Connection closed", "Connection reset", "closed by remote host"],
        Code::HiveUnreachable,
        "the server closed the connection",
    ),
];

/// The fault of an `end`; `by_hand` is what a person types behind `ssh` to try the same.
pub(super) fn fault(name: &str, by_hand: &str, end: &End) -> Fault {
    let new = |code, what: &str| Fault::new(code, format!("{name}: {what}"));
    match end {
        End::NotStarted(error) => {
            new(Code::InvalidConfig, "ssh cannot be started").cause(error).hint("ssh -V")
        }
        End::Noisy => new(Code::HiveUnreachable, "the login shell does not stop to print")
            .hint(format!("ssh {by_hand}")),
        End::Silent(words) => {
            quote(new(Code::HiveUnreachable, "ssh starts no shell in time"), words)
                .hint(format!("ssh -v {by_hand}"))
        }
        End::Ended(Some(255) | None, words) => spoken(name, by_hand, words),
        End::Ended(Some(status), words) => {
            let what = format!("the login shell does not start /bin/sh (exit status {status})");
            quote(new(Code::HiveUnreachable, &what), words).hint(format!("ssh {by_hand}"))
        }
    }
}

/// The fault that its words mean.
fn spoken(name: &str, by_hand: &str, words: &str) -> Fault {
    let meaning = MEANINGS.iter().find(|(marks, ..)| marks.iter().any(|mark| words.contains(mark)));
    let (code, what) = match meaning {
        Some((_, code, what)) => (code.clone(), *what),
        None => (Code::HiveUnreachable, "ssh makes no connection"),
    };
    let fault = Fault::new(code.clone(), format!("{name}: {what}"));
    let hint = match code {
        Code::HostKeyChanged => forget(words).unwrap_or_else(|| format!("ssh {by_hand}")),
        Code::HostKeyUnknown => format!("ssh -o StrictHostKeyChecking=ask {by_hand}"),
        Code::InvalidConfig => format!("ssh -G {by_hand}"),
        _ => format!("ssh -v {by_hand}"),
    };
    quote(fault, words).hint(hint)
}

/// Its words as causes, without the frames that it draws.
fn quote(mut fault: Fault, words: &str) -> Fault {
    let lines = words.lines().map(|line| line.trim_matches(['@', ' ', '\t', '\r']));
    for line in lines.filter(|line| !line.is_empty()).take(MAX_LINES) {
        fault = fault.cause(one_line(line, MAX_LINE_BYTES));
    }
    fault
}

/// The command that forgets the recorded key, made of the file and the name that `ssh` mentions. A
/// server may have written any of its words, so nothing of them is passed on but these two, quoted.
fn forget(words: &str) -> Option<String> {
    let place = words.lines().find(|line| line.starts_with("Offending "))?;
    let (_, place) = place.split_once(" key in ")?;
    let (file, _) = place.rsplit_once(':')?;
    let name = words.lines().find_map(|line| line.strip_prefix("Host key for "))?;
    let (name, _) = name.split_once(" has changed")?;
    Some(format!("ssh-keygen -f {} -R {}", shell_word(file), shell_word(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &str) -> Fault {
        fault("me@pc", "-p 22 pc true", &End::Ended(Some(255), words.to_owned()))
    }

    #[test]
    fn the_words_of_ssh_have_their_codes() {
        let cases = [
            ("Host key verification failed.", Code::HostKeyUnknown),
            (
                "No ED25519 host key is known for pc and you have requested strict checking.\nHost \
              key verification failed.",
                Code::HostKeyUnknown,
            ),
            (
                "@  WARNING: REVOKED HOST KEY DETECTED! @\nHost key verification failed.",
                Code::HostKeyChanged,
            ),
            ("/c: line 1: Bad configuration option: foo", Code::InvalidConfig),
            ("Bad owner or permissions on /c", Code::InvalidConfig),
            ("me@pc: Permission denied (publickey).", Code::AuthFailed),
            (
                "Received disconnect from ::1 port 22:2: Too many authentication failures",
                Code::AuthFailed,
            ),
            (
                "ssh: Could not resolve hostname pc: Name or service not known",
                Code::HiveUnreachable,
            ),
            ("ssh: connect to host pc port 22: Connection refused", Code::HiveUnreachable),
            ("ssh: connect to host pc port 22: Connection timed out", Code::HiveUnreachable),
            ("Timeout, server pc not responding.", Code::HiveUnreachable),
            (
                "kex_exchange_identification: Connection closed by remote host",
                Code::HiveUnreachable,
            ),
            ("", Code::HiveUnreachable),
        ];
        for (words, code) in cases {
            let fault = of(words);
            assert_eq!(fault.code, code, "{words}");
            assert!(fault.hints[0].starts_with("ssh ") && fault.hints[0].ends_with("true"));
            assert_eq!(fault.causes.is_empty(), words.is_empty());
        }
    }

    #[test]
    fn a_changed_key_is_forgotten_by_a_command_that_is_safe_to_paste() {
        let words = "@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@\n\
                     Offending ED25519 key in /h/known hosts:7\n  remove with:\n\
                     \u{20} ssh-keygen -f \"/x\" -R \"y\"\n\
                     Host key for [pc]:2222 has changed and\n";
        let fault = of(words);
        assert_eq!(fault.code, Code::HostKeyChanged);
        assert_eq!(fault.hints, ["ssh-keygen -f '/h/known hosts' -R '[pc]:2222'"]);
        assert_eq!(fault.causes[0], "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!");
        let spoofed = words.replace("[pc]:2222", "x';reboot;'\u{1b}");
        assert_eq!(of(&spoofed).hints, [r"ssh-keygen -f '/h/known hosts' -R 'x'\'';reboot;'\''?'"]);
    }

    #[test]
    fn every_other_end_is_named_too() {
        let ends = [
            (End::NotStarted("no such file".into()), Code::InvalidConfig),
            (End::Noisy, Code::HiveUnreachable),
            (End::Silent("what?".into()), Code::HiveUnreachable),
            (End::Ended(Some(1), "This account is not available.".into()), Code::HiveUnreachable),
            (End::Ended(None, String::new()), Code::HiveUnreachable),
        ];
        for (end, code) in ends {
            let fault = fault("pc", "pc true", &end);
            assert_eq!((fault.code, fault.hints.len()), (code, 1), "{end:?}");
        }
    }
}
