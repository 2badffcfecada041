//! `rbee chat`: a conversation, line by line.

mod kept;

use std::io::Write;
use std::path::{Path, PathBuf};

use rustyline::config::{BellStyle, ColorMode};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Stdin};
use wire::generate::{ChatRole, Message, Prompt};
use wire::sampling::SamplingFields;
use wire::{Code, Fault, RequestId, limits};

use super::options::{ModelArgs, SamplingArgs};
use super::run::{explain_the_end, with_count};
use super::teller::{Form, Teller};
use crate::ask::{self, Ending, Wish};
use crate::context::{Context, background, block_on};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet::place::Want;
use crate::interrupt::Interrupts;
use crate::link::client::Ask;
use crate::link::way::Way;

/// Lines of the history that are kept.
const MAX_HISTORY: usize = 1000;
/// What stands before the line that is typed.
const PROMPT: &str = ">>> ";
const HELP: &str = "\
/system TEXT  give instructions for the answers that follow
/clear        forget the conversation, keep the instructions
/help         show this
/quit         leave, as Ctrl-D does
Ctrl-C        stop the answer; what came is kept";

/// Talk with a model, line by line.
///
/// The model hears the whole conversation with every line. Ctrl-C stops an answer, Ctrl-D leaves;
/// /help shows what else can be typed. With standard input from a file or a pipe each line of it is
/// one turn.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Draw Markdown and the keys of the TUI in the last rows of this screen; what was said stays
    /// in the terminal's own scroll-back, and in the file of conversations.
    #[arg(long, conflicts_with_all = ["device", "keep_alive"])]
    inline: bool,
    /// Go on with the newest conversation that has these words, inline; without words: the newest.
    #[arg(long = "continue", value_name = "WORDS", num_args = 0..=1, default_missing_value = "",
        conflicts_with_all = ["device", "keep_alive"])]
    resume: Option<String>,
    /// List the conversations that are kept, newest first.
    #[arg(long)]
    list: bool,
    /// Instructions for all answers.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    system: Option<String>,
    /// Show the model's reasoning too.
    #[arg(long)]
    think: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// A conversation and how it goes on.
struct Conversation<'a> {
    context: &'a Context,
    ways: Vec<Way>,
    want: Want,
    keep_alive_s: Option<i64>,
    sampling: SamplingFields,
    think: bool,
    system: Option<String>,
    messages: Vec<Message>,
    /// Whether a hive has answered before.
    was_answered: bool,
}

/// What a typed line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Nothing,
    Say(&'a str),
    System(&'a str),
    Clear,
    Help,
    Quit,
    Unknown(&'a str),
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Self {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match word {
            "" => Self::Nothing,
            "/system" => Self::System(rest.trim()),
            "/clear" => Self::Clear,
            "/help" | "/?" => Self::Help,
            "/quit" | "/exit" | "/bye" => Self::Quit,
            // A path may be the first word of a question; a command is one bare word.
            word if word.starts_with('/') && !word.get(1..).unwrap_or_default().contains('/') => {
                Self::Unknown(word)
            }
            _ => Self::Say(line),
        }
    }
}

/// Whether the conversation goes on.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Line,
    End,
}

/// Does it.
///
/// # Errors
/// The failure that ended it. On a terminal a failed answer is shown and the conversation goes on.
pub fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    if args.list {
        return kept::list(context);
    }
    if args.inline || args.resume.is_some() {
        return kept::inline(args, context);
    }
    let mut conversation = Conversation {
        context,
        sampling: args.sampling.fields(context)?,
        want: args.model.want(context)?,
        ways: args.model.ways(context)?,
        keep_alive_s: args.model.keep_alive,
        think: args.think,
        system: args.system.clone(),
        messages: Vec::new(),
        was_answered: false,
    };
    args.model.explain_the_default(context);
    if context.environment.terminals.stdin {
        conversation.typed()
    } else {
        block_on(conversation.piped())
    }
}

