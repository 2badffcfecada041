//! Host keys: recorded, unknown, changed, revoked, vouched for.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keeper::ssh::connect::connect;
use keeper::ssh::known_hosts::{KnownHosts, Verdict};
use keeper::ssh::resolved::Unknown;
use russh::keys::Certificate;
use wire::Code;

use crate::server::{
    Puppet, Server, caller, connected, fingerprint, is_there, keygen, public, refused, run, shown,
};

fn record(server: &Server, line: &str) {
    let file = server.path("home/.ssh/known_hosts");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, line).unwrap();
}

#[tokio::test]
async fn an_unknown_key_is_asked_about_once_and_recorded() {
    if !is_there("an_unknown_key_is_asked_about_once_and_recorded") {
        return;
    }
    let server = Server::start("");
    let mut to = server.resolved();
    to.unknown = Unknown::Ask;
    // Longer than one attempt may take: the person's time does not count.
    let person = Puppet { trusts: true, thinks: Duration::from_millis(2500), ..Puppet::default() };
    let person = Arc::new(person);
    let mut caller = caller(Arc::clone(&person));
    caller.timings.ssh_connect = Duration::from_secs(2);
    let session = connect(&to, &caller).await.unwrap();
    let host_key = fingerprint(&server.path("host"));
    let question = format!("[127.0.0.1]:{} ssh-ed25519 {host_key}", server.port);
    assert_eq!(person.asked(), [question]);
    assert_eq!(session.peer().host_key.as_deref(), Some(host_key.as_str()));
    assert!(session.peer().server.starts_with("SSH-2.0-OpenSSH"), "{:?}", session.peer());

    let file = server.path("home/.ssh/known_hosts");
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    connect(&to, &caller).await.unwrap();
    assert_eq!(person.asked().len(), 1, "now it is known");
    let found = run(
        "ssh-keygen",
        &["-F", &format!("[127.0.0.1]:{}", server.port), "-f", file.to_str().unwrap()],
    );
    assert!(found.contains("ssh-ed25519"), "OpenSSH reads it: {found}");
}

#[tokio::test]
async fn an_unknown_key_that_nobody_trusts_is_refused_and_not_recorded() {
    if !is_there("an_unknown_key_that_nobody_trusts_is_refused_and_not_recorded") {
        return;
    }
    let server = Server::start("");
    let mut to = server.resolved();
    for (unknown, batch, questions) in
        [(Unknown::Ask, false, 1), (Unknown::Ask, true, 0), (Unknown::Refuse, false, 0)]
    {
        (to.unknown, to.batch) = (unknown, batch);
        let person = Arc::new(Puppet::default());
        let fault = refused(&to, &caller(Arc::clone(&person))).await;
        assert_eq!(fault.code, Code::HostKeyUnknown);
        assert_eq!(person.asked().len(), questions);
        assert!(shown(&fault).contains(&fingerprint(&server.path("host"))), "{fault:#?}");
        assert!(shown(&fault).contains("ssh -p"), "{fault:#?}");
        assert!(!server.path("home/.ssh/known_hosts").exists());
    }
    assert!(!server.log().contains("Accepted"), "nothing was shown to it: {}", server.log());
}

#[tokio::test]
async fn a_changed_key_is_refused_whatever_else_is_allowed() {
    if !is_there("a_changed_key_is_refused_whatever_else_is_allowed") {
        return;
    }
    let server = Server::start("");
    let other = keygen(&server.path("other"), "ed25519", "");
    let line = format!("# a comment\n[127.0.0.1]:{} {}\n", server.port, public(&other));
    record(&server, &line);
    let person = Arc::new(Puppet { trusts: true, ..Puppet::default() });
    let fault = refused(&server.resolved(), &caller(Arc::clone(&person))).await;
    assert_eq!(fault.code, Code::HostKeyChanged);
    assert!(person.asked().is_empty());
    let shown = shown(&fault);
    for part in [fingerprint(&server.path("host")), fingerprint(&other), "line 2".into()] {
        assert!(shown.contains(&part), "{part} in {shown}");
    }
    // The hint does what it is for.
    let hint = fault.hints.iter().find(|hint| hint.starts_with("ssh-keygen -R")).unwrap();
    run("sh", &["-c", hint]);
    connected(&server.resolved()).await;
}

