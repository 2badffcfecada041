//! What is kept, and what damage costs.

use super::*;

const NOW: Duration = Duration::from_secs(1_700_000_000);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + NOW
}

fn file(dir: &Path, name: &str, content: &[u8]) -> StoredFile {
    let sha256: wire::pull::Sha256 = super::super::hex(&Sha256::digest(content)).parse().unwrap();
    fs::write(dir.join(blob_name(&sha256)), content).unwrap();
    let bytes = u64::try_from(content.len()).unwrap();
    StoredFile { name: name.parse().unwrap(), sha256, bytes }
}

fn model(text: &str) -> ModelRef {
    text.parse().unwrap()
}

fn keep(catalog: Catalog<'_>, name: &str, files: Vec<StoredFile>) -> StoredModel {
    catalog.register(&model(name), "c0ffee".to_owned(), files, now()).unwrap()
}

#[test]
fn what_was_kept_is_found_by_its_name_and_listed_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog { dir: dir.path() };
    assert_eq!(catalog.list().unwrap(), ModelList::default());
    assert_eq!(catalog.find(&model("hf:o/b")).unwrap(), None);
    let kept = keep(catalog, "hf:o/b", vec![file(dir.path(), "b.gguf", b"weights")]);
    assert_eq!((kept.bytes, kept.missing_bytes, kept.pulled_at_ms), (7, 0, 1_700_000_000_000));
    assert_eq!(fs::read(&kept.path).unwrap(), b"weights");
    keep(catalog, "hf:o/a", vec![file(dir.path(), "a.gguf", b"others")]);
    let names = catalog.list().unwrap().models.into_iter().map(|kept| kept.model.to_string());
    assert_eq!(names.collect::<Vec<_>>(), ["hf:o/a", "hf:o/b"]);
    assert_eq!(catalog.find(&model("hf:o/b")).unwrap(), Some(kept));
}

#[test]
fn a_model_of_several_files_is_a_directory_and_takes_no_second_space() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog { dir: dir.path() };
    let files = vec![
        file(dir.path(), "config.json", b"{}"),
        file(dir.path(), "sub/model.safetensors", b"weights"),
    ];
    let kept = keep(catalog, "hf:o/tree", files);
    assert_eq!(fs::read(Path::new(&kept.path).join("sub/model.safetensors")).unwrap(), b"weights");
    // Pulled again, in another revision.
    let kept = keep(
        catalog,
        "hf:o/tree",
        vec![
            file(dir.path(), "config.json", b"{ }"),
            file(dir.path(), "model.safetensors", b"weights"),
        ],
    );
    assert!(!Path::new(&kept.path).join("sub").exists());
    let removed = catalog.remove(&kept.model).unwrap();
    assert_eq!(removed.freed_bytes, 10);
    assert!(!Path::new(&kept.path).exists());
}

#[test]
fn removing_a_name_breaks_no_other_one() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog { dir: dir.path() };
    let shared = file(dir.path(), "m-Q8_0.gguf", b"weights");
    let kept = keep(catalog, "hf:o/m", vec![shared.clone()]);
    keep(catalog, "hf:o/m:Q8_0", vec![shared]);
    assert_eq!(catalog.remove(&model("hf:o/m")).unwrap().freed_bytes, 0);
    assert!(Path::new(&kept.path).exists());
    assert!(catalog.find(&model("hf:o/m:Q8_0")).unwrap().is_some());
    assert_eq!(catalog.remove(&model("hf:o/m:Q8_0")).unwrap().freed_bytes, 7);
    assert!(!Path::new(&kept.path).exists());
    assert_eq!(catalog.remove(&model("hf:o/m")).unwrap_err().code, Code::ModelNotFound);
}

#[test]
fn a_damaged_entry_is_set_aside_and_costs_no_other_one() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog { dir: dir.path() };
    let files = vec![file(dir.path(), "m.gguf", b"weights")];
    keep(catalog, "hf:o/good", files.clone());
    for damage in ["", "{", "[]", r#"{"version":1,"model":"demo","files":[]}"#] {
        keep(catalog, "hf:o/bad", files.clone());
        fs::write(catalog.entry_path(&model("hf:o/bad")), damage).unwrap();
        let fault = catalog.find(&model("hf:o/bad")).unwrap_err();
        assert_eq!(fault.code, Code::ModelNotFound);
        assert!(fault.hints[0].starts_with("rbee pull hf:o/bad"), "{fault:?}");
        assert_eq!(catalog.find(&model("hf:o/bad")).unwrap(), None);
        let list = catalog.list().unwrap();
        assert_eq!((list.models.len(), list.damaged.len()), (1, 0));
    }
    // An entry that says it is another one's.
    fs::copy(catalog.entry_path(&model("hf:o/good")), catalog.entry_path(&model("hf:o/x")))
        .unwrap();
    let list = catalog.list().unwrap();
    assert_eq!((list.models.len(), list.damaged.len()), (1, 1));
    assert!(Path::new(&list.damaged[0]).exists());
}

#[test]
fn a_newer_builds_entry_is_neither_used_nor_touched() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog { dir: dir.path() };
    keep(catalog, "hf:o/m", vec![file(dir.path(), "m.gguf", b"weights")]);
    let path = catalog.entry_path(&model("hf:o/m"));
    fs::write(&path, r#"{"version":2,"something":"else"}"#).unwrap();
    assert_eq!(catalog.find(&model("hf:o/m")).unwrap_err().code, Code::ModelNotFound);
    assert_eq!(catalog.list().unwrap(), ModelList::default());
    assert!(path.exists());
}

#[test]
fn a_model_whose_file_is_gone_or_short_is_said_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog { dir: dir.path() };
    let kept = keep(catalog, "hf:o/m", vec![file(dir.path(), "m.gguf", b"weights")]);
    fs::write(&kept.path, b"wei").unwrap();
    let fault = catalog.find(&kept.model).unwrap_err();
    assert_eq!((fault.code, fault.hints[0].as_str()), (Code::ModelNotFound, "rbee pull hf:o/m"));
    assert_eq!(catalog.list().unwrap().models[0].missing_bytes, 7);
}

#[test]
fn only_old_beginnings_of_files_are_swept() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["sha256-a.partial", "sha256-b"] {
        fs::write(dir.path().join(name), b"x").unwrap();
    }
    let catalog = Catalog { dir: dir.path() };
    catalog.sweep(SystemTime::now());
    assert!(dir.path().join("sha256-a.partial").exists());
    catalog.sweep(SystemTime::now() + PARTIAL_AGE + Duration::from_secs(60));
    assert!(!dir.path().join("sha256-a.partial").exists());
    assert!(dir.path().join("sha256-b").exists());
}
