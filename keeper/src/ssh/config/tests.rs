//! What an ssh configuration means: answers of `ssh -G`, files, and both against each other.

use std::time::Duration;

use wire::Code;

use super::*;
use crate::environment::Environment;
use crate::ssh::resolved::{Agent, Unknown};

/// What the tests' environment has.
fn variable(name: &str) -> Option<String> {
    match name {
        "SSH_AUTH_SOCK" => Some("/run/agent".to_owned()),
        "OTHER" => Some("/run/other".to_owned()),
        _ => None,
    }
}

fn around(home: &Path) -> Around {
    Around {
        program: None,
        config: None,
        home: home.to_path_buf(),
        user: "ada".to_owned(),
        uid: 1000,
        variable,
    }
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

/// What an answer of `ssh -G` for `typed` means.
fn golden(typed: &str, answer: &str) -> Result<Resolved, Fault> {
    let around = around(Path::new("/home/ada"));
    let address = address(typed);
    Asked { around: &around, address: &address }.resolve(&openssh::parse(answer))
}

/// OpenSSH 9.2, without the lines about algorithms.
const PLAIN: &str = "\
host pc
user ada
hostname pc
port 22
batchmode no
checkhostip no
hashknownhosts no
identitiesonly no
kbdinteractiveauthentication yes
passwordauthentication yes
pubkeyauthentication true
stricthostkeychecking ask
identityfile ~/.ssh/id_rsa
identityfile ~/.ssh/id_ecdsa
identityfile ~/.ssh/id_ed25519
identityfile ~/.ssh/id_xmss
identityfile ~/.ssh/id_dsa
canonicaldomains none
globalknownhostsfile /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2
userknownhostsfile /home/ada/.ssh/known_hosts /home/ada/.ssh/known_hosts2
connecttimeout none
";

#[test]
fn an_empty_configuration_means_what_openssh_does() {
    let plain = golden("pc", PLAIN).unwrap();
    let expected = Resolved {
        host: "pc".to_owned(),
        key_name: "pc".to_owned(),
        is_key_alias: false,
        port: 22,
        user: "ada".to_owned(),
        identities: Vec::new(),
        certificates: Vec::new(),
        identities_only: false,
        agent: Agent::Socket("/run/agent".into()),
        known_hosts: vec![
            "/home/ada/.ssh/known_hosts".into(),
            "/home/ada/.ssh/known_hosts2".into(),
        ],
        global_known_hosts: vec![
            "/etc/ssh/ssh_known_hosts".into(),
            "/etc/ssh/ssh_known_hosts2".into(),
        ],
        revoked: None,
        hash_known_hosts: false,
        unknown: Unknown::Ask,
        way: Way::Direct,
        connect_timeout: None,
        batch: false,
        methods: ["publickey", "keyboard-interactive", "password"].map(str::to_owned).to_vec(),
    };
    assert_eq!(plain, expected);
    // So does one that says nothing.
    assert_eq!(golden("pc", "").unwrap(), expected);
}

#[test]
fn every_option_that_counts_is_taken_over() {
    let answer = "\
user corp\\me
hostname pc.lan
port 2222
hostkeyalias Gate
identityfile ~/k/%h-%r
identityfile /keys/a b
identityfile none
certificatefile ~/c-%n
identitiesonly yes
identityagent none
userknownhostsfile /k1 /k2
globalknownhostsfile none
revokedhostkeys ~/revoked
hashknownhosts yes
stricthostkeychecking accept-new
connecttimeout 90
batchmode yes
preferredauthentications gssapi-with-mic,password,publickey,keyboard-interactive
kbdinteractiveauthentication no
proxycommand nc -x \"%n\" %h %p %r %%
";
    let found = golden("pc", answer).unwrap();
    assert_eq!(
        (found.host.as_str(), found.port, found.user.as_str()),
        ("pc.lan", 2222, "corp\\me")
    );
    assert_eq!((found.key_name.as_str(), found.is_key_alias), ("gate", true));
    let paths = |all: &[&str]| all.iter().map(PathBuf::from).collect::<Vec<_>>();
    assert_eq!(found.identities, paths(&["/home/ada/k/pc.lan-corp\\me", "/keys/a b"]));
    assert_eq!(found.certificates, paths(&["/home/ada/c-pc"]));
    assert!(found.identities_only && found.hash_known_hosts);
    assert_eq!(found.agent, Agent::None);
    assert_eq!(found.known_hosts, paths(&["/k1", "/k2"]));
    assert_eq!(found.global_known_hosts, paths(&[]));
    assert_eq!(found.revoked, Some("/home/ada/revoked".into()));
    assert_eq!(found.unknown, Unknown::Accept);
    assert_eq!(found.connect_timeout, Some(Duration::from_secs(90)));
    assert!(found.batch);
    assert_eq!(found.methods, ["password", "publickey"]);
    assert_eq!(found.way, Way::Command("nc -x \"pc\" pc.lan 2222 'corp\\me' %".to_owned()));
}

#[test]
fn each_form_of_a_single_option_means_what_openssh_says() {
    let one = |line: &str| golden("pc", line).unwrap();
    for (value, unknown) in [
        ("yes", Unknown::Refuse),
        ("true", Unknown::Refuse),
        ("accept-new", Unknown::Accept),
        ("no", Unknown::Ask),
        ("off", Unknown::Ask),
        ("false", Unknown::Ask),
    ] {
        assert_eq!(one(&format!("stricthostkeychecking {value}")).unknown, unknown, "{value}");
    }
    for (value, agent) in [
        ("SSH_AUTH_SOCK", Agent::Socket("/run/agent".into())),
        ("$OTHER", Agent::Socket("/run/other".into())),
        ("${OTHER}/x", Agent::Socket("/run/other/x".into())),
        ("$ABSENT", Agent::None),
        ("~/a-%r", Agent::Socket("/home/ada/a-ada".into())),
    ] {
        assert_eq!(one(&format!("identityagent {value}")).agent, agent, "{value}");
    }
    for (value, seconds) in [("1m30s", Some(90)), ("none", None), ("0", None), ("7", Some(7))] {
        let timeout = one(&format!("connecttimeout {value}")).connect_timeout;
        assert_eq!(timeout, seconds.map(Duration::from_secs), "{value}");
    }
    let jumps = |all: &[&str]| Way::Jumps(all.iter().map(|text| address(text)).collect());
    for (value, way) in [
        ("none", Way::Direct),
        ("hub", jumps(&["hub"])),
        ("u@a:22,ssh://b:99/,[::1]:2200", jumps(&["u@a:22", "b:99", "[::1]:2200"])),
        ("%r@hub-%h", jumps(&["ada@hub-pc"])),
    ] {
        assert_eq!(one(&format!("proxyjump {value}")).way, way, "{value}");
    }
}

#[test]
fn what_cannot_be_used_is_refused_by_its_name() {
    let seventeen = vec!["hub"; 17].join(",");
    let cases = [
        ("hostname -oProxyCommand=x".to_owned(), "HostName"),
        ("hostname a b".to_owned(), "HostName"),
        ("user ".to_owned(), "User"),
        ("port 0".to_owned(), "Port"),
        ("proxyjump -x".to_owned(), "ProxyJump"),
        ("proxycommand nc %h %p\nproxyusefdpass yes".to_owned(), "ProxyUseFdpass"),
        ("proxyjump a,,b".to_owned(), "ProxyJump"),
        (format!("proxyjump {seventeen}"), "ProxyJump"),
        ("identityfile ${ABSENT}/k".to_owned(), "ABSENT"),
    ];
    for (line, name) in cases {
        let fault = golden("pc", &line).unwrap_err();
        assert_eq!(fault.code, Code::InvalidConfig, "{line}");
        assert!(fault.message.contains(name), "{fault}");
        assert_eq!(fault.hints.len(), 1, "{line}");
    }
}

/// A home with a configuration, and the OpenSSH of this machine if it has one.
struct Home {
    dir: tempfile::TempDir,
    openssh: Option<PathBuf>,
}

impl Home {
    fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config"), config).unwrap();
        let openssh = PathBuf::from("/usr/bin/ssh");
        Self { dir, openssh: openssh.exists().then_some(openssh) }
    }

    fn around(&self, program: Option<&Path>) -> Around {
        Around {
            program: program.map(Path::to_path_buf),
            config: Some(self.dir.path().join("config")),
            variable,
            // OpenSSH knows who runs it and where they live; the files must mean the same person.
            ..Environment::read().unwrap().ssh
        }
    }

    async fn by_files(&self, typed: &str) -> Result<Resolved, Fault> {
        resolve(&self.around(None), &address(typed), None, &[]).await
    }

    async fn by_openssh(&self, typed: &str) -> Option<Result<Resolved, Fault>> {
        let program = self.openssh.as_deref()?;
        Some(resolve(&self.around(Some(program)), &address(typed), None, &[]).await)
    }
}