#[tokio::test]
async fn a_revoked_key_is_refused_although_it_is_recorded() {
    if !is_there("a_revoked_key_is_refused_although_it_is_recorded") {
        return;
    }
    let server = Server::start("");
    let key = public(&server.path("host"));
    record(&server, &format!("[127.0.0.1]:{} {key}\n@revoked * {key}\n", server.port));
    let fault = refused(&server.resolved(), &caller(Arc::default())).await;
    assert_eq!(fault.code, Code::HostKeyChanged);
    assert!(shown(&fault).contains("revoked"), "{fault:#?}");
}

#[tokio::test]
async fn a_host_of_which_only_the_rsa_key_is_recorded_is_known() {
    if !is_there("a_host_of_which_only_the_rsa_key_is_recorded_is_known") {
        return;
    }
    let rsa = tempfile::tempdir().unwrap();
    let key = keygen(&rsa.path().join("rsa"), "rsa", "");
    let server = Server::start(&format!("HostKey {}", key.display()));
    record(&server, &format!("[127.0.0.1]:{} {}\n", server.port, public(&key)));
    let mut to = server.resolved();
    to.unknown = Unknown::Refuse;
    let session = connected(&to).await;
    assert_eq!(session.peer().host_key, Some(fingerprint(&key)));
}

#[tokio::test]
async fn a_certificate_counts_when_a_recorded_authority_signed_it_for_this_name() {
    if !is_there("a_certificate_counts_when_a_recorded_authority_signed_it_for_this_name") {
        return;
    }
    let server = Server::start("HostCertificate {dir}/host-cert.pub");
    let authority = keygen(&server.path("authority"), "ed25519", "");
    let sign = |name: &str| {
        let (ca, host) = (authority.to_str().unwrap(), server.path("host.pub"));
        run("ssh-keygen", &["-q", "-s", ca, "-I", "id", "-h", "-n", name, host.to_str().unwrap()]);
    };
    record(
        &server,
        &format!("@cert-authority [127.0.0.1]:{} {}\n", server.port, public(&authority)),
    );
    let mut to = server.resolved();
    to.unknown = Unknown::Refuse;
    sign("127.0.0.1");
    // The certificate did not exist when the server started; a new one reads it.
    let reload = |server: &Server| {
        let pid = rustix::process::Pid::from_child(&server.process);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    };
    reload(&server);
    crate::server::wait_for("the certificate", || {
        std::net::TcpStream::connect(("127.0.0.1", server.port)).is_ok()
            && server.log().matches("Server listening").count() == 2
    });
    connected(&to).await;
    sign("another.host");
    reload(&server);
    crate::server::wait_for("the other certificate", || {
        std::net::TcpStream::connect(("127.0.0.1", server.port)).is_ok()
            && server.log().matches("Server listening").count() == 3
    });
    let fault = refused(&to, &caller(Arc::default())).await;
    assert_eq!(fault.code, Code::HostKeyUnknown);
    assert!(shown(&fault).contains("hosts of other names"), "{fault:#?}");
}

#[test]
fn a_certificate_that_its_authority_signed_with_sha1_does_not_count() {
    if !is_there("a_certificate_that_its_authority_signed_with_sha1_does_not_count") {
        return;
    }
    let server = Server::start("");
    let authority = keygen(&server.path("authority"), "rsa", "");
    record(&server, &format!("@cert-authority * {}\n", public(&authority)));
    let known = KnownHosts::of(&server.resolved()).unwrap();
    for (algorithm, refused) in [("rsa-sha2-512", None), ("ssh-rsa", Some("SHA-1"))] {
        let (ca, host) = (authority.to_str().unwrap(), server.path("host.pub"));
        let args = ["-q", "-s", ca, "-t", algorithm, "-I", "id", "-h", host.to_str().unwrap()];
        run("ssh-keygen", &args);
        let text = std::fs::read_to_string(server.path("host-cert.pub")).unwrap();
        let certificate = Certificate::from_openssh(text.trim()).unwrap();
        let found = known.check_certificate(&certificate, SystemTime::now());
        assert_eq!(found.verdict == Verdict::Known, refused.is_none(), "{algorithm}: {found:?}");
        let why = found.refused.unwrap_or_default();
        assert!(why.contains(refused.unwrap_or_default()), "{algorithm}: {why}");
    }
}
