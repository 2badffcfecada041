//! What is seen of a machine.

use std::sync::Arc;

use keeper::bootstrap::probe::{Place, Seen, Takes, probe};
use wire::{BuildId, Code};

use crate::machine::{Disk, Kind, Machine, files, has_disks, host, kinds};

async fn seen(machine: Machine) -> (Arc<Machine>, Seen) {
    let machine = Arc::new(machine);
    let build: BuildId = "0123456789abcdef".parse().unwrap();
    let seen = probe(&host(&machine).0, &build).await.unwrap();
    (machine, seen)
}

#[tokio::test(flavor = "current_thread")]
async fn every_shell_says_what_the_machine_is_and_nothing_is_left_there() {
    for kind in kinds() {
        let (machine, seen) = seen(Machine::new(kind)).await;
        assert_eq!(
            (seen.system.as_str(), seen.machine.as_str()),
            ("Linux", std::env::consts::ARCH)
        );
        assert!(seen.digests && seen.gzip, "{kind:?}");
        let home = seen.home.clone().unwrap();
        let at = machine.home();
        assert_eq!(home.data, format!("{}/.local/share/rbee", at.display()));
        assert_eq!(home.state, format!("{}/.local/state/rbee", at.display()));
        assert_eq!((home.takes, home.keeps), (Takes::Programs, Takes::Programs));
        assert!(home.free_kib.unwrap() > 0);
        let (host, _) = host(&machine);
        assert_eq!(seen.place(&host).unwrap().0, Place::Home);
        assert_eq!(files(&at), Vec::<String>::new());
        assert_eq!(files(&machine.shared()), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_login_that_prints_does_not_disturb() {
    let noise = format!("Welcome!\nsystem=Fake\n{}\nhalf a line", "x".repeat(100_000));
    for kind in kinds() {
        let (_, seen) = seen(Machine::new(kind).noisy(&noise)).await;
        assert_eq!(seen.system, "Linux");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_home_that_takes_no_program_is_seen_and_what_is_beside_it_is_used() {
    if !has_disks() {
        return;
    }
    for kind in kinds() {
        let (machine, found) = seen(Machine::new(kind).on(Disk::Noexec)).await;
        let (host, _) = host(&machine);
        assert_eq!(found.home.clone().unwrap().takes, Takes::Files, "{kind:?}");
        let (place, ground) = found.place(&host).unwrap();
        assert_eq!(place, Place::Programs);
        assert!(ground.data.starts_with(machine.shared().to_str().unwrap()), "{}", ground.data);
        assert!(found.state(place).starts_with(machine.home().to_str().unwrap()));

        let (machine, found) = seen(Machine::new(kind).on(Disk::ReadOnly)).await;
        let (place, _) = found.place(&host).unwrap();
        assert_eq!(place, Place::Everything, "{kind:?}");
        assert!(found.state(place).starts_with(machine.shared().to_str().unwrap()));

        let (_, found) = seen(Machine::new(kind).on(Disk::Small(0))).await;
        assert_ne!(found.home.unwrap().takes, Takes::Nothing);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn somebody_elses_file_beside_the_home_is_not_used() {
    if !has_disks() {
        return;
    }
    let machine = Machine::new(Kind::Dash).on(Disk::ReadOnly);
    let uid = rustix::process::getuid().as_raw();
    let theirs = machine.shared().join(format!("rbee-{uid}"));
    std::os::unix::fs::symlink("/etc", &theirs).unwrap();
    let (machine, seen) = seen(machine).await;
    let fault = seen.place(&host(&machine).0).unwrap_err();
    assert_eq!(fault.code, Code::AgentFailed);
    assert!(fault.message.contains(theirs.to_str().unwrap()), "{fault}");
}
