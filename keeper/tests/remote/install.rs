//! A program is sent: continued, verified, in place whole or not at all.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keeper::bootstrap::attach::{Wanted, attach, ended, has_orphans};
use keeper::bootstrap::bundle::Bundle;
use keeper::bootstrap::line::is_slow;
use keeper::bootstrap::payload::{self, Payload};
use keeper::bootstrap::probe::{Place, Seen, probe};
use keeper::bootstrap::start::{answered, start};
use keeper::bootstrap::upload::{Destination, Order, upload};
use keeper::bootstrap::{Host, Step};
use sha2::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::settings::Lifetime;
use wire::{BuildId, Code, Fault};

use crate::hex;
use crate::machine::{Disk, Kind, Machine, files, has_disks, host, kinds};

/// A program that plays the agent's command line.
const PROGRAM: &str = r#"#!/bin/sh
case "$1 $2" in
"agent start")
    case $(cat "$HOME/mood" 2>/dev/null) in
    broken) echo 'rbee: version `GLIBC_9.9'"'"' not found' >&2; exit 1 ;;
    full) echo noise >&2; echo '{"fault":{"code":"DISK_FULL","message":"no space"}}' >&2; exit 1 ;;
    esac
    echo '{"role":"agent","protocol":{"min":1,"max":1},"build":"0123456789abcdef",'\
'"version":"1","pid":7,"socket":"/x/agent.sock"}'
    ;;
"agent attach")
    printf '\n%s {"attached":{"pid":7,"socket":"/x/agent.sock","build":"0123456789abcdef"}}\n' "$4"
    exec cat
    ;;
esac
"#;
const TARGET: &str = concat!("x86_64", "-unknown-linux-musl");

fn build() -> BuildId {
    "0123456789abcdef".parse().unwrap()
}

/// Some program on this machine's side.
struct Here {
    dir: tempfile::TempDir,
    bundle: Bundle,
}

impl Here {
    fn with(program: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rbee");
        fs::write(&path, program).unwrap();
        fs::write(dir.path().join("rbee.sha256"), hex(program)).unwrap();
        let needs = keeper::bootstrap::bundle::Needs::default();
        let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        Self { dir, bundle: Bundle { target, program: path, needs, digest: None } }
    }

    /// Bytes that hardly compress, behind a program.
    fn large(bytes: usize) -> Self {
        let mut program = format!("{PROGRAM}exit 0\n").into_bytes();
        let mut digest = sha2::Sha256::digest(b"seed");
        while program.len() < bytes {
            program.extend_from_slice(&digest);
            digest = sha2::Sha256::digest(digest);
        }
        Self::with(&program)
    }

    async fn payload(&self, host: &Host, packed: bool) -> Payload {
        let digest = payload::digest(host, &self.bundle).await.unwrap();
        payload::prepare(host, &self.bundle, &digest, packed).await.unwrap()
    }
}

fn to(build: &BuildId) -> Destination<'_> {
    Destination { place: Place::Home, build, target: TARGET, lifetime: Lifetime::Persistent }
}

async fn send(host: &Host, payload: &Payload, again: bool) -> Result<(), Fault> {
    let build = build();
    let order = Order { to: to(&build), payload, again, starts: false };
    upload(host, &order).await.map(drop)
}

fn there(machine: &Machine) -> PathBuf {
    machine.home().join(format!(".local/share/rbee/{}/{TARGET}", build()))
}

fn names(machine: &Machine) -> Vec<String> {
    files(&there(machine))
}

async fn seen(host: &Host) -> Seen {
    probe(host, &build()).await.unwrap()
}

