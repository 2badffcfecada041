//! Ways to a server: a program, machines in between.

use std::sync::Arc;

use keeper::ssh::connect::{Resolve, connect};
use keeper::ssh::resolved::{Resolved, Way};
use wire::Code;

use crate::server::{PATIENCE, Puppet, Server, caller, is_there, refused, sh, shown};

/// A program whose standard streams are a connection to a server: `ssh -W` of OpenSSH.
fn through_openssh(gate: &Server, to: &Server) -> String {
    let key = gate.path("key");
    format!(
        "ssh -F none -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -p {} \
         -W 127.0.0.1:{} 127.0.0.1",
        key.display(),
        gate.port,
        to.port
    )
}

#[tokio::test]
async fn a_proxy_command_carries_the_connection_and_ends_with_it() {
    if !is_there("a_proxy_command_carries_the_connection_and_ends_with_it") {
        return;
    }
    let (gate, server) = (Server::start(""), Server::start(""));
    let mut to = server.resolved();
    to.way = Way::Command(through_openssh(&gate, &server));
    let session = connect(&to, &caller(Arc::default())).await.unwrap();
    assert_eq!(sh(&*session, "echo through\n").await, "through\n");
    assert!(!gate.children().is_empty());
    drop(session);
    let begun = std::time::Instant::now();
    while !gate.children().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "the program ends");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_a_failing_proxy_command_says_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let mut to = crate::identities::unreached(&dir, 22);
    to.way = Way::Command("sh -c 'echo the gate is shut >&2; exit 1'".into());
    let fault = refused(&to, &caller(Arc::default())).await;
    assert_eq!(fault.code, Code::HiveUnreachable);
    assert!(shown(&fault).contains("the gate is shut"), "{fault:#?}");
    assert!(fault.message.contains("3 attempts"), "{fault:#?}");
}

#[tokio::test]
async fn ctrl_c_does_not_end_a_proxy_command() {
    let dir = tempfile::tempdir().unwrap();
    let mut to = crate::identities::unreached(&dir, 22);
    to.way = Way::Command("sh -c 'grep SigIgn /proc/self/status >&2'".into());
    let fault = refused(&to, &caller(Arc::default())).await;
    let word = fault.causes.iter().find_map(|cause| cause.strip_prefix("SigIgn:"));
    let ignored = word.unwrap_or_else(|| panic!("{fault:#?}"));
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
    let bit = |signal: rustix::process::Signal| 1 << (signal.as_raw() - 1);
    let keyboard = bit(rustix::process::Signal::INT) | bit(rustix::process::Signal::QUIT);
    assert_eq!(ignored & keyboard, keyboard, "{ignored:x}");
    let by_hand = "ssh -v -o 'ProxyCommand=sh -c ";
    assert!(fault.hints.iter().any(|hint| hint.starts_with(by_hand)), "{fault:#?}");
    assert!(!fault.hints.iter().any(|hint| hint.starts_with("ping")), "{fault:#?}");
}

/// A caller whose jumps lead to `gates`, by their port.
fn by_gates(gates: &[&Server], person: Arc<Puppet>) -> keeper::ssh::connect::Caller {
    let known: Vec<Resolved> = gates.iter().map(|gate| gate.resolved()).collect();
    let resolve: Resolve = Arc::new(move |address| {
        let found = known.iter().find(|to| Some(to.port) == address.port()).unwrap().clone();
        Box::pin(std::future::ready(Ok(found)))
    });
    keeper::ssh::connect::Caller { resolve, ..caller(person) }
}

#[tokio::test]
async fn jumps_are_each_checked_and_go_through_one_another() {
    if !is_there("jumps_are_each_checked_and_go_through_one_another") {
        return;
    }
    let (first, second, server) = (Server::start(""), Server::start(""), Server::start(""));
    let caller = by_gates(&[&first, &second], Arc::default());
    let mut to = server.resolved();
    let address = |gate: &Server| format!("127.0.0.1:{}", gate.port).parse().unwrap();
    to.way = Way::Jumps(vec![address(&first), address(&second)]);
    let session = connect(&to, &caller).await.unwrap();
    assert_eq!(sh(&*session, "echo through\n").await, "through\n");
    for gate in [&first, &second] {
        assert!(gate.path("home/.ssh/known_hosts").exists(), "its key was checked");
        assert!(gate.log().contains("Accepted publickey"), "{}", gate.log());
    }
    drop(session);
    let begun = std::time::Instant::now();
    while !(first.children().is_empty() && second.children().is_empty()) {
        assert!(begun.elapsed() < PATIENCE, "they are let go");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_fails_on_the_way_is_said_of_the_machine_on_the_way() {
    if !is_there("what_fails_on_the_way_is_said_of_the_machine_on_the_way") {
        return;
    }
    let (gate, server) = (Server::start("AllowTcpForwarding no"), Server::start(""));
    let caller = by_gates(&[&gate], Arc::default());
    let mut to = server.resolved();
    to.way = Way::Jumps(vec![format!("127.0.0.1:{}", gate.port).parse().unwrap()]);
    let fault = refused(&to, &caller).await;
    assert_eq!(fault.code, Code::HiveUnreachable);
    assert!(fault.message.contains(&gate.port.to_string()), "{fault:#?}");
    assert_eq!(fault.details["attempts"], 1, "what is forbidden does not pass: {fault:#?}");
    let by_hand = format!("ssh -v -J 127.0.0.1:{} -p {} ", gate.port, server.port);
    assert!(fault.hints.iter().any(|hint| hint.starts_with(&by_hand)), "{fault:#?}");
    std::fs::write(gate.path("authorized"), "").unwrap();
    let fault = refused(&to, &caller).await;
    assert_eq!(fault.code, Code::AuthFailed);
    assert!(fault.message.starts_with("on the way to"), "{fault:#?}");
}
