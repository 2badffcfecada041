//! The lab is what it says it is: tests of hives over SSH lean on these claims.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what goes wrong here is a failed test"
)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use rbee_tests::lab::{self, Cable, Lab};
use rbee_tests::sandbox::{Finished, finish};
use rbee_tests::wait_until;

/// How long what should take a moment may take: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);

#[track_caller]
fn answers(lab: &Lab, host: &str) {
    assert_eq!(lab.ssh(host, "hostname").expect_code(0).stdout.trim_end(), host);
}

#[track_caller]
fn fails_with(finished: &Finished, words: &str) {
    assert_eq!(finished.code, Some(255), "{finished:?}");
    assert!(finished.stderr.contains(words), "{}", finished.stderr);
}

/// Nobody at that address, or nobody who hears: which of the two depends on whether the keeper
/// still knows the host's network card.
#[track_caller]
fn is_unreachable(finished: &Finished) {
    assert_eq!(finished.code, Some(255), "{finished:?}");
    let stderr = &finished.stderr;
    assert!(stderr.contains("timed out") || stderr.contains("No route to host"), "{stderr}");
}

/// A session that repeats each line it is told.
struct Echo {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Echo {
    fn open(lab: &Lab, ssh: &[&str]) -> Self {
        let mut command = lab.command(&[&["ssh"], ssh, &["cat"]].concat());
        let mut child = command.stdin(std::process::Stdio::piped()).spawn().expect("it starts");
        let stdin = child.stdin.take().expect("a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut echo = Self { child, stdin, stdout };
        echo.repeats("first");
        echo
    }

    #[track_caller]
    fn repeats(&mut self, word: &str) {
        writeln!(self.stdin, "{word}").expect("the session is open");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("readable");
        assert_eq!(line.trim_end(), word);
    }

    fn close(self) -> Finished {
        drop(self.stdin);
        finish(self.child)
    }
}

#[test]
fn hosts_answer_over_ssh_and_share_neither_name_nor_home_nor_disk_nor_processes() {
    let Some(lab) = Lab::up(&[("a", ""), ("b", "")]) else { return };
    for host in ["a", "b"] {
        answers(&lab, host);
        let _ = lab.ssh(host, "echo here > ~/$(hostname)").expect_code(0);
    }
    assert_eq!(lab.files("a"), ["/home/rbee/a"]);
    assert_eq!(lab.files("b"), ["/home/rbee/b"]);
    assert_eq!(lab.ssh("a", "pwd; id -un").expect_code(0).stdout, "/home/rbee\nrbee\n");
    assert_eq!(lab.keeper(&["id", "-un"]).expect_code(0).stdout, "keeper\n");
    assert_eq!(lab.keeper(&["ls"]).expect_code(0).stdout, "");
    wait_until("only sshd is left", PATIENCE, || (lab.ps("a").len() == 1).then_some(()));
    assert!(lab.ps("a")[0].contains("sshd"), "{:?}", lab.ps("a"));
    let states: Vec<_> = lab.ls().iter().map(|line| line.contains(" on ")).collect();
    assert_eq!(states, [true, true, true], "{:?}", lab.ls());
}

#[test]
fn listeners_are_sshd_alone_until_someone_listens() {
    let Some(lab) = Lab::up(&[("a", "")]) else { return };
    assert_eq!(lab.listeners("a"), ["tcp 0.0.0.0:22 sshd", "tcp [::]:22 sshd"]);
    let mut listener = lab.keeper_spawn(&["ssh", "a", "python3 -m http.server 4000"]);
    wait_until("it listens", PATIENCE, || {
        lab.listeners("a").iter().any(|line| line.contains(":4000 python3")).then_some(())
    });
    lab.sshd("a", "cut");
    let _ = listener.wait().expect("it ended");
}

#[test]
fn a_cut_host_times_out_keeps_its_sessions_and_heals() {
    let Some(lab) = Lab::up(&[("a", "")]) else { return };
    let mut session = Echo::open(&lab, &["a"]);
    lab.cut("a");
    is_unreachable(&lab.ssh("a", "true"));
    lab.heal("a");
    answers(&lab, "a");
    session.repeats("still here");
    let _ = session.close().expect_code(0);
}

#[test]
fn a_firewall_that_drops_times_out_and_one_that_rejects_refuses_at_once() {
    let Some(lab) = Lab::up(&[("a", ""), ("b", "")]) else { return };
    lab.drop_packets("a");
    for name in ["a", "a.v6"] {
        is_unreachable(&lab.ssh(name, "true"));
    }
    lab.undrop_packets("a");
    answers(&lab, "a");

    lab.reject("b");
    let start = Instant::now();
    fails_with(&lab.ssh("b", "true"), "refused");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    fails_with(&lab.ssh("b.v6", "true"), "refused");
    lab.allow("b");
    answers(&lab, "b");
}

#[test]
fn hosts_are_reached_by_ipv6_too_and_a_hidden_one_by_the_others_alone() {
    let Some(lab) = Lab::up(&[("a", ""), ("b", "")]) else { return };
    for host in ["a", "b"] {
        let said = lab.ssh(&format!("{host}.v6"), "hostname").expect_code(0);
        assert_eq!(said.stdout.trim_end(), host);
    }
    lab.hide("b");
    for name in ["b", "b.v6"] {
        is_unreachable(&lab.ssh(name, "true"));
        let greeting = format!("bash -c 'head -n1 </dev/tcp/{name}/22'");
        let greeting = lab.ssh("a", &greeting).expect_code(0).stdout;
        assert!(greeting.starts_with("SSH-2.0-"), "{greeting}");
    }
    lab.unhide("b");
    answers(&lab, "b");
}

#[test]
fn a_host_of_passwords_takes_its_own_and_no_key() {
    let Some(lab) = Lab::up(&[("a", "password")]) else { return };
    fails_with(&lab.ssh("a", "true"), "Permission denied (password)");
    for (word, code) in [("sesame", 0), ("barley", 255)] {
        let line = format!(
            "printf '#!/bin/sh\\necho {word}\\n' >say && chmod 700 say && \
             SSH_ASKPASS=./say SSH_ASKPASS_REQUIRE=force ssh a hostname"
        );
        let _ = lab.keeper(&["sh", "-c", &line]).expect_code(code);
    }
}

#[test]
fn a_host_without_power_comes_back_with_the_same_key_and_disk() {
    let Some(lab) = Lab::up(&[("a", "")]) else { return };
    let key = lab.exec("a", &["cat", "/etc/ssh/lab_key.pub"]).expect_code(0).stdout;
    let _ = lab.ssh("a", "echo kept > kept").expect_code(0);
    let _ = lab.exec("a", &["touch", "/run/lost"]).expect_code(0);
    lab.power_off("a");
    assert!(lab.ls()[0].contains(" off"), "{:?}", lab.ls());
    is_unreachable(&lab.ssh("a", "true"));
    lab.boot("a");
    // The keeper knows the key of before and would refuse another.
    assert_eq!(lab.ssh("a", "cat kept").expect_code(0).stdout, "kept\n");
    assert_eq!(lab.exec("a", &["cat", "/etc/ssh/lab_key.pub"]).expect_code(0).stdout, key);
    let _ = lab.exec("a", &["test", "-e", "/run/lost"]).expect_code(1);
}

#[test]
fn a_stopped_sshd_refuses_and_a_cut_one_ends_its_sessions_too() {
    let Some(lab) = Lab::up(&[("a", "")]) else { return };
    let mut session = Echo::open(&lab, &["a"]);
    lab.sshd("a", "stop");
    fails_with(&lab.ssh("a", "true"), "refused");
    session.repeats("still here");
    lab.sshd("a", "start");
    answers(&lab, "a");
    lab.sshd("a", "cut");
    let _ = session.close().expect_code(255);
    lab.sshd("a", "start");
    answers(&lab, "a");
}

#[test]
fn a_frozen_host_accepts_and_never_speaks() {
    let Some(lab) = Lab::up(&[("a", "")]) else { return };
    lab.freeze("a");
    assert!(lab.ps("a").iter().all(|line| line.contains(" T ")), "{:?}", lab.ps("a"));
    let greet = "exec 3<>/dev/tcp/a/22; echo accepted; head -n1 <&3";
    let asked = lab.keeper(&["timeout", "2", "bash", "-c", greet]).expect_code(124);
    assert_eq!(asked.stdout, "accepted\n");
    lab.thaw("a");
    answers(&lab, "a");
}

#[test]
fn a_full_disk_says_so_until_it_is_freed() {
    let Some(lab) = Lab::up(&[("a", ""), ("b", "")]) else { return };
    lab.fill_disk("a");
    let write = "head -c 100000 /dev/zero > ~/data";
    let refused = lab.ssh("a", write).expect_code(1);
    assert!(refused.stderr.contains("No space left on device"), "{}", refused.stderr);
    let _ = lab.ssh("b", write).expect_code(0);
    lab.free_disk("a");
    let _ = lab.ssh("a", write).expect_code(0);
    assert_eq!(lab.ssh("a", "wc -c < data").expect_code(0).stdout, "100000\n");
}

/// The average round trip in milliseconds that ping measured; absent when nothing came back.
fn round_trip_ms(lab: &Lab, host: &str) -> Option<f64> {
    let asked = lab.keeper(&["ping", "-q", "-c", "5", "-i", "0.05", "-W", "1", host]);
    let times = asked.stdout.lines().find_map(|line| line.strip_prefix("rtt "))?.to_owned();
    let average = times.split(" = ").nth(1)?.split('/').nth(1)?;
    Some(average.parse().expect("a number"))
}

#[test]
fn a_slow_cable_adds_its_delay_each_way_and_limits_its_rate() {
    let Some(lab) = Lab::up(&[("a", "")]) else { return };
    lab.delay("a", Cable { delay_ms: 60, ..Cable::default() });
    let slow = round_trip_ms(&lab, "a").expect("an answer");
    assert!((119.0..360.0).contains(&slow), "{slow} ms");
    answers(&lab, "a");

    lab.delay("a", Cable { kbit: 4000, ..Cable::default() });
    let start = Instant::now();
    let sent = lab.ssh("a", "head -c 500000 /dev/zero").expect_code(0);
    // 500 kB are 4 Mbit; the socket buffers on the way hide some of them.
    assert_eq!(sent.stdout.len(), 500_000);
    let took = start.elapsed();
    assert!(took > Duration::from_millis(700) && took < Duration::from_secs(6), "{took:?}");

    lab.delay("a", Cable { loss_percent: 100, ..Cable::default() });
    assert_eq!(round_trip_ms(&lab, "a"), None);

    lab.delay("a", Cable::default());
    let good = round_trip_ms(&lab, "a").expect("an answer");
    assert!(good < 30.0, "{good} ms");
    answers(&lab, "a");
}

#[test]
fn the_login_shell_is_the_one_of_the_flavour() {
    let Some(lab) = Lab::up(&[("a", "dash"), ("b", "csh"), ("c", "fish")]) else { return };
    let shell = lab.ssh("a", "readlink /proc/$$/exe").expect_code(0).stdout;
    assert_eq!(shell, "/usr/bin/dash\n");
    for program in ["bash", "perl", "python3", "curl"] {
        let found = lab.ssh("a", &format!("command -v {program}"));
        assert_eq!((found.code, found.stdout.as_str()), (Some(127), ""), "{program}");
    }
    assert_eq!(lab.ssh("b", "echo $shell").expect_code(0).stdout, "/bin/csh\n");
    let _ = lab.ssh("c", "string length -q -- $FISH_VERSION").expect_code(0);
}

#[test]
fn a_busybox_host_has_no_glibc() {
    let Some(lab) = Lab::up(&[("a", "busybox")]) else { return };
    let dynamic = "cp /usr/bin/true /srv/busybox/home/rbee/dynamic";
    let _ = lab.exec("a", &["sh", "-c", dynamic]).expect_code(0);
    let _ = lab.ssh("a", "./dynamic").expect_code(127);
    let _ = lab.ssh("a", "ls /lib64").expect_code(1);
    assert!(lab.ssh("a", "busybox").expect_code(0).stdout.starts_with("BusyBox"));
    let _ = lab.ssh("a", "echo gone >/dev/null").expect_code(0);
}

#[test]
fn a_home_may_be_noexec_or_read_only_and_a_shell_may_print() {
    let Some(lab) = Lab::up(&[("a", "noexec"), ("b", "rohome"), ("c", "noisy")]) else { return };
    let _ = lab.ssh("a", "cp /usr/bin/true .").expect_code(0);
    let _ = lab.ssh("a", "./true").expect_code(126);
    let refused = lab.ssh("b", "touch x").expect_code(1);
    assert!(refused.stderr.contains("Read-only file system"), "{}", refused.stderr);
    let noise = lab.ssh("c", "echo mine").expect_code(0).stdout;
    assert_eq!(noise.lines().count(), 2, "{noise}");
    assert!(noise.ends_with("mine\n"), "{noise}");
}

#[test]
fn noforward_refuses_what_a_plain_host_forwards() {
    let Some(lab) = Lab::up(&[("a", ""), ("b", "noforward")]) else { return };
    let socket = [
        "ssh",
        "-o",
        "ExitOnForwardFailure=yes",
        "-R",
        "/home/rbee/s:/tmp/s",
        "-n",
        "HOST",
        "true",
    ];
    let forwarded = |host| lab.keeper(&socket.map(|word| if word == "HOST" { host } else { word }));
    let _ = forwarded("a").expect_code(0);
    fails_with(&forwarded("b"), "forwarding failed");
    let tcp = |host| lab.keeper(&["timeout", "10", "ssh", "-W", "127.0.0.1:22", host]);
    assert!(tcp("a").stdout.starts_with("SSH-2.0-"));
    fails_with(&tcp("b"), "administratively prohibited");
}

#[test]
fn maxsessions1_refuses_a_second_session_on_one_connection() {
    let Some(lab) = Lab::up(&[("a", ""), ("b", "maxsessions1")]) else { return };
    for (host, refused) in [("a", false), ("b", true)] {
        let mut first = Echo::open(&lab, &["-M", "-S", host, host]);
        let second = lab.keeper(&["ssh", "-S", host, host, "true"]);
        assert_eq!(second.stderr.contains("Session open refused by peer"), refused, "{second:?}");
        first.repeats("still here");
        let _ = first.close().expect_code(0);
    }
}

#[test]
fn nosftp_refuses_what_a_plain_host_serves() {
    let Some(lab) = Lab::up(&[("a", ""), ("b", "nosftp")]) else { return };
    let sftp = |host| lab.keeper(&["sftp", "-b", "/dev/null", host]);
    let _ = sftp("a").expect_code(0);
    fails_with(&sftp("b"), "subsystem request failed");
}

#[test]
fn dropbear_is_served_by_dropbear() {
    let Some(lab) = Lab::up(&[("a", "dropbear")]) else { return };
    answers(&lab, "a");
    let greeting = lab.keeper(&["bash", "-c", "head -n1 </dev/tcp/a/22"]).expect_code(0).stdout;
    assert!(greeting.starts_with("SSH-2.0-dropbear"), "{greeting}");
    lab.sshd("a", "cut");
    fails_with(&lab.ssh("a", "true"), "refused");
    lab.sshd("a", "start");
    answers(&lab, "a");
}

#[test]
fn two_labs_do_not_meet() {
    let Some(one) = Lab::up(&[("a", "")]) else { return };
    let Some(two) = Lab::up(&[("a", "")]) else { return };
    let _ = one.ssh("a", "touch one").expect_code(0);
    let _ = two.ssh("a", "test -e one").expect_code(1);
    let key = |lab: &Lab| lab.exec("a", &["cat", "/etc/ssh/lab_key.pub"]).expect_code(0).stdout;
    assert_ne!(key(&one), key(&two));
    one.cut("a");
    answers(&two, "a");
    drop(one);
    answers(&two, "a");
}

fn network_cards() -> BTreeSet<String> {
    let cards = std::fs::read_dir("/sys/class/net").expect("this machine's network cards");
    cards.flatten().map(|card| card.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn this_machine_sees_neither_cards_nor_mounts_of_a_lab_and_nothing_is_left_of_it() {
    let cards = network_cards();
    let Some(lab) = Lab::up(&[("a", "dropbear"), ("b", "")]) else { return };
    lab.delay("a", Cable { delay_ms: 1, ..Cable::default() });
    let background = "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo started";
    let _ = lab.ssh("b", background).expect_code(0);
    let _ = lab.keeper(&["sh", "-c", background]).expect_code(0);
    assert_eq!(network_cards(), cards);
    let mounts = std::fs::read_to_string("/proc/mounts").expect("mounts");
    assert!(!mounts.contains(lab.state_dir().to_str().expect("UTF-8")), "{mounts}");
    // Dropping it asserts that nothing is left, however it stands: here with one host powered off.
    lab.power_off("a");
    drop(lab);
    assert_eq!(network_cards(), cards);
}

#[test]
fn a_lab_that_cannot_start_leaves_nothing_and_says_why() {
    // Only to skip where no lab can run.
    let Some(_) = Lab::up(&[("a", "")]) else { return };
    let name = format!("t{}-broken", std::process::id());
    let up = |host: &str, disk: &str| {
        let mut command = lab::command(&name, &["up", host]);
        finish(command.env("DISK", disk).spawn().expect("it starts"))
    };
    let state = std::env::temp_dir().join(format!("rbee-lab-{name}"));
    for (host, disk, words) in [
        ("a", "4k", "No space left on device"),
        ("a:fast", "1m", "no flavour 'fast'"),
        ("Not_a_name", "1m", "letters or digits"),
        ("a:oldglibc=/nowhere", "1m", "debootstrap"),
        ("a:aarch64=/nowhere", "1m", "no program"),
    ] {
        let refused = up(host, disk);
        assert_ne!(refused.code, Some(0), "{host}");
        assert!(refused.stderr.contains(words), "{host}: {}", refused.stderr);
        assert!(!state.exists(), "{host}");
    }
}
