//! Shells over the `ssh` of this machine: stand-ins for it, and a real server.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::SystemTime;

use russh::keys::Certificate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::Timings;

use super::*;
use crate::ssh::known_hosts::{KnownHosts, Verdict};
use crate::ssh::person::Nobody;
use crate::ssh::{Ended, config};

fn caller(notes: &Arc<Mutex<Vec<String>>>) -> Caller {
    let notes = Arc::clone(notes);
    Caller {
        person: Arc::new(Nobody),
        keyring: Arc::default(),
        resolve: Arc::new(|_| Box::pin(std::future::ready(Err(Fault::new(Code::Internal, ""))))),
        timings: Timings::default(),
        told: Arc::new(move |note| notes.lock().unwrap().push(format!("{note:?}"))),
    }
}

fn around(program: &Path, config: &Path) -> Around {
    Around {
        program: Some(program.to_path_buf()),
        config: Some(config.to_path_buf()),
        home: "/home/ada".into(),
        user: "ada".to_owned(),
        uid: 1000,
        variable: |_| None,
    }
}

fn target(address: &str) -> Target {
    Target {
        address: address.parse().unwrap(),
        identity: None,
        jump: Vec::new(),
        accept_new: false,
        may_ask: false,
    }
}

#[test]
fn what_the_person_said_reaches_ssh_as_words_of_its_own() {
    let target = Target {
        identity: Some("~/a key".into()),
        jump: vec!["me@gate:22".parse().unwrap(), "::1".parse().unwrap()],
        accept_new: true,
        ..target("corp\\ada@pc:2222")
    };
    let around = around(Path::new("ssh"), Path::new("/c"));
    let words = arguments(&target, &around, Duration::from_millis(1500));
    let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
    let has = |wanted: &[&str]| words.windows(wanted.len()).any(|some| some == wanted);
    for wanted in [
        ["-F", "/c"],
        ["-o", "BatchMode=yes"],
        ["-o", "ConnectTimeout=2"],
        ["-o", "ControlPath=none"],
        ["-o", "StrictHostKeyChecking=accept-new"],
        ["-i", "/home/ada/a key"],
        ["-J", "me@gate:22,[::1]"],
        ["-l", "corp\\ada"],
        ["-p", "2222"],
    ] {
        assert!(has(&wanted), "{wanted:?} in {words:?}");
    }
    assert!(words.ends_with(&["--", "pc", "/bin/sh"]));
}

/// A program that stands in for `ssh`: it runs its last word here.
fn stand_in(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("ssh");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

async fn run(session: &Arc<dyn Session>, script: &str) -> (String, Ended) {
    let mut shell = session.shell().await.unwrap();
    shell.input.write_all(script.as_bytes()).await.unwrap();
    shell.input.shutdown().await.unwrap();
    let mut text = String::new();
    shell.output.read_to_string(&mut text).await.unwrap();
    (text, shell.ended.await)
}

#[tokio::test]
async fn a_shell_runs_its_script_after_whatever_noise_and_ends_with_its_status() {
    let dir = tempfile::tempdir().unwrap();
    let program = stand_in(dir.path(), "echo motd; echo warned >&2; exec /bin/sh");
    for may_ask in [false, true] {
        let target = Target { may_ask, ..target("pc") };
        let around = around(&program, Path::new("/c"));
        let session = connect(&target, &around, &caller(&Arc::default())).unwrap();
        assert_eq!(run(&session, "echo hi; exit 3").await, ("hi\n".into(), Ended::Exit(3)));
        assert_eq!(run(&session, "exit 255").await, (String::new(), Ended::Lost));
        assert_eq!(run(&session, "kill -9 $$").await, (String::new(), Ended::Lost));
        let mut shell = session.shell().await.unwrap();
        let mut words = String::new();
        shell.input.shutdown().await.unwrap();
        shell.errors.read_to_string(&mut words).await.unwrap();
        assert_eq!(words, "warned\n");
        assert_eq!(session.socket("/s").await.err().unwrap().code, Code::HiveUnreachable);
    }
}

#[tokio::test]
async fn what_a_person_interrupts_at_the_terminal_does_not_end_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let program = stand_in(dir.path(), "exec /bin/sh");
    let around = around(&program, Path::new("/c"));
    let session = |may_ask| {
        let target = Target { may_ask, ..target("pc") };
        connect(&target, &around, &caller(&Arc::default())).unwrap()
    };
    // Where `ssh` may ask it stays in the terminal's group, and is told not to listen.
    let (text, ended) = run(&session(true), "kill -INT $$; kill -QUIT $$; echo alive").await;
    assert_eq!((text.as_str(), ended), ("alive\n", Ended::Exit(0)));
    // Elsewhere it is in a group of its own, and keeps away from the terminal.
    let (text, _) = run(&session(false), "ps -o pgid= -p $$; echo $$ $SSH_ASKPASS_REQUIRE").await;
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    assert!(matches!(words.as_slice(), [group, own, "force"] if group == own), "{text}");
}

