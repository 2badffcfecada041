//! `rbee run`: one prompt, one answer on standard output.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::value_parser;
use wire::generate::{ChatRole, FinishReason, Message, Prompt};
use wire::sampling::{Logprobs, SamplingFields};
use wire::text::shell_word;
use wire::{Code, Fault, RequestId};

use super::options::{self, ModelArgs, SamplingArgs};
use super::teller::{self, Form, Teller};
use crate::ask::{self, Ending, Wish};
use crate::context::{Context, block_on};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::Interrupts;
use crate::link::client::Ask;
use crate::link::way::Way;
use crate::model::{self, path_word};
use crate::operations::why;
use crate::partial;
use crate::prompt::{Parts, read_bounded};

/// Standard input that stays silent for this long is worth a word.
const STDIN_PATIENCE: Duration = Duration::from_secs(3);

/// Answer one prompt.
///
/// The prompt is the words of the command line, then the files, then standard input when it is not
/// a terminal, with an empty line between them. The answer goes to standard output, with a newline
/// at its end; everything else goes to standard error.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that can be typed")]
#[command(after_help = "Examples:\n  rbee run \"What is rbee?\"\n  \
    git diff | rbee run -m llama3.2 \"Write a commit message for this:\"")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The prompt.
    #[arg(value_name = "PROMPT")]
    words: Vec<String>,
    /// The prompt, for scripts: the same as words.
    #[arg(short, long, value_name = "TEXT", conflicts_with = "words", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// A file whose text is part of the prompt. May be repeated.
    #[arg(short, long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Instructions for the whole answer.
    #[arg(long, value_name = "TEXT", conflicts_with = "raw", allow_hyphen_values = true)]
    system: Option<String>,
    /// Continue the prompt as it is, without the model's chat template.
    #[arg(long)]
    raw: bool,
    /// Write one JSON event a line: placed, token, done, error.
    #[arg(long)]
    pub json: bool,
    /// Say with each token of --json how probable it was, and this many of the most probable ones.
    #[arg(long, value_name = "0..20", requires = "json", value_parser = value_parser!(u32)
        .range(0..=20))]
    logprobs: Option<u32>,
    /// Say on standard error how long everything took.
    #[arg(long)]
    stats: bool,
    /// Write the model's reasoning too.
    #[arg(long)]
    think: bool,
    /// End with an error when the answer is not complete by then: 500ms, 30s, 5m, 1h.
    #[arg(long, value_name = "TIME", allow_negative_numbers = true,
        value_parser = options::duration)]
    deadline: Option<Duration>,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Does it.
///
/// # Errors
/// The failure that ended it.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let began = Instant::now();
    refuse_a_model_without_its_flag(args, context)?;
    let sampling = SamplingFields {
        logprobs: args.logprobs.map(Logprobs::Top),
        ..args.sampling.fields(context)?
    };
    let want = args.model.want(context)?;
    let ways = args.model.ways(context)?;
    let prompt = prompt(args, context)?;
    prompt.check()?;
    args.model.explain_the_default(context);
    let deadline = args.deadline.and_then(|time| began.checked_add(time));
    let ask = Ask { id: RequestId::random(), prompt, sampling, deadline };
    let wish = Wish { want, keep_alive_s: args.model.keep_alive, ask, is_last: true };
    block_on(answer(args, context, &ways, &wish))
}

async fn answer(args: &Args, context: &Context, ways: &[Way], wish: &Wish) -> Result<(), Failure> {
    let form =
        Form { json: args.json, think: args.think, ctx_chosen: wish.want.ctx_size.is_some() };
    let mut teller = Teller::new(context, form)?;
    let mut interrupts = Interrupts::listen()?;
    why::remember(context, wish.ask.id);
    let timings = &context.config.timings;
    let outcome = ask::answer(ways, timings, wish, &mut teller, &mut interrupts).await;
    let (tokens, elapsed) = (teller.tokens(), teller.elapsed());
    match outcome {
        Ok(ending) => {
            teller.finish(Some(&ending)).await?;
            explain_the_end(context, wish, &ending);
            if args.stats {
                let stats = teller::stats(&ending, elapsed);
                context.note(&format!("{stats}, request {}", wish.ask.id));
            }
            Ok(())
        }
        Err(failure) => {
            teller.clear_progress();
            let answer = teller.answer().to_owned();
            // What came is kept. After Ctrl-C only a terminal gets its line ended.
            let on_terminal = context.environment.terminals.stdout;
            if !failure.is_silent() || (failure.exit == Exit::Interrupted && on_terminal) {
                // A reader that left does not hide why it ended.
                tokio::select! {
                    _ = teller.finish(None) => {}
                    () = interrupts.next() => {}
                }
            }
            Err(keep_the_partial(context, wish.ask.id, &answer, with_count(failure, tokens)))
        }
    }
}

/// An answer that the context's end cut short says so; one that the person bounded does not.
pub fn explain_the_end(context: &Context, wish: &Wish, ending: &Ending) {
    if ending.finish_reason == Some(FinishReason::Length) && wish.ask.sampling.max_tokens.is_none()
    {
        context.warn("the answer ends here because the context is full (see --ctx-size)");
    }
}

