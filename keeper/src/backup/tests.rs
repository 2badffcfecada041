//! What a backup is, and what of it is noticed.

use super::*;

fn source(dir: &Path, name: &str, content: &str) -> Source {
    let path = dir.join(name.replace('/', "-"));
    fs::write(&path, content).unwrap();
    Source { name: name.parse().unwrap(), path }
}

fn wanted(dir: &Path) -> Wanted {
    Wanted {
        sources: vec![
            source(dir, "config.toml", "theme = \"dark\"\n"),
            source(dir, "themes/own.toml", "[accent]\n"),
        ],
        conversations: Some(Source {
            name: "conversations.db".parse().unwrap(),
            path: dir.join("conversations.db"),
        }),
        models: vec![KeptModel {
            hive: HiveName::local(),
            model: "hf:org/repo".parse().unwrap(),
            revision: "c0ffee".to_owned(),
        }],
    }
}

#[test]
fn a_backup_is_private_whole_and_read_back() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let (wanted, dir) = (wanted(home.path()), home.path().join("backup"));
    let made = make(&dir, &wanted, 7).unwrap();
    assert_eq!(verify(&dir).unwrap(), made);
    let names: Vec<&str> = made.files.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["config.toml", "themes/own.toml", "conversations.db", MODELS]);
    assert_eq!(models(&dir).unwrap(), wanted.models);
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(make(&dir, &wanted, 7).unwrap_err().code, Code::InvalidArgument);
}

#[test]
fn whatever_of_a_backup_was_changed_is_named() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("backup");
    let made = make(&dir, &wanted(home.path()), 7).unwrap();
    for part in &made.files {
        let path = dir.join(part.name.as_str());
        let before = fs::read(&path).unwrap();
        let mut damaged = before.clone();
        damaged.push(b'x');
        fs::write(&path, damaged).unwrap();
        let fault = verify(&dir).unwrap_err();
        assert_eq!(fault.code, Code::ChecksumMismatch);
        assert!(fault.message.contains(part.name.as_str()), "{fault}");
        fs::write(&path, before).unwrap();
    }
    let manifest = fs::read_to_string(dir.join(MANIFEST)).unwrap();
    let newer = manifest.replacen("\"version\": 1", "\"version\": 2", 1);
    fs::write(dir.join(MANIFEST), newer).unwrap();
    assert_eq!(verify(&dir).unwrap_err().code, Code::VersionMismatch);
    let outside = manifest.replacen("\"config.toml\"", "\"../config.toml\"", 1);
    fs::write(dir.join(MANIFEST), outside).unwrap();
    assert_eq!(verify(&dir).unwrap_err().code, Code::InvalidArgument);
    assert_eq!(verify(home.path()).unwrap_err().code, Code::InvalidArgument);
}

#[test]
fn what_is_put_back_destroys_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (from, to) = (home.path().join("from"), home.path().join("there/db"));
    fs::write(&from, "old").unwrap();
    assert_eq!(put_back(&from, &to, ".x").unwrap(), PutBack::New);
    assert_eq!(put_back(&from, &to, ".x").unwrap(), PutBack::Same);
    fs::write(&to, "new").unwrap();
    fs::write(beside(&to, "-wal"), "log").unwrap();
    assert!(is_in_the_way(&from, &to).unwrap());
    let aside = beside(&to, ".x");
    assert_eq!(put_back(&from, &to, ".x").unwrap(), PutBack::Instead(aside.clone()));
    assert_eq!(fs::read_to_string(&to).unwrap(), "old");
    assert_eq!(fs::read_to_string(&aside).unwrap(), "new");
    assert_eq!(fs::read_to_string(beside(&aside, "-wal")).unwrap(), "log");
    assert!(!beside(&to, "-wal").exists());
}