/// The configurations that both readers are shown, each with the hosts that are asked for.
const SHARED: [(&str, &[&str]); 7] = [
    ("", &["pc", "PC.lan", "me@pc:2222", "::1"]),
    (
        "Port 2200\nHost pc hub*\n  Port 23\n  User one\nHost *\n User two\n Port 24\n",
        &["pc", "hub7", "other", "me@pc:25"],
    ),
    (
        "Host * !pc\n IdentityFile /k/a\nHost pc\n IdentityFile \"/k/b c\" # why\n\
         \u{20}IdentityFile=/k/d\nHost *\n IdentityFile /k/e\n \
         IdentityFile /k/d\n IdentitiesOnly yes\n",
        &["pc", "hub"],
    ),
    (
        "Host short\n HostName %h.example.org\n HostKeyAlias Real\n \
         ProxyCommand nc \"%h\" %p # %n\n \
         ProxyJump hub\nHost jump\n ProxyJump me@hub:22,ssh://gate\n ProxyCommand nc %h %p\n\
         Host none\n ProxyJump none\nHost never\n ProxyCommand none\n\
         Host *\n ProxyJump last\n ProxyCommand late %h\n",
        &["short", "jump", "none", "never", "else"],
    ),
    (
        "Match originalhost pc,hub user me\n Port 1\nMatch host *.lan !user root,me\n Port 2\n\
         Match all\n Port 3\n",
        &["me@pc", "pc", "x.lan", "ada@x.lan", "me@x.lan"],
    ),
    (
        "Host pc\n UserKnownHostsFile /k/1 /k/2\n UserKnownHostsFile /k/3\n\
         GlobalKnownHostsFile none\n StrictHostKeyChecking accept-new\n HashKnownHosts yes\n\
         ConnectTimeout 5\n PreferredAuthentications password,publickey\n\
         PubkeyAuthentication no\n IdentityAgent none\nHost hub\n\
         KbdInteractiveAuthentication no\n PasswordAuthentication no\n IdentityAgent $OTHER\n\
         StrictHostKeyChecking yes\n CertificateFile /c/1\n CertificateFile /c/2\n",
        &["pc", "hub"],
    ),
    ("Host pc\n\tUser = \"corp\\me\"\n\tPort=\"7\"\r\n#Port 8\n   # Port 9\n", &["pc"]),
];