/// Keeps the text of an answer that something else than the person cut short, and says where.
fn keep_the_partial(
    context: &Context,
    id: RequestId,
    answer: &str,
    mut failure: Failure,
) -> Failure {
    if answer.is_empty() || failure.is_silent() {
        return failure;
    }
    match partial::keep(&context.environment.dirs.state, id, answer) {
        Ok(path) => {
            failure.fault = failure
                .fault
                .detail("partial_file", path.to_string_lossy().into_owned())
                .hint(format!("cat {}  # the answer as far as it came", path_word(&path)));
        }
        // The text is on standard output; why it is not in a file as well is for the log.
        Err(error) => tracing::warn!(%error, "a partial answer was not kept"),
    }
    failure
}

/// Says how much of the answer there is.
pub fn with_count(mut failure: Failure, tokens: usize) -> Failure {
    if tokens > 0 {
        let unit = if tokens == 1 { "token" } else { "tokens" };
        failure.fault =
            failure.fault.cause(format!("{tokens} {unit} came before")).detail("tokens", tokens);
    }
    failure
}

fn prompt(args: &Args, context: &Context) -> Result<Prompt, Failure> {
    let mut files = Vec::new();
    for path in &args.file {
        let name = path.display().to_string();
        let file = std::fs::File::open(path).map_err(|error| {
            Fault::new(Code::Io, format!("{name} cannot be read"))
                .cause(error)
                .hint(format!("ls -l -- {}", shell_word(&name)))
        })?;
        files.push(read_bounded(file, &name)?);
    }
    let mut words = args.words.clone();
    words.extend(args.prompt.clone());
    let stdin = if context.environment.terminals.stdin { None } else { Some(read_stdin(context)?) };
    let text = Parts { words, files, stdin }.assemble()?;
    if args.raw {
        return Ok(Prompt::Raw(text));
    }
    let system = args.system.as_ref().map(|text| Message::new(ChatRole::System, text));
    let user = Message::new(ChatRole::User, text);
    Ok(Prompt::Chat(system.into_iter().chain([user]).collect()))
}

/// Reads standard input to its end; says so when nothing comes, because a program that waits for
/// its own input looks like one that hangs.
fn read_stdin(context: &Context) -> Result<String, Fault> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let reading = std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        // Nobody waits any more when this fails.
        let _ = sender.send(read_bounded(std::io::stdin().lock(), "standard input"));
    });
    reading.map_err(|error| Fault::new(Code::Internal, "no thread").cause(error))?;
    if let Ok(text) = receiver.recv_timeout(STDIN_PATIENCE) {
        return text;
    }
    context.note("reading the prompt from standard input (end it with Ctrl-D, or use < /dev/null)");
    let lost = |_| Fault::new(Code::Internal, "standard input was not read");
    receiver.recv().map_err(lost)?
}

/// `rbee run MODEL "prompt"` is what people type who come from elsewhere.
fn refuse_a_model_without_its_flag(args: &Args, context: &Context) -> Result<(), Failure> {
    let Some(first) = args.words.first().filter(|_| args.model.model.is_none()) else {
        return Ok(());
    };
    if !model::names_a_model(first, context.config.known_aliases()) {
        return Ok(());
    }
    let typed: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word: OsString| word.to_string_lossy().into_owned())
        .collect();
    Err(Failure::usage("the first word names a model; a model needs -m before it")
        .hint(corrected(&typed, first)))
}

/// The line as it was meant: `-m` before the model, everything else as it was typed.
fn corrected(typed: &[String], model: &str) -> String {
    let mut line = vec!["rbee".to_owned()];
    let mut pending = Some(model);
    for word in typed {
        if pending == Some(word.as_str()) {
            pending = None;
            line.push("-m".to_owned());
        }
        line.push(retyped(word));
    }
    if typed.last().map(String::as_str) == Some(model) {
        line.push("\"Hello\"".to_owned());
    }
    line.join(" ")
}

/// A word of the line as it can be typed again; a flag keeps its plain look.
fn retyped(word: &str) -> String {
    let flag = word.trim_start_matches('-');
    if !flag.is_empty() && shell_word(flag) == flag { word.to_owned() } else { shell_word(word) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[&str]) -> Vec<String> {
        line.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn the_corrected_line_keeps_everything_that_was_typed() {
        let line = words(&["run", "--temperature", "0", "demo", "say \"$HOME\""]);
        assert_eq!(corrected(&line, "demo"), "rbee run --temperature 0 -m demo 'say \"$HOME\"'");
        assert_eq!(corrected(&words(&["run", "demo"]), "demo"), "rbee run -m demo \"Hello\"");
    }

    #[test]
    fn a_failure_in_the_middle_says_how_much_came() {
        let crashed = || Failure::from(Fault::new(Code::WorkerCrashed, "signal 9"));
        let failure = with_count(crashed(), 12);
        assert_eq!(failure.fault.causes, ["12 tokens came before"]);
        assert!(with_count(crashed(), 0).fault.causes.is_empty());
    }
}
