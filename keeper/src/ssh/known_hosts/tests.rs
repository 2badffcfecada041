//! What the files of known hosts say of keys and certificates, and what is written to them.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use proptest::prelude::*;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::certificate::Builder;
use russh::keys::ssh_key::private::Ed25519Keypair;

use super::*;

/// A key of another algorithm.
const RSA: &str = "ssh-rsa \
    AAAAB3NzaC1yc2EAAAADAQABAAABAQC5jBolmdF/lQy5tJrZlk4bTsLJE0N6FMQGSuS7PYqGCnSD\
    cMpOQg/LlyfI0sZRbR3UTGicZ/vLg3IG0SIrXwAVfMfED/+oEfQRu79SRj/+gZXgCGYWIhCMpHdEIZlCLluj\
    FHKYz+RQEWTRWvlqFwnQPlMzLwrnJ7l5v1PMKBXJLj2Ld09aCCEbAUlIai4Cjl37hbRx4Fd8Jx44gOLuf0MC\
    SD9qgaBxfeldAB3DN57lTUr5rPm57aoSTUsr2goKQ3SNErLICoWqJorI93LohTtN+WqEtqCGFIn6TWqYAMo8\
    DBO5S/clsmc/XxwYn3Km3wmpnt8dKlybgKGvXs8a5HJL";

fn private(seed: u8) -> PrivateKey {
    Ed25519Keypair::from_seed(&[seed; 32]).into()
}

fn key(seed: u8) -> PublicKey {
    private(seed).public_key().clone()
}

/// As in a file.
fn line(seed: u8) -> String {
    key(seed).to_openssh().unwrap()
}

fn known(name: &str, port: u16, text: &str) -> KnownHosts {
    let mut known = KnownHosts { host: HostName::new(name, port), entries: Vec::new() };
    known.add(Path::new("/k"), text.as_bytes()).unwrap();
    known
}

fn check(name: &str, port: u16, text: &str) -> Verdict {
    known(name, port, text).check(&key(1))
}

#[test]
fn a_key_that_equals_any_recorded_line_is_known() {
    let (one, two) = (line(1), line(2));
    let texts = [
        format!("pc {one}"),
        format!("pc {two}\npc {one} a comment # with a mark\n"),
        format!("\n# pc {two}\n  pc\t{}\r\n", one.replace(' ', "\t")),
        format!("hub,pc.lan,PC {one}\n"),
        format!("*,!hub {one}"),
        format!("nonsense\npc ssh-ed25519 AAAA\npc 1024 35 1234\n@odd pc {two}\n\u{0}\npc {one}"),
    ];
    for text in texts {
        assert_eq!(check("pc", 22, &text), Verdict::Known, "{text}");
        assert_eq!(known("Pc", 22, &text).algorithms(), [Algorithm::Ed25519], "{text}");
    }
}

#[test]
fn bytes_that_are_no_text_hide_no_key() {
    let mut known = known("pc", 22, "");
    let mut bytes = b"pc \xff\xfe\n".to_vec();
    bytes.extend(format!("pc {}", line(1)).bytes());
    known.add(Path::new("/k"), &bytes).unwrap();
    assert_eq!(known.check(&key(1)), Verdict::Known);
    // A comment in another encoding hides neither a revocation nor another key.
    let comment = |text: String| [text.as_bytes(), b" Andr\xe9"].concat();
    for (marker, signed) in [("@revoked *", 1), ("pc", 2)] {
        let mut known = self::known("pc", 22, "");
        known.add(Path::new("/k"), &comment(format!("{marker} {}", line(signed)))).unwrap();
        assert_ne!(known.check(&key(1)), Verdict::Unknown, "{marker}");
    }
}

#[test]
fn a_host_of_which_nothing_is_recorded_is_unknown() {
    let (one, two) = (line(1), line(2));
    let texts = [
        String::new(),
        format!("hub {one}"),
        format!("!pc,* {one}"),
        format!("[pc]:2222 {one}"),
        format!("@cert-authority pc {two}"),
        format!("@revoked pc {two}"),
        format!("@revoked @cert-authority pc {one}"),
    ];
    for text in texts {
        assert_eq!(check("pc", 22, &text), Verdict::Unknown, "{text}");
    }
}

