//! The fuzzers' committed corpora of tokenizers and templates, replayed by every test run, and
//! changed at random.

#[cfg(test)]
#[path = "../../tests/fuzz/src/template.rs"]
mod template;
#[cfg(test)]
#[path = "../../tests/fuzz/src/tokenizers.rs"]
mod tokenizers;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use crate::{template, tokenizers};

    /// Changes of each file.
    const CHANGES: usize = 1000;
    /// Changes of each template: one that runs until its fuel is gone takes its time.
    const TEMPLATE_CHANGES: usize = 20;

    /// What can double a text with each step ends at the process's data limit; a test has none.
    const DOUBLING: [&str; 6] = ["~", "*", "set", "replace", "join", "+"];

    fn chat_template(data: &[u8]) {
        let doubles = |source: &str| DOUBLING.iter().any(|word| source.contains(word));
        if !std::str::from_utf8(data).is_ok_and(doubles) {
            template::chat_template(data);
        }
    }

    fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(name);
        let read = |entry: std::io::Result<std::fs::DirEntry>| {
            let path = entry.unwrap().path();
            (path.display().to_string(), std::fs::read(&path).unwrap())
        };
        let mut files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(read).collect();
        files.sort();
        assert!(!files.is_empty(), "{} is empty", dir.display());
        files
    }

    fn holds(name: &str, data: &[u8], target: fn(&[u8])) {
        if std::panic::catch_unwind(|| target(data)).is_err() {
            let kept = std::env::temp_dir().join("finding");
            std::fs::write(&kept, data).unwrap();
            panic!("{name} breaks its promise: {}", kept.display());
        }
    }

    /// The file with a few bytes overwritten, doubled or left out.
    fn changed(data: &[u8], rng: &mut StdRng) -> Vec<u8> {
        let mut data = data.to_vec();
        for _ in 0..rng.random_range(1..4) {
            if data.is_empty() {
                break;
            }
            let at = rng.random_range(0..data.len());
            let end = (at + rng.random_range(1..12)).min(data.len());
            match rng.random_range(0..4) {
                0 => data[at] = rng.random(),
                1 => data[at] = data[rng.random_range(0..data.len())],
                2 => drop(data.drain(at..end)),
                _ => {
                    let part = data[at..end].to_vec();
                    data.splice(at..at, part);
                }
            }
        }
        data
    }

    fn replay(name: &str, changes: usize, target: fn(&[u8])) {
        let mut rng = StdRng::seed_from_u64(4);
        for (file, data) in corpus(name) {
            holds(&file, &data, target);
            for _ in 0..changes {
                holds(&file, &changed(&data, &mut rng), target);
            }
        }
    }

    #[test]
    fn templates_keep_their_promises() {
        replay("chat_template", TEMPLATE_CHANGES, chat_template);
    }

    #[test]
    fn tokenizer_files_keep_their_promises() {
        replay("tokenizer_json", CHANGES, tokenizers::tokenizer_json);
    }

    #[test]
    fn vocabularies_keep_their_promises() {
        replay("vocabulary", CHANGES, tokenizers::vocabulary);
    }
}
