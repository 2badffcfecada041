//! The committed corpus of the fuzzer that needs the engine, replayed by every test run.

#[cfg(test)]
#[path = "../../tests/fuzz/src/template.rs"]
mod template;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::template;

    #[test]
    fn templates_keep_their_promises() {
        let corpus =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/chat_template");
        let mut files = 0;
        for entry in std::fs::read_dir(&corpus).unwrap() {
            let path = entry.unwrap().path();
            let data = std::fs::read(&path).unwrap();
            let held = std::panic::catch_unwind(|| template::chat_template(&data));
            assert!(held.is_ok(), "{} breaks its promise", path.display());
            files += 1;
        }
        assert!(files > 0, "{} is empty", corpus.display());
    }
}
