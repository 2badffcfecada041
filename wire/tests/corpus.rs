//! The fuzzers' committed corpora, replayed by every test run.

#[cfg(test)]
#[path = "../../tests/fuzz/src/targets.rs"]
mod targets;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::targets;

    fn replay(name: &str, target: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(name);
        let mut files = 0;
        for entry in std::fs::read_dir(&corpus).unwrap() {
            let path = entry.unwrap().path();
            let data = std::fs::read(&path).unwrap();
            let held = std::panic::catch_unwind(|| target(&data));
            assert!(held.is_ok(), "{} breaks its promise", path.display());
            files += 1;
        }
        assert!(files > 0, "{} is empty", corpus.display());
    }

    #[test]
    fn gguf_headers_keep_their_promises() {
        replay("gguf_header", targets::gguf_header);
    }

    #[test]
    fn safetensors_headers_keep_their_promises() {
        replay("safetensors_header", targets::safetensors_header);
    }

    #[test]
    fn directories_keep_their_promises() {
        replay("model_directory", targets::model_directory);
    }

    #[test]
    fn event_streams_keep_their_promises() {
        replay("ndjson_event", targets::ndjson_event);
    }

    #[test]
    fn answers_keep_their_promises() {
        replay("sse_chunk", targets::sse_chunk);
    }

    #[test]
    fn names_keep_their_promises() {
        replay("model_ref", targets::model_ref);
    }
}