impl Conversation<'_> {
    fn typed(&mut self) -> Result<(), Failure> {
        let history = history_file(&self.context.environment.dirs.state);
        let mut editor = editor(history.as_deref(), self.context)?;
        // Connections to hives outlive the turns: a password is not asked for with every line.
        let runtime = background()?;
        let model = &self.want.model;
        self.context.note(&format!("a chat with {model}; /help for help, Ctrl-D to leave"));
        loop {
            let line = match editor.readline(PROMPT) {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => {
                    self.context.note("Ctrl-D or /quit to leave");
                    continue;
                }
                Err(ReadlineError::Eof) => break,
                Err(error) => {
                    return Err(Fault::new(Code::Io, "the line cannot be read")
                        .cause(error)
                        .into());
                }
            };
            if !line.trim().is_empty() {
                remember(&mut editor, history.as_deref(), &line);
            }
            let turn = runtime.block_on(async {
                let mut interrupts = Interrupts::listen_to_the_keyboard()?;
                self.take(&line, &mut interrupts).await
            });
            match turn {
                Ok(Next::Line) => {}
                Ok(Next::End) => break,
                Err(failure) if failure.exit == Exit::Interrupted => {}
                Err(failure) if failure.is_silent() => return Err(failure),
                Err(failure) => {
                    let _ = failure.write(&mut std::io::stderr().lock(), &self.context.style);
                }
            }
        }
        // A thread that waits for the terminal must not hold the program back.
        runtime.shutdown_background();
        Ok(())
    }

    async fn piped(&mut self) -> Result<(), Failure> {
        let mut interrupts = Interrupts::listen()?;
        let mut input = BufReader::new(tokio::io::stdin());
        loop {
            let line = tokio::select! {
                line = next_line(&mut input) => line?,
                () = interrupts.next() => return Err(Failure::interrupted()),
            };
            let Some(line) = line else { return Ok(()) };
            if self.take(&line, &mut interrupts).await? == Next::End {
                return Ok(());
            }
        }
    }

    /// Does what a line says.
    async fn take(&mut self, line: &str, interrupts: &mut Interrupts) -> Result<Next, Failure> {
        match Line::parse(line) {
            Line::Nothing => {}
            Line::Say(text) => self.say(text, interrupts).await?,
            Line::System(text) => {
                self.system = (!text.is_empty()).then(|| text.to_owned());
                self.context.note(if text.is_empty() {
                    "no instructions any more"
                } else {
                    "these instructions hold from now on"
                });
            }
            Line::Clear => {
                self.messages.clear();
                self.context.note("the conversation is forgotten");
            }
            Line::Help => self.context.note(HELP),
            Line::Quit => return Ok(Next::End),
            Line::Unknown(word) => {
                let failure = Failure::usage(format!("{word} is not a command")).hint("/help");
                if !self.context.environment.terminals.stdin {
                    return Err(failure);
                }
                let _ = failure.write(&mut std::io::stderr().lock(), &self.context.style);
            }
        }
        Ok(Next::Line)
    }

    async fn say(&mut self, text: &str, interrupts: &mut Interrupts) -> Result<(), Failure> {
        let turn = Message::new(ChatRole::User, text);
        let system = self.system.as_ref().map(|text| Message::new(ChatRole::System, text));
        let messages =
            system.into_iter().chain(self.messages.iter().cloned()).chain([turn.clone()]);
        let prompt = Prompt::Chat(messages.collect());
        prompt.check().map_err(|fault| forgettable(fault.into()))?;
        let mut said = self.answer_to(prompt.clone(), interrupts).await?;
        if self.was_answered && said.is_lost() {
            // What the turns before used may be gone long since: only using it again shows that.
            self.context.note("the connection was lost; connecting again");
            said = self.answer_to(prompt, interrupts).await?;
        }
        let Said { wish, outcome, answer, tokens } = said;
        self.was_answered |= outcome.is_ok();
        // An answer that was stopped is part of the conversation as far as it came.
        if outcome.is_ok() || !answer.is_empty() {
            self.messages.push(turn);
            self.messages.push(Message::new(ChatRole::Assistant, answer));
        }
        match outcome {
            Ok(ending) => {
                explain_the_end(self.context, &wish, &ending);
                Ok(())
            }
            Err(failure) if failure.is_silent() => Err(failure),
            Err(failure) => Err(forgettable(with_count(failure, tokens))),
        }
    }

    /// Asks once, and tells what comes.
    async fn answer_to(
        &self,
        prompt: Prompt,
        interrupts: &mut Interrupts,
    ) -> Result<Said, Failure> {
        let ask = Ask {
            id: RequestId::random(),
            prompt,
            sampling: self.sampling.clone(),
            deadline: None,
        };
        let (want, keep_alive_s) = (self.want.clone(), self.keep_alive_s);
        let wish = Wish { want, keep_alive_s, ask, is_last: false };
        let form = Form { json: false, think: self.think, ctx_chosen: true };
        let mut teller = Teller::new(self.context, form)?;
        crate::operations::why::remember(self.context, wish.ask.id);
        let timings = &self.context.config.timings;
        let outcome = ask::answer(&self.ways, timings, &wish, &mut teller, interrupts).await;
        let (answer, tokens) = (teller.answer().to_owned(), teller.tokens());
        let told = tokio::select! {
            told = teller.finish(outcome.as_ref().ok()) => told,
            () = interrupts.next() => return Err(Failure::interrupted()),
        };
        // What ended the answer is told, not that its rest could not be written either.
        if outcome.is_ok() {
            told?;
        }
        Ok(Said { wish, outcome, answer, tokens })
    }
}

