//! `rbee model tokenize`: the tokens of a text as a model sees them, and back.

use std::ffi::OsString;
use std::io::Read;

use serde::Serialize;
use wire::tokens::{Answer, Token};
use wire::{Code, Fault, limits, text};

use super::Local;
use crate::context::Context;
use crate::failure::Failure;
use crate::prompt::read_bounded;
use crate::role;

/// Show the tokens of the text on standard input.
///
/// Writes the numbers of all tokens on one line. Every byte of standard input counts, a last
/// newline too. The model is not loaded: a GGUF file may have a vocabulary and no tensors, and a
/// `tokenizer.json` will do.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that can be typed")]
#[command(after_help = "Examples:\n  printf 'Hello' | rbee model tokenize -m demo\n  \
    printf 'Hello' | rbee model tokenize -m demo --json\n  \
    printf 'Hello' | rbee model tokenize -m demo | rbee model tokenize -m demo --detokenize")]
pub struct Args {
    #[command(flatten)]
    model: Local,
    /// Write the text of the token numbers on standard input.
    #[arg(long, conflicts_with_all = ["no_bos", "no_parse_special"])]
    detokenize: bool,
    /// Leave out the tokens that the model wants at the beginning and the end of a text.
    #[arg(long)]
    no_bos: bool,
    /// Take control tokens that are written out, like `<|im_end|>`, for the text they are.
    #[arg(long)]
    no_parse_special: bool,
    /// Write a JSON array of ids and pieces; with --detokenize an object with the text.
    #[arg(long)]
    pub json: bool,
}

/// The text of tokens, for scripts.
#[derive(Debug, Serialize)]
struct Detokenized<'a> {
    text: &'a str,
}

/// Does it.
///
/// # Errors
/// The failure that ended it.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let file = args.model.locate(context)?;
    let stdin = std::io::stdin().lock();
    let input = if args.detokenize { read_list(stdin)? } else { read_text(stdin)? };
    let mut words: Vec<OsString> = ["worker", "tokenize", "--model"].map(OsString::from).into();
    words.push(file.into());
    let flags = [
        (args.detokenize, "--detokenize"),
        (args.no_bos, "--no-ends"),
        (args.no_parse_special, "--no-control"),
    ];
    words.extend(flags.iter().filter(|(given, _)| *given).map(|(_, flag)| OsString::from(flag)));
    let answer = role::ask(&words, &input, limits::MAX_TOKENS_ANSWER_BYTES)?;
    show(role::decode(&answer)?, args.json, context)
}

fn show(answer: Answer, json: bool, context: &Context) -> Result<(), Failure> {
    match answer {
        Answer::Tokens(tokens) if json => context.print_json(&tokens),
        Answer::Tokens(tokens) => context.print(&line(&tokens)),
        Answer::Text(text) if json => context.print_json(&Detokenized { text: &text }),
        // A model's text passes unchanged into a file, and never to a terminal.
        Answer::Text(text) if context.environment.terminals.stdout => {
            context.print(&format!("{}\n", text::for_terminal(&text)))
        }
        Answer::Text(text) => context.print(&text),
    }
}

fn line(tokens: &[Token]) -> String {
    let ids: Vec<String> = tokens.iter().map(|token| token.id.to_string()).collect();
    format!("{}\n", ids.join(" "))
}

fn read_text(from: impl Read) -> Result<Vec<u8>, Fault> {
    let text = read_bounded(from, "standard input").map_err(|mut fault| {
        if fault.code == Code::InvalidArgument {
            fault.hints = vec!["iconv -t UTF-8 FILE | rbee model tokenize -m demo".to_owned()];
        }
        fault
    })?;
    if text.len() > limits::MAX_PROMPT_BYTES {
        return Err(too_long(limits::MAX_PROMPT_BYTES));
    }
    Ok(text.into_bytes())
}

fn read_list(from: impl Read) -> Result<Vec<u8>, Fault> {
    let read = wire::bounded::read(from, limits::MAX_TOKEN_LIST_BYTES)
        .map_err(|error| Fault::new(Code::Io, "standard input cannot be read").cause(error))?;
    read.ok_or_else(|| too_long(limits::MAX_TOKEN_LIST_BYTES))
}

fn too_long(limit: usize) -> Fault {
    Fault::new(Code::TooLarge, format!("standard input is longer than {limit} bytes"))
        .hint(format!("head -c {limit} FILE | rbee model tokenize -m demo"))
}