#[test]
fn a_host_with_other_keys_has_changed_and_the_nearest_one_is_shown() {
    let text = format!("#\npc {RSA}\npc {}\npc {}", line(2), line(3));
    let Verdict::Changed(place) = check("pc", 22, &text) else { panic!() };
    assert_eq!((place.file.as_path(), place.line), (Path::new("/k"), 3));
    assert_eq!(place.fingerprint, key(2).fingerprint(HashAlg::Sha256).to_string());
    assert_eq!(place.algorithm, "ssh-ed25519");
}

#[test]
fn a_key_of_another_algorithm_than_the_recorded_one_is_a_change_and_is_not_asked_for() {
    let text = format!("pc {RSA}");
    assert!(matches!(check("pc", 22, &text), Verdict::Changed(place) if place.line == 1));
    assert_eq!(known("pc", 22, &text).algorithms(), [Algorithm::Rsa { hash: None }]);
}

#[test]
fn a_revoked_key_is_refused_wherever_it_is_recorded_as_well() {
    let one = line(1);
    for text in [
        format!("pc {one}\n@revoked * {one}"),
        format!("@revoked pc {one}\npc {one}"),
        format!("@revoked\tpc\t{one}"),
    ] {
        assert!(matches!(check("pc", 22, &text), Verdict::Revoked(_)), "{text}");
    }
    // In a second file too, and for a port that the line does not mention.
    let mut two = known("pc", 2222, &format!("[pc]:2222 {one}"));
    assert_eq!(two.check(&key(1)), Verdict::Known);
    two.add(Path::new("/system"), format!("@revoked pc {one}").as_bytes()).unwrap();
    let Verdict::Revoked(place) = two.check(&key(1)) else { panic!() };
    assert_eq!(place.file, Path::new("/system"));
}

#[test]
fn a_port_is_part_of_the_name_and_a_key_without_it_only_vouches() {
    let (one, two) = (line(1), line(2));
    assert_eq!(check("pc", 2222, &format!("[pc]:2222 {one}")), Verdict::Known);
    assert_eq!(check("pc", 2222, &format!("pc {one}")), Verdict::Known);
    assert_eq!(check("pc", 2222, &format!("pc {two}")), Verdict::Unknown);
    assert_eq!(check("pc", 2222, &format!("[pc]:2200 {one}")), Verdict::Unknown);
    let text = format!("pc {one}\n[pc]:2222 {two}");
    assert!(matches!(check("pc", 2222, &text), Verdict::Changed(place) if place.line == 2));
    assert!(matches!(check("pc", 22, &format!("[pc]:22 {one}\npc {two}")), Verdict::Changed(_)));
    let alias = HostName::alias("Gate");
    assert_eq!(alias.recorded(), "gate");
    assert_eq!(HostName::new("fe80::1%eth0", 2222).recorded(), "[fe80::1%eth0]:2222");
}