#[tokio::test]
async fn both_readers_say_the_same_of_a_configuration() {
    for (config, hosts) in SHARED {
        let home = Home::new(config);
        for host in hosts {
            let by_files = home.by_files(host).await.unwrap();
            let Some(by_openssh) = home.by_openssh(host).await else {
                println!("no ssh here: the comparison is left out");
                return;
            };
            assert_eq!(by_files, by_openssh.unwrap(), "{host} in:\n{config}");
        }
    }
}

#[tokio::test]
async fn files_that_are_included_count_where_they_are_included() {
    let home = Home::new("");
    let dir = home.dir.path();
    std::fs::create_dir_all(dir.join("d")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    write("d/1.conf", "Port 11\nHost pc\n User one\n");
    write("d/2.conf", "Host *\n User two\n Port 12\n");
    write("d/.hidden.conf", "Port 13\n");
    let path = dir.display();
    write(
        "config",
        &format!(
            "Host pc\n Include {path}/d/*.conf {path}/absent\n HostName real\n\
             Host hub\n Include {path}/d/2.conf\nMatch exec true\n"
        ),
    );
    for host in ["pc", "hub", "other"] {
        let found = home.by_files(host).await.unwrap();
        if let Some(by_openssh) = home.by_openssh(host).await {
            assert_eq!(found, by_openssh.unwrap(), "{host}");
        }
    }
    let pc = home.by_files("pc").await.unwrap();
    assert_eq!((pc.port, pc.user.as_str(), pc.host.as_str()), (11, "one", "real"));

    write("config", &format!("Include {path}/config\n"));
    let fault = home.by_files("pc").await.unwrap_err();
    assert!(fault.message.contains("line 1: the files include each other"), "{fault}");
}

#[tokio::test]
async fn a_block_whose_condition_is_not_known_does_not_apply() {
    let home =
        Home::new("Match exec \"true\"\n Port 1\nMatch tagged x\n Port 2\nHost pc\n User x\n");
    let found = home.by_files("pc").await.unwrap();
    assert_eq!((found.port, found.user.as_str()), (22, "x"));
}

#[tokio::test]
async fn a_broken_configuration_is_refused_with_its_place() {
    let home = Home::new("Host pc\n  Port 22\n  IdentityFile \"/open\n");
    let file = home.dir.path().join("config");
    let fault = home.by_files("pc").await.unwrap_err();
    assert_eq!(fault.code, Code::InvalidConfig);
    assert!(fault.message.contains("line 3"), "{fault}");
    assert_eq!(fault.hints, [format!("${{EDITOR:-vi}} +3 {}", file.display())]);

    let home = Home::new("\nNonsense yes\n");
    let file = home.dir.path().join("config");
    let Some(refused) = home.by_openssh("pc").await else { return };
    let fault = refused.unwrap_err();
    assert_eq!(fault.code, Code::InvalidConfig);
    assert!(fault.causes[0].contains("Bad configuration option"), "{fault:?}");
    assert_eq!(fault.hints, [format!("${{EDITOR:-vi}} +2 {}", file.display())]);
}

#[tokio::test]
async fn what_the_person_says_here_comes_before_the_configuration() {
    let home = Home::new("Host pc\n ProxyJump hub\n IdentityFile /k/a\n IdentityFile /k/b\n");
    let around = home.around(home.openssh.as_deref());
    let jump = [address("me@gate:22"), address("inner")];
    let identity = Some(Path::new("/k/b"));
    let found = resolve(&around, &address("pc"), identity, &jump).await.unwrap();
    assert_eq!(found.identities, [Path::new("/k/b"), Path::new("/k/a")]);
    assert_eq!(found.way, Way::Jumps(jump.to_vec()));
    let found = resolve(&around, &address("pc"), Some(Path::new("~/x")), &[]).await.unwrap();
    assert_eq!(found.identities[0], around.home.join("x"));
    assert_eq!(found.way, Way::Jumps(vec![address("hub")]));
}

/// A program that stands in for `ssh`.
fn script(dir: &Path, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join("ssh");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

#[tokio::test]
async fn an_ssh_that_cannot_answer_is_passed_over_and_one_that_floods_is_bounded() {
    let home = Home::new("Host pc\n Port 77\n");
    let programs = [
        "echo 'unknown option -- G' >&2; echo 'usage: ssh [-1246]' >&2; exit 255",
        "echo 'Dropbear SSH client'",
        "head -c 5000000 /dev/zero",
    ];
    for text in programs {
        let program = script(home.dir.path(), text);
        let found = resolve(&home.around(Some(&program)), &address("pc"), None, &[]).await.unwrap();
        assert_eq!(found.port, 77, "{text}");
    }
    let program = script(home.dir.path(), "printf 'no \\033[31m way\\n' >&2; exit 255");
    let fault = resolve(&home.around(Some(&program)), &address("pc"), None, &[]).await.unwrap_err();
    assert_eq!(
        (fault.causes, fault.hints),
        (vec!["no  [31m way".into()], vec!["ssh -G pc".into()])
    );
    let absent = home.dir.path().join("absent");
    let fault = resolve(&home.around(Some(&absent)), &address("pc"), None, &[]).await.unwrap_err();
    assert_eq!(fault.code, Code::InvalidConfig);
}

#[tokio::test]
async fn an_ssh_that_never_answers_is_given_up() {
    let home = Home::new("");
    let program = script(home.dir.path(), "exec sleep 1000");
    let around = home.around(Some(&program));
    let longest = Duration::from_millis(50);
    let fault = openssh::ask(&program, &around, &address("pc"), longest).await.unwrap_err();
    assert_eq!(fault.code, Code::InvalidConfig);
    assert!(fault.message.contains("within 50ms"), "{fault}");
}
