//! The prompt from its parts: words of the command line, files, standard input.

use std::io::{self, Read};

use wire::{Code, Fault, limits};

/// What a person gave to be answered, in the order in which it is put together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// Words of the command line.
    pub words: Vec<String>,
    /// Contents of files.
    pub files: Vec<String>,
    /// Standard input, when something came.
    pub stdin: Option<String>,
}

impl Parts {
    /// The prompt: words joined by blanks, then each file, then standard input, with an empty line
    /// between each two. The last newline of a file and of standard input is not part of it.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when there is nothing to answer, `TOO_LARGE` over the bound.
    pub fn assemble(self) -> Result<String, Fault> {
        let words = self.words.join(" ");
        let texts = self.files.into_iter().chain(self.stdin).map(|text| chomp(&text).to_owned());
        let parts: Vec<String> =
            std::iter::once(words).chain(texts).filter(|text| !text.is_empty()).collect();
        let prompt = parts.join("\n\n");
        if prompt.trim().is_empty() {
            return Err(Fault::new(Code::InvalidArgument, "there is no prompt")
                .hint("rbee run \"What is rbee?\"")
                .hint("echo \"What is rbee?\" | rbee run"));
        }
        if prompt.len() > limits::MAX_PROMPT_BYTES {
            return Err(too_long());
        }
        Ok(prompt)
    }
}

fn chomp(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn too_long() -> Fault {
    let limit = limits::MAX_PROMPT_BYTES;
    Fault::new(Code::TooLarge, format!("the prompt is longer than its limit of {limit} bytes"))
        .hint(format!("head -c {limit} FILE | rbee run"))
}

/// Reads `from` to its end, at most as much as a prompt may have. `what` names it in errors.
///
/// # Errors
/// `TOO_LARGE` as soon as the bound is passed, `INVALID_ARGUMENT` for bytes that are not UTF-8,
/// `IO_ERROR` when it cannot be read.
pub fn read_bounded(from: impl Read, what: &str) -> Result<String, Fault> {
    // Two for a last newline that is not part of the prompt.
    let read = wire::bounded::read(from, limits::MAX_PROMPT_BYTES + 2).map_err(|error| {
        let code = if error.kind() == io::ErrorKind::NotFound { Code::NotFound } else { Code::Io };
        Fault::new(code, format!("{what} cannot be read")).cause(error)
    })?;
    let bytes = read.ok_or_else(too_long)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Fault::new(Code::InvalidArgument, format!("{what} is not UTF-8 text: see its byte {at}"))
            .hint("iconv -t UTF-8 FILE | rbee run")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(words: &[&str], files: &[&str], stdin: Option<&str>) -> Parts {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Parts { words: owned(words), files: owned(files), stdin: stdin.map(str::to_owned) }
    }

    #[test]
    fn words_come_first_then_files_then_stdin() {
        let prompt = parts(&["sum", "up:"], &["one\n", "two"], Some("three\n")).assemble();
        assert_eq!(prompt.unwrap(), "sum up:\n\none\n\ntwo\n\nthree");
    }

    #[test]
    fn the_same_question_is_the_same_prompt_from_anywhere() {
        let by_words = parts(&["What", "is", "it?"], &[], None).assemble().unwrap();
        assert_eq!(parts(&["What is it?"], &[], Some("")).assemble().unwrap(), by_words);
        assert_eq!(parts(&[], &[], Some("What is it?\n")).assemble().unwrap(), by_words);
        assert_eq!(parts(&[], &["What is it?\r\n"], None).assemble().unwrap(), by_words);
    }

    #[test]
    fn nothing_to_answer_is_refused_with_an_example() {
        for empty in [parts(&[], &[], None), parts(&[""], &[""], Some("\n"))] {
            let fault = empty.assemble().unwrap_err();
            assert_eq!(fault.code, Code::InvalidArgument);
            assert!(fault.hints.iter().any(|hint| hint.starts_with("rbee run")));
        }
    }

    #[test]
    fn reading_stops_at_the_bound() {
        let fault = read_bounded(io::repeat(b'a'), "stdin").unwrap_err();
        assert_eq!(fault.code, Code::TooLarge);
        let whole = vec![b'a'; limits::MAX_PROMPT_BYTES];
        let text = read_bounded(&whole[..], "stdin").unwrap();
        assert!(parts(&[], &[], Some(&text)).assemble().is_ok());
        assert!(parts(&["b"], &[], Some(&text)).assemble().is_err());
        assert_eq!(read_bounded(&b"a\xff"[..], "stdin").unwrap_err().code, Code::InvalidArgument);
    }

    proptest! {
        #[test]
        fn every_part_is_in_the_prompt(
            words in proptest::collection::vec("[a-z]{1,5}", 1..4), stdin in "[a-z]{1,5}",
        ) {
            let stdin_part = Some(stdin.clone());
            let parts = Parts { words: words.clone(), files: Vec::new(), stdin: stdin_part };
            let prompt = parts.assemble().unwrap();
            prop_assert_eq!(prompt, format!("{}\n\n{}", words.join(" "), stdin));
        }
    }
}