#[tokio::test(flavor = "current_thread")]
async fn a_program_arrives_whole_and_private_and_is_seen_there() {
    for (kind, packed) in kinds().into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
        let machine = Arc::new(Machine::new(kind).noisy("hello\nhalf"));
        let ((host, steps), here, build) = (host(&machine), Here::large(900_000), build());
        let payload = here.payload(&host, packed).await;
        send(&host, &payload, false).await.unwrap();
        let program = there(&machine).join("rbee");
        assert!(fs::read(&program).unwrap() == fs::read(&here.bundle.program).unwrap());
        assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(names(&machine), ["rbee", "rbee.sha256"], "{kind:?}: nothing half done");
        let data = machine.home().join(".local/share/rbee");
        assert_eq!(fs::metadata(data).unwrap().permissions().mode() & 0o777, 0o700);
        let found = seen(&host).await.home.unwrap();
        let installed = found.program(&build, TARGET).unwrap();
        assert_eq!(installed.real.as_ref(), Some(&payload.digest));
        assert_eq!(installed.recorded.as_ref(), Some(&payload.digest));
        let told = steps.steps();
        let last = Step::Installing { done: payload.bytes, total: payload.bytes };
        assert!(told.contains(&last), "{told:?}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_upload_that_broke_off_goes_on_where_it_was() {
    for (kind, packed) in kinds().into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
        let machine = Arc::new(Machine::new(kind));
        let ((host, steps), here) = (host(&machine), Here::large(2_000_000));
        let payload = here.payload(&host, packed).await;
        machine.cut_after(1_200_000);
        let fault = send(&host, &payload, false).await.unwrap_err();
        assert_eq!(fault.code, Code::HiveUnreachable, "{fault:?}");
        let parts = seen(&host).await.home.unwrap().parts;
        assert!(parts.len() == 1 && parts[0].bytes > 1_000_000, "{parts:?}");
        assert_eq!((parts[0].target.as_str(), &parts[0].name), (TARGET, &payload.name));
        send(&host, &payload, false).await.unwrap();
        let notes = steps.notes();
        assert!(notes.iter().any(|note| note.contains(&parts[0].bytes.to_string())), "{notes:?}");
        assert_eq!(names(&machine), ["rbee", "rbee.sha256"], "{kind:?}");
        assert_eq!(hex(&fs::read(there(&machine).join("rbee")).unwrap()), payload.digest);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_damaged_beginning_is_thrown_away_and_sent_once_more() {
    for kind in kinds() {
        let machine = Arc::new(Machine::new(kind));
        let ((host, steps), here) = (host(&machine), Here::large(300_000));
        let payload = here.payload(&host, true).await;
        fs::create_dir_all(there(&machine)).unwrap();
        // What a process left that has ended: no process has this number.
        let part = there(&machine).join(format!("rbee.{}.4194305.part", payload.name));
        fs::write(&part, vec![7; 1000]).unwrap();
        fs::write(there(&machine).join("rbee.x.4194305.new"), "half").unwrap();
        send(&host, &payload, false).await.unwrap();
        assert!(steps.notes().iter().any(|note| note.contains("once more")), "{:?}", steps.notes());
        assert_eq!(names(&machine), ["rbee", "rbee.sha256"], "{kind:?}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn what_arrives_changed_twice_is_given_up() {
    let machine = Arc::new(Machine::new(Kind::Dash));
    let ((host, _), here) = (host(&machine), Here::large(100_000));
    let honest = here.payload(&host, true).await;
    let payload = Payload { digest: "0".repeat(64), ..honest };
    let fault = send(&host, &payload, false).await.unwrap_err();
    assert_eq!(fault.code, Code::ChecksumMismatch);
    assert_eq!(files(&machine.home()), Vec::<String>::new(), "nothing of it stays");
}

#[tokio::test(flavor = "current_thread")]
async fn keepers_that_upload_at_once_do_not_disturb_each_other() {
    for kind in kinds() {
        let machine = Arc::new(Machine::new(kind));
        let ((host, _), here) = (host(&machine), Here::large(1_500_000));
        let payload = here.payload(&host, true).await;
        let (one, two, three) = tokio::join!(
            send(&host, &payload, false),
            send(&host, &payload, false),
            send(&host, &payload, false),
        );
        for outcome in [one, two, three] {
            outcome.unwrap();
        }
        assert_eq!(names(&machine), ["rbee", "rbee.sha256"], "{kind:?}");
        assert_eq!(hex(&fs::read(there(&machine).join("rbee")).unwrap()), payload.digest);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_disk_without_space_is_known_before_and_in_the_middle() {
    if !has_disks() {
        return;
    }
    for kind in kinds() {
        let machine = Arc::new(Machine::new(kind).on(Disk::Small(3000)));
        let ((host, _), here) = (host(&machine), Here::large(2_000_000));
        let payload = here.payload(&host, false).await;
        let fault = send(&host, &payload, false).await.unwrap_err();
        assert_eq!(fault.code, Code::DiskFull, "{fault:?}");
        assert!(
            fault.details["required_bytes"].as_u64() > fault.details["available_bytes"].as_u64()
        );

        // It says that it needs less than it does: the disk is full in the middle.
        let small = Payload { program_bytes: 0, ..payload };
        let machine = Arc::new(Machine::new(kind).on(Disk::Small(2500)));
        let (host, _) = crate::machine::host(&machine);
        let lied = Payload { bytes: small.bytes, ..small.clone() };
        let file = here.dir.path().join("more");
        let mut more = fs::read(&small.file).unwrap();
        more.extend(vec![1; 2_000_000]);
        fs::write(&file, more).unwrap();
        let fault = send(&host, &Payload { file, ..lied }, false).await.unwrap_err();
        assert_eq!(fault.code, Code::DiskFull, "{kind:?}: {fault:?}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn two_builds_are_kept() {
    for kind in kinds() {
        let machine = Arc::new(Machine::new(kind));
        let ((host, _), here, build) = (host(&machine), Here::with(PROGRAM.as_bytes()), build());
        let data = machine.home().join(".local/share/rbee");
        for (age, old) in ["00000000000000aa", "00000000000000bb", "models"].iter().enumerate() {
            let dir = data.join(old);
            fs::create_dir_all(dir.join(TARGET)).unwrap();
            let time = std::time::UNIX_EPOCH + Duration::from_secs(1000 + age as u64);
            fs::File::open(&dir).unwrap().set_modified(time).unwrap();
        }
        // An agent runs from the oldest.
        let program = data.join("00000000000000aa").join(TARGET).join("rbee");
        fs::copy("/bin/sleep", &program).unwrap();
        let mut agent = std::process::Command::new(&program).arg("60").spawn().unwrap();
        let payload = here.payload(&host, true).await;
        send(&host, &payload, false).await.unwrap();
        let all = ["00000000000000aa", "00000000000000bb", "models", build.as_str()];
        assert!(all.iter().all(|name| data.join(name).is_dir()), "{kind:?}");
        agent.kill().unwrap();
        agent.wait().unwrap();
        send(&host, &payload, true).await.unwrap();
        assert!(!data.join(all[0]).exists() && data.join(all[1]).is_dir(), "{kind:?}");
        assert!(data.join("models").is_dir());
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_program_is_sent_and_started_by_one_script() {
    for kind in kinds() {
        let machine = Arc::new(Machine::new(kind));
        let ((host, _), here, build) = (host(&machine), Here::with(PROGRAM.as_bytes()), build());
        let (seen, payload) = (seen(&host).await, here.payload(&host, true).await);
        let order = Order { to: to(&build), payload: &payload, again: false, starts: true };
        let bound = Duration::from_secs(5);
        let running = upload(&host, &order).await.unwrap();
        let started = answered(running, &seen, &payload.digest, bound).await.unwrap();
        assert_eq!(started.hello.pid, 7, "{kind:?}");
        // What does not arrive as it was sent is not started either.
        let wrong = Payload { digest: "0".repeat(64), ..payload.clone() };
        let order = Order { payload: &wrong, ..order };
        fs::write(machine.home().join("mood"), "broken").unwrap();
        let fault = upload(&host, &order).await.map(drop).unwrap_err();
        assert_eq!(fault.code, Code::ChecksumMismatch, "{kind:?}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_line_is_measured_and_the_shell_takes_scripts_afterwards() {
    for kind in kinds() {
        let machine = Arc::new(Machine::new(kind));
        let (host, _) = host(&machine);
        is_slow(&host).await.unwrap();
        let _ = seen(&host).await;
        assert_eq!(machine.logins(), 1, "{kind:?}");
        // One that is cut while it is measured counts as slow, and what comes next says why.
        let machine = Arc::new(Machine::new(kind));
        machine.cut_after(20_000);
        assert!(is_slow(&crate::machine::host(&machine).0).await.unwrap(), "{kind:?}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_installed_program_is_verified_started_and_attached_to() {
    for kind in kinds() {
        let machine = Arc::new(Machine::new(kind).noisy("Last login: today\nfree"));
        let ((host, _), here, build) = (host(&machine), Here::with(PROGRAM.as_bytes()), build());
        let wanted = Wanted { build: &build, target: Some(TARGET) };
        assert!(attach(&host, wanted).await.unwrap().is_none(), "nothing is installed");
        let payload = here.payload(&host, true).await;
        send(&host, &payload, false).await.unwrap();
        let seen = seen(&host).await;
        let from = to(&build);
        let bound = Duration::from_secs(5);
        let run = async || {
            let running = start(&host, &from, &payload.digest).await?;
            answered(running, &seen, &payload.digest, bound).await
        };
        let started = run().await.unwrap();
        assert_eq!((started.hello.pid, started.socket.as_str()), (7, "/x/agent.sock"));

        let (mut stream, attached) = attach(&host, wanted).await.unwrap().unwrap();
        assert_eq!(attached.pid, Some(7));
        stream.write_all(b"ping").await.unwrap();
        stream.flush().await.unwrap();
        let mut echo = [0; 4];
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(&echo, b"ping", "{kind:?}");

        fs::write(machine.home().join("mood"), "full").unwrap();
        let said = run().await.unwrap_err();
        assert_eq!((said.code, said.message.as_str()), (Code::DiskFull, "hive pc: no space"));
        fs::write(machine.home().join("mood"), "broken").unwrap();
        assert_eq!(run().await.unwrap_err().code, Code::NoBundle);

        fs::write(there(&machine).join("rbee"), "#!/bin/sh\ntouch ~/pwned\n").unwrap();
        let changed = run().await.unwrap_err();
        assert_eq!(changed.code, Code::ChecksumMismatch);
        assert!(!machine.home().join("pwned").exists(), "it was not started");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn the_end_of_an_agent_and_a_guard_without_one_are_seen() {
    for kind in kinds() {
        let machine = Arc::new(Machine::new(kind));
        let (host, _) = host(&machine);
        assert!(!has_orphans(&host).await.unwrap());
        let worker = machine.home().join(".local/state/rbee/run/w/demo-1");
        fs::create_dir_all(&worker).unwrap();
        let _guard = std::os::unix::net::UnixListener::bind(worker.join("g.sock")).unwrap();
        assert!(has_orphans(&host).await.unwrap(), "{kind:?}");
        // Of a process that is no agent there is nothing to wait for.
        ended(&host, std::process::id()).await.unwrap();
    }
}