/// What came of asking once.
struct Said {
    wish: Wish,
    outcome: Result<Ending, Failure>,
    answer: String,
    tokens: usize,
}

impl Said {
    /// Whether the hive was lost before it said anything.
    fn is_lost(&self) -> bool {
        let lost = |failure: &Failure| failure.fault.code == Code::HiveUnreachable;
        self.tokens == 0 && self.outcome.as_ref().is_err_and(lost)
    }
}

/// A conversation that became too long can be forgotten.
fn forgettable(failure: Failure) -> Failure {
    let too_long = matches!(failure.fault.code, Code::ContextOverflow | Code::TooLarge);
    if too_long { failure.hint("/clear") } else { failure }
}

/// The next line of a pipe; none at its end.
async fn next_line(input: &mut BufReader<Stdin>) -> Result<Option<String>, Failure> {
    let bound = u64::try_from(limits::MAX_PROMPT_BYTES).unwrap_or(u64::MAX);
    let mut line = Vec::new();
    let read = input.take(bound.saturating_add(1)).read_until(b'\n', &mut line).await;
    let count =
        read.map_err(|error| Fault::new(Code::Io, "standard input cannot be read").cause(error))?;
    if count > limits::MAX_PROMPT_BYTES {
        return Err(
            Fault::new(Code::TooLarge, format!("a line is longer than {bound} bytes")).into()
        );
    }
    if count == 0 {
        return Ok(None);
    }
    String::from_utf8(line)
        .map(Some)
        .map_err(|_| Failure::usage("standard input is not UTF-8 text"))
}

/// Where the history is kept, when its directory can be made.
fn history_file(state: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state).ok()?;
    let path = state.join("chat-history");
    // Made here, so that it is this user's alone before anything is written to it.
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path).ok()?;
    Some(path)
}

fn editor(history: Option<&Path>, context: &Context) -> Result<Editor<(), FileHistory>, Fault> {
    let colours =
        if context.environment.colours { ColorMode::Enabled } else { ColorMode::Disabled };
    let refuse =
        |error: ReadlineError| Fault::new(Code::Io, "the terminal cannot be used").cause(error);
    let config = Config::builder()
        .max_history_size(MAX_HISTORY)
        .map_err(refuse)?
        .bell_style(BellStyle::None)
        .color_mode(colours)
        .build();
    let mut editor = Editor::with_config(config).map_err(refuse)?;
    if let Some(path) = history
        && let Err(error) = editor.load_history(path)
    {
        context.warn(&format!("{} cannot be read: {error}", path.display()));
    }
    Ok(editor)
}

fn remember(editor: &mut Editor<(), FileHistory>, history: Option<&Path>, line: &str) {
    let added = editor.add_history_entry(line).unwrap_or(false);
    if let Some(path) = history.filter(|_| added) {
        // A history that cannot be written is no reason to end a conversation.
        let _ = editor.append_history(path);
    }
    let _ = std::io::stdout().flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_from_a_question() {
        assert_eq!(Line::parse("  What is it? "), Line::Say("What is it?"));
        assert_eq!(Line::parse("/system  be brief "), Line::System("be brief"));
        assert_eq!(Line::parse("/clear"), Line::Clear);
        assert_eq!(Line::parse("/quit"), Line::Quit);
        assert_eq!(Line::parse("/hepl"), Line::Unknown("/hepl"));
        assert_eq!(Line::parse("/etc/passwd is what?"), Line::Say("/etc/passwd is what?"));
        assert_eq!(Line::parse(" \n"), Line::Nothing);
    }

    #[test]
    fn a_conversation_that_is_too_long_may_be_forgotten() {
        let failure = forgettable(Fault::new(Code::ContextOverflow, "too long").into());
        assert_eq!(failure.fault.hints, ["/clear"]);
        let other = forgettable(Fault::new(Code::QueueFull, "full").into());
        assert!(other.fault.hints.is_empty());
    }

    #[test]
    fn the_history_is_its_users_alone() {
        use std::os::unix::fs::PermissionsExt;
        let state = tempfile::tempdir().unwrap();
        let path = history_file(&state.path().join("rbee")).unwrap();
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
