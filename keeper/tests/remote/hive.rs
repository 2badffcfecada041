//! The whole way with the real program: install, start, talk, kill, take away.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use keeper::bootstrap::logs::Kind as Log;
use keeper::bootstrap::stock::Stock;
use keeper::bootstrap::{Step, Witness};
use keeper::environment::Directories;
use keeper::install;
use keeper::link::remote::{Connector, Remote};
use keeper::link::{Client, Transport};
use keeper::ssh::Session;
use wire::worker::StopRequest;
use wire::{Fault, Timings};

use crate::hex;
use crate::machine::{Kind, Machine, Seen, files, kinds};

/// A keeper's own directories, with the real program installed.
struct Keeper {
    dir: tempfile::TempDir,
}

impl Keeper {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let build = keeper::build_id();
        let program = dir.path().join("data").join(build.as_str()).join(install::TARGET);
        fs::create_dir_all(&program).unwrap();
        let real = env!("CARGO_BIN_EXE_rbee");
        fs::write(program.join("rbee.sha256"), hex(&fs::read(real).unwrap())).unwrap();
        symlink(real, program.join("rbee")).unwrap();
        Self { dir }
    }

    fn remote(&self, machine: &Arc<Machine>) -> (Remote, Arc<Seen>) {
        let at = |name| self.dir.path().join(name);
        let dirs = Directories {
            config: at("config"),
            data: at("data"),
            state: at("state"),
            runtime: String::new(),
        };
        let seen = Arc::new(Seen::default());
        let session = machine.clone();
        let connector: Connector = Arc::new(move || {
            let session: Arc<dyn Session> = session.clone();
            Box::pin(async move { Ok::<_, Fault>(session) })
        });
        let witness: Arc<dyn Witness> = seen.clone();
        let stock = Stock::new(dirs.data.clone(), keeper::build_id());
        let own = (&dirs, Arc::new(stock));
        let hive = "pc".parse().unwrap();
        let remote = Remote::new(hive, own, &Timings::default(), connector, witness);
        (remote.beside(machine.shared().to_str().unwrap()), seen)
    }
}

async fn talk(remote: &Remote) -> (Client, u32) {
    let opened = remote.open().await.unwrap().expect("an agent");
    let client = Client::over(remote.hive(), opened, &Timings::default()).await.unwrap();
    let hello = client.hello().await.unwrap();
    assert_eq!(hello.build, keeper::build_id());
    (client, hello.pid)
}

#[tokio::test(flavor = "current_thread")]
async fn a_bare_machine_becomes_a_hive_and_is_bare_again() {
    let keeper = Keeper::new();
    for kind in kinds() {
        // Busybox forwards to no socket, so that the bridge is what carries.
        let machine = Machine::new(kind).noisy("motd\nhalf");
        let machine = if kind == Kind::Busybox { machine.without_forwarding() } else { machine };
        let machine = Arc::new(machine);
        let (remote, seen) = keeper.remote(&machine);
        assert!(remote.open().await.unwrap().is_none(), "nothing is there");
        remote.start().await.unwrap();
        assert_eq!(machine.logins(), 1, "{kind:?}: every script ran in one shell");
        let (client, pid) = talk(&remote).await;
        let steps = seen.steps();
        let installs = steps.iter().filter(|step| matches!(step, Step::Installing { .. })).count();
        assert!(installs > 1 && steps.contains(&Step::Starting), "{steps:?}");
        assert_eq!(steps.last(), Some(&Step::Online));

        // Another keeper process of the same person: a second connection sends nothing.
        let (again, seen) = keeper.remote(&machine);
        again.start().await.unwrap();
        let (other, same) = talk(&again).await;
        assert_eq!(same, pid, "{kind:?}");
        let sent = seen.steps().iter().any(|step| matches!(step, Step::Installing { .. }));
        assert!(!sent, "{:?}", seen.steps());
        drop(other);

        let mut logs = again.logs(Log::Agent, 100, false).await.unwrap();
        let mut lines = Vec::new();
        while let Some(line) = logs.next().await.unwrap() {
            lines.push(line);
        }
        assert!(lines.iter().any(|line| line.contains("agent runs")), "{lines:?}");

        let fault = again.purge().await.unwrap_err();
        assert!(fault.message.contains("still runs"), "{fault}");
        client.down(StopRequest { drain_ms: Some(0) }).await.unwrap();
        let bound = Duration::from_secs(20);
        tokio::time::timeout(bound, again.ended(pid)).await.unwrap().unwrap();
        let purged = again.purge().await.unwrap();
        assert_eq!(purged.left, Vec::<String>::new());
        assert_eq!(files(&machine.home()), Vec::<String>::new(), "{kind:?}");
        assert_eq!(files(&machine.shared()), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_does_not_react_is_killed_and_only_that_one() {
    let keeper = Keeper::new();
    let machine = Arc::new(Machine::new(Kind::Dash));
    let (remote, _) = keeper.remote(&machine);
    remote.start().await.unwrap();
    let (client, pid) = talk(&remote).await;
    let number = i32::try_from(pid).unwrap();
    let process = rustix::process::Pid::from_raw(number).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::STOP).unwrap();
    let mistaken = remote.kill_agent(i32::try_from(std::process::id()).unwrap()).await;
    assert!(mistaken.is_err(), "this process is no agent");
    remote.kill_agent(number).await.unwrap();
    remote.ended(pid).await.unwrap();
    drop(client);
    assert!(remote.open().await.unwrap().is_none());
    remote.purge().await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_program_that_was_changed_there_is_replaced_before_it_is_started() {
    let keeper = Keeper::new();
    let machine = Arc::new(Machine::new(Kind::Dash));
    let (remote, _) = keeper.remote(&machine);
    let installed = remote.install(false).await.unwrap();
    assert!(installed.was_sent);
    assert!(!remote.install(false).await.unwrap().was_sent, "it is there");
    let data = machine.home().join(".local/share/rbee");
    let program = data.join(installed.build.as_str()).join(&installed.target).join("rbee");
    fs::write(&program, "#!/bin/sh\ntouch ~/pwned\n").unwrap();
    remote.start().await.unwrap();
    let (client, pid) = talk(&remote).await;
    assert!(!machine.home().join("pwned").exists());
    client.down(StopRequest { drain_ms: Some(0) }).await.unwrap();
    remote.ended(pid).await.unwrap();
}