fn certificate(kind: CertType, names: &[&str], signer: u8) -> Certificate {
    let mut builder = Builder::new(vec![7; 16], key(1), 1000, 2000).unwrap();
    builder.cert_type(kind).unwrap();
    match names {
        [] => {
            builder.all_principals_valid().unwrap();
        }
        names => names.iter().for_each(|name| {
            builder.valid_principal(*name).unwrap();
        }),
    }
    builder.sign(&private(signer)).unwrap()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn a_certificate_of_the_hosts_authority_is_known_at_its_time_and_for_its_names() {
    let known = known("pc.lan", 2222, &format!("@cert-authority *.lan {}", line(9)));
    assert!(known.has_authority());
    let good = [&["pc.lan"] as &[&str], &["hub", "*.lan"], &[]];
    for names in good {
        let certificate = certificate(CertType::Host, names, 9);
        let found = known.check_certificate(&certificate, at(1500));
        assert_eq!(found, CertificateVerdict { verdict: Verdict::Known, refused: None });
    }
    let bad = [
        (certificate(CertType::Host, &["pc.lan"], 8), 1500, "authority"),
        (certificate(CertType::Host, &["pc"], 9), 1500, "other names"),
        (certificate(CertType::Host, &["pc.lan"], 9), 999, "time"),
        (certificate(CertType::Host, &["pc.lan"], 9), 2000, "time"),
        (certificate(CertType::User, &["pc.lan"], 9), 1500, "of a host"),
    ];
    for (certificate, now, why) in bad {
        let found = known.check_certificate(&certificate, at(now));
        assert_eq!(found.verdict, Verdict::Unknown, "{why}");
        assert!(found.refused.unwrap().contains(why), "{found:?}");
    }
}

#[test]
fn a_certificate_that_does_not_count_leaves_the_key_in_it() {
    let certificate = certificate(CertType::Host, &["pc"], 9);
    let verdict =
        |text: &str| known("pc", 22, text).check_certificate(&certificate, at(9999)).verdict;
    let authority = format!("@cert-authority pc {}", line(9));
    assert_eq!(verdict(&format!("{authority}\npc {}", line(1))), Verdict::Known);
    assert!(matches!(verdict(&format!("{authority}\npc {}", line(2))), Verdict::Changed(_)));
    for revoked in [1, 9] {
        let text = format!("{authority}\npc {}\n@revoked * {}", line(1), line(revoked));
        assert!(matches!(verdict(&text), Verdict::Revoked(_)), "{text}");
    }
    // Its authority's own key is nobody's host key.
    assert_eq!(known("pc", 22, &authority).check(&key(9)), Verdict::Unknown);
}

#[test]
fn a_changed_byte_of_a_certificate_is_seen() {
    let known = known("pc", 22, &format!("@cert-authority pc {}", line(9)));
    let bytes = certificate(CertType::Host, &["pc"], 9).to_bytes().unwrap();
    for index in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[index] ^= 1;
        let Ok(certificate) = Certificate::from_bytes(&bytes) else { continue };
        let found = known.check_certificate(&certificate, at(1500));
        assert_ne!(found.verdict, Verdict::Known, "byte {index}");
    }
}

fn resolved(files: &[PathBuf]) -> Resolved {
    Resolved {
        host: "pc".to_owned(),
        key_name: "pc".to_owned(),
        is_key_alias: false,
        port: 22,
        user: "ada".to_owned(),
        identities: Vec::new(),
        certificates: Vec::new(),
        identities_only: false,
        agent: crate::ssh::resolved::Agent::None,
        known_hosts: files.to_vec(),
        global_known_hosts: Vec::new(),
        revoked: None,
        hash_known_hosts: false,
        unknown: crate::ssh::resolved::Unknown::Ask,
        way: crate::ssh::resolved::Way::Direct,
        connect_timeout: None,
        batch: false,
        methods: Vec::new(),
    }
}

#[test]
fn a_file_that_may_revoke_and_cannot_be_read_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let reads = |name: &str| KnownHosts::of(&resolved(&[path(name)]));
    std::fs::write(path("long"), format!("#\npc {}", "x".repeat(MAX_LINE_BYTES))).unwrap();
    File::create(path("large")).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
    std::fs::create_dir(path("dir")).unwrap();
    for (name, cause) in
        [("long", "line 2"), ("large", "more than"), ("fifo", "regular"), ("dir", "regular")]
    {
        let fault = reads(name).unwrap_err();
        assert_eq!(fault.code, Code::InvalidConfig);
        assert!(fault.causes[0].contains(cause), "{fault:?}");
        assert!(fault.message.contains(name) && fault.hints[0].contains(name), "{fault:?}");
    }
    for name in ["absent", "long/absent", "/dev/null"] {
        assert_eq!(reads(name).unwrap().check(&key(1)), Verdict::Unknown);
    }
}

