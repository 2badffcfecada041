//! Who is let in, by what, and what is said to those who are not.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use keeper::ssh::connect::connect;
use keeper::ssh::resolved::Agent;
use tokio::net::TcpListener;
use wire::Code;

use crate::server::{
    Puppet, Server, caller, connected, fingerprint, is_there, keygen, public, refused, run, shown,
    wait_for, write_private,
};

/// An `ssh-agent` of a test.
struct SshAgent {
    socket: PathBuf,
    process: Child,
}

impl SshAgent {
    fn start(server: &Server) -> Self {
        let socket = server.path("agent");
        let process = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("ssh-agent", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        Self { socket, process }
    }

    fn add(&self, key: &std::path::Path) {
        let done = Command::new("ssh-add")
            .arg("-q")
            .arg(key)
            .env("SSH_AUTH_SOCK", &self.socket)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn agent(&self) -> Agent {
        Agent::Socket(self.socket.clone())
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Lets the server accept this key too.
fn accept(server: &Server, key: &std::path::Path) {
    let file = server.path("authorized");
    let all = std::fs::read_to_string(&file).unwrap() + &public(key) + "\n";
    std::fs::write(file, all).unwrap();
}

#[tokio::test]
async fn a_key_file_of_any_kind_lets_in() {
    if !is_there("a_key_file_of_any_kind_lets_in") {
        return;
    }
    let server = Server::start("");
    let mut to = server.resolved();
    let session = connected(&to).await;
    let key = fingerprint(&server.path("key"));
    assert_eq!(
        session.peer().accepted,
        format!("publickey {key} ({})", server.path("key").display())
    );
    for kind in ["rsa", "ecdsa"] {
        let key = keygen(&server.path(kind), kind, "");
        accept(&server, &key);
        to.identities = vec![key];
        connected(&to).await;
    }
    // The format of old OpenSSL, locked and not.
    let pem = keygen(&server.path("pem"), "rsa", "");
    accept(&server, &pem);
    run(
        "ssh-keygen",
        &["-q", "-p", "-m", "PKCS8", "-P", "", "-N", "", "-f", pem.to_str().unwrap()],
    );
    to.identities = vec![pem];
    connected(&to).await;
}

#[tokio::test]
async fn a_key_that_the_server_does_not_know_is_named_in_the_refusal() {
    if !is_there("a_key_that_the_server_does_not_know_is_named_in_the_refusal") {
        return;
    }
    let server = Server::start("");
    let mut to = server.resolved();
    let wrong = keygen(&server.path("wrong"), "ed25519", "");
    to.identities = vec![wrong.clone()];
    let fault = refused(&to, &caller(Arc::default())).await;
    assert_eq!(fault.code, Code::AuthFailed);
    let shown = shown(&fault);
    for part in [fingerprint(&wrong), "the server accepts: publickey".into(), "ssh -v -p".into()] {
        assert!(shown.contains(&part), "{part} in {shown}");
    }
    assert_eq!(fault.details["attempts"], 1, "a refusal does not pass by itself");
}

#[tokio::test]
async fn a_locked_key_is_unlocked_by_its_passphrase_and_asked_for_once() {
    if !is_there("a_locked_key_is_unlocked_by_its_passphrase_and_asked_for_once") {
        return;
    }
    let server = Server::start("");
    let mut to = server.resolved();
    let locked = keygen(&server.path("locked"), "ed25519", "open sesame");
    accept(&server, &locked);
    to.identities = vec![locked.clone()];
    let person = Puppet::who_answers(&["wrong", "open sesame"]);
    let caller = caller(Arc::clone(&person));
    connect(&to, &caller).await.unwrap();
    assert_eq!(person.asked().len(), 2, "once wrong, once right: {:?}", person.asked());
    assert!(person.asked()[0].contains(locked.to_str().unwrap()));
    connect(&to, &caller).await.unwrap();
    assert_eq!(person.asked().len(), 2, "it is kept in memory");
}

#[tokio::test]
async fn a_locked_key_with_wrong_passphrases_or_nobody_there_is_not_tried() {
    if !is_there("a_locked_key_with_wrong_passphrases_or_nobody_there_is_not_tried") {
        return;
    }
    let server = Server::start("");
    let mut to = server.resolved();
    let locked = keygen(&server.path("locked"), "ed25519", "open sesame");
    to.identities = vec![locked.clone()];
    let person = Puppet::who_answers(&["a"]);
    let fault = refused(&to, &caller(Arc::clone(&person))).await;
    assert!(person.asked().is_empty(), "the server does not want it: {fault:#?}");
    accept(&server, &locked);
    let person = Puppet::who_answers(&["first secret", "second secret", "third secret", "more"]);
    let fault = refused(&to, &caller(Arc::clone(&person))).await;
    assert_eq!((fault.code.clone(), person.asked().len()), (Code::AuthFailed, 3));
    assert!(shown(&fault).contains("passphrases were wrong"), "{fault:#?}");
    assert!(!format!("{fault:?}").contains("secret"), "{fault:#?}");
    let fault = refused(&to, &caller(Arc::default())).await;
    assert!(shown(&fault).contains("nobody typed its passphrase"), "{fault:#?}");
}

#[tokio::test]
async fn a_key_file_that_is_not_there_is_refused_before_anything_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut to = unreached(&dir, listener.local_addr().unwrap().port());
    to.identities = vec![dir.path().join("no such key")];
    let fault = refused(&to, &caller(Arc::default())).await;
    assert_eq!(fault.code, Code::AuthFailed);
    assert!(fault.message.contains("no such key"), "{fault:#?}");
    let nobody = std::future::poll_fn(|cx| match listener.poll_accept(cx) {
        std::task::Poll::Ready(_) => std::task::Poll::Ready(false),
        std::task::Poll::Pending => std::task::Poll::Ready(true),
    });
    assert!(nobody.await, "nobody called");
}

/// A connection to a port of this test's own.
pub fn unreached(dir: &tempfile::TempDir, port: u16) -> keeper::ssh::resolved::Resolved {
    keeper::ssh::resolved::Resolved {
        host: "127.0.0.1".into(),
        key_name: "127.0.0.1".into(),
        is_key_alias: false,
        port,
        user: "ada".into(),
        identities: Vec::new(),
        certificates: Vec::new(),
        identities_only: false,
        agent: Agent::None,
        known_hosts: vec![dir.path().join("known_hosts")],
        global_known_hosts: Vec::new(),
        revoked: None,
        hash_known_hosts: false,
        unknown: keeper::ssh::resolved::Unknown::Accept,
        way: keeper::ssh::resolved::Way::Direct,
        connect_timeout: None,
        batch: false,
        methods: vec!["publickey".into()],
    }
}

#[tokio::test]
async fn a_key_file_that_others_can_read_is_not_used() {
    if !is_there("a_key_file_that_others_can_read_is_not_used") {
        return;
    }
    let server = Server::start("");
    let key = server.path("key");
    for mode in [0o644, 0o640, 0o604] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let fault = refused(&server.resolved(), &caller(Arc::default())).await;
        assert_eq!(fault.code, Code::AuthFailed);
        let hint = fault.hints.iter().find(|hint| hint.starts_with("chmod 600")).unwrap();
        run("sh", &["-c", hint]);
        connected(&server.resolved()).await;
    }
}

#[tokio::test]
async fn an_agent_signs_for_its_keys_and_for_files_whose_public_part_is_named() {
    if !is_there("an_agent_signs_for_its_keys_and_for_files_whose_public_part_is_named") {
        return;
    }
    let server = Server::start("");
    let agent = SshAgent::start(&server);
    let rsa = keygen(&server.path("rsa"), "rsa", "");
    accept(&server, &rsa);
    agent.add(&rsa);
    let mut to = server.resolved();
    (to.agent, to.identities) = (agent.agent(), Vec::new());
    let session = connected(&to).await;
    let by_agent = format!("publickey {} (ssh-agent)", fingerprint(&rsa));
    assert_eq!(session.peer().accepted, by_agent);
    // Only the public part is a file: `IdentitiesOnly` chooses it among all that the agent has.
    agent.add(&keygen(&server.path("other"), "ed25519", ""));
    std::fs::remove_file(&rsa).unwrap();
    (to.identities, to.identities_only) = (vec![rsa.clone()], true);
    assert_eq!(connected(&to).await.peer().accepted, by_agent);
    // And it is not asked about what was not named.
    to.identities = vec![keygen(&server.path("wrong"), "ed25519", "")];
    let fault = refused(&to, &caller(Arc::default())).await;
    assert_eq!(fault.details["tried"], 1, "{fault:#?}");
}

#[tokio::test]
async fn too_many_identities_are_called_by_their_name() {
    if !is_there("too_many_identities_are_called_by_their_name") {
        return;
    }
    let server = Server::start("MaxAuthTries 3");
    let agent = SshAgent::start(&server);
    for number in 0..5 {
        agent.add(&keygen(&server.path(&format!("other{number}")), "ed25519", ""));
    }
    let mut to = server.resolved();
    (to.agent, to.identities) = (agent.agent(), Vec::new());
    let fault = refused(&to, &caller(Arc::default())).await;
    assert_eq!(fault.code, Code::AuthFailed);
    assert!(shown(&fault).contains("name the right one"), "{fault:#?}");
    // Named, the right one is asked about first.
    to.identities = vec![server.path("key")];
    connected(&to).await;
}

#[tokio::test]
async fn a_certificate_of_a_users_key_lets_in() {
    if !is_there("a_certificate_of_a_users_key_lets_in") {
        return;
    }
    let server = Server::start("TrustedUserCAKeys {dir}/authority.pub");
    let authority = keygen(&server.path("authority"), "ed25519", "");
    let mut to = server.resolved();
    for kind in ["ed25519", "rsa"] {
        let key = keygen(&server.path(&format!("certified-{kind}")), kind, "");
        to.identities = vec![key.clone()];
        assert_eq!(refused(&to, &caller(Arc::default())).await.code, Code::AuthFailed);
        let file = format!("{}.pub", key.display());
        let ca = authority.to_str().unwrap();
        run("ssh-keygen", &["-q", "-s", ca, "-I", "id", "-n", &to.user, &file]);
        let session = connected(&to).await;
        assert!(session.peer().accepted.contains("certificate"), "{:?}", session.peer());
        // The same by an agent.
        let agent = SshAgent::start(&server);
        agent.add(&key);
        (to.agent, to.identities) = (agent.agent(), Vec::new());
        let session = connected(&to).await;
        assert!(session.peer().accepted.contains("certificate"), "{:?}", session.peer());
        to.agent = Agent::None;
        drop(agent);
        std::fs::remove_file(server.path("agent")).unwrap_or_default();
    }
}

#[tokio::test]
async fn two_keys_are_shown_where_two_are_wanted() {
    if !is_there("two_keys_are_shown_where_two_are_wanted") {
        return;
    }
    let server = Server::start("AuthenticationMethods publickey,publickey");
    let second = keygen(&server.path("second"), "ed25519", "");
    accept(&server, &second);
    let mut to = server.resolved();
    assert_eq!(refused(&to, &caller(Arc::default())).await.code, Code::AuthFailed);
    to.identities.push(second);
    connected(&to).await;
}

#[tokio::test]
async fn a_file_that_is_no_key_is_said_to_be_none() {
    if !is_there("a_file_that_is_no_key_is_said_to_be_none") {
        return;
    }
    let server = Server::start("");
    let mut to = server.resolved();
    write_private(&server.path("text"), "not a key\n");
    to.identities = vec![server.path("text")];
    let fault = refused(&to, &caller(Arc::default())).await;
    assert!(shown(&fault).contains("no private key"), "{fault:#?}");
}