#[tokio::test]
async fn the_process_ends_with_the_last_of_its_streams() {
    let dir = tempfile::tempdir().unwrap();
    let program = stand_in(dir.path(), "exec /bin/sh");
    let around = around(&program, Path::new("/c"));
    let session = connect(&target("pc"), &around, &caller(&Arc::default())).unwrap();
    let mut shell = session.shell().await.unwrap();
    shell.input.write_all(b"echo $$; exec sleep 1000\n").await.unwrap();
    let mut pid = String::new();
    tokio::io::AsyncBufReadExt::read_line(
        &mut tokio::io::BufReader::new(&mut shell.output),
        &mut pid,
    )
    .await
    .unwrap();
    let pid: u32 = pid.trim().parse().unwrap();
    let Shell { input, output, errors, ended } = shell;
    drop((input, errors, ended));
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    drop(output);
    tokio::time::timeout(Duration::from_secs(10), crate::platform::ended(pid))
        .await
        .expect("the process ends")
        .unwrap();
}

#[tokio::test]
async fn an_unreachable_server_is_tried_three_times_and_a_refusal_once() {
    let dir = tempfile::tempdir().unwrap();
    for (words, code, times) in [
        ("ssh: connect to host pc port 22: Connection refused", Code::HiveUnreachable, 3),
        ("me@pc: Permission denied (publickey).", Code::AuthFailed, 1),
    ] {
        let program = stand_in(dir.path(), &format!("echo '{words}' >&2; exit 255"));
        let notes = Arc::default();
        let around = around(&program, Path::new("/a c"));
        let session = connect(&target("me@pc:2222"), &around, &caller(&notes)).unwrap();
        let fault = session.shell().await.err().unwrap();
        assert_eq!(fault.code, code);
        assert_eq!(fault.causes, [words]);
        assert_eq!(fault.hints, ["ssh -v -F '/a c' -l me -p 2222 pc true"]);
        assert_eq!(notes.lock().unwrap().len(), times);
    }
}

#[tokio::test]
async fn a_server_that_floods_or_says_nothing_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let around = |text| around(&stand_in(dir.path(), text), Path::new("/c"));
    let mut caller = caller(&Arc::default());
    let silent = "echo psst >&2; exec sleep 1000";
    for (text, longest, expected) in [
        ("cat /dev/zero", Duration::from_secs(10), "does not stop"),
        (silent, Duration::from_millis(50), "in time"),
    ] {
        caller.timings.ssh_connect = longest;
        let session = connect(&target("pc"), &around(text), &caller).unwrap();
        let fault = session.shell().await.err().unwrap();
        assert_eq!(fault.code, Code::HiveUnreachable);
        assert!(fault.message.contains(expected), "{fault}");
    }
    let none = Around { program: None, ..around("true") };
    let refused = connect(&target("pc"), &none, &caller).err().unwrap();
    assert_eq!(refused.code, Code::InvalidConfig);
}

/// A real `sshd` that this user runs, one for each connection, without a port: it is the other end
/// of a `ProxyCommand`.
struct Sshd {
    dir: tempfile::TempDir,
}

