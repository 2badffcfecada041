//! `rbee worker tokenize`: one text becomes tokens, or tokens a text, and the process ends.

use std::io::{BufWriter, Read, Write};
use std::process::ExitCode;

use wire::tokens::Answer;
use wire::{Code, Fault, limits};

use crate::cli::TokenizeArgs;
use crate::engine::words::{Reading, Words};
use crate::{input, platform};

/// Runs it: standard input to its end, then one line of JSON on standard output.
///
/// # Errors
/// `INVALID_ARGUMENT` for what is no UTF-8 or no list of this model's tokens, `TOO_LARGE`, and
/// those of the model.
pub fn run(args: &TokenizeArgs) -> Result<ExitCode, Fault> {
    platform::limit_data(limits::MAX_TOKENIZING_DATA_BYTES)
        .map_err(|error| Fault::new(Code::Io, "cannot limit this process's data").cause(error))?;
    let words = Words::open(&args.model)?;
    let limit =
        if args.detokenize { limits::MAX_TOKEN_LIST_BYTES } else { limits::MAX_PROMPT_BYTES };
    let input = read(std::io::stdin().lock(), limit)?;
    let answer = if args.detokenize {
        Answer::Text(words.text(&numbers(&input)?)?)
    } else {
        let reading = Reading { ends: !args.no_ends, control: !args.no_control };
        Answer::Tokens(words.tokens(&input, reading)?)
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let written = serde_json::to_writer(&mut out, &answer).map_err(std::io::Error::from);
    let written = written.and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    written.map_err(|error| Fault::new(Code::Io, "the answer cannot be written").cause(error))?;
    Ok(ExitCode::SUCCESS)
}

fn read(from: impl Read, limit: usize) -> Result<String, Fault> {
    let bytes = input::read(from, limit)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let message = format!("standard input is not UTF-8 text: see its byte {at}");
        Fault::new(Code::InvalidArgument, message)
    })
}

/// Numbers with blanks or commas between them, in brackets or not.
fn numbers(list: &str) -> Result<Vec<u32>, Fault> {
    let is_between = |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']');
    let words = list.split(is_between).filter(|word| !word.is_empty());
    let number = |word: &str| {
        word.parse().map_err(|_| {
            let word = wire::text::one_line(word, 40);
            Fault::new(Code::InvalidArgument, format!("{word:?} is no number of a token"))
                .hint("echo 1 2 3 | rbee model tokenize -m demo --detokenize")
        })
    };
    words.map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_other_programs_write_them() {
        for list in ["1 2 30", "[1, 2, 30]", "1,2,30\n", "\n1\n2\n30\n"] {
            assert_eq!(numbers(list).unwrap(), [1, 2, 30], "{list:?}");
        }
        assert_eq!(numbers(" \n").unwrap(), Vec::<u32>::new());
        for list in ["1 x", "-1", "4294967296", "1.5", "\u{1b}[2J"] {
            let fault = numbers(list).unwrap_err();
            assert_eq!(fault.code, Code::InvalidArgument);
            assert!(!fault.message.contains('\u{1b}'));
        }
    }

    #[test]
    fn more_than_the_limit_and_other_than_text_is_refused() {
        assert_eq!(read(&b"abc"[..], 3).unwrap(), "abc");
        assert_eq!(read(&b"abcd"[..], 3).unwrap_err().code, Code::TooLarge);
        assert_eq!(read(&b"a\xff"[..], 3).unwrap_err().code, Code::InvalidArgument);
    }
}