#[test]
fn a_key_of_the_persons_own_list_of_revoked_ones_is_refused_and_the_list_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let (hosts, list) = (dir.path().join("hosts"), dir.path().join("revoked"));
    std::fs::write(&hosts, format!("pc {}\n@cert-authority pc {}\n", line(1), line(9))).unwrap();
    let with = |text: &[u8]| {
        std::fs::write(&list, text).unwrap();
        KnownHosts::of(&Resolved {
            revoked: Some(list.clone()),
            ..resolved(std::slice::from_ref(&hosts))
        })
    };
    let other = with(format!("# none of ours\n{}\n", line(3)).as_bytes()).unwrap();
    assert_eq!(other.check(&key(1)), Verdict::Known);
    let known = with(format!("\n{} lost\n{}\n", line(1), line(9)).as_bytes()).unwrap();
    let Verdict::Revoked(place) = known.check(&key(1)) else { panic!("it is refused") };
    assert_eq!((place.file, place.line), (list.clone(), 2));
    let certificate = certificate(CertType::Host, &["pc"], 9);
    let found = known.check_certificate(&certificate, at(1500));
    assert!(matches!(found.verdict, Verdict::Revoked(_)), "{found:?}");
    assert!(with(b"SSHKRL\n\0\0").unwrap_err().causes[0].contains("KRL"));
    let absent = Resolved { revoked: Some(dir.path().join("absent")), ..resolved(&[]) };
    assert_eq!(KnownHosts::of(&absent).unwrap_err().code, Code::InvalidConfig);
}

#[test]
fn the_first_key_makes_a_file_for_its_owner_alone_and_the_next_one_repairs_its_last_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ssh/known_hosts");
    let host = HostName::new("pc", 22);
    record(&file, &host, &key(1), false).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, format!("pc {}\n", line(1)));
    std::fs::write(&file, text.trim_end()).unwrap();
    record(&file, &HostName::new("hub", 2222), &key(2), true).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(text.lines().nth(1).unwrap().starts_with("|1|"), "{text}");
    assert!(text.ends_with('\n') && !text.contains("hub"));
    assert_eq!(known("pc", 22, &text).check(&key(1)), Verdict::Known);
    assert_eq!(known("hub", 2222, &text).check(&key(2)), Verdict::Known);
    for name in ["", "p c", "pc\n", "*", "a,b", "#x", "@revoked", "|1|"] {
        assert!(record(&file, &HostName::new(name, 22), &key(1), false).is_err(), "{name:?}");
    }
    record(Path::new("/dev/null"), &host, &key(1), false).unwrap();
}

#[test]
fn many_at_once_lose_no_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("known_hosts");
    std::fs::write(&file, "# no end").unwrap();
    std::thread::scope(|scope| {
        for seed in 0..32u8 {
            let file = &file;
            scope.spawn(move || {
                let host = HostName::new(&format!("h{seed}"), 22);
                record(file, &host, &key(seed), seed % 2 == 0).unwrap();
            });
        }
    });
    let text = std::fs::read_to_string(&file).unwrap();
    for seed in 0..32 {
        assert_eq!(known(&format!("h{seed}"), 22, &text).check(&key(seed)), Verdict::Known);
    }
}

proptest! {
    #[test]
    fn what_is_recorded_is_found(
        name in "[a-zA-Z0-9][a-zA-Z0-9.:%_-]{0,40}", port in 1u16.., hashed: bool, seed: u8,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("k");
        let host = HostName::new(&name, port);
        record(&file, &host, &key(seed), hashed).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let known = known(&name, port, &text);
        prop_assert_eq!(known.check(&key(seed)), Verdict::Known);
        let other = key(seed.wrapping_add(1));
        prop_assert!(matches!(known.check(&other), Verdict::Changed(_)));
    }

    #[test]
    fn no_file_upsets_the_reader(
        text in "([@|!*,#a-z0-9 \t\r\n]|ssh-ed25519|@revoked|@cert-authority|pc ){0,60}|.{0,80}",
        port in 20u16..24,
    ) {
        let known = known("pc", port, &text);
        let _ = (known.check(&key(1)), known.algorithms(), known.has_authority());
    }
}