impl Sshd {
    /// None where there is no OpenSSH.
    fn new() -> Option<Self> {
        let (client, server) = (Path::new("/usr/bin/ssh"), Path::new("/usr/sbin/sshd"));
        if !client.exists() || !server.exists() {
            println!("no OpenSSH here: what needs it is left out");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display();
        let keygen = |words: &[&str]| {
            let keygen = std::process::Command::new("ssh-keygen").arg("-q").args(words).status();
            assert!(keygen.unwrap().success(), "{words:?}");
        };
        let at = |name: &str| format!("{path}/{name}");
        for (key, algorithm) in [
            ("host", "ed25519"),
            ("other", "ed25519"),
            ("odd", "ecdsa"),
            ("ca", "ed25519"),
            ("id", "ed25519"),
        ] {
            keygen(&["-t", algorithm, "-N", "", "-f", &at(key)]);
        }
        keygen(&["-s", &at("ca"), "-h", "-I", "test", "-n", "pc", &at("host.pub")]);
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        write(
            "sshd_config",
            format!(
                "HostKey {path}/host\nHostCertificate {path}/host-cert.pub\n\
                 AuthorizedKeysFile {path}/id.pub\nStrictModes no\n\
                 UsePAM no\nPidFile none\nPasswordAuthentication no\n\
                 KbdInteractiveAuthentication no\n"
            ),
        );
        // As root it wants a directory that not every machine has; it gets one that only it sees.
        write(
            "serve",
            format!(
                "if [ \"$(id -u)\" = 0 ] && [ ! -d /run/sshd ]; then\n\
                   exec unshare -m sh -c 'mount -t tmpfs none /run && mkdir /run/sshd && \
                   exec {} -i -f {path}/sshd_config'\nfi\n\
                 exec {} -i -f {path}/sshd_config\n",
                server.display(),
                server.display()
            ),
        );
        write(
            "config",
            format!(
                "Host *\n ProxyCommand sh {path}/serve\n UserKnownHostsFile {path}/known_hosts\n\
                 GlobalKnownHostsFile none\n IdentityFile {path}/id\n IdentitiesOnly yes\n\
                 IdentityAgent none\n"
            ),
        );
        Some(Self { dir })
    }

    fn around(&self) -> Around {
        around(Path::new("/usr/bin/ssh"), &self.dir.path().join("config"))
    }

    fn session(&self, address: &str, accept_new: bool) -> Arc<dyn Session> {
        let target = Target { accept_new, ..target(address) };
        connect(&target, &self.around(), &caller(&Arc::default())).unwrap()
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap()
    }
}

#[tokio::test]
async fn a_real_server_gives_a_shell_and_its_refusals_have_their_codes() {
    let Some(sshd) = Sshd::new() else { return };
    let refused = |fault: Result<Shell, Fault>| fault.err().unwrap();

    let fault = refused(sshd.session("pc", false).shell().await);
    assert_eq!(fault.code, Code::HostKeyUnknown, "{fault:?}");

    let session = sshd.session("pc", true);
    let (text, ended) = run(&session, "echo there\nexit 7\n").await;
    assert_eq!((text.as_str(), ended), ("there\n", Ended::Exit(7)));
    assert!(sshd.file("known_hosts").starts_with("pc ssh-ed25519 "));

    let known = format!("pc {}", sshd.file("other.pub"));
    std::fs::write(sshd.dir.path().join("known_hosts"), known).unwrap();
    let fault = refused(sshd.session("pc", true).shell().await);
    assert_eq!(fault.code, Code::HostKeyChanged, "{fault:?}");
    let file = sshd.dir.path().join("known_hosts");
    assert_eq!(fault.hints, [format!("ssh-keygen -f {} -R pc", file.display())]);

    std::fs::remove_file(file).unwrap();
    std::fs::copy(sshd.dir.path().join("other.pub"), sshd.dir.path().join("id.pub")).unwrap();
    let fault = refused(sshd.session("pc", true).shell().await);
    assert_eq!(fault.code, Code::AuthFailed, "{fault:?}");
}

/// The files of known hosts that OpenSSH and `KnownHosts` are shown, with the address that is asked
/// for. `HOST`, `OTHER` and `ODD` are keys, the last of another algorithm; `CA` signed the host's.
const KNOWN: [(&str, &str); 21] = [
    ("pc", ""),
    ("pc", "pc HOST"),
    ("pc", "pc OTHER"),
    ("pc", "pc ODD"),
    ("pc", "pc OTHER\npc HOST"),
    ("pc", "pc ODD\npc HOST"),
    ("pc", "hub,P? HOST"),
    ("pc", "*,!pc HOST"),
    ("pc", "nonsense\n\n# pc OTHER\n\tpc\tHOST comment\r"),
    ("pc", "pc HOST\n@revoked * HOST"),
    ("pc", "@revoked hub HOST\npc HOST"),
    ("pc", "@cert-authority * CA"),
    ("pc", "@cert-authority hub CA"),
    ("pc", "@cert-authority * OTHER\npc HOST"),
    ("pc", "@cert-authority * CA\n@revoked * CA"),
    ("pc", "@cert-authority * CA\npc OTHER"),
    ("hub", "@cert-authority * CA"),
    ("hub", "@cert-authority * CA\nhub HOST"),
    ("pc:2222", "[pc]:2222 HOST"),
    ("pc:2222", "pc HOST"),
    ("pc:2222", "pc OTHER"),
];

#[tokio::test]
async fn openssh_judges_each_file_of_known_hosts_as_it_is_judged_here() {
    let Some(sshd) = Sshd::new() else { return };
    let certificate = Certificate::from_openssh(&sshd.file("host-cert.pub")).unwrap();
    let key = |name: &str| {
        let text = sshd.file(name);
        text.split(' ').take(2).collect::<Vec<_>>().join(" ").trim().to_owned()
    };
    for (address, text) in KNOWN {
        let file = text
            .replace("HOST", &key("host.pub"))
            .replace("OTHER", &key("other.pub"))
            .replace("ODD", &key("odd.pub"))
            .replace("CA", &key("ca.pub"));
        std::fs::write(sshd.dir.path().join("known_hosts"), file).unwrap();
        let theirs = match sshd.session(address, false).shell().await {
            Ok(_) => "known",
            Err(fault) if fault.message.contains("revoked") => "revoked",
            Err(fault) if fault.code == Code::HostKeyChanged => "changed",
            Err(fault) if fault.code == Code::HostKeyUnknown => "unknown",
            Err(fault) => panic!("{fault:?}"),
        };
        let address = address.parse().unwrap();
        let resolved = config::resolve(&sshd.around(), &address, None, &[]).await.unwrap();
        let known = KnownHosts::of(&resolved).unwrap();
        let ours = match known.check_certificate(&certificate, SystemTime::now()).verdict {
            Verdict::Known => "known",
            Verdict::Unknown => "unknown",
            Verdict::Changed(_) => "changed",
            Verdict::Revoked(_) => "revoked",
        };
        assert_eq!(ours, theirs, "{address} with:\n{text}");
    }
}

/// Bytes of every value pass in both directions, more than any pipe holds.
#[tokio::test]
async fn a_real_server_passes_every_byte() {
    let Some(sshd) = Sshd::new() else { return };
    let session = sshd.session("pc", true);
    let mut shell = session.shell().await.unwrap();
    let sent: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let mut input = shell.input;
    let copy = sent.clone();
    // A shell may read ahead of its script, so what is not for it comes after its answer.
    input.write_all(b"echo go; exec cat\n").await.unwrap();
    let mut go = [0; 3];
    shell.output.read_exact(&mut go).await.unwrap();
    assert_eq!(&go, b"go\n");
    let writer = tokio::spawn(async move {
        input.write_all(&copy).await.unwrap();
        input.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    shell.output.read_to_end(&mut got).await.unwrap();
    writer.await.unwrap();
    assert_eq!(got.len(), sent.len());
    assert!(got == sent, "the bytes differ");
    assert_eq!(shell.ended.await, Ended::Exit(0));
}
